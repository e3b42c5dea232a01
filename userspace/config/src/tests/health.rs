//! `[health]`, and Sites whose health is stated from outside.

use super::*;
use zerottl_core::model::WhenExpired;

/// F-FILE: the file's path is from the configuration's folder, and need not be there.
#[test]
fn f_file_the_file_is_named() {
    assert_eq!(parse("f", BASE, &examples()).expect("valid").model.health_file, None);
    let loaded = parse("f", &format!("{BASE}[health]\nfile = \"nowhere/health\"\n"), &examples()).expect("valid");
    assert_eq!(loaded.model.health_file, Some(examples().join("nowhere/health")));
    assert_eq!(loaded.files, Vec::<PathBuf>::new(), "a change of it is no reload");
    assert_eq!(loaded.warnings.len(), 0);
}

#[test]
fn f_file_external_probes() {
    for (more, expected) in [("", WhenExpired::Down), (", when_expired = \"keep\"", WhenExpired::Keep)] {
        let text = changed("probe = { kind = \"http\" }", &format!("probe = {{ kind = \"external\"{more} }}"));
        let model = parse("f", &text, &examples()).expect("valid").model;
        assert_eq!((model.sites[0].when_expired(), model.sites[1].when_expired()), (Some(expected), None));
    }
}

#[test]
fn messages() {
    let refused = |section: &str, expected: &str| {
        let error = parse("f", &format!("{BASE}[health]\n{section}"), &examples()).expect_err("refused");
        assert_eq!(error.plain(), expected);
    };
    refused("", "f:31:1: error: [health] has no `file` (add `file = \"/run/zerottl/health\"`)");
    let help = "(give a file, such as \"/run/zerottl/health\")";
    refused("file = \"\"", &format!("f:32:8: error: [health]: `file` is not a path {help}"));
    check(
        "kind = \"http\" }\nweight",
        "kind = \"external\", port = 80, rise = 2, path = \"/\", ca = \"x\" }\nweight",
        &[
            "f:24:37: error: [site.boston.probe]: `port` means nothing to kind external (take it out, or make the kind http, https or tcp)",
            "f:24:48: error: [site.boston.probe]: `rise` means nothing to kind external (take it out, or make the kind http, https or tcp)",
            "f:24:58: error: [site.boston.probe]: `path` means nothing to kind external (take it out, or make the kind http or https)",
            "f:24:68: error: [site.boston.probe]: `ca` means nothing to kind external (take it out, or make the kind https)",
        ],
    );
    check(
        "kind = \"http\" }\nweight",
        "kind = \"http\", when_expired = \"up\" }\nweight",
        &[
            "f:24:41: error: [site.boston.probe]: `when_expired` means nothing to kind http (take it out, or make the kind external)",
        ],
    );
}
