//! Whether two answers are the same, but for which address of a table it is, and for how names are compressed.

use std::collections::{BTreeSet, HashMap};

use domain::{
    base::{Message, ParsedName, Rtype, iana::OptionCode, opt::UnknownOptData},
    rdata::AllRecordData,
};
use etherparse::{SlicedPacket, TransportSlice};
use zerottl_core::{
    model::{DynamicType, Policy},
    plan::Choice,
};
use zerottl_dns::{client::QueryClient, query::QueryMessage, svcb};

use super::{
    ask::Asked,
    machine::{BothPaths, text},
};

/// Invariant 8's bounds, in halves of the query: what the plan answers, what is negative, and static answers.
const HALVES: (usize, usize, usize) = (4, 5, 6);
/// Static answers up to this are not bound by their query.
const STATIC_LEN: usize = 512;
/// Bytes of DNS over UDP, whatever the query.
const DNS_LEN_MAX: usize = 1232;

/// A message, with what may differ taken out.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    header: [u8; 12],
    question: Vec<u8>,
    /// Section, owner, class, TTL and data, sorted; what the name's table holds is `table`.
    records: BTreeSet<String>,
    /// The OPT record as it is.
    opt: Option<Vec<u8>>,
}

/// The DNS message in a frame.
pub fn payload(frame: &[u8]) -> Option<Vec<u8>> {
    match SlicedPacket::from_ethernet(frame).ok()?.transport {
        Some(TransportSlice::Udp(udp)) => Some(udp.payload().to_vec()),
        _ => None,
    }
}

/// The COOKIE option's data.
pub fn cookie(message: &[u8]) -> Option<Vec<u8>> {
    let opt = Message::from_octets(message).ok()?.opt()?;
    let option = opt.opt().iter::<UnknownOptData<_>>().flatten().find(|option| option.code() == OptionCode::COOKIE)?;
    Some(option.data().to_vec())
}

/// How the kernel's frame differs from what the socket path says, by UDP or, but for its options, by TCP.
pub fn fault(machine: &BothPaths, asked: &Asked, frame: &[u8], said: &[u8], by_tcp: Option<&[u8]>) -> Option<String> {
    let Some(dns) = payload(frame) else { return Some("no UDP".to_owned()) };
    let client = client(machine, asked);
    let (kernel, socket) = match (plain(machine, client, &dns), plain(machine, client, by_tcp.unwrap_or(said))) {
        (Ok(kernel), Ok(socket)) => {
            let opt = if by_tcp.is_some() { kernel.opt.clone() } else { socket.opt };
            (kernel, Plain { opt, ..socket })
        }
        (Err(error), _) => return Some(format!("the kernel's answer: {error}")),
        (_, Err(error)) => return Some(format!("the socket path's answer: {error}")),
    };
    if kernel != socket {
        return Some(format!("\nkernel {kernel:?}\nsocket {socket:?}"));
    }
    too_large(machine, asked, &dns).map(|fault| format!("the kernel's answer: {fault}"))
}

/// How an answer over UDP breaks the size bounds of invariant 8.
pub fn too_large(machine: &BothPaths, asked: &Asked, answer: &[u8]) -> Option<String> {
    let headers = if asked.client.is_ipv4() { 28 } else { 48 };
    let (query, said) = (headers + asked.message.len(), headers + answer.len());
    let positive = answer[6..8] != [0, 0];
    let authoritative = answer[2] & 4 != 0;
    let within = |halves| 2 * said <= halves * query;
    let is_signed = is_signed(answer);
    let is_bound = match (positive, authoritative) {
        (true, _) if is_signed && is_of_the_plan(machine, answer) => 10 * said <= 32 * query,
        _ if is_signed => true,
        (true, _) if is_of_the_plan(machine, answer) => within(HALVES.0),
        (false, true) => within(HALVES.1),
        // No question here shows a cookie of ours and asks for more than this.
        _ => answer.len() <= STATIC_LEN || within(HALVES.2),
    };
    (!is_bound || answer.len() > DNS_LEN_MAX)
        .then(|| format!("{} bytes of DNS for {}, positive: {positive}", answer.len(), asked.message.len()))
}

/// Whether TC is set.
pub fn is_truncated(message: &[u8]) -> bool {
    message[2] & 2 != 0
}

/// Whether a signed answer would be longer than it may be if its names were written out.
pub fn is_signed_closely(asked: &Asked, message: &[u8]) -> bool {
    const NAME: usize = 255;
    let size = QueryMessage::parse(&asked.message).and_then(|query| query.edns).map_or(0, |edns| edns.udp_len);
    is_signed(message) && message.len() + NAME > usize::from(size.clamp(512, DNS_LEN_MAX as u16))
}

/// Whether the message in a frame has signatures.
pub fn is_signed_whole(frame: &[u8]) -> bool {
    payload(frame).is_some_and(|dns| is_signed(&dns))
}

fn is_signed(message: &[u8]) -> bool {
    let Ok(message) = Message::from_octets(message) else { return false };
    message.iter().flatten().any(|(record, _)| record.rtype() == Rtype::RRSIG)
}

/// Whether the answer's first record is an address or an HTTPS record of a Pool, Group or Site Name.
fn is_of_the_plan(machine: &BothPaths, answer: &[u8]) -> bool {
    let Ok(message) = Message::from_octets(answer) else { return false };
    let Some(Ok(first)) = message.answer().ok().and_then(|mut section| section.next()) else { return false };
    let owner = first.owner().to_string().to_ascii_lowercase();
    matches!(first.rtype(), Rtype::A | Rtype::AAAA | Rtype::HTTPS)
        && machine.view.model.names.iter().any(|name| name.name.to_string() == owner)
}

/// Whom an answer may depend on.
fn client(machine: &BothPaths, asked: &Asked) -> QueryClient {
    let subnet =
        QueryMessage::parse(&asked.message).and_then(|query| query.options.wishes(&machine.view.model.edns)?.subnet);
    QueryClient { address: asked.client, subnet }
}

fn plain(machine: &BothPaths, client: QueryClient, message: &[u8]) -> Result<Plain, String> {
    let parsed = Message::from_octets(message).map_err(|error| error.to_string())?;
    let mut records = BTreeSet::new();
    let mut opt = None;
    // Of the plan's answers, by owner and type, as they are.
    let mut answered = HashMap::new();
    let (_, answer, authority, additional) = parsed.sections().map_err(|error| error.to_string())?;
    for (section, records_of) in [("answer", answer), ("authority", authority), ("additional", additional)] {
        for record in records_of {
            let record = record.map_err(|error| error.to_string())?;
            if record.rtype() == Rtype::OPT {
                let mut bytes = record.class().to_int().to_be_bytes().to_vec();
                bytes.extend(record.ttl().as_secs().to_be_bytes());
                bytes.extend_from_slice(last_data(message, record.rdlen()));
                opt = Some(bytes);
                continue;
            }
            let owner = record.owner().to_string().to_ascii_lowercase();
            let (rtype, class, ttl) = (record.rtype(), record.class(), record.ttl().as_secs());
            let data = record
                .to_any_record::<AllRecordData<_, ParsedName<_>>>()
                .map_err(|error| format!("{rtype} at {owner}: {error}"))?;
            let data = match data.data() {
                // Names and what stands for bytes differ in case, signatures may not.
                AllRecordData::Rrsig(rrsig) => {
                    let key = (owner.clone(), rrsig.type_covered());
                    let text = data.data().to_string();
                    let (head, signature) = text.rsplit_once(' ').ok_or("no signature")?;
                    let own = answered.get(&key).map(|data: &String| (key.0, key.1, data.clone()));
                    let own = own.and_then(|key| machine.signatures.get(&key));
                    let signature = match own {
                        Some(own) if own == signature => "its own",
                        Some(_) => return Err(format!("another's signature at {owner} {}", rrsig.type_covered())),
                        None => signature,
                    };
                    format!("{} {signature}", head.to_ascii_lowercase())
                }
                data => text(data),
            };
            answered.insert((owner.clone(), rtype), data.clone());
            let data = chosen(machine, client, &owner, rtype, &data).unwrap_or(data);
            records.insert(format!("{section}: {owner} {ttl} {class} {rtype} {data}"));
        }
    }
    let end = 12 + question_len(&message[12..]);
    let header = message.first_chunk().copied().ok_or("short")?;
    Ok(Plain { header, question: message[12..end].to_vec(), records, opt })
}

/// The OPT's data: it is the last record of every answer, so its bytes are the message's last.
fn last_data(message: &[u8], len: u16) -> &[u8] {
    &message[message.len() - usize::from(len)..]
}

fn question_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(len) = bytes.get(at).filter(|len| **len > 0) {
        at += usize::from(*len) + 1;
    }
    (at + 5).min(bytes.len())
}

/// `table` for what the dynamic name may answer at this moment; sticky ones stay as they are.
fn chosen(machine: &BothPaths, client: QueryClient, owner: &str, rtype: Rtype, data: &str) -> Option<String> {
    let of = match rtype {
        Rtype::A => DynamicType::A,
        Rtype::AAAA => DynamicType::Aaaa,
        Rtype::HTTPS => DynamicType::Https,
        _ => return None,
    };
    let position = machine.view.model.names.iter().position(|name| name.name.to_string() == owner)?;
    let id = zerottl_core::model::NameId(position);
    let (service, ..) = machine.view.service(&machine.plan, id, client);
    let says = |slot: u16| match of {
        DynamicType::Https => {
            // Of the root, `domain` writes two dots where the name is one of its own.
            text(&svcb::https(machine.plan.bindings[usize::from(slot)], &machine.view.model))
        }
        DynamicType::A | DynamicType::Aaaa => machine.plan.endpoints[usize::from(slot)].to_string(),
    };
    match &service.choice[of.index()] {
        Choice::Table(table) if service.policy != Policy::Sticky => {
            table.slots.iter().any(|slot| says(*slot) == data).then(|| "table".to_owned())
        }
        _ => None,
    }
}
