//! `/metrics`: the status as text for Prometheus.
//!
//! Written from a [`Snapshot`] at each scrape, so that no number is kept twice. The number of series is bounded whatever
//! the configuration: Sites and addresses beyond [`SITES_MAX`] and [`ADDRESSES_MAX`] have none of their own, nor have
//! shares beyond [`SHARES_MAX`], and Site Names have no shares: `/v1/status` has them all. What is left out is counted.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    load::LoadPage,
    status::{AddressPage, SitePage, StatusPage},
};
use crate::observe::{
    counters::UpstreamCounts,
    labels::{BASES, STATES},
    shares::ShareCounter,
    snapshot::Snapshot,
};
use zerottl_core::exposition::{Format, Labels, family, gauge, number, single, to_prometheus};
use zerottl_core::histogram::{Histogram, PROBE_BOUNDS, PUBLISH_BOUNDS};
use zerottl_core::{
    minimums::KINDS,
    model::{Family, NameId, NameKind},
    status::AdminState,
};
use zerottl_kernel::attachments::PROGRAM_KINDS;

/// Sites with series of their own, the first of the configuration.
pub const SITES_MAX: usize = 1_000;
/// Addresses with series of their own, the first of the configuration.
pub const ADDRESSES_MAX: usize = 2_000;
/// Upstreams and forward names with series of their own, each.
pub const FORWARDS_MAX: usize = 1_000;
/// Series of shares, names in the configuration's order; a name whose shares would go beyond has none.
pub const SHARES_MAX: usize = 5_000;

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
    /// Pool Names.
    pools: Vec<String>,
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
            pools: snapshot.model.pools.iter().take(SITES_MAX).map(|pool| pool.name.to_string()).collect(),
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

/// One value of each address: name, help, where it is.
type Column<T> = (&'static str, &'static str, fn(&AddressPage) -> T);

/// One value of each upstream: name, help, where it is.
type UpstreamColumn<T> = (&'static str, &'static str, fn(&UpstreamCounts) -> T);

/// One value of each Site's load: name, help, where it is.
type LoadColumn<T> = (&'static str, &'static str, fn(&LoadPage) -> T);

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (page, encoder) = (&self.page, &mut encoder);
        let version = vec![("version", page.version.clone())];
        family(encoder, ("build_info", "The version, as a label"), [(version, gauge(1.0))])?;
        single(encoder, ("uptime_seconds", "Time since the agent started"), &gauge(page.uptime_s))?;

        let reasons = page.reasons.iter().map(|(reason, counted)| {
            (vec![("reason", reason.clone()), ("action", counted.action.clone())], ConstCounter::new(counted.count))
        });
        family(encoder, ("packets", "Packets seen by the XDP program, each under one reason"), reasons)?;
        let socket = &page.socket;
        family(
            encoder,
            ("socket_queries", "Queries that the socket path received"),
            counted("transport", &socket.queries),
        )?;
        family(encoder, ("socket_answers", "Answers that the socket path made"), counted("rcode", &socket.answers))?;
        family(encoder, ("socket_events", "Other events on the socket path"), counted("event", &socket.events))?;
        single(encoder, ("tcp_connections", "TCP connections open now"), &number(socket.tcp_open))?;
        let attach = page.front.attach.iter().flat_map(|attach| {
            MODES.iter().map(|mode| {
                let labels = vec![("interface", attach.interface.clone()), ("mode", (*mode).to_owned())];
                (labels, flag(attach.mode == *mode))
            })
        });
        let help = "1 for the mode in which the XDP program is attached to the interface, 0 for the others";
        family(encoder, ("attached", help), attach)?;
        self.forwards(encoder)?;

        single(encoder, ("plan_publications", "Plans published"), &ConstCounter::new(page.plan.generation))?;
        let work = &page.work;
        let counters = [
            ("rounds", "Planning rounds; each assesses everything", work.rounds),
            ("plans", "Rounds that made a plan, because something had changed", work.plans),
            ("plan_written_bytes", "Bytes of plans written into the XDP program's maps", work.written_bytes),
        ];
        for (name, help, count) in counters {
            single(encoder, (name, help), &ConstCounter::new(count))?;
        }
        single(encoder, ("rounds_cpu_seconds", "CPU time of planning rounds"), &ConstCounter::new(work.cpu_s))?;
        let choices = BASES.iter().map(|from| {
            let count = page.plan.choices.get(*from).copied().unwrap_or(0);
            (vec![("from", (*from).to_owned())], number(count))
        });
        family(encoder, ("plan_choices", "Names and types, by what they are answered from"), choices)?;
        if let Some(age_s) = page.plan.age_s {
            single(encoder, ("plan_age_seconds", "Time since the newest plan was published"), &gauge(age_s))?;
        }
        if let Some(took_ms) = page.plan.publish_ms {
            let help = "Time from the cause of the newest plan to its publication";
            single(encoder, ("plan_publish_seconds", help), &gauge(took_ms / 1e3))?;
        }

        let help = "Time that publications took, from their cause to answers";
        single(encoder, ("plan_publication_duration_seconds", help), &Durations(self.publications))?;
        self.sites_and_shares(encoder)?;
        self.notices(encoder)?;
        self.addresses(encoder)?;
        self.loads(encoder)
    }
}

impl Source {
    #[expect(clippy::cast_precision_loss, reason = "microseconds, far below 2^52")]
    fn forwards(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let socket = &self.page.socket;
        let upstreams = || {
            let shown = socket.upstreams.iter().take(FORWARDS_MAX);
            shown.map(|page| (vec![("upstream", page.upstream.clone())], page))
        };
        let up = upstreams().map(|(labels, page)| (labels, flag(page.up)));
        family(
            encoder,
            ("forward_upstream_up", "Whether the upstream counts as up, and is asked before those that are down"),
            up,
        )?;
        let rtts = upstreams().filter_map(|(labels, page)| Some((labels, gauge(page.rtt_us? as f64 / 1e6))));
        family(encoder, ("forward_upstream_rtt_seconds", "Time that the upstream takes to answer, smoothed"), rtts)?;
        let waiting = upstreams().map(|(labels, page)| (labels, number(page.waiting)));
        family(encoder, ("forward_upstream_waiting", "Queries that wait for the upstream now"), waiting)?;
        let counters: [UpstreamColumn<u64>; 6] = [
            ("forward_upstream_queries", "Queries sent to the upstream", |u| u.queries),
            ("forward_upstream_answers", "Answers of the upstream, of whatever rcode", |u| u.answers),
            ("forward_upstream_unanswered", "Queries that the upstream left without an answer", |u| u.unanswered),
            ("forward_upstream_not_tried", "Queries that this machine could not send or wait for", |u| u.not_tried),
            ("forward_upstream_respelt", "Answers that repeat the question in other letter case", |u| u.respelt),
            ("forward_upstream_wrong", "Datagrams that were not the answer: wrong ID, question or sender", |u| u.wrong),
        ];
        for (name, help, value) in counters {
            let samples = upstreams().map(|(labels, page)| (labels, ConstCounter::new(value(page))));
            family(encoder, (name, help), samples)?;
        }
        let forwards = || socket.forwards.iter().take(FORWARDS_MAX);
        let waiting = forwards().map(|page| (vec![("forward", page.name.clone())], number(page.waiting)));
        family(encoder, ("forward_waiting", "Queries of the forward name that wait now"), waiting)?;
        let failures = forwards().flat_map(|page| {
            let labels = |why: &str| vec![("forward", page.name.clone()), ("why", why.to_owned())];
            let counts = [(labels("no-answer"), page.failed), (labels("too-many"), page.refused)];
            counts.map(|(labels, count)| (labels, ConstCounter::new(count)))
        });
        family(encoder, ("forward_failures", "Queries of the forward name that got SERVFAIL"), failures)
    }

    fn sites_and_shares(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labels = |site: &SitePage| vec![("site", site.key.clone())];
        let up = self.sites().iter().map(|site| (labels(site), gauge(f64::from(u8::from(site.up)))));
        family(encoder, ("site_up", "Whether any address of the Site counts as up"), up)?;
        let weights = self.sites().iter().map(|site| (labels(site), number(u64::from(site.weight_now))));
        family(encoder, ("site_weight", "The weight in force"), weights)?;
        let states = self.sites().iter().flat_map(|site| {
            STATES.iter().map(move |state| {
                let labels = vec![("site", site.key.clone()), ("state", (*state).to_owned())];
                (labels, number(u64::from(site.state == *state)))
            })
        });
        family(encoder, ("site_state", "1 for the state the Site is in, 0 for the others"), states)?;
        let sites = STATES.iter().map(|state| {
            let count = self.page.sites.iter().filter(|site| site.state == *state).count() as u64;
            (vec![("state", (*state).to_owned())], number(count))
        });
        family(encoder, ("sites", "Sites by state, all of them"), sites)?;
        let probes = self.sites().iter().zip(&self.probes).map(|(site, all)| (labels(site), Durations(*all)));
        family(encoder, ("probe_duration_seconds", "Time that successful attempts took, over all addresses"), probes)?;
        let shares = self.shares.iter().map(|(name, kind, site, share)| {
            (vec![("name", name.clone()), ("type", (*kind).to_owned()), ("site", site.clone())], gauge(*share))
        });
        family(encoder, ("share", "Share of a Pool or Group Name's answers that give the Site"), shares)?;
        let addresses: usize = self.page.sites.iter().map(|site| site.addresses.len()).sum();
        let omitted = [
            ("sites", self.page.sites.len().saturating_sub(SITES_MAX) as u64),
            ("addresses", addresses.saturating_sub(ADDRESSES_MAX) as u64),
            ("names", self.shares_omitted),
            ("upstreams", self.page.socket.upstreams.len().saturating_sub(FORWARDS_MAX) as u64),
            ("forwards", self.page.socket.forwards.len().saturating_sub(FORWARDS_MAX) as u64),
        ];
        let omitted = omitted.map(|(what, count)| (vec![("what", what.to_owned())], number(count)));
        family(
            encoder,
            ("series_omitted", "Items that have no series of their own here, because there are too many"),
            omitted,
        )
    }

    /// Writes what the operator, the pools' minimum and hold-downs have done to the Sites.
    fn notices(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let notices = &self.page.notices;
        let sites = self.sites();
        let eligible = sites.iter().map(|site| (vec![("site", site.key.clone())], flag(site.eligible)));
        family(encoder, ("site_eligible", "Whether the Site is up and nothing excludes it"), eligible)?;
        let words = sites.iter().filter_map(|site| {
            let page = site.word.as_ref()?;
            Some((vec![("site", site.key.clone()), ("word", page.what.clone()), ("by", page.by.clone())], flag(true)))
        });
        family(encoder, ("site_word", "The operator's override of the Site and who set it, as labels"), words)?;
        let holds = sites.iter().map(|site| {
            let left = site.hold.as_ref().map_or(0.0, |hold| hold.left_s);
            (vec![("site", site.key.clone())], gauge(left))
        });
        family(
            encoder,
            ("site_hold_seconds", "Time until a Site that keeps flapping is answered again; 0 unless it is held back"),
            holds,
        )?;
        let alarms = notices.alarms.iter().map(|alarm| (alarm.kind.clone(), alarm.pool.clone()));
        // What is well is 0, not absent.
        let none = self.pools.iter().flat_map(|pool| KINDS.map(|kind| ((kind.to_owned(), pool.clone()), 0)));
        let of_program = PROGRAM_KINDS.map(|kind| ((kind.to_owned(), String::new()), 0));
        let mut counts: BTreeMap<(String, String), u64> = none.chain(of_program).collect();
        for alarm in alarms {
            *counts.entry(alarm).or_default() += 1;
        }
        let alarms =
            counts.into_iter().map(|((kind, pool), count)| (vec![("kind", kind), ("pool", pool)], number(count)));
        family(encoder, ("alarm", "Alarms now, by kind and pool"), alarms)?;
        let help = "Requests refused for a pool's min_sites or min_capacity";
        single(encoder, ("refusals", help), &ConstCounter::new(notices.refusals))?;
        let help = "Whether the newest state could be saved, so that it survives a restart";
        single(encoder, ("state_kept", help), &flag(notices.state.error.is_none()))?;
        let losses = notices.losses.iter().map(|loss| {
            (
                vec![("pool", loss.pool.clone()), ("dies", loss.dies.clone()), ("takes", loss.takes.clone())],
                gauge(loss.at_once),
            )
        });
        let help = "If the Site `dies`, the part of its capacity that `takes` reaches at first";
        family(encoder, ("n_minus_one", help), losses)
    }

    fn loads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [LoadColumn<Option<f64>>; 8] = [
            ("site_load", "The load in force, in the Site's unit: that of its report and of answers since", |l| {
                l.current
            }),
            ("site_load_target", "The load that the Site should have at most", |l| l.target),
            ("site_load_capacity", "The load at which the Site can take no more", |l| l.capacity),
            ("site_load_headroom", "The Site's headroom by the watermarks: 1 is free, 0 is full", |l| l.headroom),
            ("site_load_per_answer", "The load that one answer adds, as configured or learned", |l| Some(l.per_answer)),
            ("site_load_age_seconds", "Time since the newest report with new figures", |l| l.age_s),
            ("site_load_stale", "Whether that report is older than stale_after", |l| {
                Some(f64::from(u8::from(l.stale)))
            }),
            ("site_sessions", "Sessions that the Site reports", |l| l.sessions),
        ];
        let labels = |site: &SitePage| vec![("site", site.key.clone())];
        let each = || self.sites().iter().filter_map(|site| Some((labels(site), site.load.as_ref()?)));
        for (name, help, value) in gauges {
            let samples = each().filter_map(|(labels, load)| Some((labels, gauge(value(load)?))));
            family(encoder, (name, help), samples)?;
        }
        let out = |load: &LoadPage| load.word != AdminState::Ready || load.factor <= 0.0;
        let samples = each().map(|(labels, load)| (labels, flag(out(load))));
        let help = "Whether the Site takes itself out, by its own report or because it sends none";
        family(encoder, ("site_takes_itself_out", help), samples)?;
        let counters: [LoadColumn<u64>; 2] = [
            ("site_load_reports", "Load reports accepted", |l| l.reports),
            ("site_load_failures", "Attempts to get the load that failed, and reports that were refused", |l| {
                l.failures
            }),
        ];
        for (name, help, value) in counters {
            let samples = each().map(|(labels, load)| (labels, ConstCounter::new(value(load))));
            family(encoder, (name, help), samples)?;
        }
        Ok(())
    }

    fn addresses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [Column<Option<f64>>; 4] = [
            ("address_up", "Whether the address counts as up", |a| Some(f64::from(u8::from(a.live)))),
            ("address_known", "Whether the address has had its first verdict", |a| {
                Some(f64::from(u8::from(a.health != "unknown")))
            }),
            ("probe_age_seconds", "Time since the newest attempt began", |a| a.last_attempt_s),
            ("probe_latency_seconds", "Time that the newest successful attempt took", |a| {
                a.latency_ms.map(|ms| ms / 1e3)
            }),
        ];
        for (name, help, value) in gauges {
            let samples = self.each().filter_map(|(labels, address)| Some((labels, gauge(value(address)?))));
            family(encoder, (name, help), samples)?;
        }
        let counters: [Column<u64>; 4] = [
            ("probe_attempts", "Attempts begun", |a| a.attempts),
            ("probe_failures", "Attempts that failed", |a| a.failures),
            ("probe_not_tried", "Attempts that this machine could not make", |a| a.not_tried),
            ("probe_restarts", "Restarts of the address's checker after it failed", |a| a.restarts),
        ];
        for (name, help, value) in counters {
            let samples = self.each().map(|(labels, address)| (labels, ConstCounter::new(value(address))));
            family(encoder, (name, help), samples)?;
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = (Labels<'_>, &AddressPage)> {
        let of = |site: &'_ str, address: &AddressPage| {
            vec![("site", site.to_owned()), ("address", address.answer.to_string())]
        };
        let all =
            self.page.sites.iter().flat_map(move |site| site.addresses.iter().map(move |a| (of(&site.key, a), a)));
        all.take(ADDRESSES_MAX)
    }
}

/// One counter per key, which is the value of `label`.
fn counted<'a>(
    label: &'a str,
    counts: &BTreeMap<String, u64>,
) -> impl Iterator<Item = (Labels<'a>, ConstCounter<u64>)> {
    counts.iter().map(move |(key, count)| (vec![(label, key.clone())], ConstCounter::new(*count)))
}

fn flag(on: bool) -> ConstGauge<f64> {
    gauge(f64::from(u8::from(on)))
}
