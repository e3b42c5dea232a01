//! `/metrics` as a pure function of a snapshot.

use super::{
    fixture::{model, set, snapshot},
    pages::healthy,
};
use crate::admin::metrics;
use zerottl_core::exposition::Format;
use zerottl_core::{plan::Choice, status::Health};

#[test]
fn metrics_text() {
    let mut snapshot = healthy();
    set(&mut snapshot, "geneva", Health::Down, Some("status 503, expected 200"));
    let text = metrics::text(&snapshot, Format::OpenMetrics).expect("text");
    for line in [
        "# TYPE zerottl_packets counter",
        "zerottl_packets_total{reason=\"answered\",action=\"answer\"} 5",
        "zerottl_packets_total{reason=\"not_udp\",action=\"pass\"} 0",
        "zerottl_socket_queries_total{transport=\"udp\"} 3",
        "zerottl_socket_answers_total{rcode=\"NOERROR\"} 2",
        "zerottl_socket_events_total{event=\"dropped\"} 1",
        "zerottl_tcp_connections 4",
        "zerottl_plan_choices{from=\"live\"} 6",
        "zerottl_plan_choices{from=\"nodata\"} 2",
        "zerottl_site_up{site=\"boston\"} 1.0",
        "zerottl_site_up{site=\"geneva\"} 0.0",
        "zerottl_address_up{site=\"boston\",address=\"2001:db8:1::10\"} 1.0",
        "zerottl_address_up{site=\"geneva\",address=\"192.0.2.30\"} 0.0",
        "zerottl_address_known{site=\"geneva\",address=\"192.0.2.30\"} 1.0",
        "zerottl_probe_age_seconds{site=\"geneva\",address=\"192.0.2.30\"} 1.0",
        "zerottl_probe_latency_seconds{site=\"geneva\",address=\"192.0.2.30\"} 0.0015",
        "zerottl_probe_failures_total{site=\"geneva\",address=\"192.0.2.30\"} 1",
        "zerottl_plan_publications_total 7",
        "zerottl_rounds_total 600",
        "zerottl_hook_events_total{hook=\"pager\",outcome=\"delivered\"} 9",
        "zerottl_hook_events_total{hook=\"pager\",outcome=\"failed\"} 2",
        "zerottl_hook_events_total{hook=\"pager\",outcome=\"dropped\"} 1",
        "zerottl_hook_failures_total{hook=\"pager\"} 20",
        "zerottl_hook_waiting{hook=\"pager\"} 3",
        "zerottl_plans_total 7",
        "zerottl_plan_written_bytes_total 4096",
        "zerottl_rounds_cpu_seconds_total 0.25",
        "zerottl_plan_age_seconds 10.0",
        "zerottl_plan_publish_seconds 0.002",
        "zerottl_uptime_seconds 60.0",
        "zerottl_attached{interface=\"eth0\",mode=\"generic\"} 1.0",
        concat!("zerottl_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1.0"),
    ] {
        assert!(text.lines().any(|of| of == line), "`{line}` is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let foreign = text.lines().find(|line| !line.starts_with('#') && !line.starts_with("zerottl_"));
    assert_eq!(foreign, None);
}

/// A Site's key is the operator's; whatever it holds, the lines around it stay whole.
#[test]
fn metrics_escape_labels() {
    let mut model = model();
    model.sites[0].key = "bo\"st\\on\nx".into();
    let choices = vec![[Choice::NoData, Choice::NoData]; 4];
    let text = metrics::text(&snapshot(model, choices), Format::OpenMetrics).expect("text");
    let line = "zerottl_site_up{site=\"bo\\\"st\\\\on\\nx\"} 1.0";
    assert!(text.lines().any(|of| of == line), "`{line}` is not in\n{text}");
}

/// A histogram without a last bucket of everything makes every quantile NaN: whichever it is, its `+Inf` is its count.
#[test]
fn histograms_end_at_infinity() {
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let text = metrics::text(&healthy(), format).expect("text");
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
        assert_eq!(families, ["zerottl_plan_publication_duration_seconds", "zerottl_probe_duration_seconds"]);
        for family in families {
            let values = |part: &str| -> Vec<&str> {
                let of = format!("{family}_{part}");
                let of = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(&of));
                of.filter(|line| part == "count" || line.contains("le=\"+Inf\""))
                    .filter_map(|line| line.rsplit_once(' ').map(|(_, value)| value))
                    .collect()
            };
            assert_eq!(values("bucket"), values("count"), "{family} in\n{text}");
        }
    }
}

/// Checks that what is well is 0 from the start: an alert or a panel that finds nothing cannot be told from one that is
/// broken.
#[test]
fn what_is_well_is_zero_and_not_absent() {
    let text = metrics::text(&healthy(), Format::OpenMetrics).expect("text");
    let mut zeros = vec![
        "zerottl_attached{interface=\"eth0\",mode=\"native\"} 0.0".to_owned(),
        "zerottl_attached{interface=\"eth0\",mode=\"off\"} 0.0".to_owned(),
        "zerottl_site_hold_seconds{site=\"geneva\"} 0.0".to_owned(),
        "zerottl_refusals_total 0".to_owned(),
    ];
    zeros.extend(
        ["held", "drained", "minimum", "up-threshold", "fail-open", "servfail"]
            .map(|from| format!("zerottl_plan_choices{{from=\"{from}\"}} 0")),
    );
    zeros
        .extend(zerottl_core::alarms::KINDS.map(|kind| format!("zerottl_alarm{{kind=\"{kind}\",pool=\"app.com\"}} 0")));
    zeros.extend(
        zerottl_kernel::attachments::PROGRAM_KINDS.map(|kind| format!("zerottl_alarm{{kind=\"{kind}\",pool=\"\"}} 0")),
    );
    for line in zeros {
        assert!(text.lines().any(|of| of == line), "`{line}` is not in\n{text}");
    }
}
