//! Metrics as text: the two formats of Prometheus, and what pages of them are written with.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// A metric as [`metrics!`](crate::metrics) declares it: pages are written from it, and so is the documents' table.
#[derive(Clone, Copy, Debug)]
pub struct Metric<const LABELS: usize> {
    /// The name without the page's prefix and without a counter's `_total`.
    pub name: &'static str,
    /// The kind of its samples.
    pub kind: MetricType,
    /// The names of each sample's labels.
    pub labels: [&'static str; LABELS],
    /// One line for people.
    pub help: &'static str,
}

/// Declares metrics, which is the one place for their names, kinds, labels and help: `cargo xtask docs --from-source` makes
/// the documents' table of the same lines. `NAME = kind "name" [label, …],`, the help before it as documentation.
#[macro_export]
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $metric:ident = $kind:ident $name:literal [$($label:ident),*],)+) => {
        $(
            $(#[doc = $help])+
            pub(crate) const $metric: $crate::exposition::Metric<{ <[&str]>::len(&[$(stringify!($label)),*]) }> =
                $crate::exposition::Metric {
                    name: $name,
                    kind: $crate::metrics!(@$kind),
                    labels: [$(stringify!($label)),*],
                    help: concat!($($help),+).trim_ascii_start(),
                };
        )+
    };
    (@counter) => { ::prometheus_client::metrics::MetricType::Counter };
    (@gauge) => { ::prometheus_client::metrics::MetricType::Gauge };
    (@histogram) => { ::prometheus_client::metrics::MetricType::Histogram };
}

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Prometheus,
}

impl Format {
    /// By the header `accept`: `OpenMetrics` where that is named, as Prometheus does.
    #[must_use]
    pub fn asked_for(accept: &str) -> Self {
        let named =
            |range: &str| range.split(';').next().is_some_and(|name| name.trim() == "application/openmetrics-text");
        if accept.split(',').any(named) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// For the header `content-type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Rewrites `OpenMetrics` text in the older format, as far as the two differ here: counters are described by their full
/// names, and nothing marks the end.
#[must_use]
pub fn to_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let counters: std::collections::HashSet<&str> =
        openmetrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let described = line.strip_prefix("# ").and_then(|rest| {
            let mut words = rest.splitn(3, ' ');
            Some((words.next()?, words.next()?, words.next()?)).filter(|(_, name, _)| counters.contains(name))
        });
        match described {
            Some((what, name, rest)) => text.extend(["# ", what, " ", name, "_total ", rest]),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Writes one metric with a sample for each set of its labels' values; nothing if there is none.
pub fn family<M: EncodeMetric, const LABELS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric<LABELS>,
    samples: impl IntoIterator<Item = ([String; LABELS], M)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    if samples.peek().is_none() {
        return Ok(());
    }
    let mut described = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
    for (values, sample) in samples {
        metric.expect(&sample);
        let mut values = values.into_iter();
        let labels = metric.labels.map(|label| (label, values.next().unwrap_or_default()));
        sample.encode(described.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Writes one metric without labels.
pub fn single(encoder: &mut DescriptorEncoder<'_>, metric: &Metric<0>, sample: &impl EncodeMetric) -> fmt::Result {
    metric.expect(sample);
    sample.encode(encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?)
}

impl<const LABELS: usize> Metric<LABELS> {
    /// Holds a sample to the kind that was declared; every test that makes a page does so.
    fn expect(&self, sample: &impl EncodeMetric) {
        debug_assert_eq!(sample.metric_type().as_str(), self.kind.as_str(), "the kind of {}", self.name);
    }
}

/// A whole number.
#[must_use]
pub fn number(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A number.
#[must_use]
pub fn gauge(value: f64) -> ConstGauge<f64> {
    ConstGauge::new(value)
}

/// 1 for yes and 0 for no.
#[must_use]
pub fn flag(is: bool) -> ConstGauge<f64> {
    gauge(f64::from(u8::from(is)))
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        collector::Collector, encoding::text::encode, metrics::counter::ConstCounter, registry::Registry,
    };

    use super::*;

    metrics! {
        /// One thing,
        /// by two labels
        THINGS = counter "things" [one, type],
        /// Another
        OTHER = gauge "other" [],
        /// Never seen
        ABSENT = gauge "absent" [what],
    }

    #[derive(Debug)]
    struct Page;

    impl Collector for Page {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            family(&mut encoder, &THINGS, [(["a".to_owned(), "b".to_owned()], ConstCounter::new(3_u64))])?;
            family(&mut encoder, &ABSENT, Vec::<([String; 1], ConstGauge<f64>)>::new())?;
            single(&mut encoder, &OTHER, &number(1))
        }
    }

    #[test]
    fn a_metric_is_written_as_it_is_declared() {
        let mut registry = Registry::with_prefix("x");
        registry.register_collector(Box::new(Page));
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let expected = "# HELP x_things One thing, by two labels\n# TYPE x_things counter\n\
                        x_things_total{one=\"a\",type=\"b\"} 3\n\
                        # HELP x_other Another\n# TYPE x_other gauge\nx_other 1\n# EOF\n";
        assert_eq!(text, expected);
    }
}
