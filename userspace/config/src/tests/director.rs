//! `[director]`: what it means at each Site.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use super::{web::with, *};
use zerottl_core::model::{
    BusyAnswer, ConnectionPolicy, Director, RestartConfig, ServerCheck, ServerCommand, ServerConfig, WaitingConfig,
};

/// boston's and geneva's, of a file without warnings.
fn directors(lines: &str) -> [Option<Arc<Director>>; 2] {
    let loaded =
        parse("f", &with(lines), Path::new("/etc/zerottl")).unwrap_or_else(|error| panic!("{}", error.plain()));
    assert_eq!(loaded.warnings.iter().map(Problem::line).collect::<Vec<_>>(), Vec::<String>::new());
    loaded.model.directors.try_into().expect("one for each Site")
}

fn boston(lines: &str) -> Arc<Director> {
    let [boston, _] = directors(lines);
    boston.expect("it has servers")
}

fn places(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("an address and a port")).collect()
}

const APP: &str = "name = \"app\"\ncommand = [\"/bin/app\"]\n";

#[test]
fn none_without_the_section() {
    assert!(parse("f", BASE, &examples()).expect("valid").model.directors.is_empty());
}

#[test]
fn defaults() {
    let director = boston(&format!("[director]\nlisten = [\"0.0.0.0:8080\"]\n[[director.server]]\n{APP}"));
    let expect = Director {
        listen: places(&["0.0.0.0:8080"]),
        encrypted: vec![],
        policy: ConnectionPolicy::WeightedRoundRobin,
        affinity: None,
        waiting: WaitingConfig { max: 1024, timeout: Duration::from_secs(30), answer: BusyAnswer::Http },
        drain_timeout: Duration::from_secs(30),
        slow_start: Duration::ZERO,
        restart: RestartConfig {
            delay: Duration::from_millis(100),
            delay_max: Duration::from_secs(30),
            budget: 10,
            window: Duration::from_mins(5),
        },
        admin: Some(places(&["127.0.0.1:8054"])[0]),
        control: "/run/zerottl/director.sock".into(),
        pins: "/sys/fs/bpf/zerottl-director".into(),
        servers: vec![ServerConfig {
            name: "app".into(),
            command: ServerCommand::Program(vec!["/bin/app".into()]),
            count: 1,
            weight: 1,
            standby: false,
            max_connections: None,
            handover: false,
            hang_after: None,
            check: None,
            user: None,
            cpus: vec![],
            memory_max: None,
            environment: vec![],
        }],
    };
    assert_eq!(*director, expect);
}

#[test]
fn every_key_has_a_meaning() {
    let director = boston(
        r#"
[director]
listen = ["192.0.2.10:8443", "[::]:81"]
policy = "least-connections"
affinity = "5m"
waiting = { max = 7, timeout = "2s", answer = "close" }
drain_timeout = "1m"
slow_start = "3s"
restart = { delay = "1s", delay_max = "1m", budget = 0, window = "10s" }
admin = "[::1]:9000"
control = "/run/d.sock"
pins = "/sys/fs/bpf/d"
[[director.server]]
name = "app-x_1"
command = ["/bin/app", "", "--a b"]
count = 3
weight = 1000
max_connections = 20
handover = true
hang_after = "50ms"
check = { path = "/health?x=1", interval = "2s", timeout = "100ms", failures = 5 }
user = 33
cpus = ["4-5", 0, "2"]
memory_max = "512M"
environment = { B = "2 3", A = "" }
[[director.server]]
name = "tcp"
command = ["/bin/tcp"]
check = {}
user = "www-data"
memory_max = 1048576
"#,
    );
    let app = ServerConfig {
        name: "app-x_1".into(),
        command: ServerCommand::Program(vec!["/bin/app".into(), String::new(), "--a b".into()]),
        count: 3,
        weight: 1000,
        standby: false,
        max_connections: Some(20),
        handover: true,
        hang_after: Some(Duration::from_millis(50)),
        check: Some(ServerCheck {
            path: Some("/health?x=1".into()),
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(100),
            failures: 5,
        }),
        user: Some("33".into()),
        cpus: vec![0, 2, 4, 5],
        memory_max: Some(512 << 20),
        environment: vec![("A".into(), String::new()), ("B".into(), "2 3".into())],
    };
    let tcp = ServerConfig {
        name: "tcp".into(),
        command: ServerCommand::Program(vec!["/bin/tcp".into()]),
        count: 1,
        weight: 1,
        standby: false,
        max_connections: None,
        handover: false,
        hang_after: None,
        check: Some(ServerCheck::default()),
        user: Some("www-data".into()),
        cpus: vec![],
        memory_max: Some(1 << 20),
        environment: vec![],
    };
    let expect = Director {
        listen: places(&["192.0.2.10:8443", "[::]:81"]),
        encrypted: vec![],
        policy: ConnectionPolicy::LeastConnections,
        affinity: Some(Duration::from_mins(5)),
        waiting: WaitingConfig { max: 7, timeout: Duration::from_secs(2), answer: BusyAnswer::Close },
        drain_timeout: Duration::from_mins(1),
        slow_start: Duration::from_secs(3),
        restart: RestartConfig {
            delay: Duration::from_secs(1),
            delay_max: Duration::from_mins(1),
            budget: 0,
            window: Duration::from_secs(10),
        },
        admin: Some(places(&["[::1]:9000"])[0]),
        control: "/run/d.sock".into(),
        pins: "/sys/fs/bpf/d".into(),
        servers: vec![app, tcp],
    };
    assert_eq!(*director, expect);
}

/// A Site's own keys go before those for all, each as a whole; one whose servers nobody names has no director.
#[test]
fn a_sites_own_table_goes_before() {
    let text = format!(
        "[director]\nlisten = [\"0.0.0.0:1\"]\nwaiting = {{ max = 1, timeout = \"1s\" }}\n[[director.server]]\n{APP}\
         [director.geneva]\nwaiting = {{ max = 2 }}\n[[director.geneva.server]]\nname = \"own\"\ncommand = [\"/own\"]\n"
    );
    let [boston, geneva] = directors(&text).map(|director| director.expect("each has servers"));
    assert_eq!((boston.waiting.max, boston.waiting.timeout), (1, Duration::from_secs(1)));
    assert_eq!((geneva.waiting.max, geneva.waiting.timeout), (2, Duration::from_secs(30)));
    assert_eq!(geneva.listen, boston.listen);
    assert_eq!((boston.servers[0].name.as_str(), geneva.servers[0].name.as_str()), ("app", "own"));
    let [boston, geneva] =
        directors(&format!("[director]\nlisten = [\"0.0.0.0:1\"]\n[[director.boston.server]]\n{APP}"));
    assert!(boston.is_some() && geneva.is_none());
    let text =
        format!("[director]\nlisten = [\"0.0.0.0:1\"]\n[[director.server]]\n{APP}[director.geneva]\nserver = []\n");
    let [boston, geneva] = directors(&text);
    assert!(boston.is_some() && geneva.is_none());
}

/// Without `listen` and `admin` it takes the Site's place.
#[test]
fn it_listens_where_the_site_does() {
    let servers = format!("[[director.server]]\n{APP}");
    let [boston, geneva] = directors(&format!(
        "[web]\n[web.geneva]\nlisten = []\ntls = {{ certificates = \"/no\" }}\nadmin = \"127.0.0.1:9\"\n{servers}"
    ))
    .map(|director| director.expect("each has servers"));
    assert_eq!((&boston.listen, boston.encrypted.len()), (&places(&["192.0.2.10:80"]), 0));
    assert_eq!((&geneva.listen, &geneva.encrypted), (&places(&["198.51.100.10:443"]), &geneva.listen));
    assert_eq!((boston.admin, geneva.admin), (Some(places(&["127.0.0.1:8054"])[0]), Some(places(&["127.0.0.1:9"])[0])));
    let director = self::boston(&format!("[web]\nadmin = \"none\"\n{servers}"));
    assert_eq!(director.admin, None);
    let director = self::boston(&format!("[director]\nadmin = \"none\"\n{servers}[web]\n"));
    assert_eq!(director.admin, None);
}

/// Nobody but a server can answer a client that speaks TLS.
#[test]
fn the_answer_where_tls_is_spoken_is_a_close() {
    let answers = |keys: &str, web: &str| {
        let director = boston(&format!("[director]\nadmin = \"none\"\n{keys}\n[[director.server]]\n{APP}{web}"));
        director.listen.iter().map(|&at| director.busy_answer(at)).collect::<Vec<_>>()
    };
    let (http, close) = (BusyAnswer::Http, BusyAnswer::Close);
    let listen = "listen = [\"0.0.0.0:80\", \"[::]:443\", \"0.0.0.0:8443\"]";
    assert_eq!(answers(listen, ""), [http, close, http]);
    let tls = "[web]\ntls = { listen = [\"192.0.2.10:8443\"], certificates = \"/no\" }\n";
    assert_eq!(answers(listen, tls), [http, close, close]);
    assert_eq!(answers("", tls), [http, close]);
    assert_eq!(answers("", "[web]\nlisten = [\"192.0.2.10:443\"]\n"), [http]);
    assert_eq!(answers(&format!("{listen}\nwaiting = {{ answer = \"close\" }}"), ""), [close; 3]);
}

#[test]
fn the_sites_front_as_a_server() {
    let director = boston(
        "[web]\nsession = { key = \"/no\" }\n[[director.server]]\nname = \"front\"\nkind = \"site\"\ncount = 2\n\
         [director]\nlisten = [\"192.0.2.10:80\"]\n[director.geneva]\nlisten = [\"198.51.100.10:80\"]\n",
    );
    assert_eq!((&director.servers[0].command, director.servers[0].count), (&ServerCommand::Site, 2));
    // One process signs with one key.
    boston("[web]\n[[director.server]]\nname = \"front\"\nkind = \"site\"\n");
}

/// One delay that is given moves the default of the other.
#[test]
fn delays_make_place_for_each_other() {
    let delays = |keys: &str| {
        let text = format!("[director]\nlisten = [\"[::]:1\"]\nrestart = {{ {keys} }}\n[[director.server]]\n{APP}");
        let restart = boston(&text).restart;
        (restart.delay.as_millis(), restart.delay_max.as_millis())
    };
    assert_eq!(delays("delay_max = \"50ms\""), (50, 50));
    assert_eq!(delays("delay = \"1m\""), (60_000, 60_000));
    assert_eq!(delays("budget = 1"), (100, 30_000));
}
