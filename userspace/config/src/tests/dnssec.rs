//! `[zone."…"] dnssec`: meaning and messages.

use std::time::Duration;

use super::*;
use zerottl_core::model::{DnssecConfig, ZoneAlgorithm};

const HOUR: Duration = Duration::from_hours(1);

fn with(dnssec: &str) -> String {
    changed("contact = ", &format!("dnssec = {dnssec}\ncontact = "))
}

fn read(dnssec: &str) -> Option<DnssecConfig> {
    let loaded = parse("f", &with(dnssec), &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    loaded.model.zones[0].dnssec.clone()
}

#[test]
fn a_word_or_a_table() {
    assert_eq!(read("false"), None);
    assert_eq!(read("true"), Some(DnssecConfig::default()));
    assert_eq!(read("{}"), Some(DnssecConfig::default()), "a table of defaults");
    let short =
        read("{ algorithm = \"ed25519\", split_keys = true, validity = \"8h\", parent_ttl = \"1h\" }").expect("signed");
    assert_eq!((short.algorithm, short.split_keys), (ZoneAlgorithm::Ed25519, true));
    assert_eq!((short.validity, short.renew, short.signature_alarm), (8 * HOUR, 2 * HOUR, 3 * HOUR));
    assert_eq!(short.parent_ttl, HOUR);
    let bundle = read("{ bundle = \"app.bundle\", signature_alarm = \"100h\" }").expect("signed");
    // It need not be there, and its alarm may be earlier than signatures of one period last.
    assert_eq!(bundle.bundle, Some(examples().join("app.bundle")));
    assert_eq!(bundle.signature_alarm, 100 * HOUR);
}

#[track_caller]
fn refused(dnssec: &str, expected: &str) {
    let error = parse("f", &with(dnssec), &examples()).expect_err("refused");
    let lines: Vec<_> = error.problems().iter().map(Problem::line).filter(|line| line.contains(": error: ")).collect();
    let said = lines.join("\n");
    assert!(lines.len() == 1 && said.contains(expected), "{dnssec}: {said}");
}

#[test]
fn faults_are_told() {
    refused("\"yes\"", "`dnssec`");
    refused("{ algorithm = \"rsasha256\" }", "`rsasha256` is not a value of `algorithm`");
    refused("{ validity = \"1h\" }", "`validity` is 1h, out of range (give \"6h\" to \"2160h\"");
    refused("{ parent_ttl = \"0s\" }", "`parent_ttl` is 0s, out of range (give \"1s\" to \"720h\"");
    refused("{ renew = \"49h\" }", "`renew` 49h is over half of `validity` 96h (give a `renew` of at most 48h");
    refused(
        "{ signature_alarm = \"72h\" }",
        "every signature comes to that (give less than 72h: `validity` less `renew`)",
    );
    refused("{ keys = [\"none.key\"] }", "cannot read `keys` file `none.key`");
    refused("{ keys = [\"appendix-a.toml\"] }", "appendix-a.toml.key: No such file or directory");
    refused("{ key = [] }", "`key`");
    // D-BUNDLE: what is about keys has no place where there are none.
    for key in ["algorithm = \"ed25519\"", "split_keys = false", "keys = [\"none.key\"]"] {
        let word = key.split(' ').next().expect("a key");
        refused(
            &format!("{{ bundle = \"app.bundle\", {key} }}"),
            &format!("`{word}` beside `bundle`, which has the signatures of keys on another host (take `{word}` out"),
        );
    }
    let one_role = with("true").replacen("[front]", "[front]\nroles = [\"failover\"]", 1);
    let error = parse("f", &one_role, &examples()).expect_err("refused");
    let said: Vec<_> = error.problems().iter().map(Problem::line).collect();
    assert!(said.iter().any(|line| line.contains("a signed zone needs a machine with both roles")), "{said:?}");
}
