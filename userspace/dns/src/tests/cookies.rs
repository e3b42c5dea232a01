//! Cookies, as a client sees them (RFC 7873, RFC 9018).

use xdp_ebpf::cookie::Secret;

use super::{BOTH, Bench, ask, bytes_of};
use zerottl_core::model::EdnsConfig;

/// The secret of RFC 9018's Appendix A.1 to A.3.
pub const PRESENT: Secret = Secret::new(0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes());
/// Appendix A.4's secret before its present one.
pub const PREVIOUS: Secret = Secret::new(0xdd3b_df93_44b6_78b1_85a6_f5cb_60fc_a715_u128.to_be_bytes());
/// Appendix A.4's present secret.
const ROLLED: Secret = Secret::new(0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes());

/// Appendix A.1's client.
const CLIENT: &str = "198.51.100.100";
const OWN: &str = "2464c4abcf10c957";
/// Made at [`MADE`].
const FIRST: &str = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
const MADE: u32 = 1_559_731_985;
/// Made at [`LATER`].
const NEXT: &str = "2464c4abcf10c957010000005cf7a871d4a564a1442aca77";
const LATER: u32 = 1_559_734_385;

const DATA: &str = "NOERROR aa | app.com 0 A 192.0.2.10 |  |  | opt 1232";
const MALFORMED: &str = "FORMERR |  |  |  | opt 1232";

/// Returns the cookie that one is answered with at `now`, the answer itself being the usual one.
#[track_caller]
fn cookie_for(bench: &Bench, sent: &str, client: &str, now: u32) -> String {
    let shown = bench.shown(&ask(&format!("app.com A +o=10:{sent}")), client, now);
    shown.strip_prefix(&format!("{DATA} 10:")).unwrap_or_else(|| panic!("{sent}: {shown}")).to_owned()
}

#[track_caller]
fn check(description: &str, sent: &str, client: &str, now: u32, expected: &str) {
    assert_eq!(cookie_for(&Bench::new(BOTH), sent, client, now), expected, "{description}: {sent}");
}

/// The seconds of a cookie's time stamp.
fn time_of(cookie: &str) -> u32 {
    assert_eq!((cookie.len(), &cookie[16..24]), (48, "01000000"), "version 1, reserved zero: {cookie}");
    u32::from_str_radix(&cookie[24..32], 16).unwrap()
}

/// RFC 9018 Appendix A.1 to A.4, message for message.
#[test]
fn rfc9018_appendix_a() {
    check("A.1", OWN, CLIENT, MADE, FIRST);
    check("A.2", FIRST, CLIENT, LATER, NEXT);
    check(
        "A.3: over an hour old",
        "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
        "203.0.113.203",
        1_559_734_700,
        "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
    );
    let rolled = Bench::with(BOTH, |model, _| {
        let secrets = model.edns.cookies.as_mut().unwrap();
        (secrets.present, secrets.previous) = (ROLLED, Some(PREVIOUS));
    });
    let sent = "22681ab97d52c298010000005cf7c57926556bd0934c72f8";
    let found = cookie_for(&rolled, sent, "2001:db8:220:1:59de:d0f4:8769:82b8", 1_559_741_961);
    assert_eq!(found, "22681ab97d52c298010000005cf7c609a6bb79d16625507a", "A.4");
}

/// RFC 9018 section 4.3: accepted for an hour and five minutes ahead, renewed after half an hour.
#[test]
fn time_stamps() {
    let bench = Bench::new(BOTH);
    for (age, same) in
        [(0, true), (1, true), (1800, true), (1801, false), (3600, false), (3601, false), (-1, false), (-300, false)]
    {
        let now = MADE.wrapping_add_signed(age);
        let found = cookie_for(&bench, FIRST, CLIENT, now);
        assert_eq!(found == FIRST, same, "{age} s: {found}");
        assert_eq!(time_of(&found), if same { MADE } else { now }, "{age} s");
        assert_eq!(cookie_for(&bench, &found, CLIENT, now), found, "{age} s: what it is given, it takes");
    }
    for now in [0, u32::MAX, MADE - 86_400, MADE.wrapping_add(1 << 31)] {
        let found = cookie_for(&bench, FIRST, CLIENT, now);
        assert_eq!(time_of(&found), now, "a clock step only renews");
    }
}

/// Without a question it shows which cookies are taken for ours (RFC 7873 section 5.4).
#[test]
fn without_a_question() {
    let bench = Bench::new(BOTH);
    let asked = |option: &str, client: &str, now: u32| {
        let mut query = b"\x12\x34\x01\0\0\0\0\0\0\0\0\x01\0\0\x29\x04\xd0\0\0\0\0".to_vec();
        let option = bytes_of(option);
        query.extend((option.len() as u16).to_be_bytes());
        query.extend(option);
        bench.shown(&query, client, now)
    };
    let cookie = |data: &str| format!("000a{:04x}{data}", data.len() / 2);
    let no_error = "NOERROR |  |  |  | opt 1232";
    assert_eq!(asked(&cookie(OWN), CLIENT, MADE), format!("{no_error} 10:{FIRST}"));
    assert_eq!(asked(&cookie(FIRST), CLIENT, MADE + 1800), format!("{no_error} 10:{FIRST}"));
    assert_eq!(asked(&cookie(FIRST), CLIENT, LATER), format!("{no_error} 10:{NEXT}"));
    assert!(asked(&cookie(FIRST), CLIENT, MADE + 3600).starts_with(no_error));
    assert!(asked(&cookie(FIRST), CLIENT, MADE - 300).starts_with(no_error));
    let bad = "BADCOOKIE |  |  |  | opt 1232 10:";
    assert!(asked(&cookie(FIRST), CLIENT, MADE + 3601).starts_with(bad));
    assert!(asked(&cookie(FIRST), CLIENT, MADE - 301).starts_with(bad));
    assert!(asked(&cookie(FIRST), "198.51.100.101", MADE).starts_with(bad));
    assert!(asked(&cookie(&format!("{OWN}0102030405060708")), CLIENT, MADE).starts_with(bad));
    assert_eq!(asked(&format!("{}00030000", cookie(OWN)), CLIENT, MADE), format!("{no_error} 3:6c6231 10:{FIRST}"));
    assert_eq!(asked("00030000", CLIENT, MADE), format!("{MALFORMED} 3:6c6231"), "no cookie");
    assert_eq!(asked("", CLIENT, MADE), MALFORMED, "no option");
    assert_eq!(asked(&cookie("01"), CLIENT, MADE), MALFORMED, "no legal cookie");
}

/// RFC 7873 section 5.2.2: 8 bytes, or 16 to 40; the answer to what is not a server cookie of ours is a new one.
#[test]
fn lengths() {
    let bench = Bench::new(BOTH);
    for len in 0..=64 {
        let sent = format!("{FIRST}{}", "00".repeat(40)).split_at(2 * len).0.to_owned();
        let shown = bench.shown(&ask(&format!("app.com A +o=10:{sent}")), CLIENT, MADE);
        let expected =
            if len == 8 || (16..=40).contains(&len) { format!("{DATA} 10:{FIRST}") } else { MALFORMED.into() };
        assert_eq!(shown, expected, "{len} bytes");
    }
}

/// RFC 7873 section 5.2.4: a wrong server cookie gets the usual answer and a fresh cookie; in both families.
#[test]
fn wrong_cookies() {
    let now = MADE + 1;
    for client in [CLIENT, "2001:db8::100"] {
        let bench = Bench::new(BOTH);
        let old = cookie_for(&bench, OWN, client, MADE);
        assert_eq!(cookie_for(&bench, &old, client, now), old);
        let fresh = cookie_for(&bench, OWN, client, now);
        assert_ne!(fresh, old);
        for at in 8..24 {
            let mut bytes = bytes_of(&old);
            bytes[at] ^= 1;
            let sent = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            assert_eq!(cookie_for(&bench, &sent, client, now), fresh, "byte {at} changed");
        }
        for other in ["198.51.100.101", "2001:db8::101"] {
            let found = cookie_for(&bench, &old, other, now);
            assert_eq!(found, cookie_for(&bench, OWN, other, now), "of another client");
            assert_ne!(found, fresh);
        }
    }
}

/// A cookie of the previous secret is accepted, and exchanged however young it is; one of an older secret is not.
#[test]
fn secrets_roll_over() {
    let with = |present, previous| {
        Bench::with(BOTH, |model, _| {
            let secrets = model.edns.cookies.as_mut().unwrap();
            (secrets.present, secrets.previous) = (present, previous);
        })
    };
    for client in [CLIENT, "2001:db8::100"] {
        let old = cookie_for(&with(PREVIOUS, None), OWN, client, MADE);
        let new = cookie_for(&with(PRESENT, None), OWN, client, MADE);
        assert_ne!(old, new);
        assert_eq!(cookie_for(&with(PRESENT, Some(PREVIOUS)), &old, client, MADE), new, "accepted and exchanged");
        assert_eq!(cookie_for(&with(PRESENT, Some(PREVIOUS)), &new, client, MADE), new);
        assert_eq!(cookie_for(&with(PRESENT, Some(ROLLED)), &old, client, MADE), new, "not accepted, and exchanged");
    }
    let query = {
        let mut query = b"\x12\x34\x01\0\0\0\0\0\0\0\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x1c\0\x0a\0\x18".to_vec();
        query.extend(bytes_of(&cookie_for(&with(PREVIOUS, None), OWN, CLIENT, MADE)));
        query
    };
    let rcode = |bench: &Bench| bench.shown(&query, CLIENT, MADE).split(' ').next().unwrap().to_owned();
    assert_eq!(rcode(&with(PRESENT, Some(PREVIOUS))), "NOERROR");
    assert_eq!(rcode(&with(PRESENT, Some(ROLLED))), "BADCOOKIE");
    assert_eq!(rcode(&with(PRESENT, None)), "BADCOOKIE");
}

/// Whatever the rcode, and over TCP.
#[test]
fn every_answer_carries_one() {
    let bench = Bench::new(BOTH);
    for (question, rcode) in [
        ("app.com HTTPS", "NOERROR"),
        ("nothing.app.com A", "NXDOMAIN"),
        ("example.org A", "REFUSED"),
        ("chicago.app.com A", "SERVFAIL"),
        ("app.com AXFR", "NOTIMP"),
        ("app.com A class=254", "REFUSED"),
    ] {
        let shown = bench.shown(&ask(&format!("{question} +o=10:{FIRST}")), CLIENT, MADE);
        assert!(shown.starts_with(rcode) && shown.ends_with(&format!("opt 1232 10:{FIRST}")), "{question}: {shown}");
    }
    let mut query = ask(&format!("app.com A +o=10:{FIRST}"));
    let answer = bench.tcp(&query).unwrap();
    assert!(super::show(&query, &answer).starts_with(&format!("{DATA} 10:{OWN}01000000")));
    query[2] = 2 << 3;
    let shown = bench.shown(&query, CLIENT, MADE);
    assert_eq!(shown, format!("NOTIMP |  |  |  | opt 1232 10:{FIRST}"));
}

#[test]
fn turned_off() {
    let bench = Bench::with(BOTH, |model, _| model.edns = EdnsConfig { cookies: None, ..model.edns.clone() });
    for sent in ["", "01", OWN, FIRST] {
        assert_eq!(bench.shown(&ask(&format!("app.com A +o=10:{sent}")), CLIENT, MADE), DATA, "unread: {sent:?}");
    }
    let mut query = ask(&format!("app.com A +o=10:{OWN}"));
    query.drain(12..12 + 13);
    query[5] = 0;
    assert_eq!(bench.shown(&query, CLIENT, MADE), MALFORMED, "without a question it means nothing");
}
