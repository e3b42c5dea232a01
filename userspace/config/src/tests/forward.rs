//! `[forward."…"]` and `transfer_to`: meaning and messages.

use super::*;

const GOOD: &str = "upstreams = [\"192.0.2.53\"]\nclients = [\"10.0.0.0/8\"]\n";

/// [`BASE`] with sections behind it is reported by exactly these lines.
#[track_caller]
fn check_more(more: &str, expect: &[&str]) {
    assert_eq!(lines(&format!("{BASE}\n{more}")), expect);
}

#[test]
fn a_forward_name_means_what_it_says() {
    let text = format!(
        "{BASE}\n[forward.\"Corp.Example\"]\nupstreams = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]\ntimeout = \"200ms\"\n\
         attempts = 3\nclients = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n[forward.\"in.app.com\"]\n{GOOD}"
    );
    let model = parse("f", &text, &examples()).unwrap().model;
    let forward = &model.forwards[0];
    assert_eq!(forward.name.to_string(), "corp.example");
    assert_eq!(forward.upstreams, ["192.0.2.53:53", "[2001:db8::53]:5353"].map(|a| a.parse().unwrap()));
    assert_eq!((forward.timeout.as_millis(), forward.attempts), (200, 3));
    assert_eq!(forward.clients, ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()));
    assert_eq!((model.forwards[1].timeout.as_millis(), model.forwards[1].attempts), (1000, 2));
}

#[test]
fn what_is_missing_or_bad() {
    check_more(
        "[forward.\"corp.example\"]\n",
        &[
            r#"f:32:10: error: [forward."corp.example"] has no `clients` (add `clients = ["10.0.0.0/8"]`)"#,
            r#"f:32:10: error: [forward."corp.example"] has no `upstreams` (add `upstreams = ["192.0.2.53"]`)"#,
        ],
    );
    check_more(
        "[forward.\"corp.example\"]\nupstreams = [\"192.0.2.53\", \"192.0.2.53:53\", \"203.0.113.53\"]\nclients = []\ntimeout = \"11s\"\nattempts = 0\n",
        &[
            r#"f:33:28: error: [forward."corp.example"]: upstream 192.0.2.53:53 is listed twice (take one out)"#,
            r#"f:33:45: error: [forward."corp.example"]: upstream 203.0.113.53:53 is in front.addresses (name another server: a query would go round in circles)"#,
            r#"f:34:11: error: [forward."corp.example"]: `clients` is empty (name at least one)"#,
            r#"f:35:11: error: [forward."corp.example"]: `timeout` is 11s, out of range (give "50ms" to "10s", with the unit ms, s, m or h)"#,
            r#"f:36:12: error: [forward."corp.example"]: `attempts` is 0, out of range (give 1 to 5)"#,
        ],
    );
    check_more(
        "[forward.\"corp.example\"]\nupstreams = [\"192.0.2.53\"]\nclients = [\"10.0.0.1/8\", \"all\", \"::ffff:0.0.0.0/96\"]\n",
        &[
            r#"f:34:12: error: [forward."corp.example"]: `10.0.0.1/8` has bits set after its length (write "10.0.0.0/8")"#,
            r#"f:34:26: error: [forward."corp.example"]: `all` is not an address prefix (give a prefix such as "192.0.2.0/24" or "2001:db8::/32", or an address)"#,
            r#"f:34:33: error: [forward."corp.example"]: ::ffff:0.0.0.0/96 is an IPv4 prefix in IPv6 form (write it as an IPv4 prefix)"#,
        ],
    );
    let many: Vec<_> = (1..=9).map(|i| format!("\"192.0.2.{i}\"")).collect();
    check_more(
        &format!("[forward.\"corp.example\"]\nupstreams = [{}]\nclients = [\"10.0.0.0/8\"]\n", many.join(", ")),
        &[r#"f:33:118: error: [forward."corp.example"]: more than 8 upstreams (name fewer)"#],
    );
}

/// A name that is answered here is not forwarded.
#[test]
fn what_a_forward_name_would_hide() {
    check_more(
        &format!("[forward.\"app.com\"]\n{GOOD}"),
        &[
            r#"f:32:10: error: [forward."app.com"]: app.com is the apex of zone app.com, which is answered here (forward names below app.com, or outside it)"#,
            r#"f:32:10: error: [forward."app.com"]: app.com lies at or below app.com, and is configured (rename the one, or forward another name)"#,
            r#"f:32:10: error: [forward."app.com"]: all.app.com lies at or below app.com, and is configured (rename the one, or forward another name)"#,
            r#"f:32:10: error: [forward."app.com"]: boston.app.com lies at or below app.com, and is configured (rename the one, or forward another name)"#,
            r#"f:32:10: error: [forward."app.com"]: geneva.app.com lies at or below app.com, and is configured (rename the one, or forward another name)"#,
        ],
    );
    check_more(
        &format!("[forward.\"boston.app.com\"]\n{GOOD}"),
        &[
            r#"f:32:10: error: [forward."boston.app.com"]: boston.app.com lies at or below boston.app.com, and is configured (rename the one, or forward another name)"#,
        ],
    );
    // The name server gets an address there.
    check_more(
        &format!("[forward.\"ns1.app.com\"]\n{GOOD}"),
        &[
            r#"f:9:7: error: [zone."app.com"]: zone app.com: ns1.app.com lies at or below ns1.app.com, which is forwarded"#,
        ],
    );
}

#[test]
fn transfers_are_of_static_zones() {
    let text = changed("contact = ", "transfer_to = [\"192.0.2.0/24\"]\ncontact = ");
    assert_eq!(
        lines(&text),
        [
            r#"f:11:15: warning: [zone."app.com"]: app.com has Pool, Group or Site Names and is never transferred (take `transfer_to` out, or keep static records in a zone of their own)"#
        ]
    );
    let more = "[zone.\"static.example\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"a@b.example\"\n";
    check_more(&format!("{more}transfer_to = [\"192.0.2.0/24\"]\n"), &[]);
    check_more(
        &format!("{more}transfer_to = [\"192.0.2.\", \"10.0.0.0/8\", \"10.0.0.0/8\"]\n"),
        &[
            r#"f:35:16: error: [zone."static.example"]: `192.0.2.` is not an address prefix (give a prefix such as "192.0.2.0/24" or "2001:db8::/32", or an address)"#,
            r#"f:35:42: error: [zone."static.example"]: `10.0.0.0/8` stands twice in `transfer_to` (take one out)"#,
        ],
    );
}
