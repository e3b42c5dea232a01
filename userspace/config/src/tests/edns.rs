//! `[edns]` and `[chaos]`.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

use xdp_ebpf::cookie::Secret;

use super::*;
use zerottl_core::model::CookieSecrets;

const FIRST: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
const SECOND: &str = "445536BCD2513298075A5D379663C962";
const HELP: &str = "(one secret of 32 hexadecimal digits a line, at most two, as `openssl rand -hex 16` makes them)";

/// [`BASE`] and these sections, beside a secrets file.
fn with_secrets(sections: &str, secrets: &[u8], mode: u32) -> (Result<Loaded, ConfigError>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("secrets");
    fs::write(&path, secrets).expect("written");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    (parse("f", &format!("{BASE}{sections}"), dir.path()), dir)
}

fn secrets(text: &str) -> CookieSecrets {
    let (loaded, _dir) = with_secrets("[edns]\ncookie_secret_file = \"secrets\"\n", text.as_bytes(), 0o640);
    let loaded = loaded.unwrap_or_else(|error| panic!("{}", error.plain()));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    loaded.model.edns.cookies.expect("on")
}

/// The one line that a secrets file is refused with; and no form of the error has a line of that file.
#[track_caller]
fn refused(text: &[u8], expected: &str) {
    let (result, _dir) = with_secrets("[edns]\ncookie_secret_file = \"secrets\"\n", text, 0o640);
    let error = result.expect_err("refused");
    assert_eq!(error.plain(), format!("f:32:22: error: [edns]: `cookie_secret_file` `secrets`{expected} {HELP}"));
    for shown in [error.plain(), error.render(false), error.to_json().to_string(), format!("{error:?}")] {
        let shown = shown.to_ascii_lowercase();
        assert!(!shown.contains("e5e973") && !shown.contains("445536"), "{shown}");
    }
}

#[test]
fn defaults() {
    let model = || parse("f", BASE, &examples()).expect("valid").model;
    let edns = model().edns;
    assert!(edns.client_subnet && edns.nsid.is_none());
    let cookies = edns.cookies.expect("on");
    assert!(cookies.previous.is_none());
    assert_ne!(cookies.present, model().edns.cookies.expect("on").present, "a random secret each time");
    let chaos = model().chaos;
    assert!(chaos.version.is_none() && chaos.id.is_none());
    let off = parse("f", &format!("{BASE}[edns]\ncookies = false\nclient_subnet = false\n"), &examples());
    let off = off.expect("valid").model.edns;
    assert!(off.cookies.is_none() && !off.client_subnet);
}

#[test]
fn the_reference_means_what_it_says() {
    let model = load(&examples().join("reference.toml")).expect("valid").model;
    assert_eq!(model.edns.nsid.as_deref(), Some("lb1.geneva"));
    assert_eq!((model.chaos.version.as_deref(), model.chaos.id.as_deref()), (Some("zerottl"), Some("lb1.geneva")));
    let cookies = model.edns.cookies.expect("on");
    let first = Secret::new(0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes());
    assert_eq!(cookies.present, first);
    assert!(cookies.previous.is_some());
    assert!(!format!("{cookies:?}").contains("e5e9"), "secrets are not printed");
}

/// F-SECRET: the first secret makes cookies, unless another that is accepted is to.
#[test]
fn secrets_files() {
    let first = Secret::new(0xe5e9_73e5_a6b2_a43f_48e7_dc84_9e37_bfcf_u128.to_be_bytes());
    let second = Secret::new(0x4455_36bc_d251_3298_075a_5d37_9663_c962_u128.to_be_bytes());
    let one = CookieSecrets { present: first, previous: None, is_shared: true };
    let two = CookieSecrets { present: first, previous: Some(second), is_shared: true };
    assert_eq!(secrets(FIRST), one);
    assert_eq!(secrets(&format!("{FIRST}\n{SECOND}\n")), two);
    let turned = CookieSecrets { present: second, previous: Some(first), is_shared: true };
    assert_eq!(two.making(|secret| *secret == second), Some(turned), "both are still accepted");
    assert_eq!((two.making(|secret| *secret == first), one.making(|secret| *secret == second)), (Some(two), None));
    assert_eq!(secrets(&format!("{SECOND}\r\n{FIRST}\r\n")).present, second);
    assert_eq!(secrets(&format!("# one\n\n  {FIRST} # makes\n#{SECOND}\n\t\n{SECOND}#before")), two);
}

#[test]
fn bad_secrets_files() {
    refused(b"", ": there is no secret in it");
    refused(b"# none\n\n", ": there is no secret in it");
    refused(&FIRST.as_bytes()[..31], ", line 1: 31 characters instead of 32 hexadecimal digits");
    refused(format!("{FIRST}0").as_bytes(), ", line 1: 33 characters instead of 32 hexadecimal digits");
    refused(
        format!("\n{FIRST}\n{FIRST} {SECOND}").as_bytes(),
        ", line 3: 65 characters instead of 32 hexadecimal digits",
    );
    refused(format!("{FIRST}\n+{}", &SECOND[1..]).as_bytes(), ", line 2: not only hexadecimal digits");
    refused(format!("{}g", &FIRST[..31]).as_bytes(), ", line 1: not only hexadecimal digits");
    refused(format!("{FIRST}\n{SECOND}\n#\n{FIRST}").as_bytes(), ", line 4: more than 2 secrets");
    refused(&[FIRST.as_bytes(), b"\n\xff"].concat(), ": it is not UTF-8");
    refused(&b"#".repeat(65_537), ": it is longer than 64 KiB");
}

#[test]
fn secrets_files_that_are_not_there() {
    let line = |path: &str| {
        let error = parse("f", &format!("{BASE}[edns]\ncookie_secret_file = \"{path}\"\n"), Path::new("/nowhere"));
        error.expect_err("refused").plain()
    };
    let missing = line("none");
    assert!(
        missing.starts_with("f:32:22: error: [edns]: cannot read `cookie_secret_file` file `none`: No such file"),
        "{missing}"
    );
    assert!(missing.contains("looked for /nowhere/none"), "{missing}");
    assert!(line("/dev/null").contains("it is not a file"));
}

#[test]
fn secrets_that_everyone_can_read_or_nobody_uses() {
    let warned = |sections: &str, mode| {
        let (loaded, dir) = with_secrets(sections, FIRST.as_bytes(), mode);
        let base_dir = dir.path().display().to_string();
        let loaded = loaded.expect("valid");
        loaded.warnings.iter().map(|problem| problem.line().replace(&base_dir, "DIR")).collect::<Vec<_>>()
    };
    let section = "[edns]\ncookie_secret_file = \"secrets\"\n";
    assert_eq!(
        warned(section, 0o604),
        [
            "f:32:22: warning: [edns]: every user of this machine can read `secrets` (`chmod o-r DIR/secrets`; whoever knows the secrets can forge cookies)"
        ]
    );
    assert!(warned(section, 0o640).is_empty());
    assert_eq!(
        warned(&format!("{section}cookies = false\n"), 0o600),
        [
            "f:32:22: warning: [edns]: `cookie_secret_file` has no use while `cookies` is false (take one of the two out)"
        ]
    );
}

#[test]
fn texts_have_limits() {
    let lines = |sections: &str| lines(&format!("{BASE}{sections}"));
    for (section, key, max) in [("edns", "nsid", 24), ("chaos", "version", 255), ("chaos", "id", 255)] {
        let text = |len| format!("[{section}]\n{key} = \"{}\"\n", "x".repeat(len));
        assert_eq!(lines(&text(1)), [""; 0]);
        assert_eq!(lines(&text(max)), [""; 0]);
        for len in [0, max + 1] {
            let expected = format!(
                "f:32:{}: error: [{section}]: `{key}` has {len} bytes (give a text of 1 to {max} bytes, or take `{key}` out)",
                key.len() + 4
            );
            assert_eq!(lines(&text(len)), [expected]);
        }
    }
    assert_eq!(lines("[edns]\nnsid = 1\ncookies = \"yes\"\n").len(), 2, "wrong types are reported as everywhere");
    assert_eq!(
        lines("[edns]\ncookie = true\n"),
        ["f:32:1: error: [edns]: unknown key `cookie` (did you mean `cookies`?)"]
    );
    let error = lines("[chaos]\nname = \"x\"\n");
    assert_eq!(error, ["f:32:1: error: [chaos]: unknown key `name` (what may stand here: version, id)"]);
}
