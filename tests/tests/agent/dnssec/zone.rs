//! The static part of a signed app.com, its children, and what a resolver has to find there.

use std::net::IpAddr;

use tests::{
    bind::{BindZone, serve},
    lab::Lab,
    process::Process,
    validator::{Delv, Validator},
};

/// Where the children's server is, on the resolver's own machine.
const CHILD_SERVER: &str = "198.51.100.77";

/// Static records of every kind. `ns.secure` and `ns.plain` are the children's server.
pub const STATIC: &str = "\
$TTL 300
@           TXT   \"zerottl lab\"
@           MX    10 mail
mail        A     192.0.2.200
mail        TXT   \"one\" \"two\"
alias       CNAME mail
chain       CNAME alias
dangling    CNAME nothing
deep.ent    A     192.0.2.201
*.wild      A     192.0.2.202
*.wild      TXT   \"expanded\"
exact.wild  A     192.0.2.203
below.ent2.wild A 192.0.2.204
*.tocname   CNAME mail
old         DNAME new
host.new    A     192.0.2.205
two.host.new TXT  \"under a DNAME's target\"
big         TXT   ( \"0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\"
                    \"1111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\"
                    \"2222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222\"
                    \"3333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333333\" )
secure      NS    ns.secure
ns.secure   A     198.51.100.77
plain       NS    ns.plain
ns.plain    A     198.51.100.77
";

const CHILD: &str = "\
$TTL 300
@      SOA ns host\\.master 1 3600 600 86400 5
       NS  ns
ns     A   198.51.100.77
host   A   192.0.2.210
broken A   192.0.2.211
";

/// The children of app.com: one signed, with one broken signature in it, one not.
pub struct Children {
    /// Their DS records, for the parent's file.
    pub ds: String,
    zones: [BindZone; 2],
}

impl Children {
    /// Signs one.
    pub fn new(folder: &std::path::Path) -> Self {
        let secure = BindZone::signed(folder, "secure.app.com", CHILD).expect("signed");
        secure.break_signature("broken.secure.app.com", "A").expect("broken");
        let plain = BindZone::plain(folder, "plain.app.com", CHILD).expect("written");
        Self { ds: secure.ds.join("\n") + "\n", zones: [secure, plain] }
    }

    /// Serves them on the resolver's machine.
    pub fn serve(&self, lab: &Lab) -> Process {
        let machine = lab.resolver.as_ref().expect("the lab has a resolver");
        machine.ip(&format!("addr add {CHILD_SERVER}/32 dev lo")).expect("ip");
        let [secure, plain] = &self.zones;
        let address: IpAddr = CHILD_SERVER.parse().expect("an address");
        serve(machine, &lab.folder("children").expect("folder"), &[address], &[secure, plain]).expect("named")
    }
}

/// A record of an answer.
fn record(owner: &str, rtype: &str, data: &str) -> (String, String, String) {
    (owner.into(), rtype.into(), data.into())
}

/// Asks one resolver for every kind of what [`STATIC`] has.
pub fn static_records_validate(resolver: &Validator) {
    let found = |name: &str, rtype: &str| resolver.secure(name, rtype).records();
    let address = |name: &str, last: u8| {
        let expected = record(name, "A", &format!("192.0.2.{last}"));
        assert_eq!(found(name, "A"), [expected].into(), "{:?}", resolver.kind);
    };
    address("mail.app.com", 200);
    address("deep.ent.app.com", 201);
    address("exact.wild.app.com", 203);
    address("below.ent2.wild.app.com", 204);
    for (name, rtype) in [("app.com", "TXT"), ("app.com", "MX"), ("mail.app.com", "TXT"), ("big.app.com", "TXT")] {
        assert_eq!(found(name, rtype).len(), 1, "{name} {rtype}");
    }
    for rtype in ["SOA", "NS", "DNSKEY"] {
        assert!(!found("app.com", rtype).is_empty(), "{rtype}");
    }
    let mail = record("mail.app.com", "A", "192.0.2.200");
    let alias = |owner: &str, target: &str| record(owner, "CNAME", target);
    assert_eq!(found("alias.app.com", "A"), [alias("alias.app.com", "mail.app.com"), mail.clone()].into());
    let chain = [alias("chain.app.com", "alias.app.com"), alias("alias.app.com", "mail.app.com"), mail.clone()];
    assert_eq!(found("chain.app.com", "A"), chain.into());
    assert_eq!(found("chain.app.com", "CNAME"), [alias("chain.app.com", "alias.app.com")].into());
    let expanded = [alias("any.tocname.app.com", "mail.app.com"), mail];
    assert_eq!(found("any.tocname.app.com", "A"), expanded.into());
    let renamed = found("host.old.app.com", "A");
    assert!(renamed.contains(&record("host.new.app.com", "A", "192.0.2.205")), "{renamed:?}");
    assert!(renamed.contains(&record("old.app.com", "DNAME", "new.app.com")), "{renamed:?}");
    assert_eq!(found("old.app.com", "DNAME").len(), 1);
    assert!(!found("mail.app.com", "ANY").is_empty());
    // Wildcards at several depths, twice: the second may be made from the first's proof.
    for name in ["a.wild.app.com", "b.wild.app.com", "x.y.wild.app.com", "zz.wild.app.com"] {
        address(name, 202);
        assert_eq!(found(name, "TXT"), [record(name, "TXT", "\"expanded\"")].into(), "{name}");
    }
}

/// Asks one resolver for what [`STATIC`] has not.
pub fn static_denials_validate(resolver: &Validator) {
    for (name, rtype) in [
        ("mail.app.com", "AAAA"),
        ("mail.app.com", "MX"),
        ("deep.ent.app.com", "TXT"),
        ("alias.app.com", "AAAA"),
        ("host.old.app.com", "TXT"),
        ("a.wild.app.com", "AAAA"),
        ("x.y.wild.app.com", "MX"),
        ("any.tocname.app.com", "AAAA"),
        ("wild.app.com", "A"),
        // Empty non-terminals.
        ("ent.app.com", "A"),
        ("ent.app.com", "TXT"),
        ("ent2.wild.app.com", "A"),
        ("tocname.app.com", "A"),
        ("old.app.com", "A"),
        ("app.com", "SRV"),
        ("app.com", "TYPE1234"),
    ] {
        resolver.no_data(name, rtype);
    }
    for name in [
        "nothing.app.com",
        "0.app.com",
        "zzz.app.com",
        "a.b.c.nothing.app.com",
        "x.mail.app.com",
        "x.y.mail.app.com",
        "x.ent.app.com",
        "x.deep.ent.app.com",
        // A wildcard covers nothing below a name that exists.
        "x.exact.wild.app.com",
        "x.ent2.wild.app.com",
        "x.below.ent2.wild.app.com",
        "nothing.old.app.com",
        "dangling.app.com",
        "x.alias.app.com",
    ] {
        resolver.no_name(name, "A");
        resolver.no_name(name, "TXT");
    }
}

/// Asks one resolver for the children's records: the signed one's validate, the other's are proven to be unsigned.
pub fn children_validate(resolver: &Validator) {
    let answer = resolver.secure("secure.app.com", "DS");
    assert_eq!(answer.records().len(), 1);
    let host = resolver.secure("host.secure.app.com", "A");
    assert_eq!(host.addresses(), [IpAddr::from([192, 0, 2, 210])]);
    resolver.no_name("none.secure.app.com", "A");
    // So the validator validates.
    resolver.refuses("broken.secure.app.com", "A");
    resolver.no_data("plain.app.com", "DS");
    resolver.insecure("host.plain.app.com", "A");
    resolver.insecure("broken.plain.app.com", "A");
}

/// Asks delv for the same kinds, one of each.
pub fn delv_validates(delv: &Delv) {
    for (name, rtype) in [
        ("app.com", "SOA"),
        ("app.com", "NS"),
        ("app.com", "DNSKEY"),
        ("app.com", "TXT"),
        ("mail.app.com", "A"),
        ("chain.app.com", "A"),
        ("a.wild.app.com", "A"),
        ("any.tocname.app.com", "A"),
        ("host.old.app.com", "A"),
        ("big.app.com", "TXT"),
        ("secure.app.com", "DS"),
    ] {
        let _ = delv.secure(name, rtype);
    }
    for (name, rtype) in [
        ("mail.app.com", "AAAA"),
        ("ent.app.com", "A"),
        ("a.wild.app.com", "AAAA"),
        ("nothing.app.com", "A"),
        ("x.y.mail.app.com", "A"),
        ("x.exact.wild.app.com", "A"),
        ("plain.app.com", "DS"),
    ] {
        delv.negative(name, rtype);
    }
}
