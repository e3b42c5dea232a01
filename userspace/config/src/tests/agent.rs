//! `[agent]`.

use std::time::Duration;

use super::*;
use zerottl_core::model::{Life, OnStale, OnStop};

#[test]
fn defaults_and_values() {
    assert_eq!(parse("f", BASE, &examples()).expect("valid").model.life, Life::default());
    let section = "[agent]\npins = \"/run/bpf/two\"\non_stop = \"keep\"\nmax_plan_age = \"2m\"\non_stale = \"fail-open\"\n\
                   watch = true\n";
    let life = parse("f", &format!("{BASE}{section}"), &examples()).expect("valid").model.life;
    let expected = Life {
        pins: "/run/bpf/two".into(),
        on_stop: OnStop::Keep,
        max_plan_age: Some(Duration::from_mins(2)),
        on_stale: OnStale::FailOpen,
        watch: true,
    };
    assert_eq!(life, expected);
}

/// The one line that a section is refused with.
#[track_caller]
fn refused(line: &str, expected: &str) {
    let error = parse("f", &format!("{BASE}[agent]\n{line}\n"), &examples()).expect_err("refused");
    assert_eq!(error.plain(), expected);
}

#[test]
fn messages() {
    let help = "(give an absolute path on a bpffs, without dots, such as \"/sys/fs/bpf/zerottl\")";
    for (path, shown) in [("pins", "pins"), ("/sys/fs/bpf/a.b", "/sys/fs/bpf/a.b"), ("/", "/"), ("/a/../b", "/a/../b")]
    {
        refused(
            &format!("pins = \"{path}\""),
            &format!("f:32:8: error: [agent]: `{shown}` cannot be a folder for pins {help}"),
        );
    }
    refused(
        "max_plan_age = \"500ms\"",
        "f:32:16: error: [agent]: `max_plan_age` is 500ms, out of range (give \"1s\" to \"24h\", with the unit ms, s, m or h)",
    );
    refused(
        "on_stale = \"servfail\"",
        "f:32:12: error: [agent]: `on_stale` without `max_plan_age` (say from which age on a plan is stale, such as \
         max_plan_age = \"30s\")",
    );
    refused(
        "on_stop = \"kepe\"",
        "f:32:11: error: [agent]: `kepe` is not a value of `on_stop` (did you mean `keep`? on_stop is one of detach, keep)",
    );
}
