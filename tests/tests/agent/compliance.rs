//! The EDNS compliance cases that ISC publishes, asked with dig as they are published (<https://ednscomp.isc.org>), of the
//! kernel and of the socket path.

use std::collections::HashSet;

use tests::{
    config::Config,
    lab::{front_v4, front_v6},
    scene::Scene,
};

/// A question, with texts that must be in dig's output and texts that must not.
struct Case {
    /// dig's arguments, behind the name and the type.
    dig: &'static str,
    status: Status,
    /// Words that must appear.
    has: &'static [&'static str],
    /// Words that must not.
    lacks: &'static [&'static str],
}

/// The status that dig must show.
#[derive(Clone, Copy)]
enum Status {
    /// The contents of the name's own answer.
    Own,
    /// This one, and no records.
    Is(&'static str),
}

const EDNS: &str = "; EDNS: version: 0, flags:; udp: 1232";
const EDNS_DO: &str = "; EDNS: version: 0, flags: do; udp: 1232";

/// Plain, EDNS versions, unknown options and flags, DO, sizes, NSID, cookies, client subnets, opcodes, TCP.
const CASES: [Case; 16] = [
    Case { dig: "+norec +noedns", status: Status::Own, has: &[], lacks: &["; EDNS"] },
    Case { dig: "+norec +edns=0", status: Status::Own, has: &[EDNS], lacks: &[] },
    Case { dig: "+norec +edns=100 +noednsneg", status: Status::Is("BADVERS"), has: &[EDNS], lacks: &[] },
    Case { dig: "+norec +ednsopt=100", status: Status::Own, has: &[EDNS], lacks: &["OPT=100"] },
    Case { dig: "+norec +ednsflags=0x80", status: Status::Own, has: &[EDNS], lacks: &["MBZ"] },
    Case { dig: "+norec +dnssec", status: Status::Own, has: &[EDNS_DO], lacks: &[] },
    Case { dig: "+norec +dnssec +bufsize=512 +ignore", status: Status::Own, has: &[EDNS_DO], lacks: &[] },
    Case {
        dig: "+norec +edns=100 +noednsneg +ednsopt=100",
        status: Status::Is("BADVERS"),
        has: &[EDNS],
        lacks: &["OPT=100"],
    },
    Case { dig: "+norec +nsid", status: Status::Own, has: &[EDNS, "NSID: 6c 61 62 (\"lab\")"], lacks: &[] },
    Case {
        dig: "+norec +cookie=0102030405060708",
        status: Status::Own,
        has: &[EDNS, "COOKIE: 0102030405060708", "(good)"],
        lacks: &[],
    },
    Case {
        dig: "+norec +subnet=192.0.2.0/24",
        status: Status::Own,
        has: &[EDNS, "CLIENT-SUBNET: 192.0.2.0/24/0"],
        lacks: &[],
    },
    Case { dig: "+norec +subnet=0", status: Status::Own, has: &[EDNS, "CLIENT-SUBNET: 0.0.0.0/0/0"], lacks: &[] },
    // A cookie of 7 bytes, and a subnet with a host bit set.
    Case {
        dig: "+norec +nocookie +ednsopt=10:01020304050607",
        status: Status::Is("FORMERR"),
        has: &[EDNS],
        lacks: &[],
    },
    Case { dig: "+norec +ednsopt=8:00011700c00002", status: Status::Own, has: &[EDNS], lacks: &[] },
    Case { dig: "+norec +ednsopt=8:00011600c00003", status: Status::Is("FORMERR"), has: &[EDNS], lacks: &[] },
    Case { dig: "+norec +edns=0 +tcp", status: Status::Own, has: &[EDNS], lacks: &[] },
];

/// Names and types, with the status of their answer: a Pool, a Site, their other types, a static name, one that does not
/// exist, one that is not ours.
const QUESTIONS: [(&str, &str, &str); 7] = [
    ("app.com", "A", "NOERROR"),
    ("boston.app.com", "AAAA", "NOERROR"),
    ("boston.app.com", "HTTPS", "NOERROR"),
    ("app.com", "SOA", "NOERROR"),
    ("mail.app.com", "A", "NOERROR"),
    ("none.app.com", "A", "NXDOMAIN"),
    ("other.net", "A", "REFUSED"),
];

fn dig(scene: &Scene, server: &str, question: &str, arguments: &str) -> String {
    // Without dig's own cookie, unless the case has one.
    let fixed = ["+nocookie", "+tries=1", "+time=3", server];
    let words: Vec<&str> = fixed.into_iter().chain(question.split(' ')).chain(arguments.split(' ')).collect();
    scene.lab.client.read("dig", &words).unwrap_or_else(|e| panic!("dig {}: {e}", words.join(" ")))
}

/// S4-3A-330, RFC 6891, 8906, 7873, 7871, 5001: every case, for every kind of name, over both families, of the kernel and
/// of the socket path.
fn complies(xdp: &str) {
    let config = Config { xdp: xdp.into(), more: "[edns]\nnsid = \"lab\"\n".into(), ..Config::default() };
    let Some(scene) = Scene::start("EDNS compliance", config) else { return };
    let (before, mut asked, mut faults) = (scene.kernel_answers(), 0, Vec::new());
    for server in [front_v4(0).to_string(), front_v6(0).to_string()] {
        for (name, rtype, own) in QUESTIONS {
            for case in &CASES {
                let text = dig(&scene, &format!("@{server}"), &format!("{name} {rtype}"), case.dig);
                let (status, bare) = match case.status {
                    Status::Own => (own, false),
                    Status::Is(status) => (status, true),
                };
                asked += 1;
                let mut wrong = Vec::new();
                if !text.contains(&format!("status: {status},")) {
                    wrong.push(format!("not {status}"));
                }
                if bare && !text.contains("ANSWER: 0, AUTHORITY: 0") {
                    wrong.push("records".to_owned());
                }
                wrong.extend(case.has.iter().filter(|word| !text.contains(**word)).map(|word| format!("no `{word}`")));
                wrong.extend(case.lacks.iter().filter(|word| text.contains(**word)).map(|word| format!("`{word}`")));
                if !wrong.is_empty() {
                    faults.push(format!("dig @{server} {name} {rtype} {}: {}\n{text}", case.dig, wrong.join(", ")));
                }
            }
            // An opcode that nobody knows, as a header alone and with its question.
            for arguments in ["+norec +opcode=15 +header-only +noedns", "+norec +opcode=15 +noedns"] {
                let text = dig(&scene, &format!("@{server}"), &format!("{name} {rtype}"), arguments);
                if !text.contains("status: NOTIMP") {
                    faults.push(format!("dig @{server} {name} {rtype} {arguments}: not NOTIMP\n{text}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} of {asked}:\n{}", faults.len(), faults.join("\n"));
    let in_kernel = scene.kernel_answers() - before;
    println!("xdp = {xdp}: {asked} cases, {in_kernel} answered in the kernel");
    assert_eq!(in_kernel > asked / 2, xdp != "off", "{in_kernel} of {asked} in the kernel");
}

/// See [`complies`] (S4-3A-330).
#[test]
fn edns_compliance_in_the_kernel() {
    complies("native");
}

/// See [`complies`] (S4-3A-330).
#[test]
fn edns_compliance_on_the_socket_path() {
    complies("off");
}

/// Seed row S4-3A-330, ISC's truncation case: an answer too large for the client's buffer is truncated with its OPT, and
/// whole over TCP.
#[test]
fn a_large_answer_is_truncated_and_whole_over_tcp() {
    let Some(scene) = Scene::start("EDNS compliance: truncation", Config::default()) else { return };
    for server in [front_v4(0).to_string(), front_v6(0).to_string()] {
        let server = format!("@{server}");
        let cut = dig(&scene, &server, "big.app.com TXT", "+norec +dnssec +bufsize=512 +ignore");
        assert!(cut.contains("flags: qr aa tc;") && cut.contains("ANSWER: 0,") && cut.contains(EDNS_DO), "{cut}");
        let whole = dig(&scene, &server, "big.app.com TXT", "+norec +dnssec +bufsize=512 +tcp");
        assert!(whole.contains("flags: qr aa;") && whole.contains("ANSWER: 1,") && whole.contains(EDNS_DO), "{whole}");
    }
}

/// The cases differ from each other: none was copied and left as it was.
#[test]
fn every_case_is_another() {
    assert_eq!(CASES.iter().map(|case| case.dig).collect::<HashSet<_>>().len(), CASES.len());
}
