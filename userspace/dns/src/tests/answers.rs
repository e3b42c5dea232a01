//! The answer to each question.

use super::{BALANCER, BOTH, Bench, FAILOVER, ask, show};

const SOA: &str = "app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5";

fn nodata() -> String {
    format!("NOERROR aa |  | {SOA} | ")
}

fn nxdomain() -> String {
    format!("NXDOMAIN aa |  | {SOA} | ")
}

/// S4-3A-310, S4-3A-315, S4-3A-325: Pool and Group Names.
#[test]
fn pool_and_group_names_are_answered_from_the_plan() {
    let bench = Bench::new(BOTH);
    bench.check("Pool Name", "app.com A", "NOERROR aa | app.com 0 A 192.0.2.10 |  | ");
    bench.check("Pool Name, IPv6", "app.com AAAA", "NOERROR aa | app.com 0 AAAA 2001:db8:1::10 |  | ");
    bench.check("any case", "aPP.coM A", "NOERROR aa | aPP.coM 0 A 192.0.2.10 |  | ");
    bench.check("Group Name", "europe.app.com A", "NOERROR aa | europe.app.com 0 A 192.0.2.1 |  | ");
    bench.check("Group without IPv6", "europe.app.com AAAA", &nodata());
    bench.check("RD is copied", "app.com A +rd", "NOERROR aa | app.com 0 A 192.0.2.10 |  | ");
}

/// S4-3B-355, S4-3B-360, S4-3B-365, S4-3B-370: Site Names. S4-3A-ALLDOWN: SERVFAIL where configured.
#[test]
fn site_names_are_answered_from_the_plan() {
    let bench = Bench::new(BOTH);
    bench.check("Site Name", "boston.app.com A", "NOERROR aa | boston.app.com 0 A 192.0.2.10 |  | ");
    bench.check("Site without IPv6", "geneva.app.com AAAA", &nodata());
    bench.check("all down", "chicago.app.com A", "SERVFAIL |  |  | ");
    bench.check("all down behind an alias", "into-down.app.com AAAA", "SERVFAIL |  |  | ");
}

/// S4-3A-335: other names and types of the table get the records file's data.
#[test]
fn static_records() {
    let bench = Bench::new(BOTH);
    bench.check("apex beside the Pool Name", "app.com MX", "NOERROR aa | app.com 300 MX 10 mail.app.com. |  | ");
    bench.check(
        "text at a Site Name",
        "boston.app.com TXT",
        "NOERROR aa | boston.app.com 300 TXT \"a Site Name with text\" |  | ",
    );
    bench.check("static name", "MAIL.app.com A", "NOERROR aa | MAIL.app.com 300 A 192.0.2.25 |  | ");
    bench.check(
        "unknown type",
        "typed.app.com TYPE65400",
        "NOERROR aa | typed.app.com 300 TYPE65400 \\# 3 01 02 03 |  | ",
    );
    bench.check("SOA", "app.com SOA", &format!("NOERROR aa | {SOA} |  | "));
    bench.check(
        "NS, with the front's addresses for the name server in the zone",
        "app.com NS",
        "NOERROR aa | app.com 3600 NS ns1.app.com., app.com 3600 NS ns.example.net. |  | \
         ns1.app.com 3600 A 203.0.113.53, ns1.app.com 3600 AAAA 2001:db8::53",
    );
    bench.check("name server's address", "ns1.app.com A", "NOERROR aa | ns1.app.com 3600 A 203.0.113.53 |  | ");
}

/// RFC 2308, RFC 8020: what exists without data of that type.
#[test]
fn no_data() {
    let bench = Bench::new(BOTH);
    for question in
        ["app.com HTTPS", "europe.app.com MX", "boston.app.com TYPE65535", "mail.app.com AAAA", "app.com DS"]
    {
        bench.check("no such type", question, &nodata());
    }
    bench.check("type 0", "app.com TYPE0", &nodata());
    bench.check("empty non-terminal", "ent.app.com A", &nodata());
    bench.check("empty non-terminal above a wildcard", "wild.app.com A", &nodata());
}

/// S4-3A-330, S4-3B-375: names that do not exist, in the zone and outside.
#[test]
fn errors() {
    let bench = Bench::new(BOTH);
    bench.check("in the zone", "nothing.app.com A", &nxdomain());
    bench.check("below a Pool Name's Site", "x.boston.app.com A", &nxdomain());
    bench.check("below a static name", "x.mail.app.com A", &nxdomain());
    bench.check("out of zone", "example.net A", "REFUSED |  |  | ");
    bench.check("the parent", "com A", "REFUSED |  |  | ");
    bench.check("the root", ". NS", "REFUSED |  |  | ");
    bench.check("only the last labels count", "app.com.example A", "REFUSED |  |  | ");
    bench.check("whole labels count", "xapp.com A", "REFUSED |  |  | ");
}

/// RFC 1034 section 3.6.2, RFC 6604.
#[test]
fn aliases() {
    let bench = Bench::new(BOTH);
    let mail = "Mail.app.com 300 A 192.0.2.25";
    bench.check("the alias itself", "alias.app.com CNAME", "NOERROR aa | alias.app.com 300 CNAME Mail.app.com. |  | ");
    bench.check(
        "followed",
        "alias.app.com A",
        &format!("NOERROR aa | alias.app.com 300 CNAME Mail.app.com., {mail} |  | "),
    );
    bench.check(
        "twice",
        "chain.app.com A",
        &format!(
            "NOERROR aa | chain.app.com 300 CNAME alias.app.com., alias.app.com 300 CNAME Mail.app.com., {mail} |  | "
        ),
    );
    bench.check(
        "to a Pool Name",
        "www.app.com A",
        "NOERROR aa | www.app.com 300 CNAME app.com., app.com 0 A 192.0.2.10 |  | ",
    );
    bench.check(
        "to no data",
        "alias.app.com AAAA",
        &format!("NOERROR aa | alias.app.com 300 CNAME Mail.app.com. | {SOA} | "),
    );
    bench.check(
        "to nothing",
        "dangling.app.com A",
        &format!("NXDOMAIN aa | dangling.app.com 300 CNAME nothing.app.com. | {SOA} | "),
    );
    bench.check(
        "out of the zone",
        "outward.app.com A",
        "NOERROR aa | outward.app.com 300 CNAME host.example.net. |  | ",
    );
    bench.check("ANY does not follow", "alias.app.com ANY", "NOERROR aa | alias.app.com 300 CNAME Mail.app.com. |  | ");
    let mut query = ask("loop-a.app.com A");
    query.resize(600, 0);
    let answer = show(&query, &bench.udp(&query).unwrap());
    assert_eq!(answer.matches("CNAME").count(), 9, "a loop ends: {answer}");
}

/// RFC 4592.
#[test]
fn wildcards() {
    let bench = Bench::new(BOTH);
    bench.check("one label", "x.wild.app.com A", "NOERROR aa | x.wild.app.com 300 A 192.0.2.77 |  | ");
    bench.check("several labels", "a.b.c.wild.app.com A", "NOERROR aa | a.b.c.wild.app.com 300 A 192.0.2.77 |  | ");
    bench.check("other type", "x.wild.app.com TXT", &nodata());
    bench.check("blocked by a name", "host.wild.app.com A", &nodata());
    bench.check("blocked below a name", "x.host.wild.app.com A", &nxdomain());
    bench.check("asked literally", "*.wild.app.com A", "NOERROR aa | *.wild.app.com 300 A 192.0.2.77 |  | ");
    bench.check(
        "alias",
        "x.alias.app.com A",
        "NOERROR aa | x.alias.app.com 300 CNAME mail.app.com., mail.app.com 300 A 192.0.2.25 |  | ",
    );
}

/// RFC 1034 section 4.3.2 step 3b, RFC 9471.
#[test]
fn delegations() {
    let bench = Bench::new(BOTH);
    let referral =
        "sub.app.com 300 NS ns1.sub.app.com., sub.app.com 300 NS ns.example.net. | ns1.sub.app.com 300 A 192.0.2.54";
    for question in ["sub.app.com A", "a.b.sub.app.com AAAA", "ns1.sub.app.com A", "sub.app.com NS", "x.sub.app.com DS"]
    {
        bench.check("at and below the cut", question, &format!("NOERROR |  | {referral}"));
    }
    bench.check("DS is the parent's", "sub.app.com DS", "NOERROR aa | sub.app.com 300 DS 1 8 2 00 |  | ");
    bench.check(
        "behind an alias",
        "into-sub.app.com A",
        &format!("NOERROR aa | into-sub.app.com 300 CNAME host.sub.app.com. | {referral}"),
    );
}

/// RFC 8482.
#[test]
fn any() {
    let bench = Bench::new(BOTH);
    bench.check("dynamic", "app.com ANY", "NOERROR aa | app.com 5 HINFO \"RFC8482\" \"\" |  | ");
    bench.check("static", "mail.app.com ANY", "NOERROR aa | mail.app.com 300 A 192.0.2.25 |  | ");
    bench.check("empty", "ent.app.com ANY", &nodata());
    bench.check("nothing", "nothing.app.com ANY", &nxdomain());
}

/// S4-3A-330N, S4-3B-375, invariant 10: a name of the other machine's role is referred there.
#[test]
fn names_of_another_role_are_referred() {
    let balancer = Bench::new(BALANCER);
    let referral =
        "boston.app.com 3600 NS mail.app.com., boston.app.com 3600 NS fo.example.net. | mail.app.com 300 A 192.0.2.25";
    for rtype in ["A", "AAAA", "HTTPS", "NS", "DS", "ANY"] {
        balancer.check("Site Name", &format!("boston.app.com {rtype}"), &format!("NOERROR |  | {referral}"));
    }
    balancer.check("own role", "europe.app.com A", "NOERROR aa | europe.app.com 0 A 192.0.2.1 |  | ");
    balancer.check(
        "behind an alias",
        "into-down.app.com A",
        "NOERROR aa | into-down.app.com 300 CNAME chicago.app.com. | chicago.app.com 3600 NS mail.app.com., \
         chicago.app.com 3600 NS fo.example.net. | mail.app.com 300 A 192.0.2.25",
    );

    let failover = Bench::new(FAILOVER);
    for question in ["app.com A", "app.com AAAA", "app.com HTTPS", "app.com ANY"] {
        failover.check("Pool Name at the apex", question, "NOERROR |  | app.com 3600 NS lb.example.net. | ");
    }
    failover.check("Group Name", "europe.app.com A", "NOERROR |  | europe.app.com 3600 NS lb.example.net. | ");
    failover.check("the zone is still ours", "app.com SOA", &format!("NOERROR aa | {SOA} |  | "));
    failover.check("its records too", "app.com MX", "NOERROR aa | app.com 300 MX 10 mail.app.com. |  | ");
    failover.check("own role", "boston.app.com A", "NOERROR aa | boston.app.com 0 A 192.0.2.10 |  | ");
    failover.check("unknown names", "nothing.app.com A", &nxdomain());
}

/// RFC 6891, RFC 8906.
#[test]
fn edns() {
    let bench = Bench::new(BOTH);
    let data = "NOERROR aa | app.com 0 A 192.0.2.10 |  | ";
    bench.check("OPT in, OPT out", "app.com A +opt", &format!("{data} | opt 1232"));
    bench.check("DO is copied", "app.com A +do", &format!("{data} | opt 1232 do"));
    bench.check("small sizes are 512", "app.com A +size=0", &format!("{data} | opt 1232"));
    bench.check("also on errors", "example.net A +do", "REFUSED |  |  |  | opt 1232 do");
    bench.check("other versions", "app.com A +version=1", "BADVERS |  |  |  | opt 1232");
    bench.check(
        "other versions before other refusals",
        "example.net A +version=255 +do",
        "BADVERS |  |  |  | opt 1232 do",
    );
}

/// RFC 5936, RFC 1995, RFC 6895.
#[test]
fn classes_and_transfers() {
    let bench = Bench::new(BOTH);
    for class in [0, 3, 254, 255] {
        bench.check("class", &format!("app.com A class={class}"), "REFUSED |  |  | ");
    }
    bench.check("AXFR over UDP", "app.com AXFR", "NOTIMP |  |  | ");
    bench.check("IXFR over UDP", "app.com IXFR", "NOTIMP |  |  | ");
    for transfer in ["app.com AXFR", "app.com IXFR"] {
        let query = ask(transfer);
        assert_eq!(show(&query, &bench.tcp(&query).unwrap()), "REFUSED |  |  | ");
    }
}
