//! `[hook.NAME]`: meaning and messages.

use super::*;
use zerottl_core::model::{EventKind, HookTarget};

/// [`BASE`] with sections behind it is reported by exactly these lines.
#[track_caller]
fn check_more(more: &str, expect: &[&str]) {
    assert_eq!(lines(&format!("{BASE}\n{more}")), expect);
}

#[test]
fn a_hook_means_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nan-older-secret-of-text\n")
        .unwrap();
    let text = format!(
        "{BASE}\n[hook.pager]\nurl = \"https://Hooks.example.com:8443/a?b=c\"\nsecret_file = \"keys\"\n\
         events = [\"site-down\", \"cut-off\"]\ntimeout = \"2s\"\nattempts = 3\nqueue = 7\n\
         [hook.route]\ncommand = [\"/bin/sh\", \"-c\", \"true\"]\n[hook.plain]\nurl = \"http://[::1]\"\n"
    );
    let hooks = parse("f", &text, folder.path()).unwrap().model.hooks;
    let [pager, route, plain] = &hooks[..] else { panic!("{hooks:?}") };
    assert_eq!((&*pager.name, pager.timeout.as_secs(), pager.attempts, pager.queue), ("pager", 2, 3, 7));
    assert_eq!(pager.events, [EventKind::SiteDown, EventKind::CutOff]);
    assert_eq!(pager.target.to_string(), "https://hooks.example.com:8443");
    let HookTarget::Url { server, port, request } = &pager.target else { panic!("a URL") };
    assert_eq!((&**server, *port, &*request.path), ("hooks.example.com", 8443, "/a?b=c"));
    assert_eq!(request.tls.as_ref().map(|tls| (&*tls.server_name, tls.verify)), Some(("hooks.example.com", true)));
    assert_eq!(pager.keys.iter().map(|key| key.0.len()).collect::<Vec<_>>(), [24, 23]);
    assert!(!format!("{pager:?}").contains("older"), "keys are never shown");
    assert!(matches!(&route.target, HookTarget::Command(words) if words.len() == 3));
    assert_eq!((route.events.len(), route.timeout.as_secs(), route.attempts, route.queue), (8, 5, 10, 1_000));
    let HookTarget::Url { server, port, request } = &plain.target else { panic!("a URL") };
    assert_eq!((&**server, *port, &*request.path, &*request.host), ("::1", 80, "/", "[::1]"));
}

#[test]
fn what_is_missing_or_bad() {
    check_more(
        "[hook.a]\n[hook.\"b c\"]\nurl = \"https://x.example/\"\ncommand = [\"/bin/sh\"]\n",
        &[
            r#"f:32:7: error: [hook.a] has no `url` (add `url = "https://hooks.example.com/zerottl"`)"#,
            r#"f:33:7: error: [hook."b c"]: `b c` cannot be the name of a hook (give 1 to 64 letters, digits, -, _ and .)"#,
            r#"f:35:11: error: [hook."b c"]: `url` and `command` exclude each other (take one of them out, or make two hooks)"#,
        ],
    );
    check_more(
        "[hook.a]\nurl = \"http://x.example/\"\nverify = false\nca = \"c\"\nevent = []\nevents = [\"site-dwn\", \"word\", \"word\"]\nattempts = 0\nqueue = 0\ntimeout = 5\n",
        &[
            "f:34:10: error: [hook.a]: `verify` means nothing to an http:// URL (take it out)",
            "f:35:6: error: [hook.a]: `ca` means nothing to an http:// URL (take it out)",
            "f:36:1: error: [hook.a]: unknown key `event` (did you mean `events`?)",
            "f:37:11: error: [hook.a]: `site-dwn` is not a value of `events` (did you mean `site-down`? events is one of site-up, site-down, held-back, word, alarm, alarm-over, cut-off, rejoined)",
            "f:37:31: error: [hook.a]: event `word` is listed twice (take one out)",
            "f:38:12: error: [hook.a]: `attempts` is 0, out of range (give 1 to 100)",
            "f:39:9: error: [hook.a]: `queue` is 0, out of range (give 1 to 100000 events)",
            r#"f:40:11: error: [hook.a]: `timeout` is of a wrong type: integer `5`, expected a string (a duration is a text with its unit: "500ms", "1s", "2m")"#,
        ],
    );
    for (url, message) in [
        ("x.example", "has no scheme"),
        ("ftp://x.example", "is neither http:// nor https://"),
        ("https://x y/", "has no host"),
        ("https://x/a b", "has a path with a space, a # or a letter that is not ASCII"),
        ("https://x:0/", "has no port of 1 to 65535"),
    ] {
        let line = format!(
            "f:33:7: error: [hook.a]: the URL {message} (give \"https://hooks.example.com/zerottl\" or \"http://[::1]:8080/\")"
        );
        check_more(&format!("[hook.a]\nurl = \"{url}\"\n"), &[&line]);
    }
    check_more(
        "[hook.a]\nurl = \"https://me:secret@x.example/\"\n",
        &["f:33:7: error: [hook.a]: the URL has a user (take it out: a receiver knows its sender by `secret_file`)"],
    );
}

#[test]
fn commands_are_programs() {
    check_more(
        "[hook.a]\ncommand = [\"route.sh\"]\nsecret_file = \"admin-token\"\n[hook.b]\ncommand = [\"/no/such\"]\n[hook.c]\ncommand = []\n",
        &[
            r#"f:33:12: error: [hook.a]: `route.sh` is not an absolute path (name the program by its whole path, such as ["/etc/zerottl/route.sh"])"#,
            "f:34:15: error: [hook.a]: `secret_file` means nothing to a command (take it out)",
            "f:38:11: error: [hook.c]: `command` is empty (name at least one)",
            "f:36:12: warning: [hook.b]: `/no/such` is no program that can be run (put it there before the agent starts, with `chmod +x`)",
        ],
    );
}

#[test]
fn secrets_are_of_a_length_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let help = "(one secret a line, the newest first, at most two: \"whsec_\" and base64, or 16 to 1024 bytes of text)";
    for (text, what) in [
        ("", "there is no secret in it"),
        ("short", "line 1 is a key of 5 bytes"),
        ("\nwhsec_*", "line 2 is not base64"),
        ("0123456789abcdef\n0123456789abcdef\n0123456789abcdef\n", "more than 2 secrets"),
    ] {
        fs::write(folder.path().join("keys"), text).unwrap();
        let file = format!("{BASE}\n[hook.a]\nurl = \"https://x.example\"\nsecret_file = \"keys\"\n");
        let error = parse("f", &file, folder.path()).unwrap_err();
        let said: Vec<_> = error.problems().iter().map(Problem::line).collect();
        assert_eq!(said, [format!("f:34:15: error: [hook.a]: `secret_file` `keys`: {what} {help}")]);
    }
}
