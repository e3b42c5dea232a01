//! Limits: what is beyond them is refused with its place, and what is within them can be run.

use std::fmt::Write;

use super::*;
use zerottl_core::{
    plan::{CANDIDATES_MAX, Planner},
    status::{Assessment, Health},
};
use zerottl_kernel::image::{Bank, Image};

/// The one line a text is refused by.
#[track_caller]
fn refused(text: &str) -> String {
    let error = parse("f", text, &examples()).expect_err("refused");
    let lines: Vec<_> = error.problems().iter().map(Problem::line).filter(|line| line.contains(": error: ")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

fn quoted(items: impl IntoIterator<Item = String>) -> String {
    items.into_iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(", ")
}

#[test]
fn lists_have_limits() {
    let interfaces = |count| changed(r#""eth0""#, &quoted((0..count).map(|i| format!("eth{i}"))));
    parse("f", &interfaces(8), &examples()).expect("eight");
    assert_eq!(
        refused(&interfaces(9)),
        "f:2:79: error: [front]: more than 8 interfaces (bond them, or split them over several instances)"
    );
    let servers = |count| changed(r#""ns1.app.com""#, &quoted((0..count).map(|i| format!("ns{i}.example.net"))));
    parse("f", &servers(32), &examples()).expect("as many");
    let line = refused(&servers(33));
    assert!(line.contains(r#"[zone."app.com"]: `nameservers` has more than 32 name servers (name fewer)"#), "{line}");
}

/// `count` Sites of one address each in pools of at most [`CANDIDATES_MAX`]; `label` begins every Site Name.
fn many_sites(count: usize, pool_len: usize, label: &str) -> String {
    let mut text = changed("[group", "[nothing").split("[pool").next().expect("the head").to_owned();
    for (i, sites) in (0..count).collect::<Vec<_>>().chunks(pool_len).enumerate() {
        let sites = quoted(sites.iter().map(|site| format!("s{site}")));
        writeln!(text, "[pool.\"p{i}.app.com\"]\nsites = [{sites}]").expect("written");
    }
    for i in 0..count {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + i as u32);
        writeln!(text, "[site.s{i}]\nname = \"{label}{i}.app.com\"\naddresses = [\"{address}\"]").expect("written");
    }
    text
}

#[test]
fn pools_names_and_zones_have_limits() {
    let line = refused(&many_sites(CANDIDATES_MAX + 1, usize::MAX, "s"));
    assert!(line.contains("[pool.\"p0.app.com\"]: more than 8192 Sites"), "{line}");

    let mut text = many_sites(1, 1, "s");
    for i in 0..front::ZONES_MAX {
        writeln!(text, "[zone.\"z{i}.example\"]\nnameservers = [\"ns.example\"]\ncontact = \"h@example\"")
            .expect("written");
    }
    let line = refused(&text);
    assert!(line.contains("[zone.\"z65535.example\"]: more than 65536 zones"), "{line}");
}

/// Whatever is accepted can be planned and laid out, whatever is up.
#[track_caller]
fn runs(text: &str) {
    let loaded = parse("f", text, &examples()).unwrap_or_else(|error| panic!("{}", error.plain()));
    let planner = Planner::new(loaded.model.into());
    let mut status = Assessment::unknown(planner.model());
    let first = planner.plan(&status, 1);
    let image = Image::new(&planner, &first, &loaded.zones, &[]).expect("it fits");
    for (generation, health) in [(2, Health::Up), (3, Health::Down)] {
        for site in status.health.iter_mut().skip(1) {
            site.fill(health);
        }
        let bank = Bank::new(&image.layout, &planner.plan(&status, generation));
        assert_eq!(bank.services.len() as u32, image.control.bank_services);
        assert_eq!(bank.blocks.len() as u32, image.control.bank_blocks);
    }
}

/// As many Site addresses as may be but for two, and the longest names there are.
#[test]
fn the_largest_files_can_be_run() {
    let v6 = |site: u32, count| quoted((0..count).map(|i| format!("2001:db8::{site:x}:{i:x}")));
    let mut text = many_sites(1, 1, "s");
    for site in 1..=255 {
        let count = if site == 255 { 254 } else { 257 };
        let name = format!("name = \"v{site}.app.com\"\naddresses = [{}]", v6(site, count));
        writeln!(text, "[site.v{site}]\n{name}").expect("written");
    }
    let sites = quoted((1..=255).map(|site| format!("v{site}")));
    writeln!(text, "[pool.\"v.app.com\"]\nsites = [{sites}]").expect("written");
    let addresses = |text: &str| {
        let loaded = parse("f", text, &examples()).expect("accepted");
        loaded.model.sites.iter().map(|site| site.addresses.len()).sum::<usize>()
    };
    // 1 + 254 × 257 + 254 = 65,533.
    assert_eq!(addresses(&text), 65_533);
    runs(&text);
    let labels = "a".repeat(63);
    // With a number of three digits and the zone behind it, 255 bytes in wire form.
    let longest = format!("{labels}.{labels}.{labels}.{}", "b".repeat(50));
    runs(&many_sites(1_000, 64, &longest));
}

#[test]
fn as_many_addresses_and_zones_as_may_be() {
    let v4 = (0..8).map(|i| format!("203.0.113.{}", i + 1));
    let v6 = (0..8).map(|i| format!("[2001:db8::{}]:5353", i + 1));
    let mut text = changed(r#""203.0.113.53""#, &quoted(v4.chain(v6)));
    for i in 0..1_000 {
        let zone =
            format!("[zone.\"z{i}.example\"]\nnameservers = [\"ns.z{i}.example\"]\ncontact = \"h@z{i}.example\"\n");
        let pool = format!("[pool.\"z{i}.example\"]\nsites = [\"boston\", \"geneva\"]\npolicy = \"sticky\"\n");
        text = text + &zone + &pool;
    }
    runs(&text);
}
