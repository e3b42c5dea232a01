//! Odd zones beside BIND: what is loaded, what is answered, and that kernel and sockets agree on it.
#![expect(clippy::expect_used, clippy::panic, reason = "a panic is how a test fails")]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use domain::base::rdata::ComposeRecordData;
use tests::{config::Config, lab::front_v4, scene::Scene, scratch::folder as scratch};

/// A zone as one finds them: data below cuts and DNAMEs, cuts below cuts, glue of many kinds, and BIND's own writing.
const ODD: &str = "$TTL 5m
@       600 IN SOA ns1 host\\.master 2024 1h 15m 2w 90000
        NS      ns1
        NS      ns.example.net.
ns1     A       192.0.2.53
$INCLUDE \"more of it\" inc
sub     NS      ns.deep.sub
        NS      sub
        A       192.0.2.60
        TXT     \"at the cut\"
        DS      12345 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766
ns.deep.sub A   192.0.2.61
deep.sub NS     ns.elsewhere.example.
host.sub TXT    \"below\"
        MX      10 host.sub
*.sub   A       192.0.2.62
old     DNAME   new
        TXT     \"beside\"
x.old   A       192.0.2.63
*.old   TXT     \"below\"
host.new A      192.0.2.64
*.wild  MX      10 ns1
a.b.ent A       192.0.2.65
alias   CNAME   host.sub
lone    DS      1 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766
$GENERATE 1-3/2 gen${0,3,d} A 192.0.2.$
$GENERATE 5-5 mx$ MX \"10 gen${-4,3,d}\"
loc     LOC     52 22 23.5 N 4 53 32 E -2m
utf     TXT     \"g\u{fc}n\tstig\"
";

const INCLUDED: &str =
    "@ A 192.0.2.70\nb TXT \"with the TTL of who includes\"\n$ORIGIN c\n@ URI 1 2 \"https://a.example/\"\n";

const QUESTIONS: &str = "odd.example SOA;odd.example NS;none.odd.example A;sub.odd.example A;sub.odd.example TXT;
    sub.odd.example NS;sub.odd.example DS;host.sub.odd.example TXT;host.sub.odd.example MX;q.sub.odd.example A;
    x.y.deep.sub.odd.example A;deep.sub.odd.example NS;ns.deep.sub.odd.example A;old.odd.example TXT;
    old.odd.example DNAME;x.old.odd.example A;q.old.odd.example TXT;host.old.odd.example A;b.ent.odd.example A;
    q.wild.odd.example MX;q.wild.odd.example A;alias.odd.example TXT;lone.odd.example DS;lone.odd.example A;
    gen003.odd.example A;gen002.odd.example A;mx5.odd.example MX;loc.odd.example LOC;utf.odd.example TXT;
    inc.odd.example A;b.inc.odd.example TXT;c.inc.odd.example URI;in.odd.example A;q.in.odd.example A";

/// Asked of the kernel and the sockets alone.
const OURS: &str = "example.net A;com TXT;. NS;. SOA;www.app.com A;none.app.com A;app.com DS;in.odd.example DS";

/// Returns what dig shows, but for what only differs in order.
fn shown(lab: &tests::lab::Lab, at: &[&str], question: &str) -> Vec<String> {
    let words: Vec<_> = question.split_whitespace().collect();
    let fixed = ["+norec", "+noedns", "+tries=2", "+time=5", "+nocmd", "+noquestion", "+nostats"];
    let text = lab.client.read("dig", &[&fixed[..], at, &words].concat()).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    let mut section = "";
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(status) = line.split_once("status: ") {
            lines.push(status.1.split(',').next().unwrap_or_default().into());
        } else if let Some((_, flags)) = line.split_once("flags: ") {
            lines.push(flags.split(';').next().unwrap_or_default().trim().into());
        } else if line.starts_with(";; ") {
            section = line;
        } else {
            lines.push(format!("{section} {}", line.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()));
        }
    }
    lines.sort();
    lines
}

/// named with the same file, in the client's namespace.
fn named(scene: &Scene, folder: &Path) -> std::process::Child {
    let text = format!(
        "options {{ directory \"{0}\"; pid-file none; session-keyfile none; listen-on port 5399 {{ 127.0.0.1; }}; \
         listen-on-v6 {{ none; }}; recursion no; minimal-responses yes; dnssec-validation no; }};\n\
         controls {{ }};\nzone \"odd.example\" {{ type primary; file \"odd.zone\"; check-integrity no; }};\n\
         zone \"in.odd.example\" {{ type primary; file \"in.zone\"; check-integrity no; }};\n",
        folder.display()
    );
    fs::write(folder.join("named.conf"), text).expect("written");
    let mut command = Command::new("named");
    command.args(["-g", "-c"]).arg(folder.join("named.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    scene.lab.client.spawn(command).expect("named")
}

/// named, the kernel with the sockets after it, and the sockets alone answer the same questions alike.
#[test]
fn odd_zones_are_answered_as_bind_does() {
    let folder = scratch().expect("a folder");
    fs::write(folder.path().join("odd.zone"), ODD).expect("written");
    fs::write(folder.path().join("more of it"), INCLUDED).expect("written");
    fs::write(folder.path().join("in.zone"), "@ 60 SOA a b 1 2 3 4 5\n@ 60 NS ns.example.net.\nq 60 A 192.0.2.80\n")
        .expect("written");
    let records = |file: &str| format!("records = {:?}\n", folder.path().join(file));
    let more = format!(
        "[zone.\"odd.example\"]\n{}[zone.\"in.odd.example\"]\n{}[zone.\".\"]\nnameservers = [\".\"]\ncontact = \".\"\n",
        records("odd.zone"),
        records("in.zone")
    );
    let mut by_mode = Vec::new();
    for xdp in ["native", "off"] {
        let config = Config { xdp: xdp.into(), probe: None, more: more.clone(), ..Config::default() };
        let Some(scene) = Scene::start("odd zones beside BIND", config) else { return };
        let mut named = named(&scene, folder.path());
        let at = ["@127.0.0.1", "-p", "5399", "+tcp"];
        let since = Instant::now();
        while shown(&scene.lab, &at, "odd.example SOA").first().is_none_or(|line| !line.starts_with(";; ANSWER")) {
            assert!(since.elapsed() < Duration::from_mins(1), "named does not answer");
            std::thread::sleep(Duration::from_millis(200));
        }
        let front = format!("@{}", front_v4(0));
        let mut all = Vec::new();
        for question in QUESTIONS.split(';').map(str::trim) {
            let ours = shown(&scene.lab, &[&front, "+tcp"], question);
            assert_eq!(ours, shown(&scene.lab, &at, question), "xdp = {xdp}: {question}");
            all.push((question, shown(&scene.lab, &[&front, "+notcp", "+ignore"], question)));
        }
        // Not as BIND: the DS of a zone within another that has no delegation is no NXDOMAIN, which would be one for all
        // that is below (RFC 8020).
        for question in OURS.split(';') {
            all.push((question, shown(&scene.lab, &[&front, "+notcp", "+ignore"], question)));
        }
        let root = &all[all.len() - OURS.split(';').count()].1;
        assert!(root.iter().any(|line| line == "NXDOMAIN"), "the root zone is ours: {root:?}");
        by_mode.push(all);
        named.kill().and_then(|()| named.wait()).expect("named ends");
        let explained = scene.agent.zerottl(&["explain", "host.sub.odd.example", "txt"]).expect("explain");
        assert!(explained.contains("delegated at sub.odd.example: a referral"), "{explained}");
        let explained = scene.agent.zerottl(&["explain", "www.app.com"]).expect("explain");
        assert!(explained.contains("an alias; app.com is a pool name"), "{explained}");
    }
    for (of_kernel, of_sockets) in by_mode[0].iter().zip(&by_mode[1]) {
        // Balanced addresses take turns.
        if of_kernel.0 != "www.app.com A" {
            assert_eq!(of_kernel, of_sockets);
        }
    }
}

/// Types whose text `domain` lacks, with odd forms.
const TYPES: [&str; 44] = [
    "AFSDB 1 b.",
    "RT 0 b.",
    "X25 311061700956",
    "ISDN 150862028003217 004",
    "ISDN 1",
    "NSAP 0x47.0005.80.005a00",
    "NSAP-PTR b.",
    "PX 10 b. c.",
    "GPOS -32.6882 116.8652 10.0",
    "KX 10 b.",
    "CERT PKIX 1 RSASHA256 AQID BA==",
    "CERT 65534 65535 254 AQ==",
    "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32 1:0.0.0.0/0",
    "APL",
    "DHCID AAIBY2/AuCcg",
    "SMIMEA 3 1 1 aabb ccdd",
    "HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAQ== b. c.",
    "CSYNC 66 3 A NS AAAA TYPE65280",
    "SPF \"v=spf1 -all\" x",
    "NID 10 0014:4fff:ff20:ee64",
    "L32 10 10.1.2.0",
    "L64 10 2001:0DB8:1140:1000",
    "LP 10 b.",
    "EUI48 00-00-5e-00-53-2a",
    "EUI64 00-00-5e-ef-10-00-00-2a",
    "URI 10 1 \"ftp://a.example/\\\"x\\\"\"",
    "URI 1 2 \"\"",
    "AVC \"app-name:W\"",
    "AMTRELAY 10 0 2 2001:db8::15",
    "AMTRELAY 10 1 0 .",
    "AMTRELAY 0 0 3 b.",
    "WKS 192.0.2.1 tcp 25 80",
    "WKS 192.0.2.1 17 53",
    "ATMA +390102",
    "ATMA 39.0102",
    "DOA 1 2 3 \"a/b\" -",
    "RKEY 0 1 RSASHA256 AQID",
    "SINK 1 2 3 AQID",
    "TALINK a. b.",
    "NINFO a b",
    "EID 12 34",
    "LOC 42 21 54 N 71 06 18 W -24m 30m",
    "LOC 0 S 180 W 0",
    "LOC 90 N 0 0 0.001 E 42849672.95 90000000m 123.45 0.01",
];

/// The configuration of one static zone whose records are these.
fn zone_of(records: &str, folder: &Path) -> Vec<String> {
    fs::write(folder.join("z"), records).expect("written");
    let text = "[front]\nxdp = \"off\"\naddresses = [\"192.0.2.1\"]\n[zone.\"z.example\"]\nrecords = \"z\"\n\
        [pool.\"p.z.example\"]\nsites = [\"s\"]\n[site.s]\nname = \"s.z.example\"\naddresses = [\"192.0.2.2\"]\n";
    let loaded = zerottl_config::parse("f", text, folder).unwrap_or_else(|error| panic!("{}", error.plain()));
    let zone = loaded.zones.iter().next().expect("a zone");
    let mut lines = Vec::new();
    for node in zone.nodes() {
        for set in &node.sets {
            for data in &set.data {
                let mut wire = Vec::new();
                let Ok(()) = data.compose_rdata(&mut wire);
                let hex = wire.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02X}"));
                lines.push(format!("{} {} TYPE{} {hex}", node.owner, set.ttl, set.rtype.to_int()));
            }
        }
    }
    lines.sort();
    lines
}

/// named-rrchecker says what the data is in bytes.
#[test]
fn types_are_read_as_bind_reads_them() {
    let folder = scratch().expect("a folder");
    let head = "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n@ NS a.\n";
    let mut records = head.to_owned();
    let mut expected = Vec::new();
    for (at, text) in TYPES.iter().enumerate() {
        writeln!(records, "t{at} {text}").expect("a text");
        fs::write(folder.path().join("rr"), format!("IN {text}\n")).expect("written");
        let input = fs::File::open(folder.path().join("rr")).expect("readable");
        let output = Command::new("named-rrchecker").arg("-u").stdin(input).output().expect("named-rrchecker");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        // CLASS1 TYPEn \# LENGTH HEX
        let words: Vec<_> = shown.split_whitespace().collect();
        assert!(words.len() >= 4, "{text}: {shown}{}", String::from_utf8_lossy(&output.stderr));
        expected.push(format!("t{at}.z.example 60 {} {}", words[1], words[4..].concat()));
    }
    expected.sort();
    let ours: Vec<_> = zone_of(&records, folder.path()).into_iter().filter(|line| line.starts_with('t')).collect();
    assert_eq!(ours, expected);
}

/// named-compilezone makes of a file what we make of it.
#[test]
fn files_are_read_as_bind_reads_them() {
    let folder = scratch().expect("a folder");
    fs::write(folder.path().join("more of it"), INCLUDED).expect("written");
    let own = zone_of(ODD, folder.path());
    let output = Command::new("named-compilezone")
        .args(["-q", "-i", "none", "-k", "ignore", "-w"])
        .arg(folder.path())
        .args(["-o", "-", "z.example", "z"])
        .output()
        .expect("named-compilezone");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let compiled = String::from_utf8(output.stdout).expect("text");
    let theirs = zone_of(&compiled, folder.path());
    assert!(own.len() > 25, "{own:?}");
    assert_eq!(own, theirs);
}
