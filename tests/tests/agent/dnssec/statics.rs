//! Static records of a signed zone: by name, by referral and as a whole.

use std::collections::BTreeSet;

use tests::{
    config::Config,
    lab::front_addresses,
    scratch::folder,
    validator::{Delv, Validator, verify_transfer},
};

use super::{
    scene::{Signed, config, ds, static_zone},
    zone::{children_validate, delv_validates, static_denials_validate, static_records_validate},
};

/// D-STATIC: static records, wildcards, chains of CNAME, a DNAME, referrals with DS and without, DNSKEY and ANY validate, and
/// aliases that lead to dynamic names.
#[test]
fn static_records_of_a_signed_zone_validate() {
    let aliases = "www CNAME app.com.\nshop CNAME www\n*.any CNAME boston.app.com.\nto DNAME app.com.\n";
    let config = Config { records: aliases.into(), ..config() };
    let Some(signed) = Signed::start("D-STATIC", config) else { return };
    for resolver in signed.resolvers() {
        static_records_validate(&resolver);
        static_denials_validate(&resolver);
        children_validate(&resolver);
        for name in ["www.app.com", "shop.app.com", "x.any.app.com", "x.y.any.app.com", "boston.to.app.com"] {
            for rtype in ["A", "AAAA", "HTTPS"] {
                let _ = resolver.secure(name, rtype);
            }
            resolver.no_data(name, "SRV");
        }
        resolver.no_name("nothing.to.app.com", "A");
    }
    delv_validates(&signed.delv());
}

/// D-STATIC, D-KEYS: CDS and CDNSKEY stand at the apex, and say what `zerottl dnssec ds` prints for the parent.
#[test]
fn cds_and_cdnskey_are_what_the_parent_needs() {
    let Some(signed) = Signed::start("D-STATIC: CDS", config()) else { return };
    let printed: BTreeSet<String> = signed.ds.iter().map(|line| data(line)).collect();
    for resolver in signed.resolvers() {
        let cds = resolver.secure("app.com", "CDS").records();
        let cds: BTreeSet<String> = cds.iter().map(|(_, _, data)| squeezed(data)).collect();
        assert_eq!(cds, printed, "{:?}", resolver.kind);
        let keys = |rtype: &str| -> BTreeSet<String> {
            resolver.secure("app.com", rtype).records().iter().map(|(_, _, data)| squeezed(data)).collect()
        };
        assert_eq!(keys("CDNSKEY"), keys("DNSKEY"), "{:?}", resolver.kind);
    }
    let delv = signed.delv();
    for rtype in ["CDS", "CDNSKEY"] {
        let _ = delv.secure("app.com", rtype);
    }
}

/// Returns a DS record's data, comparable.
fn data(line: &str) -> String {
    squeezed(line.split_once(" DS ").expect("a DS record").1)
}

fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
}

/// D-STATIC: a zone without dynamic names is transferred with its signatures, and BIND's dnssec-verify finds it whole; its
/// names validate as the others do.
#[test]
fn a_transferred_zone_verifies() {
    let scratch = folder().expect("a folder");
    let zone = static_zone(scratch.path());
    let more = format!(
        "[zone.\"static.example\"]\nnameservers = [\"ns1.static.example\"]\ncontact = \"hostmaster@app.com\"\n\
         records = {:?}\ndnssec = true\ntransfer_to = [\"198.51.100.0/24\"]\n",
        zone.file()
    );
    let config = Config { more, ..config() };
    let Some(signed) = Signed::start("D-STATIC: AXFR", config) else { return };
    let lab = &signed.scene.lab;
    let server = front_addresses(0)[0].ip();
    let said = verify_transfer(lab, &lab.client, server, "static.example").unwrap_or_else(|e| panic!("{e}"));
    println!("{said}");
    let anchors = ds(&signed.scene, "static.example");
    assert_ne!(anchors, signed.ds, "a key of its own");
    for resolver in Validator::all(lab, &["app.com", "static.example"], &[anchors.clone(), signed.ds.clone()].concat())
    {
        let _ = resolver.secure("mail.static.example", "A");
        let _ = resolver.secure("a.wild.static.example", "A");
        resolver.no_data("mail.static.example", "AAAA");
        resolver.no_name("nothing.static.example", "A");
        let _ = resolver.secure("app.com", "A");
    }
    let delv = Delv::new(lab, &lab.client, server, "static.example", &anchors);
    let _ = delv.secure("mail.static.example", "A");
    delv.negative("nothing.static.example", "A");
}
