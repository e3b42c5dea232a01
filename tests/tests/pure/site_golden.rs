//! Every branch of Appendix B, and every stage of Figs. 5A and 5B, as a row: what is known, what becomes of it, by which stages.
//!
//! The world is Appendix A's second example: Geneva and Chicago are the European group, Boston and Chicago the American one.
//! Unless a row says otherwise the request is `GET`, HTTP/1.1, without a session, at Boston, and everybody is up and idle.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use http::Version;
use zerottl_site::{
    decide::{Decision, Facts, Rules, Stage, decide},
    marker::{MarkerCarrier, Markers},
    topology::{Topology, TopologyGroup},
};

const NOW: u64 = 1_000_000;
const GENEVA: usize = 0;
const BOSTON: usize = 1;
const CHICAGO: usize = 2;
const EUROPE: Option<usize> = Some(0);
const AMERICAS: Option<usize> = Some(1);

/// Facts that differ from the usual.
#[expect(clippy::struct_excessive_bools, reason = "facts of a request")]
#[derive(Clone, Copy)]
struct Given {
    at: usize,
    groups: bool,
    proper: Option<usize>,
    busy: bool,
    up: &'static [bool],
    overflow: bool,
    version: Version,
    in_session: bool,
    server_name: Option<&'static str>,
}

const USUAL: Given = Given {
    at: BOSTON,
    groups: true,
    proper: None,
    busy: false,
    up: &[],
    overflow: true,
    version: Version::HTTP_11,
    in_session: false,
    server_name: None,
};

fn place(given: &Given) -> Topology {
    let part = |name: &str, sites: &[usize]| TopologyGroup { name: name.into(), sites: sites.into() };
    let groups = [part("europe.app.com", &[GENEVA, CHICAGO]), part("americas.app.com", &[BOSTON, CHICAGO])];
    let groups = if given.groups { groups.to_vec() } else { Vec::new() };
    let primary = groups.iter().position(|group| group.sites.contains(&given.at));
    let names = ["geneva", "boston", "chicago"].map(|key| format!("{key}.app.com"));
    Topology::new("app.com", names.to_vec(), groups, given.at, primary, &[])
}

/// `NOW-5` in an URL is that time.
fn check(description: &str, url: &str, given: Given, expected: &str, stages: &[u16]) {
    let dated = |text: &str| {
        (0..=99)
            .rev()
            .fold(text.to_owned(), |text, age| text.replace(&format!("NOW-{age}"), &(NOW - age).to_string()))
            .replace("NOW", &NOW.to_string())
    };
    let url = dated(url);
    let (authority, target) = url.split_at(url.find('/').unwrap());
    let (place, markers) = (place(&given), Markers::new(MarkerCarrier::Path, None));
    let found = markers.find(target, None);
    let rules = Rules { lifetime: 60, skew: 0, overflow: given.overflow };
    let facts = Facts {
        in_session: given.in_session,
        version: given.version,
        authority: Some(authority).filter(|authority| !authority.is_empty()),
        server_name: given.server_name,
        found: &found,
        by_cookie: false,
        now: NOW,
        proper: given.proper,
        busy: given.busy,
        waiting: false,
        up: given.up,
    };
    let (decision, path) = decide(&place, &rules, &facts);
    let said = match decision {
        Decision::Bypass => "bypass".to_owned(),
        Decision::Admit { despite } => if despite { "admit despite" } else { "admit" }.to_owned(),
        Decision::Busy => "busy".to_owned(),
        Decision::Refuse(refusal) => format!("{} {}", refusal.status(), refusal.name()),
        Decision::Redirect(redirect) => {
            let target = redirect.marker.map_or(found.clean.to_string(), |marker| markers.add(&found.clean, &marker));
            format!("{}{target}", redirect.host)
        }
    };
    assert_eq!(said, dated(expected), "{description}: {url}");
    let gone: Vec<u16> = path.iter().map(Stage::number).collect();
    assert_eq!(gone, stages, "{description}: {url}");
}

/// S4-B-1, S4-5A-525, S4-5A-530, S4-5A-535, S4-5A-545, S4-C11, S4-C26, S4-C32: STEP 1, under a name that is not this Site's.
#[test]
fn s4_b_1_under_another_name() {
    let american = Given { proper: AMERICAS, ..USUAL };
    let european = Given { proper: EUROPE, ..USUAL };
    let to_boston = "boston.app.com/shop/distrib=NOW?a=1";
    check(
        "1a the Pool Name, the right group",
        "app.com/shop?a=1",
        american,
        to_boston,
        &[505, 510, 525, 530, 535, 540],
    );
    check(
        "1a an old marker goes",
        "app.com/shop/Distrib=NOW-70?a=1",
        american,
        to_boston,
        &[505, 510, 525, 530, 535, 540],
    );
    check(
        "1a a Site may be of both",
        "app.com/",
        Given { at: CHICAGO, ..american },
        "chicago.app.com/distrib=NOW++americas.app.com",
        &[505, 510, 525, 530, 535, 540],
    );
    check(
        "1b the Pool Name, the wrong group",
        "app.com/shop?a=1",
        european,
        "europe.app.com/shop?a=1",
        &[505, 510, 525, 530, 545, 540],
    );
    check(
        "1b what is left of a marker is its count",
        "app.com/shop/distrib=NOW-70?a=1",
        european,
        "europe.app.com/shop/distrib=0+++1?a=1",
        &[505, 510, 525, 530, 545, 540],
    );
    check("1c a Group Name", "americas.app.com/shop?a=1", USUAL, to_boston, &[505, 510, 525, 535, 540]);
    check(
        "1c even for another group's client",
        "americas.app.com/shop?a=1",
        european,
        to_boston,
        &[505, 510, 525, 535, 540],
    );
    check(
        "1c a Site Name that has failed over",
        "chicago.app.com/shop?a=1",
        USUAL,
        to_boston,
        &[505, 510, 525, 535, 540],
    );
    check(
        "1c with an overflow under way",
        "chicago.app.com/shop/distrib=NOW-5+geneva.app.com++1",
        USUAL,
        "boston.app.com/shop/distrib=NOW+geneva.app.com++1",
        &[505, 510, 525, 535, 540],
    );
    // S4-5A-510
    check("this Site's name goes on to STEP 2", "BOSTON.app.com.:80/", USUAL, "app.com/", &[505, 510, 515, 545, 540]);
}

/// S4-5A-NOGROUPS: the Pool Name replaces Group Names, and every Site is of the group.
#[test]
fn s4_5a_nogroups_the_pool_is_the_group() {
    let none = Given { groups: false, ..USUAL };
    check("530 is always affirmative", "app.com/", none, "boston.app.com/distrib=NOW", &[505, 510, 525, 530, 535, 540]);
    check("545 leads to the Pool Name", "boston.app.com/", none, "app.com/", &[505, 510, 515, 545, 540]);
    check(
        "565 goes through the pool",
        "boston.app.com/distrib=NOW-5",
        Given { busy: true, ..none },
        "chicago.app.com/distrib=NOW+boston.app.com++1",
        &[505, 510, 515, 520, 522, 550, 555, 565, 567, 590, 595],
    );
}

/// S4-B-2, S4-5A-515, S4-5A-520, S4-5A-522, S4-C11, S4-C12, S4-C26, S4-C27, S4-C32, S4-C33: STEP 2, under this Site's name.
#[test]
fn s4_b_2_under_its_own_name() {
    let american = Given { proper: AMERICAS, ..USUAL };
    check("2a no marker", "boston.app.com/shop?a=1", american, "americas.app.com/shop?a=1", &[505, 510, 515, 545, 540]);
    check("2a no group either", "boston.app.com/shop?a=1", USUAL, "app.com/shop?a=1", &[505, 510, 515, 545, 540]);
    check(
        "2a to the proper group, be it another's",
        "boston.app.com/",
        Given { proper: EUROPE, ..USUAL },
        "europe.app.com/",
        &[505, 510, 515, 545, 540],
    );
    check(
        "2a no timestamp",
        "boston.app.com/shop/distrib=x",
        american,
        "americas.app.com/shop/distrib=0+++1",
        &[505, 510, 515, 545, 540],
    );
    let expired: &[u16] = &[505, 510, 515, 520, 545, 540];
    check("2b 61 s", "boston.app.com/shop/distrib=NOW-61", american, "americas.app.com/shop/distrib=0+++1", expired);
    check("2b 60 s", "boston.app.com/shop/distrib=NOW-60", american, "americas.app.com/shop/distrib=0+++1", expired);
    let fresh: &[u16] = &[505, 510, 515, 520, 522, 550, 588];
    check("2c 59 s", "boston.app.com/shop/distrib=NOW-59", american, "admit", fresh);
    check("2c in any spelling", "boston.app.com/shop/Distrib=NOW-1?a=1", american, "admit", fresh);
    check(
        "2c another's overflow: it is not balanced anew",
        "boston.app.com/distrib=NOW-1+chicago.app.com++1",
        american,
        "admit",
        fresh,
    );
    let off = Given { overflow: false, busy: true, ..USUAL };
    check("2c without STEP 3", "boston.app.com/distrib=NOW-1", off, "admit", &[505, 510, 515, 520, 522, 588]);
    let no_host = Given { version: Version::HTTP_10, ..american };
    check("2 without Host, marked", "/shop/distrib=NOW-1", no_host, "admit", &[505, 510, 522, 550, 588]);
    check("2 without Host, C7", "/shop", no_host, "boston.app.com/shop/distrib=NOW", &[505, 510, 535, 540]);
}

/// S4-B-3, S4-5B-550, S4-5B-555/560, S4-5B-565/567, S4-5B-590/595, S4-C14, S4-C29: STEP 3, the first Site of an overflow.
#[test]
fn s4_b_3_overflow_begins() {
    let busy = Given { busy: true, ..USUAL };
    let begun: &[u16] = &[505, 510, 515, 520, 522, 550, 555, 565, 567, 590, 595];
    let only: &[u16] = &[505, 510, 515, 520, 522, 550, 555, 565, 567, 570];
    check("not busy", "boston.app.com/distrib=NOW-5", USUAL, "admit", &[505, 510, 515, 520, 522, 550, 588]);
    check(
        "3b the next of the group",
        "boston.app.com/shop/distrib=NOW-5?a=1",
        busy,
        "chicago.app.com/shop/distrib=NOW+boston.app.com+americas.app.com+1?a=1",
        begun,
    );
    check(
        "3b with wraparound",
        "chicago.app.com/distrib=NOW-5",
        Given { at: CHICAGO, proper: AMERICAS, ..busy },
        "boston.app.com/distrib=NOW+chicago.app.com+americas.app.com+1",
        begun,
    );
    check(
        "3b of the proper group",
        "chicago.app.com/distrib=NOW-5",
        Given { at: CHICAGO, proper: EUROPE, ..busy },
        "geneva.app.com/distrib=NOW+chicago.app.com+europe.app.com+1",
        begun,
    );
    check(
        "3a the only one that is up",
        "boston.app.com/distrib=NOW-5",
        Given { up: &[true, true, false], ..busy },
        "busy",
        only,
    );
    check(
        "3b an Initial that is nobody's begins anew",
        "boston.app.com/distrib=NOW-5+gone.app.com++1",
        busy,
        "chicago.app.com/distrib=NOW+boston.app.com+americas.app.com+2",
        &[505, 510, 515, 520, 522, 550, 555, 560, 575, 565, 567, 590, 595],
    );
}

/// S4-B-3, S4-5B-570, S4-5B-575/580/585, S4-5B-590/595, S4-5B-BYPASS, S4-C14, S4-C29: STEP 3, an overflow under way.
#[test]
fn s4_b_3_overflow_goes_on() {
    let busy = Given { busy: true, ..USUAL };
    let ends: &[u16] = &[505, 510, 515, 520, 522, 550, 555, 560, 575, 580, 585, 570];
    let goes_on: &[u16] = &[505, 510, 515, 520, 522, 550, 555, 560, 575, 580, 585, 595];
    check(
        "3c the next is Initial",
        "boston.app.com/distrib=NOW-5+chicago.app.com+americas.app.com+1",
        busy,
        "busy",
        ends,
    );
    let whole = Given { groups: false, ..busy };
    check(
        "3d the next is not, and the timestamp stays",
        "boston.app.com/shop/distrib=NOW-5+geneva.app.com++1?a=1",
        whole,
        "chicago.app.com/shop/distrib=NOW-5+geneva.app.com++2?a=1",
        goes_on,
    );
    check(
        "3c beyond a Site that is down is Initial",
        "boston.app.com/distrib=NOW-5+geneva.app.com++1",
        Given { up: &[true, true, false], ..whole },
        "busy",
        ends,
    );
    check(
        "3c even if that is down",
        "boston.app.com/distrib=NOW-5+chicago.app.com++1",
        Given { up: &[true, true, false], ..whole },
        "busy",
        ends,
    );
    check(
        "it has room: not balanced again",
        "boston.app.com/distrib=NOW-5+geneva.app.com++1",
        Given { busy: false, ..whole },
        "admit",
        &[505, 510, 515, 520, 522, 550, 588],
    );
    check(
        "expired: balanced again",
        "boston.app.com/distrib=NOW-60+geneva.app.com++1",
        whole,
        "app.com/distrib=0+++2",
        &[505, 510, 515, 520, 545, 540],
    );
}

/// S4-5A-GATE, S4-B-FORM: with a session none of it is run, whatever the marker, under any name of the pool's; C13, C7: under
/// another name nothing is a session's.
#[test]
fn s4_5a_gate_before_any_branch() {
    let session = Given { in_session: true, busy: true, proper: EUROPE, ..USUAL };
    for url in ["app.com/", "boston.app.com/", "chicago.app.com/distrib=NOW", "europe.app.com:8080/"] {
        check("in session", url, session, "bypass", &[500]);
    }
    check("HTTP/1.0 without Host", "/", Given { version: Version::HTTP_10, ..session }, "bypass", &[500]);
    check("no Host", "/", session, "400 bad-host", &[505, 510]);
    check("a malformed one", "u@boston.app.com/", session, "400 bad-host", &[505, 510]);
    check("another name", "evil.example/", session, "421 unknown-host", &[505, 510]);
    let coalesced = Given { version: Version::HTTP_2, server_name: Some("boston.app.com"), ..session };
    check("C14 another's name on this connection", "chicago.app.com/", coalesced, "421 misdirected", &[505, 510]);
}

/// C13, C14 and C7: what the pseudo code would send on, and is refused.
#[test]
fn c13_refused() {
    check("C7 HTTP/1.1 without Host", "/", USUAL, "400 bad-host", &[505, 510]);
    check("C13 a name that is nobody's", "evil.example/", USUAL, "421 unknown-host", &[505, 510]);
    let coalesced = Given { version: Version::HTTP_2, server_name: Some("boston.app.com"), ..USUAL };
    check("C14 another's name on this connection", "chicago.app.com/", coalesced, "421 misdirected", &[505, 510]);
    check(
        "C14 its own connection",
        "chicago.app.com/",
        Given { server_name: Some("chicago.app.com"), ..coalesced },
        "boston.app.com/distrib=NOW",
        &[505, 510, 525, 535, 540],
    );
}

/// C16: clocks that never agree end in being served, after as many turns as there are Sites.
#[test]
fn s4_5a_term_hop_limit() {
    check(
        "two turns",
        "boston.app.com/distrib=NOW-99+++2",
        USUAL,
        "app.com/distrib=0+++3",
        &[505, 510, 515, 520, 545, 540],
    );
    check("three", "boston.app.com/distrib=NOW-99+++3", USUAL, "admit despite", &[505, 510, 515, 520, 522, 550, 588]);
    check(
        "counted at 535, too",
        "app.com/distrib=0+++3",
        USUAL,
        "boston.app.com/distrib=NOW+++3",
        &[505, 510, 525, 530, 535, 540],
    );
}
