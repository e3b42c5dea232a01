//! `[web.session]` with session servers or a journal: what it means, and what is wrong with it, each message whole.

use std::time::Duration;

use super::{
    web::webs,
    web_messages::{key, told},
    *,
};
use zerottl_core::model::{SessionConfig, SessionServerConfig, WriteMode};

fn session(keys: &str) -> SessionConfig {
    webs(&format!("[web]\nadmin = \"none\"\n[web.session]\n{keys}\n"))[0].session.clone()
}

fn server(url: &str, name: &str, domain: &str) -> SessionServerConfig {
    SessionServerConfig { url: url.into(), name: name.into(), domain: domain.into(), tls: url.starts_with("rediss") }
}

#[test]
fn every_key_of_servers_has_a_meaning() {
    let found = session(
        r#"
key = "k"
servers = [
    "redis://10.0.0.1",
    "REDIS://[2001:DB8:0::1]:7000/",
    { url = "rediss://user@Redis-2.example.:6380/15", domain = "rack-b" },
]
servers_password = "password"
servers_ca = "/ca.pem"
copies = 3
write = "ack-all"
lease = "10s"
timeout = "4s"
size_max = 1
sessions_max = 10000000
"#,
    );
    let expect = SessionConfig {
        key: Some("/etc/zerottl/k".into()),
        servers: vec![
            server("redis://10.0.0.1:6379/0", "10.0.0.1:6379", "10.0.0.1"),
            server("redis://[2001:db8::1]:7000/0", "[2001:db8::1]:7000", "2001:db8::1"),
            server("rediss://user@redis-2.example:6380/15", "redis-2.example:6380", "rack-b"),
        ],
        servers_password: Some("/etc/zerottl/password".into()),
        servers_ca: Some("/ca.pem".into()),
        copies: 3,
        write: WriteMode::AckAll,
        lease: Duration::from_secs(10),
        timeout: Duration::from_secs(4),
        size_max: 1,
        sessions_max: 10_000_000,
        ..SessionConfig::default()
    };
    assert_eq!(found, expect);
    let kept = SessionConfig { key: Some("/k".into()), journal: Some("/j".into()), ..SessionConfig::default() };
    assert_eq!(session("key = \"/k\"\njournal = \"/j\""), kept);
    let waits = SessionConfig { write: WriteMode::AckOne, ..kept };
    assert_eq!(session("key = \"/k\"\njournal = \"/j\"\nwrite = \"ack-one\""), waits);
}

/// Two copies where there are two servers (C31).
#[test]
fn c31_defaults_go_by_the_servers() {
    let copies = |count: usize| {
        let servers: Vec<_> = (1..=count).map(|host| format!("\"redis://10.0.0.{host}\"")).collect();
        session(&format!("key = \"k\"\nservers = [{}]", servers.join(","))).copies
    };
    assert_eq!((session("").copies, copies(1), copies(2), copies(8)), (0, 1, 2, 2));
    // The default gives way to a shorter lease.
    let timeout =
        |lease: &str| session(&format!("key = \"k\"\nservers = [\"redis://a\"]\n{lease}")).timeout.as_millis();
    assert_eq!([timeout(""), timeout("lease = \"1s\""), timeout("lease = \"500ms\"")], [500, 250, 125]);
}

/// Each Site has its own servers; the whole key goes before.
#[test]
fn a_site_has_servers_of_its_own() {
    let [boston, geneva] = webs(
        "[web]\nadmin = \"none\"\n[web.session]\nkey = \"k\"\nservers = [\"redis://a\"]\n[web.geneva.session]\nkey = \"k\"\njournal = \"j\"\n",
    );
    assert_eq!((boston.session.servers.len(), boston.session.journal.is_some()), (1, false));
    assert_eq!((geneva.session.servers.len(), geneva.session.journal.is_some()), (0, true));
}

#[test]
fn urls_of_servers() {
    let form =
        "(give \"redis://10.0.0.1:6379\", \"redis://[2001:db8::1]\" or \"rediss://user@redis-1.internal:6380/1\")";
    let bad = |url: &str, what: &str| {
        (
            format!("session = {{ servers = [\"{url}\"] }}"),
            format!("[web.session]: session server `{url}` {what} {form}"),
        )
    };
    let database = "has no database of 0 to 65535";
    let rows = [
        bad("10.0.0.1:6379", "is not a URL"),
        bad("http://10.0.0.1", "is neither a redis:// nor a rediss:// URL"),
        bad("redis+unix:///run/redis", "is neither a redis:// nor a rediss:// URL"),
        bad("redis://", "has no host"),
        bad("redis://0.0.0.0", "has no host"),
        bad("redis://a b", "has no host"),
        bad("redis://::1", "has an IPv6 address without brackets"),
        bad("redis://[::1", "has no `]`"),
        bad("redis://[10.0.0.1]", "has no IPv6 address in its brackets"),
        bad("redis://a:0", "has no port of 1 to 65535"),
        bad("redis://a/x", database),
        bad("redis://a/+1", database),
        bad("redis://a/65536", database),
        bad("redis://a/1/2", database),
        bad("redis://a?protocol=resp3", "has more than a database at its end"),
        bad("rediss://a/#insecure", "has more than a database at its end"),
        bad("redis://@a", "has a user of other than letters, digits, -, ., _ and ~"),
        bad("redis://a%20b@a", "has a user of other than letters, digits, -, ., _ and ~"),
    ];
    key(&rows.each_ref().map(|(line, expect)| (line.as_str(), expect.as_str())));
}

/// No message repeats one.
#[test]
fn passwords_stand_in_a_file_of_their_own() {
    let told_of = |section: &str| {
        format!(
            "[web.session{section}]: the URL of a session server has a password (take it out, and name a file with it by `servers_password`: this file may be read by many)"
        )
    };
    let (plain, table) = (told_of(""), told_of(".servers"));
    key(&[
        ("session = { servers = [\"redis://:hunter2@a\"] }", &plain),
        ("session = { servers = [\"rediss://user:hun/ter2@a:6379/1\"] }", &plain),
        ("session = { servers = [\"http://user:hunter2@a\"] }", &plain),
        ("session = { servers = [\"user:hunter2@a\"] }", &plain),
        ("session = { servers = [{ url = \"redis://user:@a\" }] }", &table),
        (
            "session = { key = \"k\", servers = [\"redis://user@a\"] }",
            "[web.session]: a user of a session server has no password (name a file with it by `servers_password`, or take the user out)",
        ),
    ]);
}

#[test]
fn servers() {
    let many: Vec<_> = (1..=9).map(|host| format!("\"redis://a{host}\"")).collect();
    key(&[
        ("session = { servers = [] }", "[web.session]: `servers` is empty (name at least one)"),
        (
            &format!("session = {{ servers = [{}] }}", many.join(",")),
            "[web.session]: more than 8 session servers (name fewer)",
        ),
        (
            "session = { servers = [\"redis://a\", { url = \"rediss://A.:6379/1\", domain = \"b\" }] }",
            "[web.session]: `a:6379` is listed twice (take one out)",
        ),
        (
            "session = { servers = [\"redis://[::1]\", \"redis://[0::1]\"] }",
            "[web.session]: `[::1]:6379` is listed twice (take one out)",
        ),
        (
            "session = { servers = [{ domain = \"b\" }] }",
            "[web.session.servers] has no `url` (add `url = \"redis://10.0.0.1:6379\"`)",
        ),
        (
            "session = { servers = [{ url = \"redis://a\", domian = \"b\" }], key = \"k\" }",
            "[web.session.servers]: unknown key `domian` (did you mean `domain`?)",
        ),
        (
            "session = { servers = [{ url = \"redis://a\", domain = \"\" }] }",
            "[web.session.servers]: `domain` \"\" is no name (give 1 to 64 bytes, the same for all servers that fail together: \"rack-b\")",
        ),
        (
            "session = { servers = [1], copies = 2 }",
            "[web.session]: `servers` is of a wrong type: integer `1`, expected a URL or a table { url = \"…\", domain = \"…\" }",
        ),
        (
            "session = { server = [\"redis://a\"], copies = 2 }",
            "[web.session]: unknown key `server` (did you mean `servers`?)",
        ),
        (
            "session = { lease = 3 }",
            "[web.session]: `lease` is of a wrong type: integer `3`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
        ),
    ]);
}

#[test]
fn ranges() {
    let with = |keys: &str| format!("session = {{ key = \"k\", servers = [\"redis://a\"], {keys} }}");
    let rows = [
        ("copies = 9", "`copies` is 9, out of range (give 0 to 8 copies of each session)"),
        ("copies = -1", "`copies` is -1, out of range (give 0 to 8 copies of each session)"),
        ("write = \"ack\"", "`ack` is not a value of `write` (write is one of async, ack-one, ack-all)"),
        ("lease = \"499ms\"", "`lease` is 499ms, out of range (give \"500ms\" to \"1m\", with the unit ms, s, m or h)"),
        ("timeout = \"9ms\"", "`timeout` is 9ms, out of range (give \"10ms\" to \"10s\", with the unit ms, s, m or h)"),
        ("size_max = 0", "`size_max` is 0, out of range (give 1 to 8388608 bytes)"),
        ("sessions_max = 10000001", "`sessions_max` is 10000001, out of range (give 1 to 10000000 sessions)"),
        (
            "servers_password = \"\"",
            "`servers_password` is not a path (give one on the Site's machine; a relative path starts where this file is)",
        ),
        (
            "timeout = \"1500ms\"",
            "`timeout` 1500ms is not below half of `lease` 3s (give a shorter timeout, or a longer lease: a lease is renewed before it ends, and that may be tried twice)",
        ),
        (
            "copies = 2",
            "`copies` is 2, with 1 session server (give at most 1, or name more servers: none has two copies of a session)",
        ),
        (
            "copies = 0, write = \"ack-one\"",
            "`copies` is 0, so that nobody acknowledges a change (give at least 1, or take `write` out)",
        ),
        (
            "servers_ca = \"ca.pem\"",
            "`servers_ca` means nothing without a rediss:// server (take it out, or make the servers' URLs rediss://)",
        ),
        (
            "journal = \"j\"",
            "`journal` and `servers` exclude each other (take one of them out: a journal is for one machine without session servers)",
        ),
    ]
    .map(|(keys, expect)| (with(keys), format!("[web.session]: {expect}")));
    key(&rows.each_ref().map(|(line, expect)| (line.as_str(), expect.as_str())));
}

#[test]
fn keys_that_need_another() {
    let idle = "means nothing without `servers` (take it out, or name session servers)";
    for keys in ["servers_password = \"p\"", "servers_ca = \"c\"", "copies = 2", "lease = \"3s\"", "timeout = \"1s\""] {
        let word = keys.split_once(' ').expect("key and value").0;
        let expect = format!("[web.session]: `{word}` {idle}");
        key(&[
            (&format!("session = {{ {keys} }}"), &expect),
            (&format!("session = {{ key = \"k\", journal = \"j\", {keys} }}"), &expect),
        ]);
    }
    key(&[("session = { write = \"ack-one\" }", &format!("[web.session]: `write` {idle}"))]);
    let nobodys = "(name a `key` file: a cookie that was signed with a random key is not known after a restart)";
    key(&[
        ("session = { journal = \"j\" }", &format!("[web.session]: `journal` without a `key` {nobodys}")),
        ("session = { servers = [\"redis://a\"] }", &format!("[web.session]: `servers` without a `key` {nobodys}")),
    ]);
}

/// Fewer copies are told with what is lost (C31), and few servers with what is refused.
#[test]
fn c31_what_is_allowed_but_odd() {
    let of = |keys: &str| format!("[web]\nadmin = \"none\"\n[web.session]\nkey = \"k\"\n{keys}\n");
    let two = "servers = [\"redis://a\", \"redis://b\"]";
    let nothing = "warning: [web.session]: `copies` is 0: each session ends with the worker that hosts it (give at least 1, or take `servers` out)";
    let refused = |servers: &str| {
        format!(
            "warning: [web.session]: `write` is ack-all, with {servers} (name at least 3: with fewer, changes go on with what is left, and workers that reach different servers could both own a session)"
        )
    };
    told(&[
        (&of(&format!("{two}\ncopies = 0")), &[nothing]),
        (&of("servers = [\"redis://a\"]\ncopies = 0"), &[nothing]),
        (&of("servers = [\"redis://a\"]\ncopies = 1"), &[]),
        (
            &of(&format!("{two}\ncopies = 1")),
            &[
                "warning: [web.session]: `copies` is 1, with 2 session servers: a session is lost if its worker and its one server die together (give at least 2)",
            ],
        ),
        (
            &of("servers = [\"redis://a:1\", \"redis://a:2\"]"),
            &[
                "warning: [web.session]: 2 copies, and the session servers are of 1 failure domain: what fails there takes more than one with it (name servers that do not fail together, or give each the `domain` that it is in)",
            ],
        ),
        (&of(&format!("{two}\nwrite = \"ack-all\"")), &[&refused("2 session servers")]),
        (&of("servers = [\"redis://a\"]\nwrite = \"ack-all\""), &[&refused("1 session server")]),
        (&of("servers = [\"redis://a\", \"redis://b\", \"redis://c\"]\nwrite = \"ack-all\""), &[]),
    ]);
}

/// Workers ask each other for sessions at `admin`.
#[test]
fn workers_of_several_machines_have_to_find_each_other() {
    let of = |admin: &str, servers: &str| {
        format!("[web]\n{admin}\n[web.session]\nkey = \"k\"\ncopies = 1\nservers = [{servers}]\n")
    };
    let nowhere = |section: &str, at: &str, port: u16| {
        format!(
            "warning: {section}: `admin` is {at}, and session servers are on other machines (if the Site has workers on several machines, give each its own address, such as `admin = \"10.0.0.11:{port}\"`, in a network of their own: they ask each other for sessions there)"
        )
    };
    let reached = |at: &str| {
        format!(
            "warning: [web]: whoever reaches {at} reads metrics, the load report and the checks (listen on loopback, or let nobody but those who need it through to it)"
        )
    };
    let there = "\"redis://10.0.0.1\"";
    told(&[
        (&of("", there), &[&nowhere("[web]", "127.0.0.1:8054", 8054)]),
        (&of("admin = \"[::1]:9000\"", there), &[&nowhere("[web]", "[::1]:9000", 9000)]),
        (&of("admin = \"0.0.0.0:9000\"", there), &[&reached("0.0.0.0:9000"), &nowhere("[web]", "0.0.0.0:9000", 9000)]),
        (&of("admin = \"10.0.0.11:8054\"", there), &[&reached("10.0.0.11:8054")]),
        (&of("admin = \"none\"", there), &[]),
        (&of("", "\"redis://127.0.0.1\""), &[]),
        (&of("", "\"redis://[::1]:7000\""), &[]),
        (&of("", "\"rediss://localhost\""), &[]),
        (&of("", "\"redis://[2001:db8::1]:7000\""), &[&nowhere("[web]", "127.0.0.1:8054", 8054)]),
        // A director's processes find each other by sockets.
        (&(of("", there) + "[[director.server]]\nname = \"front\"\nkind = \"site\"\n"), &[]),
    ]);
}

/// Where the files are on this machine, `check` looks at them, and they are watched.
#[test]
fn files_of_servers_are_looked_at() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = web::with(
        "[web]\nadmin = \"none\"\n[web.session]\nkey = \"k\"\nservers = [\"rediss://user@a\"]\nservers_password = \"p\"\nservers_ca = \"c\"\n",
    );
    let check = || {
        let loaded = parse("f", &text, folder.path()).unwrap_or_else(|error| panic!("{}", error.plain()));
        let folder = folder.path().display().to_string();
        let told: Vec<_> = loaded.warnings.iter().map(|problem| problem.line().replace(&folder, "DIR")).collect();
        (told, loaded.files.len())
    };
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    assert_eq!(check(), (vec![], 0));
    write("p", "\nsecret\n");
    write("c", "no certificate");
    let start = "(`zerottl site` does not start so)";
    let expect = vec![
        format!(
            "f:36:20: warning: [web.session]: `servers_password` file DIR/p: its first line must have 1 to 4096 bytes of UTF-8 {start}"
        ),
        format!("f:37:14: warning: [web.session]: `servers_ca` file DIR/c: holds no certificate {start}"),
    ];
    assert_eq!(check(), (expect, 2));
    write("p", "secret\r\nand more");
    let params = rcgen::CertificateParams::new(vec!["a".into()]).expect("names");
    let key = rcgen::KeyPair::generate().expect("a key");
    write("c", &params.self_signed(&key).expect("a certificate").pem());
    assert_eq!(check(), (vec![], 2));
}
