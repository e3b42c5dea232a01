//! `/metrics`: the status as text for Prometheus.
//!
//! Written from a [`Snapshot`] at each scrape, so that no number is kept twice. The number of series is bounded whatever
//! the configuration: Sites and addresses beyond [`SITES_MAX`] and [`ADDRESSES_MAX`] have none of their own, nor have
//! shares beyond [`SHARES_MAX`], pools beyond [`POOLS_MAX`] and signed zones beyond [`ZONES_MAX`], and Site Names have no
//! shares. What is left out is counted; alarms of pools without a series go together, under no pool.

mod list;

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};

use super::{
    fleet::FLEET_KINDS,
    load::LoadPage,
    status::{AddressPage, SitePage, StatusPage},
};
use crate::observe::{
    counters::UpstreamCounts,
    health_file::HEALTH_FILE_KINDS,
    labels::{BASES, STATES},
    shares::ShareCounter,
    signing::SIGNING_KINDS,
    snapshot::Snapshot,
};
use zerottl_core::exposition::{Format, Metric, family, flag, gauge, number, single, to_prometheus};
use zerottl_core::histogram::{Histogram, PROBE_BOUNDS, PUBLISH_BOUNDS};
use zerottl_core::{
    alarms::{KINDS, alarms_of},
    model::{Family, NameId, NameKind, PoolId, SiteId},
    plan::n_minus_one::{self, Loss},
    status::AdminState,
};
use zerottl_kernel::attachments::PROGRAM_KINDS;

/// Sites with series of their own, the first of the configuration.
pub const SITES_MAX: usize = 1_000;
/// Addresses with series of their own, the first of the configuration.
pub(crate) const ADDRESSES_MAX: usize = 2_000;
/// Pools with series of their own of alarms and losses, the first of the configuration.
pub(crate) const POOLS_MAX: usize = 1_000;
/// Series of losses; a pool whose losses would go beyond has none.
pub(crate) const LOSSES_MAX: usize = 5_000;
/// Signed zones with series of their own, the first of the configuration.
pub(crate) const ZONES_MAX: usize = 1_000;
/// Upstreams and forward names with series of their own, each.
pub const FORWARDS_MAX: usize = 1_000;
/// Series of shares, names in the configuration's order; a name whose shares would go beyond has none.
pub(crate) const SHARES_MAX: usize = 5_000;

/// How the program may sit on an interface.
const MODES: [&str; 3] = ["native", "generic", "off"];

/// The page as text.
pub fn text(snapshot: &Snapshot, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zerottl");
    registry.register_collector(Box::new(Source::new(snapshot)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    })
}

/// A [`Histogram`] as the encoder takes it.
#[derive(Debug)]
struct Durations(Histogram);

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        encoder.encode_histogram::<NoLabelSet>(self.0.sum_s(), self.0.count(), &self.0.buckets(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// The data that a page is written from.
#[derive(Debug)]
struct Source {
    page: StatusPage,
    /// Name, `A` or `AAAA`, Site, share.
    shares: Vec<(String, &'static str, String, f64)>,
    /// Names without shares of their own here.
    shares_omitted: u64,
    /// By Site.
    probes: Vec<Histogram>,
    publications: Histogram,
    /// Of pools: kind, Pool Name, how many alarms; those of other pools are under no name.
    alarms: Vec<(&'static str, String, u64)>,
    /// Pools without a series of their own.
    pools_omitted: u64,
    /// Pool Name, the Site that dies, the one that takes its clients, and how full that one is then.
    losses: Vec<([String; 3], f64)>,
}

impl Source {
    fn new(snapshot: &Snapshot) -> Self {
        let took = |site: &Vec<zerottl_inputs::probe::AddressReport>| {
            let mut all = Histogram::new(&PROBE_BOUNDS);
            for report in site {
                all.add(&report.took);
            }
            all
        };
        let mut source = Self {
            page: StatusPage::without_names(snapshot),
            shares: Vec::new(),
            shares_omitted: 0,
            probes: snapshot.detail.iter().take(SITES_MAX).map(took).collect(),
            alarms: alarms(snapshot),
            pools_omitted: snapshot.model.pools.len().saturating_sub(POOLS_MAX) as u64,
            losses: losses(snapshot),
            publications: snapshot.publication.map_or_else(|| Histogram::new(&PUBLISH_BOUNDS), |newest| newest.all),
        };
        let model = &*snapshot.model;
        let mut counter = ShareCounter::new(model, &snapshot.plan);
        for (id, name) in model.names.iter().enumerate() {
            let sites = model.sites_of(name.kind).len();
            if matches!(name.kind, NameKind::Site(_)) {
                continue;
            }
            if source.shares.len() + 2 * sites > SHARES_MAX {
                source.shares_omitted += 1;
                continue;
            }
            for (word, family) in [("A", Family::V4), ("AAAA", Family::V6)] {
                let mut shares = counter.sites(NameId(id), family);
                // A Site that has just lost its share still has a series, at 0, or a graph would go on with the last value.
                for site in model.sites_of(name.kind) {
                    let key = &model.sites[site.0].key;
                    let share = shares.remove(key).unwrap_or(0.0);
                    source.shares.push((name.name.to_string(), word, key.clone(), share));
                }
            }
        }
        source
    }

    /// The Sites with series of their own.
    fn sites(&self) -> &[SitePage] {
        &self.page.sites[..self.page.sites.len().min(SITES_MAX)]
    }
}

/// The pools with series of their own.
fn pools(snapshot: &Snapshot) -> impl Iterator<Item = (PoolId, String)> {
    let first = snapshot.model.pools.iter().take(POOLS_MAX).enumerate();
    first.map(|(id, pool)| (PoolId(id), pool.name.to_string()))
}

/// The alarms of pools: what is well is 0, not absent.
fn alarms(snapshot: &Snapshot) -> Vec<(&'static str, String, u64)> {
    let raised = &snapshot.remarks.alarms;
    let mut counts: BTreeMap<(&'static str, &str), u64> = BTreeMap::new();
    for alarm in raised.iter() {
        *counts.entry((alarm.kind(), alarm.pool())).or_default() += alarm.count() as u64;
    }
    let mut alarms = Vec::new();
    for kind in KINDS {
        let is_counted = counts.contains_key(&(kind, ""));
        let mut others: u64 = counts.iter().filter(|((of, _), _)| *of == kind).map(|(_, count)| count).sum();
        for (id, pool) in pools(snapshot) {
            // Where not all are named, these may be among the others.
            let count = if is_counted {
                alarms_of(&snapshot.model, &snapshot.status, id, kind) as u64
            } else {
                counts.get(&(kind, &*pool)).copied().unwrap_or(0)
            };
            others = others.saturating_sub(count);
            alarms.push((kind, pool, count));
        }
        if snapshot.model.pools.len() > POOLS_MAX {
            alarms.push((kind, String::new(), others));
        }
    }
    alarms
}

/// The losses that have series.
fn losses(snapshot: &Snapshot) -> Vec<([String; 3], f64)> {
    let model = &*snapshot.model;
    let key = |site: SiteId| model.sites[site.0].key.clone();
    let mut series = Vec::new();
    for (id, pool) in pools(snapshot) {
        let losses = n_minus_one::losses(model, &snapshot.status, id);
        if series.len() + losses.len() <= LOSSES_MAX {
            let labels = |loss: &Loss| [pool.clone(), key(loss.dies), key(loss.takes)];
            series.extend(losses.iter().map(|loss| (labels(loss), loss.at_once)));
        }
    }
    series
}

/// One value of each address: its metric, and where it is.
type Column<T> = (&'static Metric<2>, fn(&AddressPage) -> T);

/// One value of each upstream: its metric, and where it is.
type UpstreamColumn<T> = (&'static Metric<1>, fn(&UpstreamCounts) -> T);

/// One value of each Site's load: its metric, and where it is.
type LoadColumn<T> = (&'static Metric<1>, fn(&LoadPage) -> T);

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (page, encoder) = (&self.page, &mut encoder);
        let version = [page.version.clone()];
        family(encoder, &list::BUILD_INFO, [(version, gauge(1.0))])?;
        single(encoder, &list::UPTIME, &gauge(page.uptime_s))?;

        let reasons = page
            .reasons
            .iter()
            .map(|(reason, counted)| ([reason.clone(), counted.action.clone()], ConstCounter::new(counted.count)));
        family(encoder, &list::PACKETS, reasons)?;
        let socket = &page.socket;
        family(encoder, &list::SOCKET_QUERIES, counted(&socket.queries))?;
        family(encoder, &list::SOCKET_ANSWERS, counted(&socket.answers))?;
        family(encoder, &list::SOCKET_EVENTS, counted(&socket.events))?;
        single(encoder, &list::TCP_CONNECTIONS, &number(socket.tcp_open))?;
        let attach = page.front.attach.iter().flat_map(|attach| {
            MODES.iter().map(|mode| ([attach.interface.clone(), (*mode).to_owned()], flag(attach.mode == *mode)))
        });
        family(encoder, &list::ATTACHED, attach)?;
        self.forwards(encoder)?;

        single(encoder, &list::PLAN_PUBLICATIONS, &ConstCounter::new(page.plan.generation))?;
        let work = &page.work;
        let counters =
            [(&list::ROUNDS, work.rounds), (&list::PLANS, work.plans), (&list::PLAN_WRITTEN_BYTES, work.written_bytes)];
        for (metric, count) in counters {
            single(encoder, metric, &ConstCounter::new(count))?;
        }
        single(encoder, &list::ROUNDS_CPU, &ConstCounter::new(work.cpu_s))?;
        let choices = BASES.iter().map(|from| {
            let count = page.plan.choices.get(*from).copied().unwrap_or(0);
            ([(*from).to_owned()], number(count))
        });
        family(encoder, &list::PLAN_CHOICES, choices)?;
        if let Some(age_s) = page.plan.age_s {
            single(encoder, &list::PLAN_AGE, &gauge(age_s))?;
        }
        if let Some(took_ms) = page.plan.publish_ms {
            single(encoder, &list::PLAN_PUBLISH, &gauge(took_ms / 1e3))?;
        }

        single(encoder, &list::PLAN_PUBLICATION_DURATION, &Durations(self.publications))?;
        self.sites_and_shares(encoder)?;
        self.notices(encoder)?;
        self.addresses(encoder)?;
        self.hooks(encoder)?;
        self.loads(encoder)
    }
}

impl Source {
    #[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^52")]
    fn forwards(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let socket = &self.page.socket;
        let upstreams = || {
            let shown = socket.upstreams.iter().take(FORWARDS_MAX);
            shown.map(|page| ([page.upstream.clone()], page))
        };
        let up = upstreams().map(|(labels, page)| (labels, flag(page.up)));
        family(encoder, &list::FORWARD_UPSTREAM_UP, up)?;
        let rtts = upstreams().filter_map(|(labels, page)| Some((labels, gauge(page.rtt_us? as f64 / 1e6))));
        family(encoder, &list::FORWARD_UPSTREAM_RTT, rtts)?;
        let waiting = upstreams().map(|(labels, page)| (labels, number(page.waiting)));
        family(encoder, &list::FORWARD_UPSTREAM_WAITING, waiting)?;
        let counters: [UpstreamColumn<u64>; 6] = [
            (&list::FORWARD_UPSTREAM_QUERIES, |u| u.queries),
            (&list::FORWARD_UPSTREAM_ANSWERS, |u| u.answers),
            (&list::FORWARD_UPSTREAM_UNANSWERED, |u| u.unanswered),
            (&list::FORWARD_UPSTREAM_NOT_TRIED, |u| u.not_tried),
            (&list::FORWARD_UPSTREAM_RESPELT, |u| u.respelt),
            (&list::FORWARD_UPSTREAM_WRONG, |u| u.wrong),
        ];
        for (metric, value) in counters {
            let samples = upstreams().map(|(labels, page)| (labels, ConstCounter::new(value(page))));
            family(encoder, metric, samples)?;
        }
        let forwards = || socket.forwards.iter().take(FORWARDS_MAX);
        let waiting = forwards().map(|page| ([page.name.clone()], number(page.waiting)));
        family(encoder, &list::FORWARD_WAITING, waiting)?;
        let failures = forwards().flat_map(|page| {
            let labels = |why: &str| [page.name.clone(), why.to_owned()];
            let counts = [(labels("no-answer"), page.failed), (labels("too-many"), page.refused)];
            counts.map(|(labels, count)| (labels, ConstCounter::new(count)))
        });
        family(encoder, &list::FORWARD_FAILURES, failures)
    }

    fn sites_and_shares(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = |site: &SitePage| [site.key.clone()];
        let up = self.sites().iter().map(|site| (labels(site), flag(site.up)));
        family(encoder, &list::SITE_UP, up)?;
        let weights = self.sites().iter().map(|site| (labels(site), number(u64::from(site.weight_now))));
        family(encoder, &list::SITE_WEIGHT, weights)?;
        let states = self.sites().iter().flat_map(|site| {
            STATES
                .iter()
                .map(move |state| ([site.key.clone(), (*state).to_owned()], number(u64::from(site.state == *state))))
        });
        family(encoder, &list::SITE_STATE, states)?;
        let sites = STATES.iter().map(|state| {
            let count = self.page.sites.iter().filter(|site| site.state == *state).count() as u64;
            ([(*state).to_owned()], number(count))
        });
        family(encoder, &list::SITES, sites)?;
        let probes = self.sites().iter().zip(&self.probes).map(|(site, all)| (labels(site), Durations(*all)));
        family(encoder, &list::PROBE_DURATION, probes)?;
        let shares = self
            .shares
            .iter()
            .map(|(name, kind, site, share)| ([name.clone(), (*kind).to_owned(), site.clone()], gauge(*share)));
        family(encoder, &list::SHARE, shares)?;
        let addresses: usize = self.page.sites.iter().map(|site| site.addresses.len()).sum();
        let losses = self.page.notices.losses.len() as u64 + self.page.notices.losses_omitted;
        let omitted = [
            ("sites", self.page.sites.len().saturating_sub(SITES_MAX) as u64),
            ("addresses", addresses.saturating_sub(ADDRESSES_MAX) as u64),
            ("names", self.shares_omitted),
            ("pools", self.pools_omitted),
            ("losses", losses.saturating_sub(self.losses.len() as u64)),
            ("zones", self.page.signed.len().saturating_sub(ZONES_MAX) as u64),
            ("upstreams", self.page.socket.upstreams.len().saturating_sub(FORWARDS_MAX) as u64),
            ("forwards", self.page.socket.forwards.len().saturating_sub(FORWARDS_MAX) as u64),
        ];
        let omitted = omitted.map(|(what, count)| ([what.to_owned()], number(count)));
        family(encoder, &list::SERIES_OMITTED, omitted)
    }

    /// Writes what the operator, the pools' minimum and hold-downs have done to the Sites.
    fn notices(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let notices = &self.page.notices;
        let sites = self.sites();
        let eligible = sites.iter().map(|site| ([site.key.clone()], flag(site.eligible)));
        family(encoder, &list::SITE_ELIGIBLE, eligible)?;
        let words = sites.iter().filter_map(|site| {
            let page = site.word.as_ref()?;
            Some(([site.key.clone(), page.what.clone(), page.by.clone()], flag(true)))
        });
        family(encoder, &list::SITE_WORD, words)?;
        let holds = sites.iter().map(|site| {
            let left = site.hold.as_ref().map_or(0.0, |hold| hold.left_s);
            ([site.key.clone()], gauge(left))
        });
        family(encoder, &list::SITE_HOLD, holds)?;
        let of_pools = self.alarms.iter().map(|(kind, pool, count)| (((*kind).to_owned(), pool.clone()), *count));
        // What is well is 0, not absent.
        let of_fleet = FLEET_KINDS.iter().filter(|_| self.page.fleet.is_some());
        let general = PROGRAM_KINDS.iter().chain(&SIGNING_KINDS).chain(&HEALTH_FILE_KINDS).chain(of_fleet);
        let none = general.map(|kind| (((*kind).to_owned(), String::new()), 0));
        let mut counts: BTreeMap<(String, String), u64> = of_pools.chain(none).collect();
        for alarm in notices.alarms.iter().filter(|alarm| !KINDS.contains(&alarm.kind.as_str())) {
            *counts.entry((alarm.kind.clone(), alarm.pool.clone())).or_default() += 1;
        }
        let alarms = counts.into_iter().map(|((kind, pool), count)| ([kind, pool], number(count)));
        family(encoder, &list::ALARM, alarms)?;
        let signed = || self.page.signed.iter().take(ZONES_MAX);
        let left = signed().map(|zone| ([zone.zone.clone()], gauge(zone.expires_s)));
        family(encoder, &list::SIGNATURE_EXPIRES, left)?;
        let counts = signed().map(|zone| ([zone.zone.clone()], number(zone.signatures)));
        family(encoder, &list::SIGNATURES, counts)?;
        self.fleet(encoder)?;
        single(encoder, &list::REFUSALS, &ConstCounter::new(notices.refusals))?;
        single(encoder, &list::STATE_KEPT, &flag(notices.state.error.is_none()))?;
        let losses = self.losses.iter().map(|(labels, at_once)| (labels.clone(), gauge(*at_once)));
        family(encoder, &list::N_MINUS_ONE, losses)
    }

    fn fleet(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(fleet) = &self.page.fleet else { return Ok(()) };
        single(encoder, &list::FLEET_CONNECTED, &flag(fleet.engine == "connected"))?;
        single(encoder, &list::FLEET_FRONTS, &number(fleet.fronts.len() as u64))?;
        single(encoder, &list::FLEET_CUT_OFF, &flag(fleet.cut_off))?;
        let current = fleet.fronts.iter().map(|front| ([front.front.clone()], flag(front.is_current)));
        family(encoder, &list::FLEET_FRONT_CURRENT, current)?;
        let refused = fleet.fronts.iter().map(|front| ([front.front.clone()], number(front.refused.len() as u64)));
        family(encoder, &list::FLEET_FRONT_REFUSED, refused)?;
        single(encoder, &list::FLEET_PENDING, &number(fleet.pending as u64))?;
        single(encoder, &list::FLEET_FAULTS, &ConstCounter::new(fleet.faulty))?;
        single(encoder, &list::FLEET_WRITES, &ConstCounter::new(fleet.writes))
    }

    fn hooks(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let hooks = &self.page.hooks;
        let events = hooks.iter().flat_map(|hook| {
            let counts = [("delivered", hook.delivered), ("failed", hook.failed), ("dropped", hook.dropped)];
            counts.map(|(word, count)| ([hook.name.clone(), word.to_owned()], ConstCounter::new(count)))
        });
        family(encoder, &list::HOOK_EVENTS, events)?;
        let failures = hooks.iter().map(|hook| ([hook.name.clone()], ConstCounter::new(hook.failures)));
        family(encoder, &list::HOOK_FAILURES, failures)?;
        let waiting = hooks.iter().map(|hook| ([hook.name.clone()], number(hook.waiting)));
        family(encoder, &list::HOOK_WAITING, waiting)
    }

    fn loads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [LoadColumn<Option<f64>>; 8] = [
            (&list::SITE_LOAD, |l| l.current),
            (&list::SITE_LOAD_TARGET, |l| l.target),
            (&list::SITE_LOAD_CAPACITY, |l| l.capacity),
            (&list::SITE_LOAD_HEADROOM, |l| l.headroom),
            (&list::SITE_LOAD_PER_ANSWER, |l| Some(l.per_answer)),
            (&list::SITE_LOAD_AGE, |l| l.age_s),
            (&list::SITE_LOAD_STALE, |l| Some(f64::from(u8::from(l.stale)))),
            (&list::SITE_SESSIONS, |l| l.sessions),
        ];
        let labels = |site: &SitePage| [site.key.clone()];
        let each = || self.sites().iter().filter_map(|site| Some((labels(site), site.load.as_ref()?)));
        for (metric, value) in gauges {
            let samples = each().filter_map(|(labels, load)| Some((labels, gauge(value(load)?))));
            family(encoder, metric, samples)?;
        }
        let out = |load: &LoadPage| load.word != AdminState::Ready || load.factor <= 0.0;
        let samples = each().map(|(labels, load)| (labels, flag(out(load))));
        family(encoder, &list::SITE_TAKES_ITSELF_OUT, samples)?;
        let counters: [LoadColumn<u64>; 2] =
            [(&list::SITE_LOAD_REPORTS, |l| l.reports), (&list::SITE_LOAD_FAILURES, |l| l.failures)];
        for (metric, value) in counters {
            let samples = each().map(|(labels, load)| (labels, ConstCounter::new(value(load))));
            family(encoder, metric, samples)?;
        }
        Ok(())
    }

    fn addresses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [Column<Option<f64>>; 4] = [
            (&list::ADDRESS_UP, |a| Some(f64::from(u8::from(a.live)))),
            (&list::ADDRESS_KNOWN, |a| Some(f64::from(u8::from(a.health != "unknown")))),
            (&list::PROBE_AGE, |a| a.last_attempt_s),
            (&list::PROBE_LATENCY, |a| a.latency_ms.map(|ms| ms / 1e3)),
        ];
        for (metric, value) in gauges {
            let samples = self.each().filter_map(|(labels, address)| Some((labels, gauge(value(address)?))));
            family(encoder, metric, samples)?;
        }
        let counters: [Column<u64>; 4] = [
            (&list::PROBE_ATTEMPTS, |a| a.attempts),
            (&list::PROBE_FAILURES, |a| a.failures),
            (&list::PROBE_NOT_TRIED, |a| a.not_tried),
            (&list::PROBE_RESTARTS, |a| a.restarts),
        ];
        for (metric, value) in counters {
            let samples = self.each().map(|(labels, address)| (labels, ConstCounter::new(value(address))));
            family(encoder, metric, samples)?;
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = ([String; 2], &AddressPage)> {
        let of = |site: &'_ str, address: &AddressPage| [site.to_owned(), address.answer.to_string()];
        let all =
            self.page.sites.iter().flat_map(move |site| site.addresses.iter().map(move |a| (of(&site.key, a), a)));
        all.take(ADDRESSES_MAX)
    }
}

/// One counter per key, which is the value of the label.
fn counted(counts: &BTreeMap<String, u64>) -> impl Iterator<Item = ([String; 1], ConstCounter<u64>)> {
    counts.iter().map(|(key, count)| ([key.clone()], ConstCounter::new(*count)))
}
