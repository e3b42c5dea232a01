//! ORCA (Open Request Cost Aggregation): load in a header of the health probe's response.
//!
//! ```text
//! endpoint-load-metrics: TEXT application_utilization=0.6, cpu_utilization=0.4, named_metrics.queue=3
//! endpoint-load-metrics: JSON {"application_utilization": 0.6, "cpu_utilization": 0.4}
//! ```
//!
//! The load is `application_utilization` if it is over 0, else `cpu_utilization`, else `mem_utilization`, as gRPC's
//! weighted round robin has it but for the last. A utilisation may exceed 1; full is `capacity`, 1 unless configured. The
//! binary form (`BIN`) is an error.

use std::collections::HashMap;

use serde::Deserialize;

use super::report::{BadReport, FIGURE_MAX, Report, bad, quoted};

/// The header, lower case.
pub const HEADER: &str = "endpoint-load-metrics";
/// Bytes of the header's value, at most.
pub(crate) const VALUE_MAX: usize = 8 * 1024;
/// In this order, the first that is over 0 is the load.
const UTILISATIONS: [&str; 3] = ["application_utilization", "cpu_utilization", "mem_utilization"];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_field_names, reason = "the format's own names")]
struct Json {
    application_utilization: Option<f64>,
    cpu_utilization: Option<f64>,
    mem_utilization: Option<f64>,
}

/// Reads the header's value.
pub fn header(value: &[u8]) -> Result<Report, BadReport> {
    if value.len() > VALUE_MAX {
        return bad(format!("{HEADER} of more than {VALUE_MAX} bytes"));
    }
    let Ok(text) = std::str::from_utf8(value) else { return bad(format!("{HEADER} that is not UTF-8")) };
    let text = text.trim();
    let (form, rest) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    let figures = match form {
        "TEXT" => from_text(rest)?,
        "JSON" => match serde_json::from_str::<Json>(rest) {
            Ok(json) => [json.application_utilization, json.cpu_utilization, json.mem_utilization],
            Err(error) => return bad(format!("{HEADER}: {error}")),
        },
        _ => return bad(format!("{HEADER} is {}: only its forms TEXT and JSON are read", quoted(form))),
    };
    for (key, value) in UTILISATIONS.iter().zip(figures) {
        if let Some(value) = value.filter(|value| !(0.0..=FIGURE_MAX).contains(value)) {
            return bad(format!("{HEADER}: {key} is {value}: it must be 0 or more"));
        }
    }
    let Some(current) =
        figures.into_iter().flatten().find(|value| *value > 0.0).or(figures.into_iter().flatten().next())
    else {
        return bad(format!("{HEADER} has none of {}", UTILISATIONS.join(", ")));
    };
    Ok(Report { current: Some(current), ..Report::default() })
}

/// `key=value` pairs; those of other keys only have to be pairs.
fn from_text(text: &str) -> Result<[Option<f64>; 3], BadReport> {
    let mut figures = HashMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return bad(format!("{HEADER}: {} is no key=value", quoted(pair)));
        };
        if !UTILISATIONS.contains(&key.trim()) {
            continue;
        }
        let Ok(value) = value.trim().parse::<f64>() else {
            return bad(format!("{HEADER}: {} is no number", quoted(value)));
        };
        figures.insert(key.trim(), value);
    }
    Ok(UTILISATIONS.map(|key| figures.get(key).copied()))
}
