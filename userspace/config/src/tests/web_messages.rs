//! `[web]`: what is wrong with it, each message whole.

use super::{lines, web::with, *};

/// Each of these, behind [`BASE`](super::BASE), is told of by exactly these words: the problem and its fix. All that are
/// not are shown at once.
#[track_caller]
pub(super) fn told(rows: &[(&str, &[&str])]) {
    let mut wrong = Vec::new();
    for (text, expect) in rows {
        let said = lines(&with(text));
        // `f:line:column: ` is in front.
        let said: Vec<&str> = said.iter().map(|line| line.splitn(4, ':').last().unwrap_or_default().trim()).collect();
        if said != *expect {
            wrong.push(format!("{text}\n  said:   {said:#?}\n  expect: {expect:#?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.concat());
}

/// Checks lines of `[web]` as [`told`] does; each is expected to be told of by one error, given without `error: `.
#[track_caller]
pub(super) fn key(rows: &[(&str, &str)]) {
    let rows: Vec<_> =
        rows.iter().map(|(line, expect)| (format!("[web]\n{line}\n"), format!("error: {expect}"))).collect();
    let expects: Vec<_> = rows.iter().map(|(_, expect)| [expect.as_str()]).collect();
    let rows: Vec<_> = rows.iter().zip(&expects).map(|((text, _), expect)| (text.as_str(), &expect[..])).collect();
    told(&rows);
}

#[test]
fn what_stands_there() {
    const KEYS: &str = "listen, admin, tls, backends, invite, screen, backend_probe, access_log, access_log_format, aliases, overflow, pass, \
                        backend_host, clean_url, redirect, trusted_proxies, via, marker, busy, session, flag, peers, limits, \
                        rule, class";
    let neither = |word: &str| {
        format!(
            "error: [web]: `{word}` is neither a key nor a Site (what may stand here: {KEYS}; or a Site's key with a table of \
             them)"
        )
    };
    let unknown =
        |section: &str, word: &str| format!("error: {section}: unknown key `{word}` (what may stand here: {KEYS})");
    told(&[
        ("[web]\nlisen = []\n", &["error: [web]: `lisen` is neither a key nor a Site (did you mean `listen`?)"]),
        ("[web.bosten]\n", &["error: [web]: `bosten` is neither a key nor a Site (did you mean `boston`?)"]),
        ("[web.tsl]\nlisten = []\n", &["error: [web]: `tsl` is neither a key nor a Site (did you mean `tls`?)"]),
        ("[web.atlantis]\n", &[&neither("atlantis")]),
        ("[web]\nport = 1\n", &[&neither("port")]),
        ("[web.boston.geneva]\nlisten = []\n", &[&unknown("[web.boston]", "geneva")]),
        ("[web.boston]\nlisen = []\n", &["error: [web.boston]: unknown key `lisen` (did you mean `listen`?)"]),
        (
            "[web.boston.marker]\nlifetme = \"1s\"\n",
            &["error: [web.boston.marker]: unknown key `lifetme` (did you mean `lifetime`?)"],
        ),
        (
            "[[web.rule]]\ngruop = \"all.app.com\"\n",
            &["error: [web.rule]: unknown key `gruop` (did you mean `group`?)"],
        ),
        (
            "[web]\nboston = 1\n",
            &["error: [web.boston] must be a table (write [web.boston] once and its keys below it)"],
        ),
        ("[web]\ntls = true\n", &["error: [web.tls] must be a table (write [web.tls] once and its keys below it)"]),
        (
            "[web.rule]\ngroup = \"all.app.com\"\n",
            &["error: [web]: `rule` is of a wrong type: table, expected a list (write [[web.rule]] for each)"],
        ),
        (
            "[web.boston.class]\n",
            &[
                "error: [web.boston]: `class` is of a wrong type: table, expected a list (write [[web.boston.class]] for each)",
            ],
        ),
        (
            "[web]\npeers = 1\n",
            &["error: [web]: `peers` is of a wrong type: integer `1`, expected a word or a table { agent = \"…\" }"],
        ),
        ("[web]\npeers = { agnet = \"::1\" }\n", &["error: [web.peers]: unknown key `agnet` (did you mean `agent`?)"]),
        (
            "[web.marker]\nskew = 5\n",
            &[
                "error: [web.marker]: `skew` is of a wrong type: integer `5`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
            ],
        ),
        (
            "[web.busy]\nretry = 5\n",
            &[
                "error: [web.busy]: `retry` is of a wrong type: integer `5`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
            ],
        ),
    ]);
    assert_eq!(
        lines(&format!("web = 1\n{BASE}")),
        ["f:1:7: error: [web] must be a table (write [web] once and its keys below it)"]
    );
}

/// A Site whose key is one of `[web]`'s would have a table that is another's.
#[test]
fn sites_that_are_called_like_keys() {
    let text = with("[web]\n").replace("boston]", "tls]").replace("\"boston\"", "\"tls\"");
    assert_eq!(
        lines(&text),
        [
            "f:21:7: error: [site.tls]: `tls` is a key of [web] too (give the Site another key: [web.tls] would be a table of it)"
        ]
    );
    let without = text.replace("[web]\n", "");
    assert_eq!(lines(&without), Vec::<String>::new());
}

#[test]
fn places() {
    let form = |port: u16| {
        format!("(give \"192.0.2.10\", \"192.0.2.10:{port}\", \"2001:db8::10\" or \"[2001:db8::10]:{port}\")")
    };
    let many: Vec<_> = (1..=17).map(|port| format!("\"[::1]:{port}\"")).collect();
    key(&[
        ("listen = [\"x\"]", &format!("[web]: `x` is neither an address nor an address and a port {}", form(80))),
        ("listen = [\"[::1]:0\"]", "[web]: `[::1]:0` has port 0 (give the port; 80 unless given)"),
        ("listen = [\"224.0.0.1\"]", "[web]: 224.0.0.1 is a multicast address (give the host's own address)"),
        ("listen = [\"::1\", \"[::1]:80\"]", "[web]: `[::1]:80` is listed twice (take one out)"),
        (&format!("listen = [{}]", many.join(",")), "[web]: more than 16 places to listen on (name fewer)"),
        (
            "tls = { listen = [\"y\"], certificates = \"c\" }",
            &format!("[web.tls]: `y` is neither an address nor an address and a port {}", form(443)),
        ),
        ("tls = { listen = [], certificates = \"c\" }", "[web.tls]: `listen` is empty (name at least one)"),
        ("tls = {}", "[web.tls] has no `certificates` (add `certificates = \"certificates\"`)"),
        (
            "tls = { certificates = \"\" }",
            "[web.tls]: `certificates` is not a path (give one on the Site's machine; a relative path starts where this file is)",
        ),
        ("admin = \"off\"", &format!("[web]: `off` is neither an address nor an address and a port {}", form(8054))),
        (
            "listen = [\"0.0.0.0\"]\nadmin = \"127.0.0.1:80\"",
            "[web]: 0.0.0.0:80 and 127.0.0.1:80 overlap (`listen`, `tls`, `admin` and `invite` need places of their own)",
        ),
        (
            "listen = [\"::1\"]\ntls = { listen = [\"[::1]:80\"], certificates = \"c\" }",
            "[web]: [::1]:80 is listened on twice (`listen`, `tls`, `admin` and `invite` need places of their own)",
        ),
        (
            "tls = { listen = [\"192.0.2.10:80\"], certificates = \"c\" }",
            "[web]: 192.0.2.10:80 is listened on twice (`listen`, `tls`, `admin` and `invite` need places of their own)",
        ),
        (
            "listen = [\"127.0.0.1:8054\"]",
            "[web]: 127.0.0.1:8054 is listened on twice (`listen`, `tls`, `admin` and `invite` need places of their own)",
        ),
        (
            "listen = []\nadmin = \"none\"",
            "[web]: Site boston listens nowhere (give `listen`, `tls` or `admin` a place)",
        ),
        (
            "listen = []\n[web.geneva]\nadmin = \"none\"",
            "[web.geneva]: Site geneva listens nowhere (give `listen`, `tls` or `admin` a place)",
        ),
    ]);
    told(&[
        (
            "[web]\nadmin = \"192.0.2.10\"\n",
            &[
                "warning: [web]: whoever reaches 192.0.2.10:8054 reads metrics, the load report and the checks (listen on loopback, or let nobody but those who need it through to it)",
            ],
        ),
        (
            "[web]\nadmin = \"[::]:1\"\n",
            &[
                "warning: [web]: whoever reaches [::]:1 reads metrics, the load report and the checks (listen on loopback, or let nobody but those who need it through to it)",
            ],
        ),
    ]);
}

#[test]
fn backends() {
    let form = "(give \"http://127.0.0.1:8080\", \"http://[::1]:8080\" or \"http://app1.internal:8080\")";
    let bad =
        |url: &str, what: &str| (format!("backends = [\"{url}\"]"), format!("[web]: backend `{url}` {what} {form}"));
    let rows = [
        bad("127.0.0.1:8080", "is not a URL"),
        bad("unix:///run/app", "is not an http:// URL"),
        bad("http://a/b", "has a path"),
        bad("http://a?b", "has a path"),
        bad("http://u:p@a", "has a user"),
        bad("http://", "has no host"),
        bad("http://:80", "has no host"),
        bad("http://a b", "has no host"),
        bad("http://0.0.0.0", "has no host"),
        bad("http://::1", "has an IPv6 address without brackets"),
        bad("http://[::1", "has no `]`"),
        bad("http://[::]", "has no IPv6 address in its brackets"),
        bad("http://[127.0.0.1]", "has no IPv6 address in its brackets"),
        bad("http://[::1]80", "has no port of 1 to 65535"),
        bad("http://a:", "has no port of 1 to 65535"),
        bad("http://a:0", "has no port of 1 to 65535"),
        bad("http://a:+80", "has no port of 1 to 65535"),
        bad("http://a:65536", "has no port of 1 to 65535"),
    ];
    key(&rows.each_ref().map(|(line, expect)| (line.as_str(), expect.as_str())));
    let many: Vec<_> = (1..=65).map(|port| format!("\"http://a:{port}\"")).collect();
    let circles = "itself listens (name the application's own place: a request would go round in circles)";
    key(&[
        ("backends = []", "[web]: `backends` is empty (name at least one)"),
        (
            "backends = [\"https://a\"]",
            "[web]: backend `https://a` would be spoken to by TLS (give http://: backends are spoken to in HTTP/1.1, over a network of your own)",
        ),
        ("backends = [\"http://a\", \"HTTP://A:80/\"]", "[web]: `http://a:80` is listed twice (take one out)"),
        (&format!("backends = [{}]", many.join(",")), "[web]: more than 64 backends (name fewer)"),
        (
            "backends = [\"http://198.51.100.10\"]",
            &format!("[web]: backend 198.51.100.10:80 is where Site geneva {circles}"),
        ),
        (
            "backends = [\"http://127.0.0.1:8054\"]",
            &format!("[web]: backend 127.0.0.1:8054 is where Site boston {circles}"),
        ),
        (
            "listen = [\"0.0.0.0:8080\"]\nbackends = [\"http://127.0.0.1:8080\", \"http://10.0.0.1:8080\"]",
            &format!("[web]: backend 127.0.0.1:8080 is where Site boston {circles}"),
        ),
        (
            "access_log = \"\"",
            "[web]: `access_log` is not a path (give one on the Site's machine; a relative path starts where this file is)",
        ),
        (
            "access_log_format = \"combine\"",
            "[web]: `combine` is not a value of `access_log_format` (did you mean `combined`? access_log_format is one of common, combined, json)",
        ),
        (
            "backend_probe = { path = \"health\" }",
            "[web.backend_probe]: `health` is not a path (give one that begins with / and has no space, such as \"/health?full=1\")",
        ),
        (
            "backend_probe = { timeout = \"2s\" }",
            "[web.backend_probe]: `interval` 1s is below `timeout` 2s (give a timeout of at most 1s, or a longer interval)",
        ),
        (
            "backend_probe = { interval = \"1ms\" }",
            "[web.backend_probe]: `interval` is 1ms, out of range (give \"100ms\" to \"1h\", with the unit ms, s, m or h)",
        ),
    ]);
}

#[test]
fn invitations() {
    let places = "(give \"192.0.2.10\", \"192.0.2.10:8055\", \"2001:db8::10\" or \"[2001:db8::10]:8055\")";
    let url = "(give \"http://127.0.0.1:8080\", \"http://[::1]:8080\" or \"http://app1.internal:8080\")";
    key(&[
        ("invite = {}", "[web.invite] has no `listen` (add `listen = \"10.0.0.1:8055\"`)"),
        (
            "invite = { listen = \"here\" }",
            &format!("[web.invite]: `here` is neither an address nor an address and a port {places}"),
        ),
        (
            "invite = { listen = \"10.0.0.1\" }",
            "[web.invite]: `10.0.0.1:8055` can be reached from other machines, and there is no `token` (name a file with a token, as `openssl rand -hex 32` makes it, or listen on loopback)",
        ),
        (
            "invite = { listen = \"127.0.0.1\", beat = \"2s\", stall = \"3s\" }",
            "[web.invite]: `stall` 3s is below twice `beat` 2s (give at least \"4s\": one beat may be late)",
        ),
        (
            "invite = { listen = \"127.0.0.1\", waiting = 10001 }",
            "[web.invite]: `waiting` is 10001, out of range (give 0 to 10000 requests)",
        ),
        (
            "invite = { listen = \"127.0.0.1\", workers = [\"10.0.0.2:8055\"] }",
            &format!("[web.invite]: worker `10.0.0.2:8055` is not a URL {url}"),
        ),
        (
            "invite = { listen = \"127.0.0.1\" }\nbackends = [\"http://a\"]",
            "[web]: `invite` and `backends` exclude each other (take one of them out: with `invite`, application servers say themselves where they are)",
        ),
        (
            "invite = { listen = \"127.0.0.1:8054\" }",
            "[web]: 127.0.0.1:8054 is listened on twice (`listen`, `tls`, `admin` and `invite` need places of their own)",
        ),
        ("screen = \"127.0.0.1/auth\"", &format!("[web]: screen `127.0.0.1` is not a URL {url}")),
        (
            "screen = \"https://a/auth\"",
            "[web]: screen `https://a` would be spoken to by TLS (give http://: screens are spoken to in HTTP/1.1, over a network of your own)",
        ),
        (
            "screen = \"http://a/b c\"",
            "[web]: `/b c` is not a path (give one that begins with / and has no space, such as \"/health?full=1\")",
        ),
    ]);
}

#[test]
fn names() {
    let many: Vec<_> = (1..=65).map(|i| format!("\"a{i}.example\"")).collect();
    key(&[
        (
            "aliases = [\"app.com\"]",
            "[web]: alias app.com is a Pool Name already (take it out: Pool, Group and Site Names need not be listed)",
        ),
        (
            "aliases = [\"ALL.app.com.\"]",
            "[web]: alias all.app.com is a Group Name already (take it out: Pool, Group and Site Names need not be listed)",
        ),
        (
            "[web.boston]\naliases = [\"geneva.app.com\"]",
            "[web.boston]: alias geneva.app.com is a Site Name already (take it out: Pool, Group and Site Names need not be listed)",
        ),
        ("aliases = [\"a.example\", \"A.example.\"]", "[web]: `a.example` is listed twice (take one out)"),
        ("aliases = []", "[web]: `aliases` is empty (name at least one)"),
        (&format!("aliases = [{}]", many.join(",")), "[web]: more than 64 aliases (name fewer)"),
        (
            "aliases = [\"*.app.com\"]",
            "[web]: `*.app.com` cannot be the host of a URL (give a name of letters, digits, - and _, such as \"www.app.com\", without a port)",
        ),
        (
            "aliases = [\"www.app.com:80\"]",
            "[web]: `www.app.com:80` cannot be the host of a URL (give a name of letters, digits, - and _, such as \"www.app.com\", without a port)",
        ),
        ("aliases = [\"a..example\"]", "[web]: an empty label in name `a..example` (take out the surplus dot)"),
        (
            "redirect = \"metta\"",
            "[web]: `metta` is not a value of `redirect` (did you mean `meta`? redirect is one of status, meta)",
        ),
        (
            "trusted_proxies = [\"10.0.0.1/8\"]",
            "[web]: `10.0.0.1/8` has bits set after its length (write \"10.0.0.0/8\")",
        ),
        (
            "trusted_proxies = [\"10.0.0.1\", \"10.0.0.1\"]",
            "[web]: `10.0.0.1/32` stands twice in `trusted_proxies` (take one out)",
        ),
        (
            "via = \"this Site\"",
            "[web]: `via` \"this Site\" is no name in a `Via` field (give letters, digits and `-`, at most 64, or \"\" for no such field)",
        ),
    ]);
    told(&[(
        "[web]\ntrusted_proxies = [\"10.0.0.1\", \"::/0\"]\n",
        &[
            "warning: [web]: `::/0` trusts everybody to say who they are (give the addresses of your own proxies alone: group rules trust what they say)",
        ],
    )]);
}

/// An alias is one pool's, however many Sites have it.
#[test]
fn aliases_lead_to_one_pool() {
    let pool = "[pool.\"two.app.com\"]\nsites = [\"paris\"]\n[site.paris]\nname = \"paris.two.app.com\"\n\
                addresses = [\"203.0.113.1\"]\nprobe = { kind = \"http\" }\n";
    let own = |site: &str| format!("[web.{site}]\naliases = [\"a.example\"]\n");
    told(&[
        (&(own("boston") + &own("geneva")), &[]),
        (
            &(pool.to_owned() + &own("boston") + &own("paris")),
            &[
                "error: [web.paris]: alias a.example leads to pools app.com and two.app.com (give it to the Sites of one pool)",
            ],
        ),
    ]);
}

#[test]
fn markers() {
    let lost =
        "(give a domain that the pool's names are all below; for Sites of another pool, a `marker` in each [web.SITE])";
    key(&[
        (
            "marker = { mode = \"header\" }",
            "[web.marker]: `header` is not a value of `mode` (mode is one of path, query, cookie)",
        ),
        (
            "marker = { domain = \"app.com\" }",
            "[web.marker]: `domain` means nothing but to mode cookie (take it out, or make the mode cookie)",
        ),
        ("marker = { mode = \"cookie\" }", "[web.marker] has no `domain` (add `domain = \"app.com\"`)"),
        (
            "marker = { lifetime = \"0s\" }",
            "[web.marker]: `lifetime` is 0s, out of range (give \"1s\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "marker = { lifetime = \"2h\" }",
            "[web.marker]: `lifetime` is 2h, out of range (give \"1s\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "marker = { lifetime = \"1500ms\" }",
            "[web.marker]: `lifetime` is 1500ms, not whole seconds (give \"1s\" to \"1h\", with the unit s, m or h)",
        ),
        (
            "marker = { lifetime = \"1d\" }",
            "[web.marker]: `lifetime` is `1d`, not a duration (give \"1s\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "marker = { skew = \"6m\" }",
            "[web.marker]: `skew` is 6m, out of range (give \"0s\" to \"5m\", with the unit ms, s, m or h)",
        ),
        (
            "marker = { lifetime = \"10s\", skew = \"11s\" }",
            "[web.marker]: `skew` 11s is above `lifetime` 10s (give at most the lifetime, and let the Sites' clocks be set by NTP)",
        ),
        (
            "marker = { key = \"\" }",
            "[web.marker]: `key` is not a path (give one on the Site's machine; a relative path starts where this file is)",
        ),
        (
            "marker = { mode = \"cookie\", domain = \"sites.app.com\" }",
            &format!("[web]: app.com is not below sites.app.com, the domain of `marker` {lost}"),
        ),
        (
            "aliases = [\"app.example\"]\nmarker = { mode = \"cookie\", domain = \"app.com\" }",
            "[web]: alias app.example is not below app.com, the marker's domain (a redirect from there would lose the marker and be made again; choose another mode, or domain)",
        ),
    ]);
    let group = "[group.\"east.example.com\"]\npool = \"app.com\"\nsites = [\"boston\"]\n[zone.\"example.com\"]\n\
                 nameservers = [\"ns1.app.com\"]\ncontact = \"h@app.com\"\n[site.x]\n";
    let group = group.strip_suffix("[site.x]\n").expect("it ends so").to_owned();
    let warning = "warning: [web]: Sites boston and geneva of one pool have different markers (give all Sites of a pool one mode and lifetime, and a key to all or none: what one makes, another reads)";
    told(&[
        (
            &(group + "[web]\nmarker = { mode = \"cookie\", domain = \"app.com\" }\n"),
            &[&format!("error: [web]: east.example.com is not below app.com, the domain of `marker` {lost}")],
        ),
        (
            "[web.boston]\nmarker = { mode = \"cookie\", domain = \"boston.app.com\" }\n",
            &[
                &format!("error: [web.boston]: app.com is not below boston.app.com, the domain of `marker` {lost}"),
                warning,
            ],
        ),
        ("[web.boston]\nmarker = { mode = \"query\" }\n", &[warning]),
        ("[web.geneva]\nmarker = { lifetime = \"30s\" }\n", &[warning]),
        ("[web.geneva]\nmarker = { key = \"k\" }\n[web.boston]\nmarker = { key = \"other\", skew = \"1s\" }\n", &[]),
    ]);
}

#[test]
fn sessions_flags_and_busy() {
    let cookie = "(give letters, digits, - and _, such as \"ZSESSION\")";
    key(&[
        ("session = { cookie = \"\" }", &format!("[web.session]: `` cannot be a cookie's name {cookie}")),
        ("session = { cookie = \"a b\" }", &format!("[web.session]: `a b` cannot be a cookie's name {cookie}")),
        ("session = { cookie = \"a=b\" }", &format!("[web.session]: `a=b` cannot be a cookie's name {cookie}")),
        (
            "session = { cookie = \"DISTRIB\" }",
            "[web.session]: cookie `DISTRIB` is the marker's (give the cookie another name)",
        ),
        (
            "session = { lifetime = \"9s\" }",
            "[web.session]: `lifetime` is 9s, out of range (give \"10s\" to \"720h\", with the unit ms, s, m or h)",
        ),
        (
            "session = { key = \"\\u0000\" }",
            "[web.session]: `key` is not a path (give one on the Site's machine; a relative path starts where this file is)",
        ),
        ("flag = {}", "[web.flag] has no `domain` (add `domain = \"app.com\"`)"),
        (
            "flag = { domain = \"com:80\" }",
            "[web.flag]: `com:80` cannot be the host of a URL (give a name of letters, digits, - and _, such as \"www.app.com\", without a port)",
        ),
        (
            "flag = { domain = \"boston.app.com\" }",
            "[web]: app.com is not below boston.app.com, the domain of `flag` (give a domain that the pool's names are all below; for Sites of another pool, a `flag` in each [web.SITE])",
        ),
        (
            "flag = { domain = \"app.com\", cookie = \"__host-G\" }",
            "[web.flag]: no browser takes a cookie `__host-G` with a domain (give it a name that does not begin with __Host-)",
        ),
        (
            "flag = { domain = \"app.com\", cookie = \"ZSESSION\" }",
            "[web]: `flag` and `session` are both cookie ZSESSION (give one of them another name)",
        ),
        (
            "flag = { domain = \"app.com\", lifetime = \"9601h\" }",
            "[web.flag]: `lifetime` is 9601h, out of range (give \"1m\" to \"9600h\", with the unit ms, s, m or h)",
        ),
        (
            "busy = { in_flight = -1 }",
            "[web.busy]: `in_flight` is -1, out of range (give 0 to 1000000 requests; 0 is never)",
        ),
        (
            "busy = { latency = 1.0 }",
            "[web.busy]: `latency` is 1, out of range (give 1.1 to 100, times the usual latency, or 0 for never)",
        ),
        (
            "busy = { latency = nan }",
            "[web.busy]: `latency` is NaN, out of range (give 1.1 to 100, times the usual latency, or 0 for never)",
        ),
        (
            "busy = { sessions = 1000000001 }",
            "[web.busy]: `sessions` is 1000000001, out of range (give 0 to 1000000000 sessions; 0 is never)",
        ),
        (
            "busy = { resume = 0.0 }",
            "[web.busy]: `resume` is 0, out of range (give 0.01 to 1, the part of a limit to fall below)",
        ),
        (
            "busy = { status = 500 }",
            "[web.busy]: `status` is 500 (give 503, or 200 for clients that must not be told of an error)",
        ),
        (
            "pass = [\"get /a\"]",
            "[web]: `get /a` is neither a path nor a method (give a path, a method in capitals, or both: \"/.well-known\", \"OPTIONS\", \"POST /hooks\")",
        ),
        (
            "pass = [\"POST a\"]",
            "[web]: `a` is not a path (give one that begins with / and has no query, such as \"/eu\")",
        ),
        (
            "backend_host = \"other\"",
            "[web]: `other` is not a value of `backend_host` (backend_host is one of keep, site, pool)",
        ),
        (
            "session = { same_site = \"any\" }",
            "[web.session]: `any` is not a value of `same_site` (same_site is one of lax, strict, none)",
        ),
        (
            "busy = { client_share = 0.0 }",
            "[web.busy]: `client_share` is 0, out of range (give 0.01 to 1, the part of a limit that one client may fill)",
        ),
        ("busy = { client_prefix_v4 = 33 }", "[web.busy]: `client_prefix_v4` is 33, out of range (give 8 to 32 bits)"),
        (
            "busy = { retry = \"500ms\" }",
            "[web.busy]: `retry` is 500ms, out of range (give \"1s\" to \"1h\", with the unit ms, s, m or h)",
        ),
    ]);
}

#[test]
fn peers_and_limits() {
    key(&[
        ("peers = \"agent\"", "[web]: `agent` is not a value of `peers` (peers is one of probe, none)"),
        ("peers = { interval = \"1s\" }", "[web.peers] has no `agent` (add `agent = \"203.0.113.53:8053\"`)"),
        (
            "peers = { agent = \"0.0.0.0\" }",
            "[web.peers]: 0.0.0.0 is the unspecified address (give the host's own address)",
        ),
        (
            "peers = { agent = \"::1\", interval = \"2h\" }",
            "[web.peers]: `interval` is 2h, out of range (give \"100ms\" to \"1h\", with the unit ms, s, m or h)",
        ),
        ("limits = { connections = 0 }", "[web.limits]: `connections` is 0, out of range (give 1 to 1000000)"),
        (
            "limits = { connections = 5, connections_per_client = 6 }",
            "[web.limits]: `connections_per_client` 6 is above `connections` 5 (give at most as many)",
        ),
        ("limits = { head = 8191 }", "[web.limits]: `head` is 8191, out of range (give 8192 to 1048576 bytes)"),
        ("limits = { headers = 7 }", "[web.limits]: `headers` is 7, out of range (give 8 to 1000)"),
        (
            "limits = { body = -1 }",
            "[web.limits]: `body` is -1, out of range (give 0 to 1125899906842624 bytes; 0 is without a bound)",
        ),
        (
            "limits = { head_timeout = \"0s\" }",
            "[web.limits]: `head_timeout` is 0s, out of range (give \"100ms\" to \"5m\", with the unit ms, s, m or h)",
        ),
        (
            "limits = { idle_timeout = \"0s\" }",
            "[web.limits]: `idle_timeout` is 0s, out of range (give \"1s\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "limits = { connect_timeout = \"0s\" }",
            "[web.limits]: `connect_timeout` is 0s, out of range (give \"10ms\" to \"1m\", with the unit ms, s, m or h)",
        ),
        (
            "limits = { response_timeout = \"0s\" }",
            "[web.limits]: `response_timeout` is 0s, out of range (give \"100ms\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "limits = { grace = \"25h\" }",
            "[web.limits]: `grace` is 25h, out of range (give \"0s\" to \"24h\", with the unit ms, s, m or h)",
        ),
        (
            "limits = { requests_per_client = 0 }",
            "[web.limits]: `requests_per_client` is 0, out of range (give 1 to 1000000)",
        ),
        ("limits = { streams = 10001 }", "[web.limits]: `streams` is 10001, out of range (give 1 to 10000)"),
    ]);
    told(&[(
        "[web]\npeers = { agent = \"203.0.113.53\" }\n",
        &[
            "warning: [web.peers]: an agent at 203.0.113.53:8053 asks for a token, and [admin] has no `token_file` (name a file with the agent's token there, for agent and Site alike)",
        ],
    )]);
}
