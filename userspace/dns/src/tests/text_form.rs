//! The forms that a records file may be written in: directives, and the text of types that the scanner does not know.
//! The wire forms are those that named-compilezone 9.18 makes (`tests/tests/agent/zones.rs` compares all with it).

use std::path::Path;

use domain::base::rdata::ComposeRecordData;

use super::{BOTH, model};
use crate::{Zones, load::Read};

fn read(files: &[(&str, &str)]) -> Read {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Zones::read(&model(BOTH, Some(Path::new("z"))), dir.path(), None)
}

/// Every record that the files have, sorted.
fn records(files: &[(&str, &str)]) -> Vec<String> {
    let read = read(files);
    assert_eq!(read.faults.errors, [], "{files:?}");
    let zone = read.zones.iter().next().unwrap();
    let of_file = zone.nodes().filter(|node| node.owner != *zone.apex() && node.dynamic.is_none());
    let mut all: Vec<String> = of_file
        .flat_map(|node| node.sets.iter().map(move |set| (node, set)))
        .filter(|(node, _)| node.owner.first().as_slice() != b"ns1")
        .flat_map(|(node, set)| {
            set.data.iter().map(move |data| format!("{} {} {} {data}", node.owner, set.ttl, set.rtype))
        })
        .collect();
    all.sort();
    all
}

#[track_caller]
fn check(text: &str, wire: &str) {
    let read = read(&[("z", &format!("a {text}\n"))]);
    assert_eq!(read.faults.errors, [], "{text}");
    let node = read.zones.iter().next().unwrap().nodes().find(|node| node.owner.to_string() == "a.app.com").unwrap();
    let mut out = Vec::new();
    let Ok(()) = node.sets[0].data[0].compose_rdata(&mut out);
    let hex = out.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(hex, wire.replace(' ', ""), "{text}");
}

const APP: &str = "03617070 03636f6d 00";

#[test]
fn types_have_their_text() {
    check("AFSDB 1 b", &format!("0001 0162 {APP}"));
    check("RT 10 @", &format!("000a {APP}"));
    check("X25 311061700956", "0c 333131303631373030393536");
    check("ISDN 150862028003217 004", "0f 313530383632303238303033323137 03 303034");
    check("NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00", "4700058000 5a0000000001e133ffffff00016100");
    check("NSAP-PTR b", &format!("0162 {APP}"));
    check("PX 10 b c.", &format!("000a 0162 {APP} 0163 00"));
    check("GPOS -32.6882 116.8652 10.0", "08 2d33322e36383832 08 3131362e38363532 04 31302e30");
    check("LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m", "00 00 16 13 8b3cf018 810cbce0 009895b8");
    check("LOC 42 21 54 N 71 06 18 W -24m 30m", "00 33 16 13 89172dd0 70be15f0 00988d20");
    check("LOC 0 S 180 W 0", "00 12 16 13 80000000 59604e00 00989680");
    check("LOC 90 N 0 0 0.001 E 42849672.95 90000000m 123.45 0.01", "00 99 14 10 934fd900 80000001 ffffffff");
    check("KX 10 b", &format!("000a 0162 {APP}"));
    check("CERT PKIX 1 RSASHA256 AQID BA==", "0001 0001 08 01020304");
    check("CERT 65534 65535 254 AQ==", "fffe ffff fe 01");
    check(
        "APL 1:192.168.32.0/21 !1:192.168.38.0/28 2:2001:db8::/32",
        "0001 15 03 c0a820 0001 1c 83 c0a826 0002 20 04 20010db8",
    );
    check("DHCID AAIBY2/AuCcg", "000201636fc0b82720");
    check("SMIMEA 3 1 1 aabb ccdd", "03 01 01 aabbccdd");
    check(
        "HIP 2 200100107B1A74DF365639CC39F1D578 AwEAAQ== b.",
        "10 02 0004 200100107b1a74df365639cc39f1d578 03010001 0162 00",
    );
    check("CSYNC 66 3 A NS AAAA", "00000042 0003 00 04 60000008");
    check("SPF \"v=spf1 -all\" x", "0b 763d73706631202d616c6c 01 78");
    check("NID 10 0014:4fff:ff20:ee64", "000a 00144fffff20ee64");
    check("L32 10 10.1.2.0", "000a 0a010200");
    check("L64 10 2001:0DB8:1140:1000", "000a 20010db811401000");
    check("LP 10 l64", &format!("000a 036c3634 {APP}"));
    check("EUI48 00-00-5e-00-53-2a", "00005e00532a");
    check("EUI64 00-00-5e-ef-10-00-00-2a", "00005eef1000002a");
    check("URI 10 1 \"ftp://a.example/\"", "000a 0001 6674703a2f2f612e6578616d706c652f");
    check("AVC \"app-name:W\"", "0a 6170702d6e616d653a57");
    check("AMTRELAY 10 0 2 2001:db8::15", "0a 02 20010db8000000000000000000000015");
    check("AMTRELAY 10 1 0 .", "0a 80");
    check("TA 1 8 2 aabb", "0001 08 02 aabb");
    check("WKS 192.0.2.1 tcp 25 80", "c0000201 06 00000040 000000000000 80");
    check("ATMA +390102", "01 333930313032");
    check("TYPE65400 \\# 3 01 0203", "010203");
    check("loc \\# 1 00", "00");
}

#[test]
fn texts_are_bytes() {
    check("TXT \"\u{e4}\t\\009\\\\x\"", "07 c3a409095c78".replace("07", "06").as_str());
    check("TXT \u{e4}\\;b", "04 c3a43b62");
    check("HINFO \"a b\" \u{fc}", "03 612062 02 c3bc");
    check("CAA 0 issue \"\u{e4}.example\"", "00 05 6973737565 c3a42e6578616d706c65");
    check("HTTPS 1 . alpn=\"h2,h3\" port=8443", "0001 00 0001 0006 02683202 6833 0003 0002 20fb");
    check("SVCB 1 @ key65333=\"a b\"", &format!("0001 {APP} ff35 0003 612062"));
}

/// RFC 2308 section 4, RFC 1035 section 5.1, and BIND's `$GENERATE`.
#[test]
fn directives_hold_where_they_should() {
    let files = [
        ("z", "$TTL 2m\n$INCLUDE \"with space\" sub\nb A 192.0.2.2\n$include more\n A 192.0.2.9\nc A 192.0.2.3\n"),
        ("with space", "a A 192.0.2.1\n$ORIGIN x\n@ A 192.0.2.4\n"),
        ("more", "$TTL 9\nd A 192.0.2.5\n"),
    ];
    let expected = [
        "a.sub.app.com 120 A 192.0.2.1",
        "b.app.com 120 A 192.0.2.2",
        "c.app.com 9 A 192.0.2.3",
        "d.app.com 9 A 192.0.2.5",
        "x.sub.app.com 120 A 192.0.2.4",
    ];
    // The TTLs of one set must be one, so the line behind the include is another name's.
    let files = [
        (files[0].0, files[0].1.replace(" A 192.0.2.9\n", " TXT t\n")),
        (files[1].0, files[1].1.into()),
        (files[2].0, files[2].1.into()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut expected: Vec<String> =
        expected.iter().map(ToString::to_string).chain(["b.app.com 9 TXT \"t\"".into()]).collect();
    expected.sort();
    assert_eq!(records(&files), expected);
    let generated = records(&[("z", "$GENERATE 9-10 h${0,3} 60 A 192.0.2.$\n$GENERATE 1-1 m$ MX \"10 h$\"\n")]);
    assert_eq!(
        generated,
        ["h009.app.com 60 A 192.0.2.9", "h010.app.com 60 A 192.0.2.10", "m1.app.com 60 MX 10 h1.app.com."]
    );
}

/// All faults at once, each at its own token.
#[test]
fn every_fault_is_told_at_its_place() {
    let text =
        "a A 192.0.2.1\nb A nonsense\nc CNAM d\nd ( MX\n x y )\ne.example.net. A 192.0.2.1\nf TXT \"open\ng A 1\n";
    let read = read(&[("z", text)]);
    let told: Vec<_> =
        read.faults.errors.iter().map(|fault| (fault.line.unwrap(), &text[fault.span.clone().unwrap()])).collect();
    assert_eq!(told, [(2, "nonsense"), (3, "CNAM"), (5, "x"), (6, "e.example.net."), (7, "\"")]);
    let many = (0..30).fold(String::new(), |many, i| many + &format!("h{i} A x\n"));
    let faults = super::text_form::read(&[("z", &many)]).faults;
    assert_eq!((faults.errors.len(), faults.more_errors), (20, 10));
}

#[test]
fn included_files_are_bounded_and_named() {
    let error = |files: &[(&str, &str)]| read(files).faults.errors[0].to_string();
    let missing = error(&[("z", "\n$INCLUDE none\n")]);
    assert!(missing.contains("z:2: the included file ") && missing.contains("none cannot be read: "), "{missing}");
    let folder = error(&[("z", "$INCLUDE .\n")]);
    assert!(folder.contains("it is not a file"), "{folder}");
    let much = error(&[("z", "$GENERATE 0-4294967295 a$ A 192.0.2.1\n")]);
    assert!(much.contains("makes more than 1048576 records"), "{much}");
    let files = read(&[("z", "$INCLUDE y\n"), ("y", "a A 192.0.2.1\n")]).files;
    assert_eq!(files.len(), 2, "both are watched");
}

/// The scanner says where it is in its own way.
#[test]
fn faults_in_data_are_told_at_their_token() {
    for (text, expected) in [
        ("a MX x y", "x"),
        ("a MX 10 b..c", "b..c"),
        ("a A x", "x"),
        ("a A 192.0.2.1 x", "x"),
        ("a SRV 1 2 99999 d", "99999"),
        ("a DS 1 8 2 0g", "0g"),
        ("a SSHFP 1 1 zz", "zz"),
        ("a CAA 0 is-sue x", "is-sue"),
        ("a AAAA 1::2::3", "1::2::3"),
        ("a A", "a A"),
        ("a URI 1 x y", "x"),
        ("a LOC 91 N 0 E 0", "N"),
        ("a A \\# 4 010203", "4"),
        ("a 1h30 A 192.0.2.1", "1h30"),
        ("a..b A 192.0.2.1", "a..b"),
        ("$TTL x", "x"),
        ("$INCLUDE none", "none"),
    ] {
        let text = format!("{text}\n");
        let faults = read(&[("z", &text)]).faults;
        let span = faults.errors[0].span.clone().expect(&text);
        assert_eq!(&text[span], expected, "{text}{:?}", faults.errors);
    }
}
