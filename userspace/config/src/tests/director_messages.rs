//! `[director]`: what is wrong with it, each message whole.

use super::web_messages::told;

const APP: &str = "name = \"app\"\ncommand = [\"/app\"]\n";

/// Checks lines of `[director]`, with a server after them, as [`told`] does: each is told of by one error, given without
/// `error: `.
#[track_caller]
fn key(rows: &[(&str, &str)]) {
    rows_of(rows, |line| format!("[director]\nlisten = [\"[::]:1\"]\n{line}\n[[director.server]]\n{APP}"));
}

/// Checks lines of a server.
#[track_caller]
fn server(rows: &[(&str, &str)]) {
    rows_of(rows, |line| format!("[director]\nlisten = [\"[::]:1\"]\n[[director.server]]\n{APP}{line}\n"));
}

#[track_caller]
fn rows_of(rows: &[(&str, &str)], text: impl Fn(&str) -> String) {
    let rows: Vec<_> = rows.iter().map(|(line, expect)| (text(line), format!("error: {expect}"))).collect();
    let expects: Vec<_> = rows.iter().map(|(_, expect)| [expect.as_str()]).collect();
    let rows: Vec<_> = rows.iter().zip(&expects).map(|((text, _), expect)| (text.as_str(), &expect[..])).collect();
    told(&rows);
}

#[test]
fn what_stands_there() {
    let own = format!("[director]\nlisten = [\"[::]:1\"]\n[[director.server]]\n{APP}");
    let own = |lines: &str| format!("{own}{lines}");
    told(&[
        (
            "[director]\n",
            &[
                "error: [director]: no server is named (add [[director.server]] with its name and command, or [[director.SITE.server]] for one Site)",
            ],
        ),
        (
            "[director.boston]\npolicy = \"least-connections\"\n",
            &[
                "error: [director]: no server is named (add [[director.server]] with its name and command, or [[director.SITE.server]] for one Site)",
            ],
        ),
        ("[director]\nserver = []\n", &["error: [director]: `server` is empty (name at least one)"]),
        (
            &own("[director.geneva]\npolicy = \"least\"\n"),
            &[
                "error: [director.geneva]: `least` is not a value of `policy` (policy is one of weighted-round-robin, least-connections)",
            ],
        ),
        (
            "[director]\nlisten = [\"[::]:1\"]\n[[director.boston.server]]\nname = \"app\"\ncommand = [\"/app\"]\n[director.geneva]\npolicy = \"least-connections\"\n",
            &[
                "error: [director.geneva]: no server is named (add [[director.geneva.server]] with its name and command, or [[director.server]] for all Sites)",
            ],
        ),
        (
            &own("[director.atlantis]\n"),
            &[
                "error: [director]: `atlantis` is neither a key nor a Site (what may stand here: listen, policy, affinity, waiting, drain_timeout, slow_start, restart, admin, control, pins, server; or a Site's key with a table of them)",
            ],
        ),
        (
            &own("[director.bosten]\n"),
            &["error: [director]: `bosten` is neither a key nor a Site (did you mean `boston`?)"],
        ),
        (
            &own("[[director.severs]]\n"),
            &["error: [director]: `severs` is neither a key nor a Site (did you mean `server`?)"],
        ),
        (&own("wieght = 2\n"), &["error: [director.server]: unknown key `wieght` (did you mean `weight`?)"]),
        (
            &own("port = 2\n"),
            &[
                "error: [director.server]: unknown key `port` (what may stand here: name, kind, command, count, weight, standby, max_connections, handover, hang_after, check, user, cpus, memory_max, environment)",
            ],
        ),
        (
            &own("check = { pth = \"/\" }\n"),
            &["error: [director.server.check]: unknown key `pth` (did you mean `path`?)"],
        ),
        (
            &own("[director.restart]\ndelays = \"1s\"\n"),
            &["error: [director.restart]: unknown key `delays` (did you mean `delay`?)"],
        ),
    ]);
}

#[test]
fn types() {
    let own = format!("[director]\nlisten = [\"[::]:1\"]\n[[director.server]]\n{APP}");
    let own = |lines: &str| format!("{own}{lines}");
    told(&[
        (
            "[director.server]\nname = \"app\"\n",
            &[
                "error: [director]: `server` is of a wrong type: table, expected a list (write [[director.server]] for each)",
            ],
        ),
        (
            &own("[director.geneva]\nwaiting = 3\n"),
            &[
                "error: [director.geneva.waiting] must be a table (write [director.geneva.waiting] once and its keys below it)",
            ],
        ),
        (
            &own("check = \"/\"\n"),
            &[
                "error: [director.server.check] must be a table (write [director.server.check] once and its keys below it)",
            ],
        ),
        (
            &own("check = { interval = 1 }\n"),
            &[
                "error: [director.server.check]: `interval` is of a wrong type: integer `1`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
            ],
        ),
        (
            &own("environment = [\"A=1\"]\n"),
            &[
                "error: [director.server]: `environment` is of a wrong type: sequence, expected a table (write { NAME = \"value\" }: each value is a text)",
            ],
        ),
        (
            &own("environment = { A = 1 }\n"),
            &[
                "error: [director.server]: `environment` is of a wrong type: integer `1`, expected a string (write { NAME = \"value\" }: each value is a text)",
            ],
        ),
        (
            &own("cpus = [1.5]\n"),
            &[
                "error: [director.server]: `cpus` is of a wrong type: floating point `1.5`, expected a whole number or a text",
            ],
        ),
        (
            &own("hang_after = 200\n"),
            &[
                "error: [director.server]: `hang_after` is of a wrong type: integer `200`, expected a string (a duration is a text with its unit: \"500ms\", \"1s\", \"2m\")",
            ],
        ),
    ]);
}

#[test]
fn places() {
    key(&[
        ("[director.boston]\nlisten = []", "[director.boston]: `listen` is empty (name at least one)"),
        (
            "[director.boston]\nlisten = [\"192.0.2.10\"]",
            "[director.boston]: `192.0.2.10` is not an address and a port (give both, such as \"192.0.2.10:8080\", \"[2001:db8::10]:8080\", \"0.0.0.0:8080\" or \"[::]:8080\")",
        ),
        (
            "[director.boston]\nlisten = [\"192.0.2.10:0\"]",
            "[director.boston]: `192.0.2.10:0` has port 0 (give both, such as \"192.0.2.10:8080\", \"[2001:db8::10]:8080\", \"0.0.0.0:8080\" or \"[::]:8080\")",
        ),
        (
            "[director.boston]\nlisten = [\"224.0.0.1:1\"]",
            "[director.boston]: 224.0.0.1 is a multicast address (give the host's own address)",
        ),
        (
            "[director.boston]\nlisten = [\"[::]:1\", \"[::]:1\"]",
            "[director.boston]: `[::]:1` is listed twice (take one out)",
        ),
        (
            "admin = \"nowhere\"",
            "[director]: `nowhere` is neither an address nor an address and a port (give \"192.0.2.10\", \"192.0.2.10:8054\", \"2001:db8::10\" or \"[2001:db8::10]:8054\")",
        ),
        (
            "admin = \"[::1]:1\"",
            "[director]: `admin` [::1]:1 and [::]:1, where connections come to, overlap (give `admin` a place of its own)",
        ),
        (
            "[director.boston]\nlisten = [\"127.0.0.1:1\"]\nadmin = \"127.0.0.1:1\"",
            "[director.boston]: `admin` is 127.0.0.1:1, where connections come to (give `admin` a place of its own)",
        ),
        (
            "control = \"director.sock\"",
            "[director]: `director.sock` cannot be the path of `control` (give the absolute path of a socket, such as \"/run/zerottl/director.sock\")",
        ),
        (
            "control = \"/run/\"",
            "[director]: `/run/` cannot be the path of `control` (give the absolute path of a socket, such as \"/run/zerottl/director.sock\")",
        ),
        (
            &format!("control = \"/{}\"", "a".repeat(107)),
            "[director]: the path of `control` has 108 bytes (Linux takes at most 107)",
        ),
        (
            "pins = \"pins\"",
            "[director]: `pins` cannot be a folder for pins (give an absolute path on a bpffs, without dots, such as \"/sys/fs/bpf/zerottl-director\")",
        ),
        (
            "pins = \"/sys/fs/bpf/zerottl/director\"",
            "[director]: `pins` is /sys/fs/bpf/zerottl/director, and the agent's are in /sys/fs/bpf/zerottl (give a folder that is neither within the other)",
        ),
        (
            "pins = \"/sys/fs/bpf\"",
            "[director]: `pins` is /sys/fs/bpf, and the agent's are in /sys/fs/bpf/zerottl (give a folder that is neither within the other)",
        ),
    ]);
    let many: Vec<_> = (1..=17).map(|port| format!("\"[::]:{port}\"")).collect();
    key(&[(
        &format!("[director.boston]\nlisten = [{}]", many.join(", ")),
        "[director.boston]: more than 16 places to listen on (name fewer)",
    )]);
}

#[test]
fn places_beside_others() {
    let servers = format!("[[director.server]]\n{APP}");
    let many: Vec<_> = (1..=9).map(|port| format!("\"192.0.2.10:{port}\"")).collect();
    let more: Vec<_> = (11..=18).map(|port| format!("\"192.0.2.10:{port}\"")).collect();
    told(&[
        (
            &servers,
            &[
                "error: [director]: Site boston has no `listen`, and there is no [web] (say where connections come to, such as `listen = [\"0.0.0.0:8080\", \"[::]:8080\"]`)",
            ],
        ),
        (
            &format!("[web]\nlisten = []\n{servers}"),
            &[
                "error: [director]: Site boston has no `listen`, and [web] listens nowhere there (say where connections come to, such as `listen = [\"0.0.0.0:8080\", \"[::]:8080\"]`)",
            ],
        ),
        (
            &format!(
                "[web]\nlisten = [{}]\ntls = {{ listen = [{}], certificates = \"/no\" }}\n{servers}",
                many.join(", "),
                more.join(", ")
            ),
            &["error: [director]: [web] listens at 17 places of Site boston (give `listen`, with at most 16)"],
        ),
        (
            &format!("[director]\nadmin = \"127.0.0.1:8053\"\n{servers}[web]\n"),
            &[
                "warning: [director]: `admin` is 127.0.0.1:8053, and an agent listens at 127.0.0.1:8053 (give `admin` a port of its own, or be sure that no agent runs at the Site)",
            ],
        ),
        (
            &format!("[director]\nadmin = \"0.0.0.0:1\"\n{servers}[web]\n"),
            &[
                "warning: [director]: whoever reaches 0.0.0.0:1 reads metrics, the load report and the checks (listen on loopback, or let nobody but those who need it through to it)",
            ],
        ),
        (
            &format!("[director]\nlisten = [\"127.0.0.1:1\"]\n{servers}[web]\n"),
            &[
                "warning: [director]: `admin` is 127.0.0.1:8054, and `zerottl site` listens there, too (give one of them another place, such as `admin = \"127.0.0.1:8055\"`)",
            ],
        ),
    ]);
    let socket = super::changed("\"127.0.0.1:8053\"", "\"unix:/run/zerottl/director.sock\"");
    assert_eq!(
        super::lines(&format!("{socket}[web]\n{servers}")),
        [
            "f:32:3: error: [director]: `control` is /run/zerottl/director.sock, where [admin] listens (give it a path of its own)"
        ]
    );
}

#[test]
fn single_keys() {
    key(&[
        (
            "policy = \"least-load\"",
            "[director]: `least-load` is not a value of `policy` (policy is one of weighted-round-robin, least-connections)",
        ),
        (
            "policy = \"least-connection\"",
            "[director]: `least-connection` is not a value of `policy` (did you mean `least-connections`? policy is one of weighted-round-robin, least-connections)",
        ),
        (
            "affinity = \"0s\"",
            "[director]: `affinity` is 0s, out of range (give \"1s\" to \"24h\", with the unit ms, s, m or h)",
        ),
        (
            "drain_timeout = \"25h\"",
            "[director]: `drain_timeout` is 25h, out of range (give \"0s\" to \"24h\", with the unit ms, s, m or h)",
        ),
        (
            "drain_timeout = \"never\"",
            "[director]: `drain_timeout` is `never`, not a duration (give \"0s\" to \"24h\", with the unit ms, s, m or h)",
        ),
        (
            "slow_start = \"2h\"",
            "[director]: `slow_start` is 2h, out of range (give \"0s\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "waiting = { max = 65537 }",
            "[director.waiting]: `max` is 65537, out of range (give 0 to 65536 connections; 0 is nobody waits)",
        ),
        (
            "waiting = { timeout = \"1ms\" }",
            "[director.waiting]: `timeout` is 1ms, out of range (give \"100ms\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "waiting = { answer = \"busy\" }",
            "[director.waiting]: `busy` is not a value of `answer` (answer is one of http, close)",
        ),
        (
            "restart = { delay = \"1ms\" }",
            "[director.restart]: `delay` is 1ms, out of range (give \"10ms\" to \"1h\", with the unit ms, s, m or h)",
        ),
        (
            "restart = { delay = \"2s\", delay_max = \"1s\" }",
            "[director.restart]: `delay_max` 1s is below `delay` 2s (give the first delay, and then the longest: it doubles from one to the other)",
        ),
        (
            "restart = { budget = -1 }",
            "[director.restart]: `budget` is -1, out of range (give 0 to 1000 restarts; 0 is none)",
        ),
        (
            "restart = { window = \"100ms\" }",
            "[director.restart]: `window` is 100ms, out of range (give \"1s\" to \"24h\", with the unit ms, s, m or h)",
        ),
    ]);
}

#[test]
fn single_keys_of_a_server() {
    server(&[
        (
            "kind = \"sites\"",
            "[director.server]: `sites` is not a value of `kind` (did you mean `site`? kind is one of command, site)",
        ),
        ("count = 0", "[director.server]: `count` is 0, out of range (give 1 to 31 processes)"),
        ("count = 32", "[director.server]: `count` is 32, out of range (give 1 to 31 processes)"),
        ("weight = 1001", "[director.server]: `weight` is 1001, out of range (give 1 to 1000)"),
        (
            "max_connections = 0",
            "[director.server]: `max_connections` is 0, out of range (give 1 to 1000000 connections)",
        ),
        (
            "hang_after = \"49ms\"",
            "[director.server]: `hang_after` is 49ms, out of range (give \"50ms\" to \"1m\", with the unit ms, s, m or h)",
        ),
        (
            "check = { path = \"health\" }",
            "[director.server.check]: `health` is not a path (give one that begins with / and has no space, such as \"/health?full=1\")",
        ),
        (
            "check = { timeout = \"2s\" }",
            "[director.server.check]: `interval` 1s is below `timeout` 2s (give a timeout of at most 1s, or a longer interval)",
        ),
        ("check = { failures = 0 }", "[director.server.check]: `failures` is 0, out of range (give 1 to 100)"),
    ]);
}

#[test]
fn user_cpus_and_memory_of_a_server() {
    server(&[
        (
            "user = \"\"",
            "[director.server]: `` cannot be a user (give a name, such as \"www-data\", or a number up to 4294967294)",
        ),
        (
            "user = \"a b\"",
            "[director.server]: `a b` cannot be a user (give a name, such as \"www-data\", or a number up to 4294967294)",
        ),
        (
            "user = 4294967295",
            "[director.server]: `4294967295` cannot be a user (give a name, such as \"www-data\", or a number up to 4294967294)",
        ),
        (
            "user = -1",
            "[director.server]: `-1` cannot be a user (give a name, such as \"www-data\", or a number up to 4294967294)",
        ),
        ("cpus = []", "[director.server]: `cpus` is empty (name at least one)"),
        (
            "cpus = [1024]",
            "[director.server]: `1024` is not a CPU, nor a range of some (give a number, or a text such as \"0-3\", from 0 to 1023)",
        ),
        (
            "cpus = [\"3-1\"]",
            "[director.server]: `3-1` is not a CPU, nor a range of some (give a number, or a text such as \"0-3\", from 0 to 1023)",
        ),
        (
            "cpus = [\"+1\"]",
            "[director.server]: `+1` is not a CPU, nor a range of some (give a number, or a text such as \"0-3\", from 0 to 1023)",
        ),
        (
            "cpus = [-1]",
            "[director.server]: `-1` is not a CPU, nor a range of some (give a number, or a text such as \"0-3\", from 0 to 1023)",
        ),
        ("cpus = [1, \"0-3\"]", "[director.server]: CPU 1 is listed twice (take one out)"),
        (
            "memory_max = \"512MB\"",
            "[director.server]: `memory_max` is `512MB`, not an amount of memory (give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit)",
        ),
        (
            "memory_max = \"17T\"",
            "[director.server]: `memory_max` is `17T`, out of range (give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit)",
        ),
        (
            "memory_max = 512",
            "[director.server]: `memory_max` is 512, out of range (give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit)",
        ),
        (
            "memory_max = -1",
            "[director.server]: `memory_max` is -1, out of range (give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit)",
        ),
        (
            "memory_max = \"99999999999999999999\"",
            "[director.server]: `memory_max` is `99999999999999999999`, not an amount of memory (give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit)",
        ),
    ]);
}

#[test]
fn environment_of_a_server() {
    server(&[
        (
            "environment = { LISTEN_FDS = \"3\" }",
            "[director.server.environment]: `LISTEN_FDS` is the director's to set (take it out: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, ZEROTTL_SERVER tell each process what it gets)",
        ),
        (
            "environment = { ZEROTTL_SERVER = \"app\" }",
            "[director.server.environment]: `ZEROTTL_SERVER` is the director's to set (take it out: LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, ZEROTTL_SERVER tell each process what it gets)",
        ),
        (
            "environment = { \"A=B\" = \"3\" }",
            "[director.server.environment]: \"A=B\" cannot be a variable's name (give letters, digits and _, such as APP_MODE)",
        ),
        (
            "environment = { \"\" = \"3\" }",
            "[director.server.environment]: \"\" cannot be a variable's name (give letters, digits and _, such as APP_MODE)",
        ),
        (
            "environment = { A = \"\\u0000\" }",
            "[director.server.environment]: the value of `A` has a zero byte (take it out)",
        ),
    ]);
    let many: Vec<_> = (0..65).map(|i| format!("V{i} = \"\"")).collect();
    server(&[(
        &format!("environment = {{ {} }}", many.join(", ")),
        "[director.server.environment]: more than 64 variables (give a file to the program)",
    )]);
}

#[test]
fn names_and_commands() {
    let of = |lines: &str| format!("[director]\nlisten = [\"[::]:1\"]\n[[director.server]]\n{lines}\n");
    let many = vec!["\"a\""; 256].join(", ");
    rows_of(
        &[
            ("command = [\"/app\"]", "[director.server] has no `name` (add `name = \"app\"`)"),
            ("name = \"app\"", "[director.server] has no `command` (add `command = [\"/usr/local/bin/app\"]`)"),
            (
                "name = \"-app\"\ncommand = [\"/app\"]",
                "[director.server]: `-app` cannot be a server's name (give 1 to 32 letters, digits, - and _, the first a letter or digit, such as \"app\")",
            ),
            (
                "name = \"my app\"\ncommand = [\"/app\"]",
                "[director.server]: `my app` cannot be a server's name (give 1 to 32 letters, digits, - and _, the first a letter or digit, such as \"app\")",
            ),
            (
                "name = \"\"\ncommand = [\"/app\"]",
                "[director.server]: `` cannot be a server's name (give 1 to 32 letters, digits, - and _, the first a letter or digit, such as \"app\")",
            ),
            ("name = \"app\"\ncommand = []", "[director.server]: `command` is empty (name at least one)"),
            (
                "name = \"app\"\ncommand = [\"app\"]",
                "[director.server]: program `app` is not an absolute path (give the whole path, such as \"/usr/local/bin/app\": it is not searched for)",
            ),
            (
                "name = \"app\"\ncommand = [\"/app\", \"a\\u0000b\"]",
                "[director.server]: `command` has a zero byte (take it out: no argument can have one)",
            ),
            (
                &format!("name = \"app\"\ncommand = [\"/app\", {many}]"),
                "[director.server]: more than 256 entries in `command` (give a file to the program, or start it by a script)",
            ),
            (
                "name = \"app\"\ncommand = [\"/app\"]\n[[director.server]]\nname = \"app\"\ncommand = [\"/b\"]",
                "[director.server]: server `app` is listed twice (take one out)",
            ),
            (
                "name = \"app\"\ncount = 2\ncommand = [\"/app\"]\n[[director.server]]\nname = \"app-2\"\ncommand = [\"/b\"]",
                "[director.server]: `app-2` is what a process of server `app` is called (give it another name)",
            ),
            (
                "name = \"app\"\ncount = 31\ncommand = [\"/app\"]\n[[director.server]]\nname = \"b\"\ncommand = [\"/b\"]",
                "[director.server]: 32 processes with those of the servers before it (have at most 31 in all, of all servers together)",
            ),
        ],
        of,
    );
    // No process is called so.
    told(&[(
        &of("name = \"app\"\ncommand = [\"/app\"]\n[[director.server]]\nname = \"app-2\"\ncommand = [\"/b\"]"),
        &[],
    )]);
}

#[test]
fn the_sites_front_as_a_server() {
    let of = |keys: &str| {
        format!(
            "[[director.server]]\nname = \"front\"\nkind = \"site\"\n{keys}\n[web]\nsession = {{ key = \"/no\" }}\n"
        )
    };
    rows_of(
        &[
            (
                "command = [\"/app\"]",
                "[director.server]: `command` means nothing to kind site (take it out: `zerottl site` is started with this file)",
            ),
            (
                "[director]\nlisten = [\"192.0.2.10:80\"]",
                "[director]: `listen`: 192.0.2.10:80 is not where [web] listens at Site geneva (take `listen` out: it is where [web] listens unless given)",
            ),
            (
                "[director.boston]\nlisten = [\"192.0.2.10:80\", \"[::]:81\"]",
                "[director.boston]: `listen`: [::]:81 is not where [web] listens at Site boston (take `listen` out: it is where [web] listens unless given)",
            ),
            (
                "[web.boston]\nlisten = [\"192.0.2.10:80\", \"[::]:81\"]\n[director.boston]\nlisten = [\"192.0.2.10:80\"]",
                "[director.boston]: `listen`: [::]:81, where [web] listens at Site boston, is not in it (take `listen` out: it is where [web] listens unless given)",
            ),
        ],
        of,
    );
    let site =
        |name: &str, count: u32| format!("[[director.server]]\nname = \"{name}\"\nkind = \"site\"\ncount = {count}\n");
    told(&[
        (
            &site("front", 1),
            &[
                "error: [director.server]: kind site is the Site's front, and there is no [web] (add [web], or run a program of your own by `command`)",
            ],
        ),
        (
            &(site("front", 2) + "[web]\n"),
            &[
                "error: [director]: Site boston: 2 processes of `zerottl site`, and [web.session] has no `key` (name a `key` file there: a session that one process makes must be known to the others)",
            ],
        ),
        (
            &(site("front", 1) + &site("other", 1) + "[web]\nmarker = { lifetime = \"9s\" }\n"),
            &[
                "error: [director]: Site boston: 2 processes of `zerottl site`, and [web.session] has no `key` (name a `key` file there: a session that one process makes must be known to the others)",
            ],
        ),
        (
            &(site("front", 2) + "[web]\nsession = { key = \"/no\" }\n[web.geneva]\nsession = {}\n"),
            &[
                "error: [director]: Site geneva: 2 processes of `zerottl site`, and [web.session] has no `key` (name a `key` file there: a session that one process makes must be known to the others)",
            ],
        ),
        (
            &(site("front", 2) + "[web]\nsession = { key = \"/no\", journal = \"/j\" }\n"),
            &[
                "error: [director]: Site boston: 2 processes of `zerottl site`, and [web.session] has a `journal` (name session servers by `servers` there instead: a session that one process makes must be known to the others)",
            ],
        ),
        (&(site("front", 2) + "[web]\nsession = { key = \"/no\", servers = [\"redis://a\"] }\n"), &[]),
        (
            &(site("front", 2)
                + "user = \"www-data\"\n[web]\nsession = { key = \"/no\", servers = [\"redis://a\"] }\n"),
            &[
                "warning: [director]: Site boston: processes of `zerottl site` run as another user, and [web.session] has `servers` (take `user` out, unless it is the director's own: they ask each other for sessions by sockets that are its user's alone, and a request that comes to another process than its session's is answered with 503)",
            ],
        ),
        (&(site("front", 2) + "user = \"www-data\"\n[web]\nsession = { key = \"/no\" }\n"), &[]),
        (
            &(site("front", 1)
                + "user = \"www-data\"\n[web]\nsession = { key = \"/no\", servers = [\"redis://a\"] }\n"),
            &[],
        ),
        (&(site("front", 1) + "[web]\nsession = { key = \"/no\", journal = \"/j\" }\n"), &[]),
    ]);
}

/// A Site's key is told from a key of `[director]`.
#[test]
fn a_site_with_the_name_of_a_key() {
    let text = super::BASE.replace("[site.boston]", "[site.server]").replace("\"boston\"", "\"server\"");
    let text = format!("{text}[director]\nlisten = [\"[::]:1\"]\n[[director.server]]\n{APP}");
    assert_eq!(
        super::lines(&text),
        [
            "f:21:7: error: [site.server]: `server` is a key of [director] too (give the Site another key: [director.server] would be a table of it)"
        ]
    );
}
