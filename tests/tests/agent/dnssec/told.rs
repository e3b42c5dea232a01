//! Signed zones as their operator sees them.

use super::scene::{Signed, config};

/// Signatures, cohorts and proofs by `explain --dnssec`; how long they last by `status` and in the metrics; and what a front
/// without a signed zone, or a name outside it, has of that: nothing.
#[test]
fn the_operator_is_told_of_signatures() {
    let Some(signed) = Signed::start("explain --dnssec", config()) else { return };
    let agent = &signed.scene.agent;
    let tag = signed.ds[0].split_whitespace().nth(4).expect("a DS record has a tag");
    let explained = |question: &[&str]| agent.zerottl(&[&["explain", "--dnssec"], question].concat()).expect("explain");
    let positive = explained(&["boston.app.com"]);
    for line in [
        format!("boston.app.com A: signed by 13/{tag}, cohort "),
        format!("boston.app.com AAAA: signed by 13/{tag}, cohort "),
    ] {
        assert!(positive.contains(&line), "{line}\n{positive}");
    }
    let missing = explained(&["none.app.com", "A"]);
    assert!(
        missing.contains("A with DO: NXDOMAIN")
            && missing.contains("NSEC: none.app.com is missing: nothing is between "),
        "{missing}"
    );
    assert!(missing.contains("NSEC: no wildcard is there: nothing is between app.com and "), "{missing}");
    let no_data = explained(&["boston.app.com", "MX"]);
    assert!(no_data.contains("NSEC: boston.app.com has at most A AAAA RRSIG NSEC HTTPS"), "{no_data}");
    assert!(!explained(&["example.net"]).contains("with DO"));
    assert!(!agent.zerottl(&["explain", "boston.app.com"]).expect("explain").contains("with DO"));
    let status = agent.zerottl(&["status"]).expect("status");
    let line = status.lines().find(|line| line.starts_with("app.com: ")).unwrap_or_else(|| panic!("{status}"));
    assert!(line.contains(&format!(" signatures by 13/{tag}, good for 3 d ")), "{line}");
    let metrics = agent.get("/metrics").expect("metrics");
    let left =
        metrics.lines().find_map(|line| line.strip_prefix("zerottl_signature_expires_seconds{zone=\"app.com\"} "));
    let left: f64 = left.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{metrics}"));
    assert!((3.0 * 86_400.0 - 300.0..4.0 * 86_400.0).contains(&left), "{left}");
    for kind in ["signature-expiring", "clock-stepped", "clock-behind"] {
        assert!(metrics.contains(&format!("zerottl_alarm{{kind=\"{kind}\",pool=\"\"}} 0")), "{kind}");
    }
}
