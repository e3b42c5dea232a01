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

use super::{
    load::LoadPage,
    status::{AddressPage, SitePage, StatusPage},
};

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

/// The same of each Site's load.
type LoadColumn<T> = (&'static str, &'static str, fn(&LoadPage) -> T);

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
        self.addresses(encoder)?;
        self.loads(encoder)
    }
}

impl Source {
    fn loads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges: [LoadColumn<Option<f64>>; 8] = [
            ("site_load", "The load that counts, in the Site's unit: its report's, and answers since", |l| l.current),
            ("site_load_target", "Where the load should be at most", |l| l.target),
            ("site_load_capacity", "Where the Site can take no more", |l| l.capacity),
            ("site_load_headroom", "1 is free and 0 full, by the watermarks", |l| l.headroom),
            ("site_load_per_answer", "What one answer adds, as set or learned", |l| Some(l.per_answer)),
            ("site_load_age_seconds", "Since the newest report that said something new", |l| l.age_s),
            ("site_load_stale", "Whether that is longer than stale_after", |l| Some(f64::from(u8::from(l.stale)))),
            ("site_sessions", "Sessions that the Site reports", |l| l.sessions),
        ];
        let labels = |site: &SitePage| vec![("site", site.key.clone())];
        let each = || self.0.sites.iter().filter_map(|site| Some((labels(site), site.load.as_ref()?)));
        for (name, help, value) in gauges {
            let samples = each().filter_map(|(labels, load)| Some((labels, gauge(value(load)?))));
            family(encoder, (name, help), samples)?;
        }
        let counters: [LoadColumn<u64>; 2] = [
            ("site_load_reports", "Load reports taken", |l| l.reports),
            ("site_load_failures", "Attempts to learn the load, and reports, that came to nothing", |l| l.failures),
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

fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}
