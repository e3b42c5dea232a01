//! Metrics as text: the two formats of Prometheus, and what pages of them are written with.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

/// Names and values of one sample's labels.
pub type Labels<'a> = Vec<(&'a str, String)>;

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

/// Writes one metric with a sample per label set.
pub fn family<'a, M: EncodeMetric>(
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
pub fn single(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    sample: &impl EncodeMetric,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, sample.metric_type())?;
    sample.encode(metric)
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
