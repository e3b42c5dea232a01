//! Denials: types of dynamic and static names, names at every depth, what wildcards do not cover.

use tests::config::Config;

use super::{
    scene::{NAMES, Signed, TYPES, config, only_with_v6},
    zone::{static_denials_validate, static_records_validate},
};

/// Types that no dynamic name has.
const NONE: [&str; 7] = ["SRV", "CNAME", "NAPTR", "SVCB", "TLSA", "CAA", "TYPE1234"];

/// Missing names around and below dynamic names, and elsewhere.
fn missing() -> Vec<String> {
    let mut names: Vec<String> = ["0", "zzz", "*", "a.b.c.d.e.f.g", "bosto", "bostonn", "\\000", "\\255", "-"]
        .map(|name| format!("{name}.app.com"))
        .into();
    names.push(format!("{}.app.com", "x".repeat(63)));
    for (name, _) in &NAMES[1..] {
        names.extend(["0", "zz", "a.b", "\\000", "*"].map(|label| format!("{label}.{name}")));
    }
    names
}

/// D-NODATA: no data of a type that a dynamic name never has, of one that its pool has not (HTTPS), and of a family that
/// its Sites have not; at static names and empty non-terminals as well.
#[test]
fn missing_types_validate() {
    let config = Config { pool: String::new(), ..only_with_v6(config(), "boston") };
    let Some(signed) = Signed::start("D-NODATA", config) else { return };
    let delv = signed.delv();
    for resolver in signed.resolvers() {
        for (name, _) in NAMES {
            for rtype in NONE.iter().chain(&["HTTPS"]) {
                resolver.no_data(name, rtype);
            }
        }
        for name in ["europe.app.com", "geneva.app.com", "chicago.app.com"] {
            resolver.no_data(name, "AAAA");
            resolver.no_data(name, "DS");
            let _ = resolver.secure(name, "A");
        }
        for name in ["app.com", "americas.app.com", "boston.app.com"] {
            let answer = resolver.secure(name, "AAAA");
            resolver.expect(&answer, signed.is_of(&answer, "AAAA", &["boston"]));
        }
        static_denials_validate(&resolver);
    }
    for (name, _) in NAMES {
        for rtype in ["SRV", "HTTPS", "CNAME"] {
            delv.negative(name, rtype);
        }
    }
    delv.negative("geneva.app.com", "AAAA");
    delv.negative("ent.app.com", "A");
}

/// D-NX: missing names around and below dynamic names and at other depths; what wildcards expand to and what they do not
/// cover. Delv asks each afresh, so no proof is made of another's.
#[test]
fn missing_names_validate() {
    let Some(signed) = Signed::start("D-NX", config()) else { return };
    let delv = signed.delv();
    for name in missing() {
        delv.negative(&name, "A");
    }
    for resolver in signed.resolvers() {
        static_denials_validate(&resolver);
        for name in missing() {
            for rtype in ["A", "TXT", "HTTPS"] {
                resolver.no_name(&name, rtype);
            }
        }
        static_records_validate(&resolver);
        for (name, _) in NAMES {
            for rtype in TYPES {
                let _ = resolver.secure(name, rtype);
            }
        }
    }
}
