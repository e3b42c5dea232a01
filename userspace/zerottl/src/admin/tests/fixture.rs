//! Snapshots for tests of the pages: Appendix A's Sites, a plan written by hand, health as the test sets it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use crate::observe::{
    context::ServingContext,
    counters::{PlanningCounts, SocketCounts},
    health_file::HealthFileState,
    publication::Publication,
    snapshot::Snapshot,
};
use zerottl_core::{
    histogram::{Histogram, PROBE_BOUNDS},
    model::{DynamicName, Model, NameKind, Policy, SiteId},
    plan::{Basis, Choice, Plan, Service, Shares, Table},
    site_load::SiteLoad,
    status::{Assessment, Health},
};
use zerottl_hooks::HookCounts;
use zerottl_host::state::writer::WriteStatus;
use zerottl_inputs::probe::AddressReport;
use zerottl_kernel::attachments::AttachmentState;

pub(in crate::admin) use zerottl_core::fixture::{appendix_a as model, name};

/// A table of the given Sites' first address of the family of `like`, one slot each.
pub(in crate::admin) fn table(model: &Model, like: &str, keys: &[&str]) -> Choice {
    let like: IpAddr = like.parse().expect("valid");
    let endpoints = endpoints(model);
    let slot = |key: &&str| {
        let site = model.sites.iter().find(|site| site.key == **key).expect("a Site of the model");
        let address = site.addresses.iter().find(|a| a.answer.is_ipv4() == like.is_ipv4()).expect("of the family");
        endpoints.iter().position(|endpoint| *endpoint == address.answer).expect("an endpoint") as u16
    };
    Choice::Table(Table { slots: keys.iter().map(slot).collect(), basis: Basis::Live })
}

fn endpoints(model: &Model) -> Vec<IpAddr> {
    model.sites.iter().flat_map(|site| site.addresses.iter().map(|address| address.answer)).collect()
}

/// A snapshot 60 s after the start with the given choices (A, AAAA), one pair per name of the model.
pub(in crate::admin) fn snapshot(model: Model, choices: Vec<[Choice; 2]>) -> Snapshot {
    let started = Instant::now();
    let service = |(name, choice): (&DynamicName, [Choice; 2])| Service {
        chosen: None,
        policy: match name.kind {
            NameKind::Site(_) => Policy::WeightedRandom,
            _ => model.pool_of(name.kind).policy,
        },
        ttl: 0,
        sticky_prefix: (24, 56),
        choice: {
            let [a, aaaa] = choice;
            [a, aaaa, Choice::NoData]
        },
    };
    assert_eq!(choices.len(), model.names.len());
    let plan = Plan {
        generation: 7,
        endpoints: endpoints(&model).into(),
        bindings: Arc::new([]),
        services: model.names.iter().zip(choices).map(service).collect(),
        service_of: (0..model.names.len() as u32).collect(),
        chosen: Arc::new([]),
        shares: Shares::default(),
        site_inputs: Arc::default(),
    };
    let report = |health| AddressReport {
        health,
        since: started,
        since_wall: SystemTime::now(),
        last_attempt: None,
        last_error: None,
        last_latency: None,
        took: Histogram::new(&PROBE_BOUNDS),
        attempts: 0,
        failures: 0,
        not_tried: 0,
        restarts: 0,
    };
    let mut publication = None;
    Publication::record(&mut publication, started + Duration::from_secs(50), Duration::from_millis(2));
    let status = Assessment::unknown(&model);
    let detail = status.health.iter().map(|site| site.iter().map(|health| report(*health)).collect()).collect();
    Snapshot {
        plan: Arc::new(plan),
        status,
        detail,
        loads: vec![SiteLoad::default(); model.sites.len()],
        context: ServingContext {
            attachments: vec![AttachmentState {
                interface: "eth0".into(),
                mode: "generic",
                note: "the MTU is 9000".into(),
            }],
            ..ServingContext::default()
        },
        reasons: vec![("answered", "answer", 5), ("not_udp", "pass", 0)],
        socket: SocketCounts {
            queries: BTreeMap::from([("udp".into(), 3)]),
            answers: BTreeMap::from([("NOERROR".into(), 2)]),
            events: BTreeMap::from([("dropped".into(), 1)]),
            tcp_open: 4,
            forwards: Vec::new(),
            upstreams: Vec::new(),
        },
        work: PlanningCounts { rounds: 600, plans: 7, written_bytes: 4096, cpu_s: 0.25 },
        answers: Vec::new(),
        publication,
        started,
        remarks: Arc::default(),
        health_file: HealthFileState::default(),
        write_status: WriteStatus::default(),
        fleet: None,
        hooks: vec![HookCounts {
            name: "pager".into(),
            delivered: 9,
            failed: 2,
            dropped: 1,
            failures: 20,
            waiting: 3,
            last_error: None,
        }],
        now: started + Duration::from_mins(1),
        model: Arc::new(model),
    }
}

/// Sets the health of all addresses of a Site, changed 12 s ago, with the newest attempt's error.
pub(in crate::admin) fn set(snapshot: &mut Snapshot, key: &str, health: Health, error: Option<&str>) {
    let site = SiteId(snapshot.model.sites.iter().position(|site| site.key == key).expect("a Site of the model"));
    for address in 0..snapshot.model.sites[site.0].addresses.len() {
        snapshot.status.health[site.0][address] = health;
        let report = &mut snapshot.detail[site.0][address];
        report.health = health;
        report.since = snapshot.now.checked_sub(Duration::from_secs(12)).expect("after the start");
        report.last_attempt = Some(snapshot.now.checked_sub(Duration::from_secs(1)).expect("after the start"));
        report.last_error = error.map(ToOwned::to_owned);
        report.last_latency = Some(Duration::from_micros(1500));
        (report.attempts, report.failures) = (30, u64::from(error.is_some()));
    }
}
