//! `[health]`, and Sites whose health is stated from outside.

use super::*;
use zerottl_core::model::{Failback, SiteId, WhenExpired};

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
            "f:24:37: error: [site.boston.probe]: `port` means nothing to kind external (take it out, or make the kind http, https, tcp or grpc)",
            "f:24:48: error: [site.boston.probe]: `rise` means nothing to kind external (take it out, or make the kind http, https, tcp or grpc)",
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

/// A Site's own `failback` goes before its pool's.
#[test]
fn failback_is_the_pools_unless_the_site_says_otherwise() {
    let of = |text: &str| {
        let sites = parse("f", text, &examples()).expect("valid").model.sites;
        [sites[0].failback, sites[1].failback]
    };
    assert_eq!(of(BASE), [Failback::Auto; 2]);
    let manual = changed("ttl = 0", "ttl = 0\nfailback = \"manual\"");
    assert_eq!(of(&manual), [Failback::Manual; 2]);
    let own = manual.replacen("weight = 2", "failback = \"auto\"", 1);
    assert_eq!(of(&own), [Failback::Auto, Failback::Manual]);
    check(
        "weight = 2",
        "failback = \"by-hand\"",
        &["f:25:12: error: [site.boston]: `by-hand` is not a value of `failback` (failback is one of auto, manual)"],
    );
}

#[test]
fn depends_on_names_sites() {
    let text = changed("weight = 2", "depends_on = [\"geneva\"]");
    let sites = parse("f", &text, &examples()).expect("valid").model.sites;
    assert_eq!((&sites[0].depends_on[..], &sites[1].depends_on[..]), (&[SiteId(1)][..], &[][..]));
    check(
        "weight = 2",
        "depends_on = [\"genva\", \"geneva\", \"geneva\"]",
        &[
            "f:25:15: error: [site.boston]: there is no Site `genva` (did you mean \"geneva\"?)",
            "f:25:34: error: [site.boston]: `geneva` is listed twice (take one out)",
        ],
    );
    check(
        "weight = 2",
        "depends_on = []",
        &["f:25:14: error: [site.boston]: `depends_on` is empty (name at least one)"],
    );
}

/// A Site that depends on itself, by way of others too, is told with the lines of the whole way.
#[test]
fn no_site_depends_on_itself() {
    check(
        "weight = 2",
        "depends_on = [\"boston\"]",
        &["f:25:15: error: [site.boston]: Site `boston` depends on itself (take one of these out: boston -> boston)"],
    );
    let text = changed("weight = 2", "depends_on = [\"geneva\"]")
        + "depends_on = [\"chicago\"]\n\
        [site.chicago]\nname = \"chicago.app.com\"\naddresses = [\"192.0.2.20\"]\nprobe = { kind = \"http\" }\n\
        depends_on = [\"boston\"]\n";
    let text = text.replacen("sites = [\"geneva\", \"boston\"]", "sites = [\"geneva\", \"boston\", \"chicago\"]", 1);
    let expected = "f:25:15: error: [site.boston]: Site `boston` depends on itself (take one of these out: \
                    boston -> geneva -> chicago -> boston)";
    assert_eq!(lines(&text), [expected]);
    let shown = format!("{:?}", parse("f", &text, &examples()).expect_err("refused"));
    assert_eq!(shown.matches("by way of this").count(), 2, "{shown}");
}
