//! `https` of a pool.

use std::fmt::Write as _;

use super::*;
use zerottl_core::model::Https;

const SECTION: &str = "[pool.\"app.com\".https]";

fn https(line: &str) -> Option<Https> {
    let loaded = parse("f", &changed("ttl = 0", line), &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    loaded.model.pools[0].https.clone()
}

#[test]
fn meaning() {
    let of = |alpn: &[&str], port| Some(Https { alpn: alpn.iter().map(ToString::to_string).collect(), port });
    assert_eq!(https("ttl = 0"), None);
    assert_eq!(https("https = {}"), of(&[], None));
    assert_eq!(https("https = { alpn = [\"h3\", \"h2\"] }"), of(&["h3", "h2"], None));
    assert_eq!(https("https = { alpn = [\"http/1.1\"], port = 8443 }"), of(&["http/1.1"], Some(8443)));
}

#[test]
fn messages() {
    let of = |value: &str, expect: &str| check("ttl = 0", &format!("https = {value}"), &[expect]);
    of("true", &format!("f:15:9: error: {SECTION} must be a table (write {SECTION} once and its keys below it)"));
    of(
        "{ protocols = [\"h2\"] }",
        &format!("f:15:11: error: {SECTION}: unknown key `protocols` (what may stand here: alpn, port)"),
    );
    of("{ alpn = [] }", &format!("f:15:18: error: {SECTION}: `alpn` is empty (name at least one)"));
    let ids = "(give IDs such as \"h2\", \"h3\" or \"http/1.1\")";
    of("{ alpn = [\"\"] }", &format!("f:15:19: error: {SECTION}: `` is not a protocol ID {ids}"));
    of("{ alpn = [\"h 2\"] }", &format!("f:15:19: error: {SECTION}: `h 2` is not a protocol ID {ids}"));
    of(
        "{ alpn = [\"h2\", \"h2\"] }",
        &format!("f:15:25: error: {SECTION}: `h2` stands twice in `alpn` (take one out)"),
    );
    // 64 bytes with a length byte each are taken, one more is not.
    let (fits, over) = ("x".repeat(60), "x".repeat(61));
    assert_eq!(https(&format!("https = {{ alpn = [\"h2\", \"{fits}\"] }}")).expect("on").alpn.len(), 2);
    of(
        &format!("{{ alpn = [\"h2\", \"{over}\"] }}"),
        &format!(
            "f:15:18: error: {SECTION}: `alpn` takes 65 bytes, more than 64 (have fewer protocols: an answer may only be \
             twice its query)"
        ),
    );
    for port in ["0", "65536"] {
        of(
            &format!("{{ port = {port} }}"),
            &format!("f:15:18: error: {SECTION}: `port` is {port}, out of range (give 1 to 65535)"),
        );
    }
}

/// A slot names an HTTPS record in 16 bits: 255 addresses of each family make a pair for every number but 0, and one zone
/// takes the last place.
#[test]
fn too_many_pairs() {
    let with = |v4: usize, https: &str| {
        let mut addresses = String::new();
        for i in 0..255 {
            write!(addresses, "\"2001:db8::{:x}\", ", i + 1).expect("a string takes it");
        }
        for i in 0..v4 {
            write!(addresses, "\"198.18.{}.{}\", ", i / 200, 1 + i % 200).expect("a string takes it");
        }
        let text = changed("addresses = [\"192.0.2.10\"]", &format!("addresses = [{addresses}]"));
        lines(&text.replace("ttl = 0", https)).into_iter().filter(|line| line.contains("HTTPS")).collect::<Vec<_>>()
    };
    // Geneva has a record of its own.
    let error = "f:13:7: error: [pool.\"app.com\"]: more than 65536 HTTPS records in all (give Sites of pools with `https` \
                 fewer addresses: each pair of IPv4 and IPv6 makes a record)";
    assert_eq!(with(254, "https = {}"), Vec::<String>::new());
    assert_eq!(with(256, "https = {}"), [error]);
    assert_eq!(with(256, "ttl = 0"), Vec::<String>::new());
}
