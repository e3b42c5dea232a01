//! Signed zones as their operator sees them.

use std::{fs, path::PathBuf};

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

/// The state of the zone's keys, wherever the agent keeps it.
fn keyset(folder: &std::path::Path) -> Option<PathBuf> {
    let entries: Vec<_> = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let found = entries.iter().find(|path| path.file_name().is_some_and(|name| name == "keyset.json")).cloned();
    found.or_else(|| entries.iter().find_map(|path| keyset(path)))
}

/// Keys that cannot be read are told before the agent that serves is made to leave, and a reload with them changes nothing.
#[test]
fn damaged_keys_are_told_while_the_old_agent_answers() {
    let Some(mut signed) = Signed::start("damaged keys", config()) else { return };
    let (file, pid) = (keyset(signed.scene.agent.folder()).expect("it is kept"), signed.scene.agent.pid());
    let whole = fs::read(&file).expect("read");
    fs::write(&file, "{").expect("written");
    let agent = &mut signed.scene.agent;
    let reload = agent.output(&["reload"]).expect("zerottl runs");
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success() && said.contains("keyset.json"), "{said}");
    agent.restart(&["--take-over"]).expect_err("it must not go well");
    assert!(agent.log().contains("keyset.json"), "{}", agent.log());
    assert!(agent.runs() && agent.pid() == pid, "the agent in force runs on");
    let _ = signed.delv().secure("boston.app.com", "A");
    fs::write(&file, whole).expect("written");
    signed.scene.agent.zerottl(&["reload"]).expect("it is right again");
}
