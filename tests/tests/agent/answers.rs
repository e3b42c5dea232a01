//! Answers to real tools and to a client that sweeps every length, from the kernel and from the sockets.

use std::{collections::HashSet, fmt::Write as _, sync::atomic::AtomicBool, time::Duration};

use domain::base::{Rtype, iana::Rcode};
use tests::{
    agent::Agent,
    checker::{self, Pace},
    client::Client,
    config::{Config, SiteConfig},
    lab::{Lab, LabSpec, can_run, front_addresses, front_v4, front_v6},
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
};

/// Runs dig in the client's namespace; returns its status, flags and answer lines.
fn dig(lab: &Lab, arguments: &[&str]) -> (String, String, Vec<String>) {
    let fixed = ["+noall", "+comments", "+answer", "+tries=1", "+time=3"];
    let text = lab.client.read("dig", &[&fixed, arguments].concat()).expect("dig");
    let between = |start: &str, end: &str| {
        let rest = text.split_once(start).map_or("", |(_, rest)| rest);
        rest.split_once(end).map_or("", |(word, _)| word).to_owned()
    };
    let answers = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
    (between("status: ", ","), between("flags: ", ";"), answers.map(ToOwned::to_owned).collect())
}

/// S4-2A, S4-3A-325: dig, with the COOKIE it sends by default, gets one address with TTL 0 and AA: over UDP from the
/// kernel, over TCP from the socket path, whichever side computes the client's checksums; and the client connects to
/// that Site directly.
#[test]
fn dig_is_answered_over_udp_and_tcp_on_both_families() {
    let Some(scene) = Scene::start("S4-2A, S4-3A-325: dig", Config::default()) else { return };
    for offload in [true, false] {
        scene.lab.client_checksum_offload(offload).expect("ethtool");
        for server in [front_v4(0).to_string(), front_v6(0).to_string()] {
            for (rtype, v6) in [("A", false), ("AAAA", true)] {
                for (transport, in_kernel) in [("+notcp", 1), ("+tcp", 0)] {
                    let before = scene.kernel_answers();
                    let what = format!("@{server} app.com {rtype} {transport}, checksum offload {offload}");
                    let (status, flags, answers) =
                        dig(&scene.lab, &[&format!("@{server}"), "app.com", rtype, transport]);
                    assert_eq!((status.as_str(), flags.as_str()), ("NOERROR", "qr aa rd"), "{what}");
                    let [answer] = answers.as_slice() else { panic!("{what}: {answers:?}") };
                    let fields: Vec<_> = answer.split_whitespace().collect();
                    assert_eq!(fields[..4], ["app.com.", "0", "IN", rtype], "{what}");
                    let address = fields[4].parse().expect("an address");
                    let key = scene.site_at(address);
                    assert_eq!(address, scene.address(key, v6), "{what}");
                    assert_eq!(scene.kernel_answers() - before, in_kernel, "{what}: answered in the kernel");
                }
            }
        }
    }
    for v6 in [false, true] {
        let address = scene.client(v6).lookup("app.com", v6).expect("answer");
        let host = if v6 { format!("[{address}]") } else { address.to_string() };
        let page =
            scene.lab.client.read("curl", &["-sf", "--max-time", "3", &format!("http://{host}/")]).expect("curl");
        assert_eq!(page.trim(), scene.site_at(address));
    }
}

/// A legal name of exactly `length` bytes on the wire, below (or equal to) the zones of [`long_names`]; none for 4,
/// which has a zone of its own.
fn name_of_length(length: usize) -> String {
    let (mut name, mut left) = match length {
        3 => return "a".into(),
        4 => return "bb".into(),
        _ => (String::new(), length - 3),
    };
    while left > 0 {
        // A label and its length byte; never leaving one byte, which could hold no label.
        let take = if left <= 64 { left } else { (left - 2).min(64) };
        let letter = char::from(b'b' + (left % 24) as u8);
        let _ = write!(name, "{}.", letter.to_string().repeat(take - 1));
        left -= take;
    }
    name + "a"
}

/// A pool for every length a name can have, of one Site that is always up.
fn long_names(xdp: &str) -> Config {
    let mut more = String::new();
    for zone in ["a", "bb"] {
        let _ = write!(more, "[zone.\"{zone}\"]\nnameservers = [\"ns.{zone}\"]\ncontact = \"hostmaster@app.com\"\n\n");
    }
    for length in 3..=255 {
        let _ = write!(more, "[pool.\"{}\"]\nsites = [\"geneva\"]\n\n", name_of_length(length));
    }
    let sites = vec![SiteConfig::new("geneva", 2, 1)];
    Config { xdp: xdp.into(), sites, groups: vec![], probe: None, more, ..Config::default() }
}

/// A name for every length, in a file that the agent takes.
#[test]
fn there_is_a_name_of_every_length() {
    let names: HashSet<_> = (3..=255).map(name_of_length).collect();
    assert_eq!(names.len(), 253);
    for length in 3..=255 {
        let question = ClientQuestion::new(&name_of_length(length), Rtype::A, None).expect("a legal name");
        assert_eq!(question.len(), 12 + length + 4);
    }
    long_names("native").check().unwrap_or_else(|e| panic!("{e}"));
}

/// S4-3A-310, S4-3A-325: every query length there is, both transports and types, OPT or not, either side computing
/// checksums: each is answered, and each in the kernel.
fn sweep_every_length(xdp: &str) {
    let Some(scene) = Scene::start("S4-3A-310, S4-3A-325: every query length", long_names(xdp)) else { return };
    assert_eq!(scene.agent.attached("eth0").expect("ip link").expect("attached").1, xdp);
    for offload in [true, false] {
        scene.lab.client_checksum_offload(offload).expect("ethtool");
        for v6 in [false, true] {
            let client = scene.client(v6);
            // One for the neighbour tables.
            client.lookup("app.com", v6).expect("answer");
            let (before, mut asked) = (scene.kernel_answers(), 0);
            for length in 3..=255 {
                let name = name_of_length(length);
                for (rtype, answer_v6) in [(Rtype::A, false), (Rtype::AAAA, true)] {
                    for edns in [None, Some(ClientEdns::USUAL)] {
                        let question = ClientQuestion::new(&name, rtype, edns).expect("a legal name");
                        let opt = if edns.is_some() { 11 } else { 0 };
                        assert_eq!(question.len(), 12 + length + 4 + opt);
                        let answer = client.address(&question);
                        let answer = answer.unwrap_or_else(|e| {
                            panic!("{length} bytes of name, {rtype}, OPT {}, IPv6 {v6}: {e}", edns.is_some())
                        });
                        assert_eq!(answer, scene.address("geneva", answer_v6));
                        asked += 1;
                    }
                }
            }
            assert_eq!(scene.kernel_answers() - before, asked, "answered in the kernel, IPv6 {v6}");
        }
    }
}

/// See [`sweep_every_length`] (S4-3A-310, S4-3A-325).
#[test]
fn every_query_length_over_native_veth() {
    sweep_every_length("native");
}

/// See [`sweep_every_length`] (S4-3A-310, S4-3A-325).
#[test]
fn every_query_length_over_generic_veth() {
    sweep_every_length("generic");
}

/// With `xdp = "off"` the socket path is the server: the same names, nothing attached, nothing counted in the kernel.
#[test]
fn xdp_off_serves_everything() {
    let config = Config { xdp: "off".into(), ..Config::default() };
    let Some(scene) = Scene::start("xdp = \"off\"", config) else { return };
    assert_eq!(scene.agent.attached("eth0").expect("ip link"), None);
    let pace = Pace { rate: 1000, duration: Duration::from_secs(2), sockets: 4 };
    let stop = AtomicBool::new(false);
    let report = checker::run(&scene.lab.client, &front_addresses(0), &scene.targets(), pace, &stop).expect("checker");
    assert!(report.is_clean(), "{report}");
    assert_eq!(scene.kernel_answers(), 0);
    beside_the_balanced_names(&scene);
}

/// A native program does not fit a 9000-byte MTU on a veth: `auto` takes the generic hook, says so, and answers.
#[test]
fn a_large_mtu_falls_back_to_generic_and_says_so() {
    let spec = LabSpec { mtu: 9000, ..LabSpec::default() };
    let config = Config { xdp: "auto".into(), ..Config::default() };
    let Some(scene) = Scene::in_lab("MTU 9000 under xdp = \"auto\"", &spec, config) else { return };
    assert_eq!(scene.agent.attached("eth0").expect("ip link").expect("attached").1, "generic");
    let log = scene.agent.log();
    assert!(log.contains("generic") && log.contains("eth0"), "the log says so:\n{log}");
    let status = scene.agent.get("/v1/status").expect("status");
    assert!(status.contains("generic"), "the status says so: {status}");
    let before = scene.kernel_answers();
    for v6 in [false, true] {
        scene.client(v6).lookup("app.com", v6).expect("answer");
    }
    assert_eq!(scene.kernel_answers() - before, 2);
}

/// `xdp = "native"` means native or not at all.
#[test]
fn native_with_a_large_mtu_is_refused() {
    if !can_run("MTU 9000 under xdp = \"native\"") {
        return;
    }
    let lab = Lab::start(&LabSpec { mtu: 9000, sites: vec![], ..LabSpec::default() }).expect("lab");
    let refused = Agent::start(&lab, 0, &Config { probe: None, ..Config::default() });
    let message = refused.expect_err("it must not start").to_string();
    assert!(message.contains("eth0"), "the message names the interface: {message}");
    assert_eq!(tests::agent::attached(&lab.fronts[0], "eth0").expect("ip link"), None);
}

/// S4-3A-330, S4-3B-375, S4-3A-315, C2: names that are not balanced: NXDOMAIN in the zone and REFUSED outside it, each
/// as DNS.md says, and static names get their configured record.
fn beside_the_balanced_names(scene: &Scene) {
    for v6 in [false, true] {
        let client = scene.client(v6);
        let ask = |name: &str, rtype| {
            client
                .ask(&ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL)).expect("a legal name"))
                .expect("answer")
        };
        for name in ["nosuch.app.com", "nosuch.boston.app.com"] {
            assert_eq!(ask(name, Rtype::A).negative(), Ok(Rcode::NXDOMAIN), "{name}");
        }
        for rtype in [Rtype::HTTPS, Rtype::SVCB, Rtype::SRV, Rtype::from_int(65535)] {
            assert_eq!(ask("boston.app.com", rtype).negative(), Ok(Rcode::NOERROR), "{rtype}");
        }
        for name in ["example.net", "com", "xapp.com", "."] {
            let answer = ask(name, Rtype::A);
            assert_eq!((answer.rcode(), answer.is_authoritative()), (Rcode::REFUSED, false), "{name}");
        }
    }
    let server = format!("@{}", front_v4(0));
    let text = |name: &str, rtype: &str| dig(&scene.lab, &[&server, name, rtype]).2.join("\n");
    assert!(text("app.com", "TXT").contains("\"zerottl lab\""));
    assert!(text("mail.app.com", "A").ends_with("192.0.2.200"));
    assert!(text("app.com", "SOA").contains("hostmaster.app.com."));
    assert!(text("app.com", "NS").contains("ns1.app.com."));
    assert!(text("ns1.app.com", "A").ends_with(&front_v4(0).to_string()), "an in-zone server without records is us");
    // Too big for UDP: dig sees TC and comes again by TCP.
    assert!(text("big.app.com", "TXT").contains("44444444"));
    // The alias leads to a balanced name, which is answered afresh behind it.
    let alias = text("www.app.com", "A");
    let last = alias
        .split_whitespace()
        .last()
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("an address at the end: {alias}"));
    assert!(alias.contains("CNAME") && !scene.site_at(last).is_empty(), "{alias}");
}

/// See [`beside_the_balanced_names`] (S4-3A-330, S4-3B-375, S4-3A-315, C2), with the program attached.
#[test]
fn names_that_are_not_balanced() {
    let Some(scene) = Scene::start("S4-3A-330, S4-3B-375: names not balanced", Config::default()) else { return };
    beside_the_balanced_names(&scene);
}

/// A family no configured Site has: NODATA with the SOA, from the kernel; never another Site's address (DESIGN.md,
/// Families).
#[test]
fn a_family_without_data_is_nodata_from_the_kernel() {
    let mut config = Config { probe: None, ..Config::default() };
    for site in &mut config.sites {
        site.addresses.retain(|address| address.is_ipv4() || site.key == "chicago");
    }
    let Some(scene) = Scene::start("NODATA for a family without addresses", config) else { return };
    for v6 in [false, true] {
        let client = scene.client(v6);
        client.lookup("app.com", false).expect("answer");
        let before = scene.kernel_answers();
        for edns in [None, Some(ClientEdns::USUAL)] {
            for name in ["geneva.app.com", "boston.app.com", "europe.app.com"] {
                let question = ClientQuestion::new(name, Rtype::AAAA, edns).expect("a legal name");
                assert_eq!(client.ask(&question).expect("answer").negative(), Ok(Rcode::NOERROR), "{name}");
            }
        }
        assert_eq!(scene.kernel_answers() - before, 6, "answered in the kernel");
        for name in ["app.com", "americas.app.com", "chicago.app.com"] {
            assert_eq!(client.lookup(name, true).expect("answer"), scene.address("chicago", true), "{name}");
        }
    }
}

/// S4-3A-305: what is not a query never hurts and is never answered with an address: a corpus of noise, of queries with
/// bytes changed, cut short and doubled; afterwards all is as before.
#[test]
fn malformed_queries_are_never_answered_wrongly() {
    let Some(mut scene) = Scene::start("S4-3A-305: malformed queries", Config::default()) else { return };
    let question = ClientQuestion::new("app.com", Rtype::A, Some(ClientEdns::USUAL)).expect("a legal name");
    let mut sent = 0_u32;
    for v6 in [false, true] {
        let socket = scene.lab.client.udp(None, front_addresses(0)[usize::from(v6)]).expect("socket");
        socket.set_nonblocking(true).expect("nonblocking");
        let mut buffer = [0; 4096];
        for round in 0..3000_usize {
            let mut query = question.query(rand::random(), rand::random());
            let length = query.len();
            let broken = match round % 4 {
                // The question's fixed part: its label lengths, its end, its class.
                0 => {
                    query[[12, 16, 20, 23][round / 4 % 4]] = rand::random::<u8>() | 0x80;
                    query
                }
                1 => query[..rand::random_range(0..length - 11)].to_vec(),
                2 => (0..rand::random_range(1..600)).map(|_| rand::random()).collect(),
                // QDCOUNT other than 1.
                _ => {
                    query[5] = rand::random::<u8>().wrapping_mul(2);
                    query
                }
            };
            if socket.send(&broken).is_ok() {
                sent += 1;
            }
            // A gap now and then, so that the socket path is asked and not just overrun.
            if round % 64 == 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            while let Ok(length) = socket.recv(&mut buffer) {
                let reply = &buffer[..length];
                assert!(length >= 12 && reply[2] & 0x80 != 0, "a reply is a response: {reply:02x?}");
                assert_eq!(reply[6..8], [0, 0], "no answer to what was not asked: {reply:02x?}");
            }
        }
    }
    assert!(sent > 5000);
    assert!(scene.agent.runs());
    for v6 in [false, true] {
        let client: Client = scene.client(v6);
        let before = scene.kernel_answers();
        client.address(&question).expect("as before");
        assert_eq!(scene.kernel_answers() - before, 1);
    }
}
