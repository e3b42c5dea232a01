//! Shared by the tests of this room: a model, queries written as one line, answers read as one line.

mod answers;
mod apex;
mod chaos;
mod cookies;
mod dname;
mod dnssec;
mod forward;
mod hostile;
mod https;
mod limits;
mod occluded;
mod options;
mod rates;
mod records;
mod sockets;
mod text_form;
mod transfer;
mod upstreams;

use std::{fmt::Write as _, net::IpAddr, path::Path, str::FromStr, sync::Arc};

use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype,
        iana::{Class, OptionCode},
        opt::UnknownOptData,
    },
    dep::octseq::OctetsBuilder as _,
    rdata::AllRecordData,
};

use super::{Transport, Zones, respond};
use crate::view::View;
use zerottl_core::{
    fixture,
    model::{
        Chaos, CookieSecrets, DynamicName, EdnsConfig, Front, GroupId, Model, NameKind, Policy, Roles, ZoneConfig,
        ZoneId,
    },
    plan::{Basis, Choice, Plan, Service, Shares, Table},
};

pub const RECORDS: &str = r#"
$TTL 300
@           MX    10 mail
@           TXT   "v=spf1 -all"
mail        A     192.0.2.25
www         CNAME app.com.
alias       CNAME Mail
chain       CNAME alias
loop-a      CNAME loop-b
loop-b      CNAME loop-a
outward     CNAME host.example.net.
dangling    CNAME nothing
into-sub    CNAME host.sub
into-down   CNAME chicago
deep.ent    TXT   "below an empty non-terminal"
*.wild      A     192.0.2.77
host.wild   AAAA  2001:db8::77
*.alias     CNAME mail
sub         NS    ns1.sub
sub         NS    ns.example.net.
sub         DS    1 8 2 00
ns1.sub     A     192.0.2.54
wide        NS    a.wide
wide        NS    b.wide
a.wide      AAAA  2001:db8::61
b.wide      AAAA  2001:db8::62
typed       TYPE65400 \# 3 010203
boston      TXT   "a Site Name with text"
large       TXT   "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
large       TXT   "x123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
huge        TXT   "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
huge        TXT   "a01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
huge        TXT   "b01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
huge        TXT   "c01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
huge        TXT   "d01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
"#;

pub fn name(text: &str) -> zerottl_core::model::Name {
    Name::from_str(text).unwrap()
}

/// Appendix A, with two name servers, one in the zone; whose names are served depends on the roles.
pub fn model(roles: Roles, records: Option<&Path>) -> Model {
    let mut model = fixture::model(&[
        ("geneva", &["192.0.2.1"], None),
        ("boston", &["192.0.2.10", "2001:db8:1::10"], None),
        ("chicago", &["192.0.2.20"], None),
    ]);
    // One address with two ports is still one address of the name server.
    let listen = ["203.0.113.53:53", "[2001:db8::53]:53", "203.0.113.53:5353"].map(|a| a.parse().unwrap());
    model.front = Front { listen: listen.to_vec(), roles, ..model.front };
    model.edns = EdnsConfig {
        cookies: Some(CookieSecrets { present: cookies::PRESENT, previous: Some(cookies::PREVIOUS), is_shared: false }),
        nsid: Some("lb1".into()),
        client_subnet: true,
        signed_bytes: 0,
    };
    model.chaos = Chaos { version: Some("zerottl 1".into()), id: Some("lb1.geneva".into()) };
    model.zones[0] = ZoneConfig {
        nameservers: vec![name("ns1.app.com."), name("ns.example.net.")],
        serial: 7,
        refresh: 3600,
        retry: 600,
        expire: 86400,
        records: records.map(Into::into),
        balance_nameservers: vec![name("lb.example.net.")],
        failover_nameservers: vec![name("mail.app.com."), name("fo.example.net.")],
        ..model.zones[0].clone()
    };
    model.groups = vec![fixture::group("europe.app.com", &[0])];
    let (group, kind) = (name("europe.app.com."), NameKind::Group(GroupId(0)));
    model.names.insert(1, DynamicName { name: group, zone: ZoneId(0), kind, served: true });
    for name in &mut model.names {
        name.served = if matches!(name.kind, NameKind::Site(_)) { roles.failover } else { roles.load_balance };
    }
    model
}

/// One slot per table, so that every policy gives the same: app.com and boston are Boston in both families, europe and
/// geneva are Geneva in IPv4 alone, chicago has its all-down SERVFAIL.
fn plan() -> Plan {
    let endpoints = ["192.0.2.10", "2001:db8:1::10", "192.0.2.1"].map(|text| text.parse::<IpAddr>().unwrap());
    let table = |slot| Choice::Table(Table { slots: Arc::new([slot]), basis: Basis::Live });
    let service = |[a, aaaa]: [Choice; 2]| Service {
        chosen: None,
        policy: Policy::WeightedRoundRobin,
        ttl: 0,
        sticky_prefix: (24, 56),
        choice: [a, aaaa, Choice::NoData],
    };
    Plan {
        generation: 1,
        endpoints: Arc::new(endpoints),
        bindings: Arc::new([]),
        services: [
            service([table(0), table(1)]),
            service([table(2), Choice::NoData]),
            service([Choice::Servfail, Choice::Servfail]),
        ]
        .into_iter()
        .collect(),
        service_of: Arc::new([0, 1, 1, 0, 2]),
        chosen: Arc::new([]),
        shares: Shares::default(),
        site_inputs: Arc::default(),
    }
}

/// The time of every test but for those of cookies.
pub const NOW: u32 = 1_559_731_985;

pub const BOTH: Roles = Roles { load_balance: true, failover: true };
pub const BALANCER: Roles = Roles { load_balance: true, failover: false };
pub const FAILOVER: Roles = Roles { load_balance: false, failover: true };

/// A server without sockets.
pub struct Bench {
    pub zones: Zones,
    pub view: Arc<View>,
}

impl Bench {
    pub fn new(roles: Roles) -> Self {
        Self::with(roles, |_, _| {})
    }

    /// With something changed in the model or the plan.
    pub fn with(roles: Roles, change: impl FnOnce(&mut Model, &mut Plan)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.com.zone"), RECORDS).unwrap();
        let (mut model, mut plan) = (model(roles, Some(Path::new("app.com.zone"))), plan());
        change(&mut model, &mut plan);
        let model = Arc::new(model);
        let zones = Zones::load(&model, dir.path()).unwrap_or_else(|error| panic!("{error}"));
        Self { zones, view: Arc::new(View::new(model, plan)) }
    }

    pub fn udp(&self, query: &[u8]) -> Option<Vec<u8>> {
        respond(query, Transport::Udp, "198.51.100.9".parse().unwrap(), NOW, &self.zones, &self.view)
    }

    pub fn tcp(&self, query: &[u8]) -> Option<Vec<u8>> {
        respond(query, Transport::Tcp, "198.51.100.9".parse().unwrap(), NOW, &self.zones, &self.view)
    }

    /// Asks over UDP, padded so that invariant 8 allows any answer, and gives what [`show`] makes of the answer.
    #[track_caller]
    pub fn shown(&self, query: &[u8], client: &str, now: u32) -> String {
        let mut query = query.to_vec();
        query.resize(query.len().max(600), 0);
        let answer = respond(&query, Transport::Udp, client.parse().unwrap(), now, &self.zones, &self.view);
        answer.map_or("dropped".into(), |answer| show(&query, &answer))
    }

    /// Asks over UDP, padded so that invariant 8 allows any answer, and compares what [`show`] makes of the answer.
    #[track_caller]
    pub fn check(&self, description: &str, question: &str, expected: &str) {
        let answer = self.shown(&ask(question), "198.51.100.9", NOW);
        assert_eq!(answer, expected, "{description}: {question}");
    }
}

/// "name type [+opt] [+do] [+size=N] [+version=N] [+rd] [+o=CODE:HEX]… [class=N]" as a message with ID 0x1234.
pub fn ask(text: &str) -> Vec<u8> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)).map(|number| number.parse().unwrap());
    let name: Name<Vec<u8>> = Name::from_str(words[0]).unwrap();
    let class = value("class=").map_or(Class::IN, Class::from_int);
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(words.contains(&"+rd"));
    let mut builder = builder.question();
    builder.push((name, Rtype::from_str(words[1]).unwrap(), class)).unwrap();
    let mut builder = builder.additional();
    if text.contains(" +opt")
        || text.contains(" +do")
        || text.contains("+o=")
        || text.contains("+size")
        || text.contains("+version")
    {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(value("+size=").unwrap_or(1232));
                opt.set_version(value("+version=").unwrap_or(0) as u8);
                opt.set_dnssec_ok(words.contains(&"+do"));
                for option in words.iter().filter_map(|word| word.strip_prefix("+o=")) {
                    let (code, data) = option.split_once(':').unwrap();
                    let data = bytes_of(data);
                    opt.push_raw_option(OptionCode::from_int(code.parse().unwrap()), data.len() as u16, |target| {
                        target.append_slice(&data)
                    })?;
                }
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

/// Hexadecimal digits as bytes.
pub fn bytes_of(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits}");
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// "RCODE flags | answer | authority | additional | OPT CODE:HEX…", after checking what holds for every answer: ID, QR, opcode,
/// RD, no AD, CD or Z, the question echoed byte for byte, and that it can be read to its end.
#[track_caller]
pub fn show(query: &[u8], answer: &[u8]) -> String {
    let message = Message::from_slice(answer).unwrap();
    let (asked, header) = (Message::from_slice(query).unwrap().header(), message.header());
    assert!(header.qr() && !header.ad() && !header.cd() && !header.z());
    assert_eq!((header.id(), header.opcode(), header.rd()), (asked.id(), asked.opcode(), asked.rd()));
    let mut sections = message.question();
    for question in sections.by_ref() {
        question.unwrap();
    }
    let question_end = sections.pos();
    if question_end > 12 {
        assert_eq!(answer[12..question_end], query[12..question_end], "the question is echoed");
    }
    let mut text = String::new();
    let rcode = message.opt().map_or(header.rcode().into(), |opt| opt.rcode(header));
    write!(text, "{rcode}").unwrap();
    for (set, flag) in [(header.aa(), " aa"), (header.tc(), " tc"), (header.ra(), " ra")] {
        text.push_str(if set { flag } else { "" });
    }
    let mut end = question_end;
    let mut section = sections.next_section().ok();
    for _ in 0..3 {
        let mut here = section.take().expect("every section can be read");
        let mut shown = Vec::new();
        for record in here.by_ref() {
            let record = record.unwrap();
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let record = record.to_any_record::<AllRecordData<_, _>>().unwrap();
            shown.push(format!("{} {} {} {}", record.owner(), record.ttl().as_secs(), record.rtype(), record.data()));
        }
        write!(text, " | {}", shown.join(", ")).unwrap();
        end = here.pos();
        section = here.next_section().unwrap();
    }
    assert_eq!(end, answer.len(), "nothing stands behind the message");
    if let Some(opt) = message.opt() {
        assert_eq!(opt.version(), 0);
        let do_flag = if opt.dnssec_ok() { " do" } else { "" };
        write!(text, " | opt {}{do_flag}", opt.udp_payload_size()).unwrap();
        for option in opt.opt().iter::<UnknownOptData<_>>() {
            let option = option.unwrap();
            write!(text, " {}:", option.code().to_int()).unwrap();
            option.data().iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
        }
    }
    text
}
