//! `/metrics`: the status as `OpenMetrics` text.
//!
//! Written from a [`StatusPage`] at each scrape, so that no number is kept twice. Shares are not among them: there is
//! one per name, family and Site, which is more series than a Prometheus wants; `/v1/status` has them.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::status::{AddressPage, StatusPage};

/// What the text is, for the header `content-type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page as text.
pub fn text(page: StatusPage) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zerottl");
    registry.register_collector(Box::new(Source(page)));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Source(StatusPage);

/// Labels, by name.
type Labels<'a> = Vec<(&'a str, String)>;

/// One value of each address: name, help, where it is.
type Column<T> = (&'static str, &'static str, fn(&AddressPage) -> T);

/// Writes one metric with a sample per label set.
fn family<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    samples: impl IntoIterator<Item = (Labels<'a>, M)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    let Some((_, first)) = samples.peek() else { return Ok(()) };
    let mut metric = encoder.encode_descriptor(name, help, None, first.metric_type())?;
    for (labels, sample) in samples {
        sample.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Writes one metric without labels.
fn single(encoder: &mut DescriptorEncoder<'_>, (name, help): (&str, &str), sample: &impl EncodeMetric) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
    sample.encode(metric)
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (page, encoder) = (&self.0, &mut encoder);
        let version = vec![("version", page.version.clone())];
        family(encoder, ("build_info", "The version, as a label"), [(version, gauge(1.0))])?;
        single(encoder, ("uptime_seconds", "Since the agent's start"), &gauge(page.uptime_s))?;

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
        family(encoder, ("socket_events", "What else befell on the socket path"), counted("event", &socket.events))?;
        single(encoder, ("tcp_connections", "TCP connections open now"), &number(socket.tcp_open))?;
        let attach =
            page.front.attach.iter().map(|attach| {
                (vec![("interface", attach.interface.clone()), ("mode", attach.mode.clone())], gauge(1.0))
            });
        family(encoder, ("attached", "How the XDP program sits on an interface, as a label"), attach)?;

        single(encoder, ("plan_publications", "Plans published"), &ConstCounter::new(page.plan.generation))?;
        let choices = page.plan.choices.iter().map(|(from, count)| (vec![("from", from.clone())], number(*count)));
        family(encoder, ("plan_choices", "Names and types, by what they are answered from"), choices)?;
        if let Some(age_s) = page.plan.age_s {
            single(encoder, ("plan_age_seconds", "Since the newest plan was published"), &gauge(age_s))?;
        }
        if let Some(took_ms) = page.plan.publish_ms {
            let help = "From the newest plan's cause to its publication";
            single(encoder, ("plan_publish_seconds", help), &gauge(took_ms / 1e3))?;
        }

        let up = page.sites.iter().map(|site| (vec![("site", site.key.clone())], gauge(f64::from(u8::from(site.up)))));
        family(encoder, ("site_up", "Whether any address of the Site counts as up"), up)?;
        self.standings(encoder)?;
        self.addresses(encoder)
    }
}

impl Source {
    /// What the operator, the pools' minimum and hold-downs have done to the Sites.
    fn standings(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let standings = &self.0.standings;
        let sites = &self.0.sites;
        let eligible = sites.iter().map(|site| (vec![("site", site.key.clone())], flag(site.eligible)));
        family(encoder, ("site_eligible", "Whether the Site is up and nothing bars it"), eligible)?;
        let weights = sites.iter().map(|site| (vec![("site", site.key.clone())], gauge(f64::from(site.weight_now))));
        family(encoder, ("site_weight", "The Site's weight in force"), weights)?;
        let words = sites.iter().filter_map(|site| {
            let order = site.word.as_ref()?;
            Some((vec![("site", site.key.clone()), ("word", order.what.clone()), ("by", order.by.clone())], flag(true)))
        });
        family(encoder, ("site_word", "The operator's word on the Site and who said it, as labels"), words)?;
        let holds =
            sites.iter().filter_map(|site| Some((vec![("site", site.key.clone())], gauge(site.hold.as_ref()?.left_s))));
        family(encoder, ("site_hold_seconds", "Until a Site that keeps flapping is answered again"), holds)?;
        let alarms = standings.alarms.iter().map(|alarm| (alarm.kind.clone(), alarm.pool.clone()));
        let mut counts = BTreeMap::<(String, String), u64>::new();
        for alarm in alarms {
            *counts.entry(alarm).or_default() += 1;
        }
        let alarms =
            counts.into_iter().map(|((kind, pool), count)| (vec![("kind", kind), ("pool", pool)], number(count)));
        family(encoder, ("alarm", "What should be looked at now, by kind and pool"), alarms)?;
        let help = "Requests refused for a pool's min_sites or min_capacity";
        single(encoder, ("refusals", help), &ConstCounter::new(standings.refusals))?;
        let help = "Whether the newest state could be written, so that a restart knows it";
        single(encoder, ("state_kept", help), &flag(standings.state.error.is_none()))?;
        let losses = standings.losses.iter().map(|loss| {
            (
                vec![("pool", loss.pool.clone()), ("dies", loss.dies.clone()), ("takes", loss.takes.clone())],
                gauge(loss.at_once),
            )
        });
        let help = "If the Site `dies`, how full `takes` is at once, of its capacity";
        family(encoder, ("n_minus_one", help), losses)
    }

    fn addresses(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [Column<Option<f64>>; 4] = [
            ("address_up", "Whether the address counts as up", |a| Some(f64::from(u8::from(a.live)))),
            ("address_known", "Whether the address has had its first verdict", |a| {
                Some(f64::from(u8::from(a.health != "unknown")))
            }),
            ("probe_age_seconds", "Since the newest attempt began", |a| a.last_attempt_s),
            ("probe_latency_seconds", "How long the newest success took", |a| a.latency_ms.map(|ms| ms / 1e3)),
        ];
        for (name, help, value) in gauges {
            let samples = self.each().filter_map(|(labels, address)| Some((labels, gauge(value(address)?))));
            family(encoder, (name, help), samples)?;
        }
        let counters: [Column<u64>; 4] = [
            ("probe_attempts", "Attempts begun", |a| a.attempts),
            ("probe_failures", "Attempts that failed", |a| a.failures),
            ("probe_not_tried", "Attempts that this machine could not make", |a| a.not_tried),
            ("probe_restarts", "Times the checker of the address failed and was restarted", |a| a.restarts),
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
        self.0.sites.iter().flat_map(move |site| site.addresses.iter().map(move |a| (of(&site.key, a), a)))
    }
}

/// One counter per key, which is the value of `label`.
fn counted<'a>(
    label: &'a str,
    counts: &BTreeMap<String, u64>,
) -> impl Iterator<Item = (Labels<'a>, ConstCounter<u64>)> {
    counts.iter().map(move |(key, count)| (vec![(label, key.clone())], ConstCounter::new(*count)))
}

fn number(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn flag(on: bool) -> ConstGauge<f64> {
    gauge(f64::from(u8::from(on)))
}

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}
