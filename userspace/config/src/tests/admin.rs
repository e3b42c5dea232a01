//! `[admin]`: where it listens and who may ask.

use std::os::unix::fs::PermissionsExt;

use super::*;
use zerottl_core::model::{Admin, AdminListen};

const LISTEN: &str = "listen = \"127.0.0.1:8053\"";

fn folder(token: &str, mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, token).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("set");
    folder
}

fn with_token(section: &str, token: &str) -> Result<Admin, Vec<String>> {
    let folder = folder(token, 0o640);
    match parse("f", &changed(LISTEN, section), folder.path()) {
        Ok(loaded) => Ok(loaded.model.admin),
        Err(error) => Err(error.problems().iter().map(Problem::line).collect()),
    }
}

#[test]
fn one_place_or_several() {
    let places = |section: &str| -> Vec<String> {
        let loaded = parse("f", &changed(LISTEN, section), &examples()).unwrap_or_else(|e| panic!("{}", e.plain()));
        loaded.model.admin.listen.iter().map(AdminListen::to_string).collect()
    };
    assert_eq!(places("listen = \"[::1]:8053\""), ["[::1]:8053"]);
    assert_eq!(places("listen = \"unix:/run/zerottl/admin.sock\""), ["unix:/run/zerottl/admin.sock"]);
    let both = "listen = [\"127.0.0.1:8053\", \"unix:/run/zerottl/admin.sock\"]";
    assert_eq!(places(both), ["127.0.0.1:8053", "unix:/run/zerottl/admin.sock"]);
}

#[test]
fn places_that_cannot_be() {
    let help =
        r#"(give both, such as "127.0.0.1:8053" or "[::1]:8053", or a socket, such as "unix:/run/zerottl/admin.sock")"#;
    check("127.0.0.1:8053", "8053", &[&format!("f:7:10: error: [admin]: `8053` is not an address and a port {help}")]);
    check(
        "127.0.0.1:8053",
        "unix:admin.sock",
        &[&format!("f:7:10: error: [admin]: the path in `unix:admin.sock` does not start with / {help}")],
    );
    check(
        "127.0.0.1:8053",
        &format!("unix:/{}", "a".repeat(107)),
        &["f:7:10: error: [admin]: the socket's path has 108 bytes (Linux takes at most 107)"],
    );
    check(LISTEN, "listen = []", &["f:7:10: error: [admin]: `listen` is empty (name at least one)"]);
    check(
        LISTEN,
        "listen = [\"127.0.0.1:1\", \"127.0.0.1:1\"]",
        &["f:7:26: error: [admin]: `127.0.0.1:1` is listed twice (take one out)"],
    );
    let nine: Vec<_> = (1..=9).map(|port| format!("\"[::1]:{port}\"")).collect();
    check(
        LISTEN,
        &format!("listen = [{}]", nine.join(",")),
        &["f:7:91: error: [admin]: more than 8 places to listen on (name fewer)"],
    );
    check(
        LISTEN,
        "listen = 8053",
        &["f:7:10: error: [admin]: `listen` is of a wrong type: integer `8053`, expected a text or a list of texts"],
    );
}

/// Never open by default: what other machines can reach asks for a token.
#[test]
fn a_place_that_others_reach_needs_a_token() {
    for place in ["0.0.0.0:8053", "[::]:8053", "192.0.2.1:8053"] {
        let expect = format!(
            "f:7:10: error: [admin]: `{place}` can be reached from other machines, and there is no `token_file` (give a \
             token_file, as `openssl rand -hex 32` makes it, or listen on loopback or a Unix socket)"
        );
        check("127.0.0.1:8053", place, &[&expect]);
    }
    let section = "listen = \"192.0.2.1:8053\"\ntoken_file = \"token\"";
    let admin = with_token(section, "correct-horse-battery\n").expect("valid");
    assert!(admin.token.is_some_and(|token| token.is(b"correct-horse-battery")));
    assert_eq!(admin.listen.len(), 1);
}

#[test]
fn tokens_that_are_none() {
    let check = |token: &str, why: &str| {
        let lines = with_token("listen = \"127.0.0.1:8053\"\ntoken_file = \"token\"", token).expect_err(token);
        let help = "(one word of 16 to 256 printable ASCII characters, as `openssl rand -hex 32` makes it)";
        assert_eq!(lines, [format!("f:8:14: error: [admin]: `token_file` `token`: {why} {help}")]);
    };
    check("", "the token does not have 16 to 256 characters");
    check("short", "the token does not have 16 to 256 characters");
    check(&"a".repeat(257), "the token does not have 16 to 256 characters");
    check("two words that are long enough", "the token is not one word of printable ASCII");
    let missing = with_token("token_file = \"none\"", "").expect_err("there is no such file");
    assert!(missing[0].starts_with("f:7:14: error: [admin]: cannot read `token_file` file `none`: "), "{missing:?}");
}

#[test]
fn a_token_that_everybody_can_read_is_told() {
    let folder = folder("correct-horse-battery", 0o644);
    let text = changed(LISTEN, "listen = \"127.0.0.1:8053\"\ntoken_file = \"token\"");
    let loaded = parse("f", &text, folder.path()).expect("valid");
    let lines: Vec<_> = loaded.warnings.iter().map(Problem::line).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("[admin]: every user of this machine can read `token`"), "{lines:?}");
    assert!(!lines[0].contains("correct-horse"), "{lines:?}");
}
