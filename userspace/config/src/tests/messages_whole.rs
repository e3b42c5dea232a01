//! Messages about how sections fit together, each whole.

use super::check;

/// References to Sites, pools and groups that are not there.
#[test]
fn dangling_references() {
    check(
        "sites = [\"geneva\", \"boston\"]\nttl = 0",
        "sites = [\"geneva\", \"boston\", \"chicgo\"]\n[site.chicago]\nname = \"chicago.app.com\"\naddresses = [\"192.0.2.20\"]\nprobe = { kind = \"http\" }\n",
        &[r#"f:14:30: error: [pool."app.com"]: there is no Site `chicgo` (did you mean "chicago"?)"#],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = ["bostn", "geneva"]"#,
        &[r#"f:19:10: error: [group."all.app.com"]: there is no Site `bostn` (did you mean "boston"?)"#],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = ["boston.app.com", "geneva"]"#,
        &[r#"f:19:10: error: [group."all.app.com"]: there is no Site `boston.app.com` (did you mean "boston"?)"#],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = ["tokyo"]"#,
        &[
            r#"f:19:10: error: [group."all.app.com"]: there is no Site `tokyo` (add [site.tokyo], or name one there is)"#,
        ],
    );
    check(
        r#"pool = "app.com""#,
        r#"pool = "ap.com""#,
        &[r#"f:18:8: error: [group."all.app.com"]: there is no pool `ap.com` (did you mean "app.com"?)"#],
    );
    check(
        r#"pool = "app.com""#,
        r#"pool = "example.org""#,
        &[
            r#"f:18:8: error: [group."all.app.com"]: there is no pool `example.org` (add [pool."example.org"], or name one there is)"#,
        ],
    );
    check(
        "weight = 2",
        r#"group = "al.app.com""#,
        &[r#"f:25:9: error: [site.boston]: there is no group `al.app.com` (did you mean "all.app.com"?)"#],
    );
    check(
        "weight = 2",
        r#"group = "europe.example""#,
        &[
            r#"f:25:9: error: [site.boston]: there is no group `europe.example` (add [group."europe.example"], or name one there is)"#,
        ],
    );
}

/// Each Site in a pool, once; a group's Sites in its pool; a primary group that lists the Site (S4-A-POOL).
#[test]
fn membership() {
    check(
        r#"sites = ["geneva", "boston"]"#,
        r#"sites = ["boston"]"#,
        &[
            r#"f:19:20: error: [group."all.app.com"]: Site `geneva` is not in pool app.com (add it to the `sites` of [pool."app.com"], or take it out here)"#,
            r#"f:27:7: error: [site.geneva]: Site `geneva` is in no pool (add "geneva" to a pool's `sites`, or take the section out)"#,
        ],
    );
    check(
        "sites = [\"geneva\", \"boston\"]\nttl = 0\n",
        "sites = [\"boston\"]\n[pool.\"other.app.com\"]\nsites = [\"geneva\"]\n",
        &[
            r#"f:20:20: error: [group."all.app.com"]: Site `geneva` is not in pool app.com (add it to the `sites` of [pool."app.com"], or take it out here)"#,
        ],
    );
    check(
        r#"sites = ["geneva", "boston"]"#,
        r#"sites = ["geneva", "boston", "geneva"]"#,
        &[r#"f:14:30: error: [pool."app.com"]: Site `geneva` is listed twice (take one out)"#],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = ["boston", "boston"]"#,
        &[r#"f:19:20: error: [group."all.app.com"]: Site `boston` is listed twice (take one out)"#],
    );
    check(
        "weight = 2",
        "group = \"x.app.com\"\n[group.\"x.app.com\"]\npool = \"app.com\"\nsites = [\"geneva\"]\n",
        &[
            "f:25:9: error: [site.boston]: group x.app.com does not list this Site (add the Site to the group's `sites`, or name a group that lists it)",
        ],
    );
}

/// One thing to a name, without regard to case.
#[test]
fn duplicate_names() {
    check(
        r#"name = "boston.app.com""#,
        r#"name = "Geneva.App.com""#,
        &[
            "f:28:8: error: [site.geneva]: geneva.app.com is the name of [site.boston] already (give each Pool, Group and Site a name of its own)",
        ],
    );
    check(
        r#"name = "boston.app.com""#,
        r#"name = "app.com.""#,
        &[
            r#"f:22:8: error: [site.boston]: app.com is the name of [pool."app.com"] already (give each Pool, Group and Site a name of its own)"#,
        ],
    );
    check(
        r#"[group."all.app.com"]"#,
        r#"[group."geneva.app.com"]"#,
        &[
            r#"f:28:8: error: [site.geneva]: geneva.app.com is the name of [group."geneva.app.com"] already (give each Pool, Group and Site a name of its own)"#,
        ],
    );
    check(
        r#"[group."all.app.com"]"#,
        "[pool.\"App.com\"]\nsites = [\"boston\"]\n[group.\"all.app.com\"]",
        &[
            r#"f:17:7: error: [pool."App.com"]: app.com is the name of [pool."app.com"] already (give each Pool, Group and Site a name of its own)"#,
        ],
    );
    check(
        r#"[zone."app.com"]"#,
        "[zone.\"APP.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"a@app.com\"\n[zone.\"app.com\"]",
        &[r#"f:12:7: error: [zone."app.com"]: zone `app.com` is listed twice (take one out)"#],
    );
}

/// A group may bear its pool's name if it has the same Sites; it then only sets the order.
#[test]
fn groups_with_the_pools_name() {
    check(
        "[group.\"all.app.com\"]\npool = \"app.com\"\nsites = [\"boston\", \"geneva\"]",
        "[group.\"app.com\"]\npool = \"app.com\"\nsites = [\"boston\"]",
        &[
            r#"f:17:8: error: [group."app.com"]: bears its pool's name but has 1 of its 2 Sites (list every Site of the pool, or give the group a name of its own)"#,
        ],
    );
    check(
        r#"[group."all.app.com"]"#,
        "[group.\"app.com\"]\npolicy = \"sticky\"",
        &[
            r#"f:18:10: error: [group."app.com"]: a group that bears its pool's name only sets the order of app.com (set `policy` in [pool."app.com"])"#,
        ],
    );
    check(
        r#"[group."all.app.com"]"#,
        "[group.\"app.com\"]\npool = \"app.com\"\nsites = [\"boston\", \"geneva\"]\n[group.\"App.com\"]",
        &[
            r#"f:20:8: error: [group."App.com"]: pool app.com has its order from another group already (keep one of the two groups)"#,
        ],
    );
}

/// Names DNS does not have (RFC 1035 section 2.3.4).
#[test]
fn bad_names() {
    check(
        "boston.app.com",
        "boston..app.com",
        &["f:22:8: error: [site.boston]: an empty label in name `boston..app.com` (take out the surplus dot)"],
    );
    check(
        "boston.app.com",
        ".boston.app.com",
        &["f:22:8: error: [site.boston]: an empty label in name `.boston.app.com` (take out the surplus dot)"],
    );
    check(
        "boston.app.com",
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.app.com",
        &[
            "f:22:8: error: [site.boston]: a label of 64 bytes in name `bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.app.com` (between two dots there are at most 63 bytes)",
        ],
    );
    let long = ["b".repeat(61), "b".repeat(61), "b".repeat(61), "b".repeat(61), "app.com".into()].join(".");
    check(
        "boston.app.com",
        &long,
        &["f:22:8: error: [site.boston]: a name of 257 bytes in wire form (a DNS name has at most 255)"],
    );
    check(
        "boston.app.com",
        "zürich.app.com",
        &[
            "f:22:8: error: [site.boston]: a letter that is not ASCII in name `zürich.app.com` (write the name in its ASCII form (xn--…))",
        ],
    );
    check(
        "boston.app.com",
        "bos ton.app.com",
        &["f:22:8: error: [site.boston]: white space in name `bos ton.app.com` (take it out)"],
    );
    check(
        "boston.app.com",
        "*.app.com",
        &[
            "f:22:8: error: [site.boston]: `*.app.com` is a wildcard (name each Pool, Group and Site in full; wildcards belong in the zone's `records`)",
        ],
    );
    check("boston.app.com", "", &[r#"f:22:8: error: [site.boston]: `` is not a name (give a name such as "app.com")"#]);
    check(
        "ns1.app.com",
        "ns1..app.com",
        &[r#"f:10:16: error: [zone."app.com"]: an empty label in name `ns1..app.com` (take out the surplus dot)"#],
    );
    check(
        r#"[zone."app.com"]"#,
        r#"[zone."app..com"]"#,
        &[r#"f:9:7: error: [zone."app..com"]: an empty label in name `app..com` (take out the surplus dot)"#],
    );
    check(
        r#"[pool."app.com"]"#,
        r#"[pool."app..com"]"#,
        &[r#"f:13:7: error: [pool."app..com"]: an empty label in name `app..com` (take out the surplus dot)"#],
    );
}

/// Every name lies in a zone; a zone's name ends at a dot.
#[test]
fn names_outside_their_zone() {
    check(
        "boston.app.com",
        "boston.app.org",
        &[
            "f:22:8: error: [site.boston]: `boston.app.org` lies in no zone (the zones are app.com: rename it, or add a zone for it)",
        ],
    );
    check(
        "boston.app.com",
        "bostonapp.com",
        &[
            "f:22:8: error: [site.boston]: `bostonapp.com` lies in no zone (the zones are app.com: rename it, or add a zone for it)",
        ],
    );
    check(
        r#"[group."all.app.com"]"#,
        r#"[group."all.app.net"]"#,
        &[
            r#"f:17:8: error: [group."all.app.net"]: `all.app.net` lies in no zone (the zones are app.com: rename it, or add a zone for it)"#,
        ],
    );
    check(
        "[pool.\"app.com\"]\n",
        "[pool.\"app.net\"]\nsites = [\"boston\"]\n[pool.\"app.com\"]\n",
        &[
            r#"f:13:7: error: [pool."app.net"]: `app.net` lies in no zone (the zones are app.com: rename it, or add a zone for it)"#,
        ],
    );
}

/// Site addresses are one host's, of either family.
#[test]
fn site_addresses() {
    check(
        "192.0.2.10",
        "192.0.2.300",
        &[
            r#"f:23:14: error: [site.boston]: `192.0.2.300` is neither an IPv4 nor an IPv6 address (give an address such as "192.0.2.10" or "2001:db8::10", without a port or a prefix length)"#,
        ],
    );
    check(
        "192.0.2.10",
        "192.0.2.10:80",
        &[
            r#"f:23:14: error: [site.boston]: `192.0.2.10:80` is neither an IPv4 nor an IPv6 address (give an address such as "192.0.2.10" or "2001:db8::10", without a port or a prefix length)"#,
        ],
    );
    check(
        "192.0.2.10",
        "0.0.0.0",
        &["f:23:14: error: [site.boston]: 0.0.0.0 is the unspecified address (give the host's own address)"],
    );
    check(
        "192.0.2.10",
        "ff02::1",
        &["f:23:14: error: [site.boston]: ff02::1 is a multicast address (give the host's own address)"],
    );
    check(
        "192.0.2.10",
        "::ffff:192.0.2.10",
        &[r#"f:23:14: error: [site.boston]: ::ffff:192.0.2.10 is an IPv4 address in IPv6 form (write "192.0.2.10")"#],
    );
    check(
        r#"["192.0.2.10"]"#,
        r#"[{ answer = "192.0.2.10", probe = "::" }]"#,
        &["f:23:47: error: [site.boston]: :: is the unspecified address (give the host's own address)"],
    );
}

/// Timing, and keys the kind has no use for.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn probes() {
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = "200ms""#,
        &[
            "f:24:37: error: [site.boston.probe]: `interval` 200ms is below `timeout` 500ms (give a timeout of at most 200ms, or a longer interval)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = "2s", timeout = "3s""#,
        &[
            "f:24:53: error: [site.boston.probe]: `interval` 2s is below `timeout` 3s (give a timeout of at most 2s, or a longer interval)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", timeout = "2s""#,
        &[
            "f:24:36: error: [site.boston.probe]: `interval` 1s is below `timeout` 2s (give a timeout of at most 1s, or a longer interval)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = "99ms""#,
        &[
            r#"f:24:37: error: [site.boston.probe]: `interval` is 99ms, out of range (give "100ms" to "1h", with the unit ms, s, m or h)"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = "61m""#,
        &[
            r#"f:24:37: error: [site.boston.probe]: `interval` is 61m, out of range (give "100ms" to "1h", with the unit ms, s, m or h)"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", timeout = "9ms""#,
        &[
            r#"f:24:36: error: [site.boston.probe]: `timeout` is 9ms, out of range (give "10ms" to "1h", with the unit ms, s, m or h)"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = "1.5s""#,
        &[
            r#"f:24:37: error: [site.boston.probe]: `interval` is `1.5s`, not a duration (give "100ms" to "1h", with the unit ms, s, m or h)"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", path = "health""#,
        &[
            r#"f:24:33: error: [site.boston.probe]: `health` is not a path (give one that begins with / and has no space, such as "/health?full=1")"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", host = "a b""#,
        &[
            r#"f:24:33: error: [site.boston.probe]: `a b` is not a host (give a name or an address, with or without a port, such as "www.app.com:8080")"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", expect_body = """#,
        &[
            "f:24:40: error: [site.boston.probe]: `expect_body` is empty (give a text the body must hold, or take it out)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", verify = false, ca = "x", server_name = "y""#,
        &[
            "f:24:35: error: [site.boston.probe]: `verify` means nothing to kind http (take it out, or make the kind https)",
            "f:24:47: error: [site.boston.probe]: `ca` means nothing to kind http (take it out, or make the kind https)",
            "f:24:66: error: [site.boston.probe]: `server_name` means nothing to kind http (take it out, or make the kind https)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "tcp", port = 80, path = "/", host = "h", expect_status = [200], expect_body = "b""#,
        &[
            "f:24:43: error: [site.boston.probe]: `path` means nothing to kind tcp (take it out, or make the kind http or https)",
            "f:24:55: error: [site.boston.probe]: `host` means nothing to kind tcp (take it out, or make the kind http, https or grpc)",
            "f:24:76: error: [site.boston.probe]: `expect_status` means nothing to kind tcp (take it out, or make the kind http or https)",
            "f:24:97: error: [site.boston.probe]: `expect_body` means nothing to kind tcp (take it out, or make the kind http or https)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "https", ca = "no-such.pem""#,
        &[
            "f:24:32: error: [site.boston.probe]: cannot read `ca` file `no-such.pem`: No such file or directory (os error 2) (looked for DIR/no-such.pem; a relative path starts where this file is)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "https", ca = "app.com.zone""#,
        &[
            "f:24:32: error: [site.boston.probe]: `app.com.zone` holds no certificate (give a PEM file with at least one BEGIN CERTIFICATE)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "https", server_name = "-a_""#,
        &[
            "f:24:41: error: [site.boston.probe]: `-a_` cannot be the name on a certificate (set `server_name` to a host name or an address)",
        ],
    );
}

/// Invariant 10: a role that is not here is referred, so someone must be named.
#[test]
fn missing_roles() {
    check(
        r#"xdp = "auto""#,
        r#"roles = ["load-balance"]"#,
        &[
            r#"f:9:7: error: [zone."app.com"]: this machine does not have the role `failover`, and no `failover_nameservers` are named (add `failover_nameservers = ["ns2.app.com"]`, the servers that have the role)"#,
        ],
    );
    check(
        r#"xdp = "auto""#,
        r#"roles = ["failover"]"#,
        &[
            r#"f:9:7: error: [zone."app.com"]: this machine does not have the role `load-balance`, and no `balance_nameservers` are named (add `balance_nameservers = ["ns2.app.com"]`, the servers that have the role)"#,
        ],
    );
}

/// A name server's name is no dynamic one, and stands once.
#[test]
fn nameservers() {
    check(
        "ns1.app.com",
        "boston.app.com",
        &[
            r#"f:10:16: error: [zone."app.com"]: name server boston.app.com is a Pool, Group or Site Name too (give the name server a name of its own)"#,
        ],
    );
    check(
        r#"contact = "hostmaster@app.com""#,
        "contact = \"hostmaster@app.com\"\nfailover_nameservers = [\"app.com\"]",
        &[
            r#"f:12:25: error: [zone."app.com"]: name server app.com is a Pool, Group or Site Name too (give the name server a name of its own)"#,
        ],
    );
    check(
        r#"["ns1.app.com"]"#,
        r#"["ns1.app.com", "NS1.app.com."]"#,
        &[r#"f:10:31: error: [zone."app.com"]: `NS1.app.com.` stands twice in `nameservers` (take one out)"#],
    );
}

/// Settings that are allowed but probably not meant.
#[test]
fn warnings() {
    check(
        "probe = { kind = \"http\" }\nweight = 2",
        "weight = 2",
        &[
            r#"f:21:7: warning: [site.boston]: no `probe`, so it always counts as up (add a probe, such as `probe = { kind = "http", path = "/health" }`)"#,
        ],
    );
    check(
        "ttl = 0",
        "ttl = 61",
        &[
            r#"f:15:7: warning: [pool."app.com"]: `ttl` 61 keeps clients on a Site that is down for up to 61 seconds (0 makes every query a fresh decision)"#,
        ],
    );
    check(
        "192.0.2.10",
        "127.0.0.2",
        &[
            "f:23:14: warning: [site.boston]: 127.0.0.2 is a loopback address (a client that is answered this asks itself; give the Site's own address)",
        ],
    );
    check(
        "192.0.2.10",
        "198.51.100.10",
        &[
            "f:23:14: warning: [site.boston]: 198.51.100.10 stands twice in pool app.com (it gets the weight of both; give each Site addresses of its own)",
        ],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = ["boston"]"#,
        &[
            r#"f:21:7: warning: [site.boston]: if boston is down, boston.app.com falls to the all-down rule (fail-open) (set `last_resort = "pool"` in [pool."app.com"], or give its group more Sites)"#,
        ],
    );
    check(
        r#"contact = "hostmaster@app.com""#,
        "contact = \"hostmaster@app.com\"\nbalance_nameservers = [\"lb.app.com\"]",
        &[
            r#"f:12:24: warning: [zone."app.com"]: the address of lb.app.com is not known here (give its address in a `records` file)"#,
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "https", verify = false, ca = "probe-ca.pem""#,
        &["f:24:48: warning: [site.boston.probe]: `ca` has no use while `verify` is false (take one of the two out)"],
    );
}
