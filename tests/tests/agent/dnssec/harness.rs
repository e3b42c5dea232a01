//! The validators themselves: they say AD of BIND's own answers, and refuse those with a broken signature.

use tests::{
    bind::{BindZone, serve},
    lab::{Lab, LabSpec, can_run, front_addresses},
    resolver::ResolverKind,
    validator::{Delv, Validator, verify_transfer},
};

use super::zone::{
    Children, STATIC, children_validate, delv_validates, static_denials_validate, static_records_validate,
};

const APEX: &str = "\
$TTL 300
@       SOA ns1 hostmaster 1 3600 600 86400 5
        NS  ns1
ns1     A   203.0.113.53
broken  A   192.0.2.220
";

/// Every check that zerottl's answers are put to passes on a zone that BIND signed and serves; a broken signature is refused
/// by each resolver, by delv and by dnssec-verify.
#[test]
fn good_signatures_are_told_from_broken_ones() {
    if !can_run("validating resolvers") {
        return;
    }
    let lab = Lab::start(&LabSpec { resolver: true, sites: vec![], ..LabSpec::default() }).expect("lab");
    let folder = lab.folder("signed").expect("folder");
    let children = Children::new(&folder);
    let text = [APEX, STATIC, &children.ds].concat();
    let zone = BindZone::signed(&folder, "app.com", &text).expect("signed");
    let addresses = front_addresses(0).map(|address| address.ip());
    let server = serve(&lab.fronts[0], &folder, &addresses, &[&zone]).expect("named");
    let _children = children.serve(&lab);
    let delv = Delv::new(&lab, &lab.client, addresses[0], "app.com", &zone.ds);
    let resolvers = Validator::all(&lab, &["app.com"], &zone.ds);
    for resolver in &resolvers {
        static_records_validate(resolver);
        static_denials_validate(resolver);
        children_validate(resolver);
        let _ = resolver.secure("broken.app.com", "A");
    }
    delv_validates(&delv);
    verify_transfer(&lab, &lab.client, addresses[0], "app.com").expect("verified");

    drop((server, resolvers));
    zone.break_signature("broken.app.com", "A").expect("broken");
    let _server = serve(&lab.fronts[0], &folder, &addresses, &[&zone]).expect("named");
    for resolver in Validator::all(&lab, &["app.com"], &zone.ds) {
        resolver.refuses("broken.app.com", "A");
        let _ = resolver.secure("mail.app.com", "A");
    }
    let said = delv.ask("broken.app.com", "A");
    assert!(said.contains("resolution failed") && !said.contains("fully validated"), "{said}");
    let _ = delv.secure("mail.app.com", "A");
    verify_transfer(&lab, &lab.client, addresses[0], "app.com").expect_err("a broken signature");
}

/// The trap, as each resolver has it: a proof that a neighbour is missing, made while a name lacked a type, denies that type
/// when the name has it. So what looks for the trap in zerottl's answers is able to see it.
#[test]
fn a_gap_proof_without_a_type_denies_it() {
    if !can_run("the trap of aggressive NSEC") {
        return;
    }
    let lab = Lab::start(&LabSpec { resolver: true, sites: vec![], ..LabSpec::default() }).expect("lab");
    let folder = lab.folder("signed").expect("folder");
    let before = APEX.replace("86400 5", "86400 300") + "boston A 192.0.2.10\n";
    let zone = BindZone::signed(&folder, "app.com", &before).expect("signed");
    let addresses = front_addresses(0).map(|address| address.ip());
    let server = serve(&lab.fronts[0], &folder, &addresses, &[&zone]).expect("named");
    let resolvers = Validator::all(&lab, &["app.com"], &zone.ds);
    for resolver in &resolvers {
        resolver.no_name("bostonn.app.com", "A");
        let _ = resolver.secure("boston.app.com", "A");
    }
    drop(server);
    zone.sign_again(&(before + "boston AAAA 2001:db8:1::10\n")).expect("signed");
    let _server = serve(&lab.fronts[0], &folder, &addresses, &[&zone]).expect("named");
    let denied = |resolver: &Validator| !resolver.ask("boston.app.com", "AAAA").has("AAAA");
    let kinds: Vec<_> = resolvers.iter().filter(|resolver| denied(resolver)).map(|resolver| resolver.kind).collect();
    println!("deny a live name: {kinds:?}");
    assert!(kinds.contains(&ResolverKind::Unbound) && kinds.contains(&ResolverKind::Named), "{kinds:?}");
    let _ = resolvers[0].secure("ns1.app.com", "A");
}
