//! `[geo]`, and a group's `clients`, `countries` and `continents`.

use super::*;
use zerottl_core::model::GroupId;

const GROUP: &str = "sites = [\"boston\", \"geneva\"]\n\n[site.boston]";
const GEO: &str = "[geo]\ndatabase = \"example-country.mmdb\"\n";

/// [`BASE`] with keys for its group, and another group with keys, and more at the end.
fn with(one: &str, other: &str, more: &str) -> String {
    assert!(BASE.contains(GROUP));
    let other = format!("[group.\"west.app.com\"]\npool = \"app.com\"\nsites = [\"boston\"]\n{other}");
    let groups = format!("sites = [\"boston\", \"geneva\"]\n{one}\n{other}\n[site.boston]");
    format!("{}{more}", BASE.replacen(GROUP, &groups, 1))
}

#[track_caller]
fn chosen(text: &str, clients: &[(&str, Option<usize>)]) {
    let loaded = parse("f", text, &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    let nets = &loaded.model.nets;
    for (client, group) in clients {
        let found = nets.find(client.parse().expect("an address"));
        assert_eq!(nets.group(found.set, 0), group.map(GroupId), "{client}");
    }
}

/// S4-4C: nets as they are written, an address alone among them.
#[test]
fn nets() {
    let text = with("clients = [\"198.51.100.0/24\", \"2001:db8::/32\"]", "clients = [\"198.51.100.7\", \"::/0\"]", "");
    let clients = [
        ("198.51.100.1", Some(0)),
        ("198.51.100.7", Some(1)),
        ("198.51.101.1", None),
        ("2001:db8::1", Some(0)),
        ("2001:db9::1", Some(1)),
    ];
    chosen(&text, &clients);
    assert!(parse("f", BASE, &examples()).expect("valid").model.nets.is_empty());
}

/// S4-4C: countries and continents of the example database. A net goes before a country, a country before its continent.
#[test]
fn countries_and_continents() {
    let text = with("countries = [\"CH\"]\nclients = [\"192.0.2.128/25\"]", "continents = [\"EU\", \"NA\"]", GEO);
    let clients = [
        ("198.51.100.1", Some(0)),
        ("203.0.113.1", Some(1)),
        ("192.0.2.1", Some(1)),
        ("192.0.2.200", Some(0)),
        ("2001:db8:c::1", Some(0)),
        ("2001:db8:d::1", Some(1)),
        ("2001:db8:e::1", None),
        ("10.0.0.1", None),
    ];
    chosen(&text, &clients);
}

#[test]
fn messages() {
    let group = "f:20:12: error: [group.\"all.app.com\"]: ";
    let net = "(give a prefix such as \"192.0.2.0/24\" or \"2001:db8::/32\", or an address)";
    for (keys, expected) in [
        ("clients = [\"198.51.100.0/33\"]", format!("{group}`198.51.100.0/33` is not an address prefix {net}")),
        ("clients = [\"europe\"]", format!("{group}`europe` is not an address prefix {net}")),
        (
            "clients = [\"198.51.100.1/24\"]",
            format!("{group}`198.51.100.1/24` has bits set after its length (write \"198.51.100.0/24\")"),
        ),
        (
            "clients = [\"::ffff:192.0.2.0/120\"]",
            format!("{group}::ffff:192.0.2.0/120 is an IPv4 prefix in IPv6 form (write it as an IPv4 prefix)"),
        ),
        ("clients = []", "f:20:11: error: [group.\"all.app.com\"]: `clients` is empty (name at least one)".to_owned()),
    ] {
        assert_eq!(lines(&with(keys, "", "")), [expected], "{keys}");
    }
    let country = "f:20:14: error: [group.\"all.app.com\"]: `ch` is no country (give two capital letters by ISO 3166-1, such as \"CH\"; a database may know more, such as \"XK\")";
    assert_eq!(lines(&with("countries = [\"ch\"]", "", GEO))[0], country);
    let continent = "f:20:15: error: [group.\"all.app.com\"]: `continents` is `EUROPE`";
    let said = lines(&with("continents = [\"EUROPE\"]", "", GEO));
    assert!(
        said[0].starts_with("f:20:15: error: [group.\"all.app.com\"]:") && said[0].contains("AF, AN, AS, EU"),
        "{said:?} {continent}"
    );
}

#[test]
fn what_is_taken_is_refused() {
    for (keys, what) in [
        ("clients = [\"10.0.0.0/8\"]", "net 10.0.0.0/8"),
        ("countries = [\"CH\"]", "country CH"),
        ("continents = [\"EU\"]", "continent EU"),
    ] {
        let said = lines(&with(keys, keys, GEO));
        let place = said[0].starts_with("f:24:");
        let expected = format!(
            "error: [group.\"west.app.com\"]: {what} is a group's of this pool already (one of a pool's groups answers a client; take one out)"
        );
        assert!(place && said[0].ends_with(&expected), "{said:?}");
    }
}

#[test]
fn groups_of_their_pool_s_name() {
    let text = BASE.replace("[group.\"all.app.com\"]", "[group.\"app.com\"]").replacen(
        GROUP,
        &format!("clients = [\"10.0.0.0/8\"]\n{GROUP}"),
        1,
    );
    let expected = "f:19:11: error: [group.\"app.com\"]: a group that bears its pool's name has all its Sites and cannot be chosen by clients (give the group a name of its own, or take this out)";
    assert_eq!(lines(&text), [expected]);
}

#[test]
fn databases() {
    let wants = "countries = [\"CH\"]";
    let none = "f:20:14: error: countries and continents need a database (add `[geo]` with `database = \"GeoLite2-Country.mmdb\"`)";
    assert_eq!(lines(&with(wants, "", "")), [none]);
    let unused = "f:36:12: warning: [geo]: `database` has no use: no group has `countries` or `continents` (take it out, or give a group its countries)";
    assert_eq!(lines(&with("", "", GEO)), [unused]);
    let missing = "f:35:1: error: [geo] has no `database`";
    assert!(lines(&with(wants, "", "[geo]\n"))[0].starts_with(missing));
    let unseen =
        "f:36:12: warning: [geo]: `database` has no network of XX (are these countries spelt as ISO 3166-1 has them?)";
    assert_eq!(lines(&with("countries = [\"CH\", \"XX\"]", "", GEO)), [unseen]);
    for (file, part) in [
        ("nothing.mmdb", "cannot read `database` file `nothing.mmdb`"),
        ("app.com.zone", "`database` file `app.com.zone`: "),
    ] {
        let said = lines(&with(wants, "", &GEO.replace("example-country.mmdb", file)));
        assert!(said[0].starts_with("f:36:12: error: [geo]: ") && said[0].contains(part), "{said:?}");
    }
}
