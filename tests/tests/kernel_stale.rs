//! State that outlives the agent in the kernel: a plan that nobody confirms any more, and how often each address was answered.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{net::Ipv4Addr, path::Path, sync::Arc, thread::sleep, time::Duration};

use aya::programs::{TestRun, TestRunOptions};
use tests::lab::can_load;
use xdp_ebpf::reason::Reason;
use zerottl_config as config;
use zerottl_core::{
    plan::Planner,
    status::{Assessment, Health},
};
use zerottl_kernel::{Fastpath, FastpathParts, PROGRAM};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ONE: [u8; 4] = [192, 0, 2, 10];
const TWO: [u8; 4] = [192, 0, 2, 20];

const CONFIG: &str = r#"
[front]
interfaces = ["lo"]
addresses = ["203.0.113.53"]
[agent]
max_plan_age = "1s"
on_stale = "ON_STALE"
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster@app.com"
[pool."app.com"]
sites = ["one", "two"]
[site.one]
name = "one.app.com"
addresses = ["192.0.2.10"]
[site.two]
name = "two.app.com"
addresses = ["192.0.2.20"]
"#;

/// A loaded program whose plan says that `two` is down.
fn loaded(on_stale: &str) -> FastpathParts {
    let text = CONFIG.replace("ON_STALE", on_stale);
    let read = config::parse("stale.toml", &text, Path::new("")).unwrap_or_else(|error| panic!("{error:?}"));
    let planner = Planner::new(Arc::new(read.model));
    let mut status = Assessment::unknown(planner.model());
    status.health[1].fill(Health::Down);
    let plan = planner.plan(&status, 1);
    let mut loaded = Fastpath::load(&planner, &plan, &read.zones).unwrap();
    loaded.publisher.set_macs(&[MAC]);
    loaded.publisher.publish(&plan);
    loaded
}

/// Asks for the pool's A; the answer's last bytes, and the one reason that was counted.
fn ask(loaded: &mut FastpathParts) -> ([u8; 4], Reason) {
    let dns = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x03app\x03com\x00\x00\x01\x00\x01"].concat();
    let (client, server) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(203, 0, 113, 53));
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], MAC)
        .ipv4(client.octets(), server.octets(), 64)
        .udp(40_000, 53);
    let mut frame = Vec::new();
    builder.write(&mut frame, &dns).unwrap();
    let before = loaded.counters.read().unwrap();
    let mut out = [0; 2048];
    let options = TestRunOptions { data_in: Some(&frame), data_out: Some(&mut out), ..TestRunOptions::default() };
    let ran = loaded.fastpath.program(PROGRAM).test_run(options).unwrap();
    let moved = loaded.counters.read().unwrap().into_iter().zip(before).find(|(now, before)| now.1 != before.1);
    let end = ran.data_size_out as usize;
    (out[end - 4..end].try_into().unwrap(), moved.unwrap().0.0)
}

/// Which addresses 16 questions are answered with.
fn answered(loaded: &mut FastpathParts) -> Vec<[u8; 4]> {
    let mut all: Vec<_> =
        (0..16).map(|_| ask(loaded)).inspect(|(_, reason)| assert_eq!(*reason, Reason::AnswerA)).collect();
    all.sort_unstable_by_key(|(address, _)| *address);
    all.dedup();
    all.into_iter().map(|(address, _)| address).collect()
}

/// Invariant 5: by `on_stale`, and by the plan again as soon as it is confirmed.
#[test]
fn a_plan_that_nobody_confirms() {
    if !can_load("plans that nobody confirms") {
        return;
    }
    for on_stale in ["keep", "servfail", "fail-open"] {
        let mut loaded = loaded(on_stale);
        assert_eq!(answered(&mut loaded), [ONE], "{on_stale}: fresh");
        sleep(Duration::from_millis(1100));
        match on_stale {
            "keep" => assert_eq!(answered(&mut loaded), [ONE], "{on_stale}: stale"),
            "servfail" => assert_eq!(ask(&mut loaded).1, Reason::AnswerServfail),
            _ => assert_eq!(answered(&mut loaded), [ONE, TWO], "{on_stale}: stale"),
        }
        loaded.publisher.confirm();
        assert_eq!(answered(&mut loaded), [ONE], "{on_stale}: confirmed");
    }
}

/// Each answered address is counted, by its position in the plan.
#[test]
fn answered_addresses_are_counted() {
    if !can_load("counting of addresses") {
        return;
    }
    let mut loaded = loaded("fail-open");
    assert_eq!(loaded.counters.answers(), [0, 0]);
    for _ in 0..5 {
        ask(&mut loaded);
    }
    assert_eq!(loaded.counters.answers(), [5, 0]);
}
