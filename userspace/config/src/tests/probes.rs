//! Probes: certificates that they show, gRPC, and several of an address.

use super::*;
use zerottl_core::model::{LoadKind, ProbeKind};

/// The probe of boston with these keys, and what is said of it.
fn probe(keys: &str, expected: &[&str]) {
    check("kind = \"http\" }\nweight", &format!("{keys} }}\nweight"), expected);
}

fn boston(keys: &str) -> (zerottl_core::model::Site, Vec<PathBuf>) {
    let text = changed("probe = { kind = \"http\" }", keys);
    let loaded = parse("f", &text, &examples()).expect("valid");
    (loaded.model.sites[0].clone(), loaded.files)
}

/// The files are from the configuration's folder, and watched.
#[test]
fn certificates_are_shown() {
    let files = ["etcd-client.pem", "etcd-client.key"].map(|file| examples().join(file));
    let keys = "certificate = \"etcd-client.pem\", key = \"etcd-client.key\"";
    let expected = Some(Box::new((files[0].clone(), files[1].clone())));
    let (site, watched) = boston(&format!("probe = {{ kind = \"https\", {keys} }}"));
    let Some(ProbeKind::Http(http)) = site.probes.into_iter().next().map(|probe| probe.kind) else { panic!("a GET") };
    assert_eq!((http.tls.expect("TLS").identity, watched), (expected.clone(), files.to_vec()));
    let (site, watched) = boston(&format!("load = {{ kind = \"https\", {keys} }}\nprobe = {{ kind = \"http\" }}"));
    let Some(LoadKind::Http(_, http)) = site.load.map(|load| load.kind) else { panic!("a GET") };
    assert_eq!((http.tls.expect("TLS").identity, watched), (expected, files.to_vec()));
}

#[test]
fn certificates_that_cannot_be_shown() {
    probe(
        "kind = \"https\", certificate = \"etcd-client.pem\"",
        &["f:24:41: error: [site.boston.probe]: `certificate` and `key` go together (give both, or none of them)"],
    );
    probe(
        "kind = \"https\", certificate = \"probe-ca.pem\", key = \"etcd-client.key\"",
        &[
            "f:24:63: error: [site.boston.probe]: `etcd-client.key` is not the key of `probe-ca.pem`: keys may not be consistent: KeyMismatch (give the key that the certificate was made with, and the certificate before those of its issuers)",
        ],
    );
    probe(
        "kind = \"https\", certificate = \"app.com.zone\", key = \"etcd-client.key\"",
        &[
            "f:24:41: error: [site.boston.probe]: `app.com.zone` holds no certificate (give a PEM file with at least one BEGIN CERTIFICATE)",
        ],
    );
    probe(
        "kind = \"https\", certificate = \"etcd-client.pem\", key = \"app.com.zone\"",
        &[
            "f:24:66: error: [site.boston.probe]: `app.com.zone` cannot be used: no items found (give a PEM file with a BEGIN PRIVATE KEY)",
        ],
    );
    probe(
        "certificate = \"a\", kind = \"http\", key = \"b\"",
        &[
            "f:24:25: error: [site.boston.probe]: `certificate` means nothing to kind http (take it out, or make the kind https)",
            "f:24:51: error: [site.boston.probe]: `key` means nothing to kind http (take it out, or make the kind https)",
        ],
    );
}

#[test]
fn grpc() {
    let of = |keys: &str| {
        let (site, watched) = boston(&format!("probe = {{ kind = \"grpc\", port = 50051{keys} }}"));
        let probe = site.probes.into_iter().next().expect("probed");
        let ProbeKind::Grpc(grpc) = probe.kind else { panic!("a call") };
        (probe.port, grpc.service, grpc.host, grpc.tls.map(|tls| (tls.server_name, tls.verify)), watched.len())
    };
    assert_eq!(of(""), (50051, String::new(), "boston.app.com".into(), None, 0));
    assert_eq!(
        of(", service = \"shop.v1.Cart\", host = \"cart:80\", tls = true, verify = false"),
        (50051, "shop.v1.Cart".into(), "cart:80".into(), Some(("cart".into(), false)), 0)
    );
    let shown = ", tls = true, certificate = \"etcd-client.pem\", key = \"etcd-client.key\"";
    assert_eq!(of(shown).4, 2);
    probe("kind = \"grpc\"", &["f:24:9: error: [site.boston.probe] has no `port` (add `port = 50051`)"]);
    probe(
        "kind = \"grpc\", port = 1, path = \"/\", ca = \"x\", service = \"a b\"",
        &[
            "f:24:43: error: [site.boston.probe]: `path` means nothing to kind grpc (take it out, or make the kind http or https)",
            "f:24:53: error: [site.boston.probe]: `ca` means nothing to kind grpc without TLS (take it out, or say `tls = true`)",
            "f:24:68: error: [site.boston.probe]: `a b` is not the name of a service (give up to 255 printable ASCII characters, such as \"shop.v1.Cart\", or \"\" for the whole server)",
        ],
    );
    probe(
        "kind = \"tcp\", port = 1, service = \"\", tls = true",
        &[
            "f:24:45: error: [site.boston.probe]: `service` means nothing to kind tcp (take it out, or make the kind grpc)",
            "f:24:55: error: [site.boston.probe]: `tls` means nothing to kind tcp (take it out, or make the kind grpc)",
        ],
    );
}

#[test]
fn several() {
    let two = "[{ kind = \"http\" }, { kind = \"grpc\", port = 50051 }]";
    let of = |keys: &str| {
        let (site, _) = boston(keys);
        (site.probes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), site.min_healthy)
    };
    assert_eq!(of(&format!("probe = {two}")), ("http on port 80, grpc on port 50051".into(), 2));
    assert_eq!(of(&format!("min_healthy = 1\nprobe = {two}")), ("http on port 80, grpc on port 50051".into(), 1));
    assert_eq!(of("probe = [{ kind = \"http\" }]"), ("http on port 80".into(), 1));
    assert_eq!(of("probe = { kind = \"http\" }"), ("http on port 80".into(), 1));
    let header = "load = { kind = \"probe-header\" }";
    assert_eq!(of(&format!("{header}\nprobe = {two}")).1, 2, "one of them has a header");
    let refused = |keys: &str, expected: &str| {
        check("probe = { kind = \"http\" }\nweight", &format!("{keys}\nweight"), &[expected]);
    };
    refused("probe = []", "f:24:9: error: [site.boston]: `probe` is empty (name at least one)");
    refused(
        &format!("min_healthy = 3\nprobe = {two}"),
        "f:24:15: error: [site.boston]: `min_healthy` is 3, out of range (give 1 to 2 of the probes)",
    );
    refused(
        "min_healthy = 1\nprobe = { kind = \"http\" }",
        "f:24:15: error: [site.boston]: `min_healthy` means nothing without several probes (take it out, or write [[site.boston.probe]] for each probe)",
    );
    refused(
        "probe = [{ kind = \"http\" }, { kind = \"external\" }]",
        "f:24:38: error: [site.boston.probe]: kind external is not one of several probes (take it out: what is stated to be down is down beside probes, too)",
    );
    refused(
        "probe = [{ kind = \"http\" }, { kind = \"tcp\" }]",
        "f:24:29: error: [site.boston.probe] has no `port` (add `port = 443`)",
    );
    let nine = ["{ kind = \"http\" }"; 9].join(", ");
    refused(&format!("probe = [{nine}]"), "f:24:162: error: [site.boston]: more than 8 probes (name fewer)");
}
