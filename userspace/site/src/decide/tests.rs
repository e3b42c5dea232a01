//! Stages and rows that a table shows best. The whole of Appendix B is in `tests/tests/pure/site_golden.rs`.

use super::{
    super::{
        marker::{MarkerCarrier, Markers},
        topology::TopologyGroup,
    },
    *,
};

const NOW: u64 = 1_763_748_000;
const RULES: Rules = Rules { lifetime: 60, skew: 5, overflow: true };

/// Appendix A's Sites, Chicago in both groups; this is Boston.
fn topology() -> Topology {
    let part = |name: &str, sites: &[usize]| TopologyGroup { name: name.into(), sites: sites.into() };
    Topology::new(
        "app.com",
        ["geneva", "boston", "chicago"].map(|key| format!("{key}.app.com")).into(),
        vec![part("europe.app.com", &[0, 2]), part("americas.app.com", &[1, 2])],
        1,
        Some(1),
        &["www.app.com".into()],
    )
}

/// Returns what comes of a request for a URL without a scheme: where it is sent, or the decision's name.
fn ask(url: &str, change: impl FnOnce(&mut Facts<'_>)) -> (String, Vec<u16>) {
    let (authority, target) = url.split_at(url.find('/').unwrap());
    let markers = Markers::new(MarkerCarrier::Path, None);
    let found = markers.find(target, None);
    let mut facts = Facts {
        in_session: false,
        version: Version::HTTP_11,
        authority: Some(authority).filter(|text| !text.is_empty()),
        server_name: None,
        found: &found,
        by_cookie: false,
        now: NOW,
        proper: None,
        busy: false,
        waiting: false,
        up: &[],
    };
    change(&mut facts);
    let topology = topology();
    let (decision, path) = decide(&topology, &RULES, &facts);
    let text = match decision {
        Decision::Redirect(Redirect { host, marker }) => {
            format!("{host}{}", marker.map_or(found.clean.to_string(), |marker| markers.add(&found.clean, &marker)))
        }
        other => format!("{other:?}"),
    };
    (text, path.iter().map(Stage::number).collect())
}

fn check(url: &str, change: impl FnOnce(&mut Facts<'_>), wanted: &str, stages: &[u16]) {
    let (found, path) = ask(url, change);
    assert_eq!((found.as_str(), &path[..]), (wanted, stages), "{url}");
}

/// S4-5A-GATE: a session passes by, whatever the request is like; but under a name of the pool's (C13).
#[test]
fn s4_5a_gate_a_session_passes_by() {
    for url in ["boston.app.com/a", "app.com/", "chicago.app.com:81/"] {
        check(url, |facts| facts.in_session = true, "Bypass", &[500]);
    }
    for (url, why) in [("evil.example/", "UnknownHost"), ("/", "BadHost"), ("a b/c", "BadHost")] {
        check(url, |facts| facts.in_session = true, &format!("Refuse({why})"), &[505, 510]);
    }
}

/// S4-5A-520: 60 s, and 5 s between clocks, to both sides (C16, C19).
#[test]
fn s4_5a_520_markers_expire() {
    let admitted = "Admit { despite: false }";
    for (age, fresh) in [
        (0, true),
        (59, true),
        (60, true),
        (64, true),
        (65, false),
        (66, false),
        (100_000, false),
        (-5, true),
        (-6, false),
        (-100_000, false),
    ] {
        let at = NOW.saturating_add_signed(-age);
        let (found, path) = ask(&format!("boston.app.com/a/distrib={at}"), |_| ());
        let wanted: (&str, &[u16]) = if fresh {
            (admitted, &[505, 510, 515, 520, 522, 550, 588])
        } else {
            ("app.com/a/distrib=0+++1", &[505, 510, 515, 520, 545, 540])
        };
        assert_eq!((found.as_str(), &path[..]), wanted, "{age}");
    }
}

/// C16: a marker that never holds goes round as often as there are Sites, and is then let in.
#[test]
fn s4_5a_term_a_marker_that_never_holds_is_let_in() {
    check("boston.app.com/a/distrib=1+++2", |_| (), "app.com/a/distrib=0+++3", &[505, 510, 515, 520, 545, 540]);
    check(
        "app.com/a/distrib=0+++3",
        |_| (),
        &format!("boston.app.com/a/distrib={NOW}+++3"),
        &[505, 510, 525, 530, 535, 540],
    );
    check("boston.app.com/a/distrib=1+++3", |_| (), "Admit { despite: true }", &[505, 510, 515, 520, 522, 550, 588]);
}

/// C13, C14, C7: hosts that are not ours, not this connection's, not there.
#[test]
fn c13_hosts_that_are_not_ours() {
    let to_boston = format!("boston.app.com/a/distrib={NOW}");
    check("www.app.com/a", |_| (), &to_boston, &[505, 510, 525, 535, 540]);
    check("evil.example/a", |_| (), "Refuse(UnknownHost)", &[505, 510]);
    check("192.0.2.10/a", |_| (), "Refuse(UnknownHost)", &[505, 510]);
    check("a@app.com/a", |_| (), "Refuse(BadHost)", &[505, 510]);
    check("/a", |_| (), "Refuse(BadHost)", &[505, 510]);
    check("/a", |facts| facts.version = Version::HTTP_10, &to_boston, &[505, 510, 535, 540]);
    let marked = format!("/a/distrib={NOW}");
    check(&marked, |facts| facts.version = Version::HTTP_10, "Admit { despite: false }", &[505, 510, 522, 550, 588]);
    let second = |facts: &mut Facts<'_>| (facts.version, facts.server_name) = (Version::HTTP_2, Some("boston.app.com"));
    check("chicago.app.com/a", second, "Refuse(Misdirected)", &[505, 510]);
    check("boston.app.com:8443/a", second, "app.com/a", &[505, 510, 515, 545, 540]);
    let failed_over =
        |facts: &mut Facts<'_>| (facts.version, facts.server_name) = (Version::HTTP_2, Some("chicago.app.com"));
    check("chicago.app.com/a", failed_over, &to_boston, &[505, 510, 525, 535, 540]);
}

/// A group without a live Site is no place to send anybody to.
#[test]
fn s4_5a_530_a_dead_group_is_none() {
    let europe = |up: &'static [bool]| move |facts: &mut Facts<'_>| (facts.proper, facts.up) = (Some(0), up);
    check("app.com/a", europe(&[]), "europe.app.com/a", &[505, 510, 525, 530, 545, 540]);
    check("boston.app.com/a", europe(&[false, true, true]), "europe.app.com/a", &[505, 510, 515, 545, 540]);
    let dead: &[bool] = &[false, true, false];
    check("app.com/a", europe(dead), &format!("boston.app.com/a/distrib={NOW}"), &[505, 510, 525, 530, 535, 540]);
    check("boston.app.com/a", europe(dead), "app.com/a", &[505, 510, 515, 545, 540]);
}

/// S4-5B-565, S4-5B-575, S4-5B-590 and 595: circularly onward; the time of the first hop stays (C1); the dead are passed over (C15).
#[test]
fn s4_5b_590_overflow_goes_round_once() {
    let busy = |facts: &mut Facts<'_>| facts.busy = true;
    let begun = NOW - 7;
    check(
        &format!("boston.app.com/a/distrib={begun}"),
        busy,
        &format!("chicago.app.com/a/distrib={NOW}+boston.app.com+americas.app.com+1"),
        &[505, 510, 515, 520, 522, 550, 555, 565, 567, 590, 595],
    );
    check(
        &format!("boston.app.com/a/distrib={begun}+chicago.app.com+americas.app.com+1"),
        busy,
        "Busy",
        &[505, 510, 515, 520, 522, 550, 555, 560, 575, 580, 585, 570],
    );
    check(
        &format!("boston.app.com/a/distrib={begun}+geneva.app.com++1"),
        |facts| (facts.busy, facts.proper) = (true, None),
        &format!("chicago.app.com/a/distrib={NOW}+boston.app.com+americas.app.com+2"),
        &[505, 510, 515, 520, 522, 550, 555, 560, 575, 565, 567, 590, 595],
    );
    check(
        &format!("boston.app.com/a/distrib={begun}"),
        |facts| (facts.busy, facts.up) = (true, &[true, true, false]),
        "Busy",
        &[505, 510, 515, 520, 522, 550, 555, 565, 567, 570],
    );
    // Who waits with a key is not sent round.
    let waiting = |facts: &mut Facts<'_>| (facts.busy, facts.waiting) = (true, true);
    check(
        &format!("boston.app.com/a/distrib={}!0123456789abcdefghij-_", NOW + 30),
        waiting,
        "Busy",
        &[505, 510, 515, 520, 522, 550, 570],
    );
}

/// C20: Fig. 5B can be left out.
#[test]
fn s4_5a_522_overflow_can_be_off() {
    let (topology, markers) = (topology(), Markers::new(MarkerCarrier::Path, None));
    let target = format!("/a/distrib={NOW}");
    let found = markers.find(&target, None);
    let facts = Facts {
        in_session: false,
        version: Version::HTTP_11,
        authority: Some("boston.app.com"),
        server_name: None,
        found: &found,
        by_cookie: false,
        now: NOW,
        proper: None,
        busy: true,
        waiting: false,
        up: &[],
    };
    let (decision, path) = decide(&topology, &Rules { overflow: false, ..RULES }, &facts);
    assert_eq!(decision, Decision::Admit { despite: false });
    assert_eq!(path.iter().map(Stage::number).collect::<Vec<_>>(), [505, 510, 515, 520, 522, 588]);
}
