//! `zerottl simulate`: what a configuration would answer, by the agent's own XDP program in the kernel's test run.
//!
//! The program and its maps are loaded as the agent loads them, but attached to nothing and pinned nowhere; they go with
//! the process. So nothing that serves is touched, and what is shown is not a model of the program but the program.
//!
//! | module | concern |
//! |---|---|
//! | [`queries`] | which questions are asked, and by whom |
//! | [`compare`] | two sets of answers into what changes, pure |

pub mod compare;
pub mod queries;

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use aya::programs::{ProgramError, TestRun, TestRunOptions};
use domain::{
    base::{Message, MessageBuilder, iana::Rtype},
    rdata::{
        AllRecordData,
        svcb::value::{Ipv4Hint, Ipv6Hint},
    },
};
use etherparse::PacketBuilder;
use rand::Rng;
use thiserror::Error;
use xdp_ebpf::reason::Reason;

use self::{
    compare::Answers,
    queries::{QuestionClient, QuestionGroup},
};
use crate::{
    admin::status::{SitePage, StatusPage},
    observe::shares::owner,
};
use zerottl_config as config;
use zerottl_core::{
    assess::dependencies::Dependencies,
    minimums,
    model::{Model, Name, NameId},
    plan::{Plan, Planner},
    status::{AdminState, Assessment, Health},
};
use zerottl_dns as dns;
use zerottl_kernel::{Fastpath, FastpathParts, LoadError, PROGRAM};

/// MACs of the server and of its clients, locally administered.
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
/// UDP payload that the clients take, bytes.
const PAYLOAD: u16 = 1232;
/// A frame that is larger than any answer, bytes.
const FRAME: usize = 4096;
/// Tries to draw a client that no group's nets claim; with nets that cover nearly everything, the last one drawn asks.
const DRAWS: usize = 64;
/// XDP's verdict for "send it back".
const XDP_TX: u32 = 3;

/// The reason why a simulation cannot be run.
#[derive(Debug, Error)]
pub enum SimulateError {
    /// The program or its maps.
    #[error(transparent)]
    Load(LoadError),
    /// The kernel refused a test run.
    #[error("the kernel's test run of the XDP program failed: {0}")]
    Run(#[source] ProgramError),
    /// The counters cannot be read.
    #[error("reading the XDP program's counters failed: {0}")]
    Counters(#[source] aya::maps::MapError),
    /// The configuration serves no address.
    #[error("front.addresses: there is no address to ask")]
    NoAddress,
}

/// One configuration, loaded into the kernel but attached to nothing.
pub struct Simulation {
    model: Arc<Model>,
    plan: Plan,
    loaded: FastpathParts,
    servers: Vec<SocketAddr>,
    names: HashMap<Name, NameId>,
}

impl Simulation {
    /// Loads a configuration with what is known of its Sites. Rates are left out: what they hold back depends on how
    /// fast is asked.
    pub fn load(loaded: config::Loaded, known: impl FnOnce(&Model) -> Assessment) -> Result<Self, SimulateError> {
        let config::Loaded { mut model, zones, .. } = loaded;
        model.rate_limit = None;
        let planner = Planner::new(Arc::new(model));
        let model = Arc::clone(planner.model());
        let plan = planner.plan(&known(&model), 1);
        let mut loaded = Fastpath::load(&planner, &plan, &zones, &[]).map_err(SimulateError::Load)?;
        loaded.publisher.set_macs(&MACS[..1]);
        loaded.publisher.set_clock(dns::now());
        loaded.publisher.publish(&plan);
        let servers = model.front.listen.clone();
        let names = model.names.iter().enumerate().map(|(id, entry)| (entry.name.clone(), NameId(id))).collect();
        Ok(Self { model, plan, loaded, servers, names })
    }

    /// The configuration's names, in its order.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.model.names.iter().map(|entry| &entry.name)
    }

    /// Asks each group's question `times` times, or once for each of its askers if those are more, and says which share
    /// of the answers named which Site. `tick` is called with the number of queries run since its last call.
    pub fn run(
        &mut self,
        groups: &[QuestionGroup],
        times: usize,
        mut tick: impl FnMut(u64),
    ) -> Result<Answers, SimulateError> {
        let mut answers = Answers::default();
        for group in groups {
            let runs = times.max(group.askers.len());
            let outcomes = self.run_group(group, runs)?;
            #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
            let shares = outcomes.into_iter().map(|(what, count)| (what, count as f64 / runs as f64)).collect();
            answers.insert(&group.name.to_string(), &group.rtype.to_string(), shares);
            tick(runs as u64);
        }
        Ok(answers)
    }

    fn run_group(&mut self, group: &QuestionGroup, runs: usize) -> Result<BTreeMap<String, u64>, SimulateError> {
        let id = self.names.get(&group.name).copied();
        // A long simulation is no old plan.
        self.loaded.publisher.confirm();
        let before = self.counts()?;
        let mut outcomes = BTreeMap::new();
        for asker in group.askers.iter().cycle().take(runs) {
            let frame = self.frame(group, asker, id)?;
            if let Some(site) = self.site(&frame, id)? {
                *outcomes.entry(site).or_default() += 1;
            }
        }
        // Whatever named no Site is told by the reason that the program counted it under.
        for ((reason, after), (_, before)) in self.counts()?.into_iter().zip(before) {
            if !matches!(reason, Reason::AnswerA | Reason::AnswerAaaa | Reason::AnswerHttps) && after > before {
                outcomes.insert(reason.name().to_owned(), after - before);
            }
        }
        Ok(outcomes)
    }

    fn counts(&self) -> Result<Vec<(Reason, u64)>, SimulateError> {
        self.loaded.counters.read().map_err(SimulateError::Counters)
    }

    /// Runs the program on a frame: the Site it names.
    fn site(&mut self, frame: &[u8], id: Option<NameId>) -> Result<Option<String>, SimulateError> {
        let mut out = [0; FRAME];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::default() };
        let ran = self.loaded.fastpath.program(PROGRAM).test_run(options).map_err(SimulateError::Run)?;
        let (XDP_TX, Some(id)) = (ran.return_value, id) else { return Ok(None) };
        let Some(address) = answered(out.get(..ran.data_size_out as usize).unwrap_or_default()) else {
            return Ok(None);
        };
        let site = owner(&self.model, self.model.names[id.0].kind, address);
        Ok(Some(site.map_or_else(|| address.to_string(), |site| self.model.sites[site.0].key.clone())))
    }

    fn frame(
        &self,
        group: &QuestionGroup,
        asker: &QuestionClient,
        id: Option<NameId>,
    ) -> Result<Vec<u8>, SimulateError> {
        let wanted = asker.client.map(|client| client.is_ipv6());
        let same = self.servers.iter().find(|server| wanted.is_none_or(|v6| server.is_ipv6() == v6));
        let server = *same.or(self.servers.first()).ok_or(SimulateError::NoAddress)?;
        // Who cannot reach us by its own family counts as one of those that can.
        let client = asker.client.filter(|client| client.is_ipv6() == server.is_ipv6());
        let client = client.unwrap_or_else(|| self.draw(server.is_ipv6(), id));
        let message = group.message(asker.subnet);
        let link = PacketBuilder::ethernet2(MACS[1], MACS[0]);
        let packet = match (client, server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => link.ipv4(client.octets(), server.octets(), 64),
            (IpAddr::V6(client), IpAddr::V6(server)) => link.ipv6(client.octets(), server.octets(), 64),
            _ => return Err(SimulateError::NoAddress),
        };
        let packet = packet.udp(40_000, server.port());
        let mut frame = Vec::with_capacity(packet.size(message.len()));
        packet.write(&mut frame, &message).expect("writing to a Vec, and the message is short");
        Ok(frame)
    }

    /// A client out of all unicast addresses whom no group of the pool claims: those have rows of their own, under their
    /// Group Names.
    fn draw(&self, v6: bool, id: Option<NameId>) -> IpAddr {
        let mut client = random_client(v6);
        let chosen = id.and_then(|id| Some((id, self.plan.service(id).chosen?)));
        let Some((id, chosen)) = chosen else { return client };
        for _ in 0..DRAWS {
            let set = self.model.nets.find(client).set;
            let of_nobody = self.plan.chosen.get(chosen as usize + set).is_some_and(|chosen| chosen.name == id);
            if of_nobody {
                break;
            }
            client = random_client(v6);
        }
        client
    }
}

fn random_client(v6: bool) -> IpAddr {
    let mut random = rand::rng();
    if v6 {
        let bits = random.random::<u128>() >> 3;
        return Ipv6Addr::from_bits(bits | 1 << 125).into();
    }
    loop {
        let client = Ipv4Addr::from_bits(random.random_range(0x0100_0000..0xe000_0000));
        if !client.is_loopback() {
            return client.into();
        }
    }
}

/// The address of an answered frame's first record: an HTTPS record's is its first hint.
fn answered(frame: &[u8]) -> Option<IpAddr> {
    let headers = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let Some(etherparse::TransportSlice::Udp(datagram)) = headers.transport else { return None };
    let message = Message::from_octets(datagram.payload()).ok()?;
    let record = message.answer().ok()?.next()?.ok()?;
    match record.to_any_record::<AllRecordData<_, _>>().ok()?.data() {
        AllRecordData::A(a) => Some(a.addr().into()),
        AllRecordData::Aaaa(aaaa) => Some(aaaa.addr().into()),
        AllRecordData::Https(https) => {
            let v4 = https.params().first::<Ipv4Hint<_>>().and_then(|hint| hint.iter().next()).map(IpAddr::from);
            v4.or_else(|| https.params().first::<Ipv6Hint<_>>()?.iter().next().map(IpAddr::from))
        }
        _ => None,
    }
}

impl QuestionGroup {
    /// The query, with EDNS, and for a client subnet where there is one.
    fn message(&self, subnet: Option<(IpAddr, u8)>) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_id(rand::random());
        builder.push((&self.name, self.rtype)).expect("a Vec takes a question");
        let mut builder = builder.additional();
        let opt = builder.opt(|opt| {
            opt.set_udp_payload_size(PAYLOAD);
            subnet.map_or(Ok(()), |(address, prefix)| opt.client_subnet(prefix, 0, address))
        });
        opt.expect("a Vec takes an OPT record");
        builder.finish()
    }
}

/// Returns what a running agent's page says of the Sites that a model has, too, with the model's own minimums kept. A
/// Site or address it does not know counts as `initial` says.
#[must_use]
pub fn status_of(page: &StatusPage, model: &Model) -> Assessment {
    let mut status = Assessment::unknown(model);
    let known: HashMap<&str, &SitePage> = page.sites.iter().map(|site| (site.key.as_str(), site)).collect();
    for ((site, state), health) in model.sites.iter().zip(&mut status.sites).zip(status.health.iter_mut()) {
        let Some(known) = known.get(site.key.as_str()) else { continue };
        state.admin_state = known.word.as_ref().and_then(|order| AdminState::parse(&order.what)).unwrap_or_default();
        let weight = known.weight_order.as_ref().and_then(|order| order.what.parse().ok());
        state.weight = weight.unwrap_or(state.weight);
        state.held = known.hold.is_some() || known.failback.is_some();
        if let (Some(load), Some(_)) = (&known.load, &site.load) {
            (state.load, state.self_report) = load.as_reported();
        }
        for (address, health) in site.addresses.iter().zip(health).filter(|_| site.is_probed()) {
            let known = known.addresses.iter().find(|known| known.answer == address.answer);
            *health = match known.map(|known| known.health.as_str()) {
                Some("up") => Health::Up,
                Some("down") => Health::Down,
                // Unprobed so far, or new: nobody has looked yet.
                _ => Health::Unknown,
            };
        }
    }
    Dependencies::new(model).apply(model, &mut status);
    minimums::guard(model, &mut status);
    status
}

/// Whether a type's answers name Sites.
#[must_use]
pub fn is_dynamic(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::HTTPS)
}
