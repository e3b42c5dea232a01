//! Messages about single sections, each whole.

use super::check;

/// Syntax is reported alone: what the parser guesses after a slip is not the operator's word.
#[test]
fn not_toml() {
    check(
        r#"xdp = "auto""#,
        r#"xdp = auto""#,
        &[r#"f:4:7: error: not TOML: missing opening quote, expected `"` (https://toml.io has the syntax)"#],
    );
    check(
        r#"xdp = "auto""#,
        "xdp = \"auto\"\nxdp = \"off\"",
        &["f:5:1: error: not TOML: duplicate key (https://toml.io has the syntax)"],
    );
}

/// Unknown keys and sections, keys of later versions among them; a misspelt required key is not called missing too.
#[test]
fn unknown_keys() {
    check("weight = 2", "wieght = 2", &["f:25:1: error: [site.boston]: unknown key `wieght` (did you mean `weight`?)"]);
    check(
        "weight = 2",
        r#"lode = "agent""#,
        &[
            "f:25:1: error: [site.boston]: unknown key `lode` (what may stand here: name, addresses, weight, capacity, group, hold_down, hold_down_max, flap_window, failback, depends_on, initial, probe, min_healthy, load)",
        ],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", intervall = "1s""#,
        &["f:24:26: error: [site.boston.probe]: unknown key `intervall` (did you mean `interval`?)"],
    );
    check(
        r#"addresses = ["192.0.2.10"]"#,
        r#"addresses = [{ answer = "192.0.2.10", prob = "10.0.0.1" }]"#,
        &["f:23:39: error: [site.boston.addresses]: unknown key `prob` (did you mean `probe`?)"],
    );
    check("[admin]", "[amin]", &["f:6:2: error: unknown section `amin` (did you mean `admin`?)"]);
    check(
        "[admin]",
        "[flotilla]\n[admin]",
        &[
            "f:6:2: error: unknown section `flotilla` (what may stand here: front, admin, state, agent, health, fleet, edns, chaos, geo, rate_limit, zone, pool, group, site, forward, hook, web, director)",
        ],
    );
    check(
        r#"xdp = "auto""#,
        "xpd = \"auto\"\nclients = 1",
        &[
            "f:4:1: error: [front]: unknown key `xpd` (did you mean `xdp`?)",
            "f:5:1: error: [front]: unknown key `clients` (what may stand here: interfaces, addresses, xdp, freebind, roles, vlans)",
        ],
    );
    check(
        r#"[pool."app.com"]"#,
        "[pool.app.com]",
        &[
            r#"f:13:7: error: [pool.app.com] is a table in a table, not a name (quote names that have dots: [pool."app.com"])"#,
        ],
    );
    check(
        r#"nameservers = ["ns1.app.com"]"#,
        r#"nameserver = ["ns1.app.com"]"#,
        &[r#"f:10:1: error: [zone."app.com"]: unknown key `nameserver` (did you mean `nameservers`?)"#],
    );
}

/// Values of a wrong type, without what follows from them.
#[test]
fn wrong_types() {
    check(
        "weight = 2",
        r#"weight = "2""#,
        &[r#"f:25:10: error: [site.boston]: `weight` is of a wrong type: string "2", expected a whole number"#],
    );
    check(
        r#"xdp = "auto""#,
        "xdp = 1",
        &["f:4:7: error: [front]: `xdp` is of a wrong type: integer `1`, expected a string"],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        r#"sites = "boston""#,
        &[r#"f:19:9: error: [group."all.app.com"]: `sites` is of a wrong type: string "boston", expected a list"#],
    );
    check(
        r#"addresses = ["192.0.2.10"]"#,
        "addresses = [42]",
        &[
            r#"f:23:14: error: [site.boston]: `addresses` is of a wrong type: integer `42`, expected an address or a table { answer = "…", probe = "…" }"#,
        ],
    );
    check(
        r#"addresses = ["192.0.2.10"]"#,
        r#"addresses = { answer = "192.0.2.10" }"#,
        &["f:23:13: error: [site.boston]: `addresses` is of a wrong type: table, expected a list"],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", interval = 1"#,
        &[
            r#"f:24:37: error: [site.boston.probe]: `interval` is of a wrong type: integer `1`, expected a string (a duration is a text with its unit: "500ms", "1s", "2m")"#,
        ],
    );
    check(
        r#"probe = { kind = "http" }"#,
        r#"probe = "http""#,
        &[
            r#"f:24:9: error: [site.boston]: `probe` is of a wrong type: string "http", expected a table or a list of tables (write { kind = "http" }, or [[site.boston.probe]] for each of several)"#,
        ],
    );
    check(
        "[admin]\nlisten = \"127.0.0.1:8053\"\n",
        "[[admin]]\nlisten = \"127.0.0.1:8053\"\n",
        &["f:6:1: error: [admin] must be a table (write [admin] once and its keys below it)"],
    );
    check(
        "[group.\"all.app.com\"]\npool = \"app.com\"\nsites = [\"boston\", \"geneva\"]\n",
        "[group]\n\"all.app.com\" = 3\n",
        &[
            r#"f:18:17: error: [group."all.app.com"] must be a table (write [group."all.app.com"] once and its keys below it)"#,
        ],
    );
    check(
        "ttl = 0",
        r#"up_threshold = "low""#,
        &[r#"f:15:16: error: [pool."app.com"]: `up_threshold` is of a wrong type: string "low", expected a number"#],
    );
}

/// Required keys.
#[test]
fn missing_keys() {
    check(
        "interfaces = [\"eth0\"]\n",
        "",
        &[r#"f:1:1: error: [front] has no `interfaces` (add `interfaces = ["eth0"]`)"#],
    );
    check(
        "addresses = [\"203.0.113.53\"]\n",
        "",
        &[r#"f:1:1: error: [front] has no `addresses` (add `addresses = ["203.0.113.53"]`)"#],
    );
    check(
        "nameservers = [\"ns1.app.com\"]\n",
        "",
        &[r#"f:9:7: error: [zone."app.com"] has no `nameservers` (add `nameservers = ["ns1.app.com"]`)"#],
    );
    check(
        "contact = \"hostmaster@app.com\"\n",
        "",
        &[r#"f:9:7: error: [zone."app.com"] has no `contact` (add `contact = "hostmaster@app.com"`)"#],
    );
    check(
        "sites = [\"geneva\", \"boston\"]\n",
        "",
        &[r#"f:13:7: error: [pool."app.com"] has no `sites` (add `sites = ["boston"]`)"#],
    );
    check(
        "pool = \"app.com\"\nsites = [\"boston\", \"geneva\"]\n",
        "",
        &[
            r#"f:17:8: error: [group."all.app.com"] has no `sites` (add `sites = ["boston"]`)"#,
            r#"f:17:8: error: [group."all.app.com"] has no `pool` (add `pool = "app.com"`)"#,
        ],
    );
    check(
        "name = \"boston.app.com\"\n",
        "",
        &[r#"f:21:7: error: [site.boston] has no `name` (add `name = "boston.app.com"`)"#],
    );
    check(
        "addresses = [\"192.0.2.10\"]\n",
        "",
        &[r#"f:21:7: error: [site.boston] has no `addresses` (add `addresses = ["192.0.2.10"]`)"#],
    );
    check(
        r#"addresses = ["192.0.2.10"]"#,
        r#"addresses = [{ probe = "10.0.0.1" }]"#,
        &[r#"f:23:14: error: [site.boston.addresses] has no `answer` (add `answer = "192.0.2.10"`)"#],
    );
    check(
        r#"kind = "http""#,
        "port = 80",
        &[r#"f:24:9: error: [site.boston.probe] has no `kind` (add `kind = "http"`)"#],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "tcp""#,
        &["f:24:9: error: [site.boston.probe] has no `port` (add `port = 443`)"],
    );
}

/// A file without a zone, and an empty file.
#[test]
fn no_zone_or_no_pool() {
    check(
        "[zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"hostmaster@app.com\"\n",
        "",
        &[
            r#"f:1:1: error: there is no zone (add a section such as [zone."app.com"] with its nameservers and contact)"#,
        ],
    );
    assert_eq!(
        super::lines(""),
        &[
            "f:1:1: error: there is no section [front] (add it, with its interfaces and addresses)",
            r#"f:1:1: error: there is no zone (add a section such as [zone."app.com"] with its nameservers and contact)"#,
            r#"f:1:1: error: there is no pool (add a section such as [pool."app.com"] with its sites)"#
        ]
    );
}

/// A word that is none of a few names the few.
#[test]
fn choices() {
    check(
        r#"xdp = "auto""#,
        r#"xdp = "nativ""#,
        &[
            "f:4:7: error: [front]: `nativ` is not a value of `xdp` (did you mean `native`? xdp is one of auto, native, generic, off)",
        ],
    );
    check(
        r#"xdp = "auto""#,
        r#"roles = ["load-balance", "fail-over"]"#,
        &[
            "f:4:26: error: [front]: `fail-over` is not a value of `roles` (did you mean `failover`? roles is one of load-balance, failover)",
        ],
    );
    check(
        r#"xdp = "auto""#,
        r#"roles = ["failover", "failover", "load-balance"]"#,
        &["f:4:22: error: [front]: role `failover` is listed twice (take one out)"],
    );
    check(
        "ttl = 0",
        r#"policy = "round-robin""#,
        &[
            r#"f:15:10: error: [pool."app.com"]: `round-robin` is not a value of `policy` (policy is one of weighted-round-robin, weighted-random, sticky, least-load)"#,
        ],
    );
    check(
        "ttl = 0",
        r#"all_down = "panic""#,
        &[
            r#"f:15:12: error: [pool."app.com"]: `panic` is not a value of `all_down` (all_down is one of fail-open, servfail)"#,
        ],
    );
    check(
        "ttl = 0",
        r#"last_resort = "group""#,
        &[
            r#"f:15:15: error: [pool."app.com"]: `group` is not a value of `last_resort` (last_resort is one of none, pool)"#,
        ],
    );
    check(
        "weight = 2",
        r#"initial = "unknown""#,
        &["f:25:11: error: [site.boston]: `unknown` is not a value of `initial` (initial is one of up, down)"],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "icmp""#,
        &[
            "f:24:18: error: [site.boston.probe]: `icmp` is not a value of `kind` (kind is one of http, https, tcp, grpc, external)",
        ],
    );
}

/// `front.addresses`: one host's own addresses, each once, eight of a family.
#[test]
fn front_addresses() {
    check(
        r#"["203.0.113.53"]"#,
        r#"["0.0.0.0"]"#,
        &["f:3:14: error: [front]: 0.0.0.0 is the unspecified address (give the host's own address)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["[::]:53"]"#,
        &["f:3:14: error: [front]: :: is the unspecified address (give the host's own address)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["224.0.0.1"]"#,
        &["f:3:14: error: [front]: 224.0.0.1 is a multicast address (give the host's own address)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["ff02::1"]"#,
        &["f:3:14: error: [front]: ff02::1 is a multicast address (give the host's own address)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["255.255.255.255"]"#,
        &["f:3:14: error: [front]: 255.255.255.255 is the broadcast address (give the host's own address)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["::ffff:203.0.113.53"]"#,
        &[r#"f:3:14: error: [front]: ::ffff:203.0.113.53 is an IPv4 address in IPv6 form (write "203.0.113.53")"#],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["203.0.113.53", "203.0.113.53:53"]"#,
        &["f:3:30: error: [front]: address 203.0.113.53:53 is listed twice (take one out)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["203.0.113.53:0"]"#,
        &["f:3:14: error: [front]: `203.0.113.53:0` has port 0 (give the port queries arrive at; 53 unless given)"],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["ns1.app.com"]"#,
        &[
            r#"f:3:14: error: [front]: `ns1.app.com` is neither an address nor an address and a port (give "203.0.113.53", "203.0.113.53:5353", "2001:db8::53" or "[2001:db8::53]:5353")"#,
        ],
    );
    check(
        r#"["203.0.113.53"]"#,
        r#"["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "::1", "10.0.0.9"]"#,
        &["f:3:117: error: [front]: more than 8 IPv4 addresses (give at most 8 of each family)"],
    );
}

#[test]
fn interfaces() {
    check(
        r#"["eth0"]"#,
        r#"["eth0", "eth0"]"#,
        &["f:2:23: error: [front]: interface `eth0` is listed twice (take one out)"],
    );
    check(
        r#"["eth0"]"#,
        r#"["a/b"]"#,
        &["f:2:15: error: [front]: `a/b` cannot be an interface's name (give one of those `ip -br link` lists)"],
    );
    check(
        r#"["eth0"]"#,
        r#"["sixteen-bytes-it"]"#,
        &[
            "f:2:15: error: [front]: `sixteen-bytes-it` cannot be an interface's name (give one of those `ip -br link` lists)",
        ],
    );
}

/// A list that is there has entries.
#[test]
fn empty_lists() {
    check(r#"["eth0"]"#, "[]", &["f:2:14: error: [front]: `interfaces` is empty (name at least one)"]);
    check(r#"["203.0.113.53"]"#, "[]", &["f:3:13: error: [front]: `addresses` is empty (name at least one)"]);
    check(r#"xdp = "auto""#, "roles = []", &["f:4:9: error: [front]: `roles` is empty (name at least one)"]);
    check(
        r#"nameservers = ["ns1.app.com"]"#,
        "nameservers = []\nbalance_nameservers = []\nfailover_nameservers = []",
        &[
            r#"f:10:15: error: [zone."app.com"]: `nameservers` is empty (name at least one)"#,
            r#"f:11:23: error: [zone."app.com"]: `balance_nameservers` is empty (name at least one)"#,
            r#"f:12:24: error: [zone."app.com"]: `failover_nameservers` is empty (name at least one)"#,
        ],
    );
    check(
        r#"sites = ["geneva", "boston"]"#,
        "sites = []",
        &[r#"f:14:9: error: [pool."app.com"]: `sites` is empty (name at least one)"#],
    );
    check(
        r#"sites = ["boston", "geneva"]"#,
        "sites = []",
        &[r#"f:19:9: error: [group."all.app.com"]: `sites` is empty (name at least one)"#],
    );
    check(
        r#"addresses = ["192.0.2.10"]"#,
        "addresses = []",
        &["f:23:13: error: [site.boston]: `addresses` is empty (name at least one)"],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", expect_status = []"#,
        &["f:24:42: error: [site.boston.probe]: `expect_status` is empty (name at least one)"],
    );
}

/// A contact has a local part.
#[test]
fn contacts() {
    check(
        "hostmaster@app.com",
        "@app.com",
        &[
            r#"f:11:11: error: [zone."app.com"]: contact `@app.com` has nothing before the @ (give a mail address such as "hostmaster@app.com")"#,
        ],
    );
    check(
        "hostmaster@app.com",
        "hostmaster@",
        &[
            r#"f:11:11: error: [zone."app.com"]: contact `hostmaster@` has nothing after the @ (give a mail address such as "hostmaster@app.com")"#,
        ],
    );
    check(
        r#""hostmaster@app.com""#,
        r#""app.com""#,
        &[
            r#"f:11:11: error: [zone."app.com"]: contact `app.com` has no local part: it is the zone itself (give a mail address such as "hostmaster@app.com")"#,
        ],
    );
}

/// Master files exist and are files.
#[test]
fn records_files() {
    check(
        r#"contact = "hostmaster@app.com""#,
        "contact = \"hostmaster@app.com\"\nrecords = \"no-such.zone\"",
        &[
            r#"f:12:11: error: [zone."app.com"]: cannot read `records` file `no-such.zone`: No such file or directory (os error 2) (looked for DIR/no-such.zone; a relative path starts where this file is)"#,
        ],
    );
    check(
        r#"contact = "hostmaster@app.com""#,
        "contact = \"hostmaster@app.com\"\nrecords = \".\"",
        &[
            r#"f:12:11: error: [zone."app.com"]: cannot read `records` file `.`: it is not a file (looked for DIR/.; a relative path starts where this file is)"#,
        ],
    );
}

/// Numbers and their ranges.
#[test]
fn ranges() {
    check(
        "ttl = 0",
        "ttl = 86401",
        &[r#"f:15:7: error: [pool."app.com"]: `ttl` is 86401, out of range (give 0 to 86400 seconds)"#],
    );
    check(
        "ttl = 0",
        "ttl = -1",
        &[r#"f:15:7: error: [pool."app.com"]: `ttl` is -1, out of range (give 0 to 86400 seconds)"#],
    );
    check(
        "ttl = 0",
        "up_threshold = 1.5",
        &[
            r#"f:15:16: error: [pool."app.com"]: `up_threshold` is 1.5, out of range (give 0 to 1, the share of live weight below which all Sites count as up; 0 is off)"#,
        ],
    );
    check(
        "ttl = 0",
        "up_threshold = nan",
        &[
            r#"f:15:16: error: [pool."app.com"]: `up_threshold` is NaN, out of range (give 0 to 1, the share of live weight below which all Sites count as up; 0 is off)"#,
        ],
    );
    check(
        "ttl = 0",
        "sticky_prefix_v4 = 33\nsticky_prefix_v6 = 129",
        &[
            r#"f:15:20: error: [pool."app.com"]: `sticky_prefix_v4` is 33, out of range (give 0 to 32 bits)"#,
            r#"f:16:20: error: [pool."app.com"]: `sticky_prefix_v6` is 129, out of range (give 0 to 128 bits)"#,
        ],
    );
    check(
        r#"contact = "hostmaster@app.com""#,
        "contact = \"hostmaster@app.com\"\nnegative_ttl = 2147483648\nns_ttl = -1\nserial = 4294967296\nrefresh = 2147483648",
        &[
            r#"f:12:16: error: [zone."app.com"]: `negative_ttl` is 2147483648, out of range (give 0 to 2147483647 seconds)"#,
            r#"f:13:10: error: [zone."app.com"]: `ns_ttl` is -1, out of range (give 0 to 2147483647 seconds)"#,
            r#"f:14:10: error: [zone."app.com"]: `serial` is 4294967296, out of range (give 0 to 4294967295)"#,
            r#"f:15:11: error: [zone."app.com"]: `refresh` is 2147483648, out of range (give 0 to 2147483647 seconds)"#,
        ],
    );
    check(
        "weight = 2",
        "weight = 65536",
        &["f:25:10: error: [site.boston]: `weight` is 65536, out of range (give 1 to 65535)"],
    );
    check(
        r#"kind = "http""#,
        r#"kind = "http", port = 0, rise = 0, fall = 101, expect_status = [99]"#,
        &[
            "f:24:33: error: [site.boston.probe]: `port` is 0, out of range (give 1 to 65535)",
            "f:24:43: error: [site.boston.probe]: `rise` is 0, out of range (give 1 to 100)",
            "f:24:53: error: [site.boston.probe]: `fall` is 101, out of range (give 1 to 100)",
            "f:24:75: error: [site.boston.probe]: `expect_status` is 99, out of range (give 100 to 599)",
        ],
    );
}

/// Weight 0 is no weight.
#[test]
fn zero_weight() {
    check(
        "weight = 2",
        "weight = 0",
        &[
            "f:25:10: error: [site.boston]: `weight` is 0, so the Site would never be chosen (give 1 to 65535; to keep a Site out, take it out of its pool's and groups' `sites`)",
        ],
    );
}
