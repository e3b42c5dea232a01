//! etcd over TLS, by a client's certificate and a user.

use std::{fs, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use serde_json::json;
use tests::{
    addresses::peer_v4,
    config::Config,
    etcd::{Etcd, SECURE_PORT, SecureClients},
    fleet::FleetScene,
    lab::{Lab, LabSpec, can_run},
    process::eventually,
    scratch::folder,
};

use super::{IN_FORCE, PATIENCE, alarms, clients, fronts, page, say, until};

/// Writes an authority's certificate, one of the nodes and one of their clients, signed by it.
fn certificates(folder: &Path) -> SecureClients {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "fleet");
    let key = KeyPair::generate().expect("a key");
    let ca = folder.join("ca.pem");
    fs::write(&ca, params.self_signed(&key).expect("signed").pem()).expect("written");
    let issuer = Issuer::new(params, key);
    let sign = |name: &str, names: Vec<String>| {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("names");
        // Where it asks for users, etcd's gateway refuses a client whose certificate has a common name.
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let paths = [folder.join(format!("{name}.pem")), folder.join(format!("{name}.key"))];
        fs::write(&paths[0], params.signed_by(&key, &issuer).expect("signed").pem()).expect("written");
        fs::write(&paths[1], key.serialize_pem()).expect("written");
        paths
    };
    let [certificate, key] = sign("node", (0..3).map(|number| peer_v4(number).to_string()).collect());
    sign("client", vec!["client.example".into()]);
    SecureClients { ca, certificate, key }
}

/// F-WORD: by https endpoints with a client's certificate, and as a user once etcd asks for one; a wrong password is said.
#[test]
fn f_word_by_tls_and_a_user() {
    if !can_run("F-WORD: etcd over TLS") {
        return;
    }
    let scratch = folder().expect("a folder");
    let at = scratch.path().display();
    let secure = certificates(scratch.path());
    fs::write(scratch.path().join("password"), "a-long-password\n").expect("written");
    let endpoints: Vec<String> = (0..3).map(|number| format!("https://{}:{SECURE_PORT}", peer_v4(number))).collect();
    let fleet = format!(
        "[fleet]\nkind = \"etcd\"\nfront = \"{{front}}\"\nendpoints = {endpoints:?}\nlease = \"2s\"\nca = \"{at}/ca.pem\"\n\
         certificate = \"{at}/client.pem\"\nkey = \"{at}/client.key\"\nuser = \"zerottl\"\npassword_file = \"{at}/password\"\n"
    );
    let config = Config { fleet, ..Config::default() };
    let spec = LabSpec { fronts: 2, peers: 3, sites: config.sites.clone(), ..LabSpec::default() };
    let lab = Lab::start(&spec).expect("lab");
    let etcd = Etcd::start_with(&lab, Some(secure)).expect("three nodes");
    let scene = FleetScene::in_lab(lab, etcd, &config);
    let has_met = || (0..2).all(|front| fronts(&scene, front).len() == 2);
    assert!(eventually(PATIENCE, has_met), "{}", page(&scene, 0));
    let clients = clients(&scene);
    let drained = |front: usize, sites: &str, left: &str| {
        say(&scene, front, "drain", sites, "");
        assert!(until(&scene, &clients, left).iter().all(|took| *took < IN_FORCE));
    };
    drained(0, "boston", "geneva chicago");
    // From now on etcd asks who it is.
    for (path, body) in [
        ("/v3/auth/user/add", json!({ "name": "root", "password": "another" })),
        ("/v3/auth/user/grant", json!({ "user": "root", "role": "root" })),
        ("/v3/auth/role/add", json!({ "name": "fleet" })),
        // `zerottl/` to `zerottl0`.
        (
            "/v3/auth/role/grant",
            json!({ "name": "fleet", "perm": {
                "permType": "READWRITE", "key": "emVyb3R0bC8=", "range_end": "emVyb3R0bDA=",
            }}),
        ),
        ("/v3/auth/user/add", json!({ "name": "zerottl", "password": "a-long-password" })),
        ("/v3/auth/user/grant", json!({ "user": "zerottl", "role": "fleet" })),
        ("/v3/auth/enable", json!({})),
    ] {
        scene.etcd.ask(0, path, &body).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    let is_well = || (0..2).all(|front| fronts(&scene, front).len() == 2 && alarms(&scene, front).is_empty());
    drained(1, "geneva", "chicago");
    assert!(eventually(PATIENCE, is_well), "{}", page(&scene, 0));
    // Whoever is none of them is told so.
    fs::write(scratch.path().join("password"), "wrong\n").expect("written");
    scene.agents[1].zerottl(&["reload", "--admin", "127.0.0.1:8053"]).expect("reloaded");
    let is_refused = || page(&scene, 1)["detail"].as_str().is_some_and(|why| why.contains("authentication failed"));
    assert!(eventually(PATIENCE, is_refused), "{}", page(&scene, 1));
    assert!(alarms(&scene, 1).contains("fleet-away"));
}
