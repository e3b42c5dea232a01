//! State that outlives the agent in the kernel: a plan that nobody confirms any more, and how often each address was answered.

use std::{path::Path, thread::sleep, time::Duration};

use kernel_table::{
    packet::{self, A},
    world::OUR_MAC,
};
use tests::{
    kernel::{machine::KernelMachine, planned::Planned},
    lab::can_load,
};
use xdp_ebpf::reason::Reason;
use zerottl_core::status::Health;

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
fn loaded(on_stale: &str) -> KernelMachine {
    let mut planned = Planned::read(&CONFIG.replace("ON_STALE", on_stale), Path::new(""));
    planned.status.health[1].fill(Health::Down);
    let plan = planned.plan(1);
    let mut machine = KernelMachine::load(&planned, &plan, &[OUR_MAC]);
    machine.loaded.publisher.publish(&plan);
    machine
}

/// Asks for the pool's A; the answer's last bytes, and the one reason that was counted.
fn ask(machine: &mut KernelMachine) -> ([u8; 4], Reason) {
    let ran = machine.run(&packet::ask("app.com", A).v4().bytes());
    (ran.frame[ran.frame.len() - 4..].try_into().unwrap(), ran.reason)
}

/// Which addresses 16 questions are answered with.
fn answered(machine: &mut KernelMachine) -> Vec<[u8; 4]> {
    let mut all: Vec<_> =
        (0..16).map(|_| ask(machine)).inspect(|(_, reason)| assert_eq!(*reason, Reason::AnswerA)).collect();
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
        let mut machine = loaded(on_stale);
        assert_eq!(answered(&mut machine), [ONE], "{on_stale}: fresh");
        sleep(Duration::from_millis(1100));
        match on_stale {
            "keep" => assert_eq!(answered(&mut machine), [ONE], "{on_stale}: stale"),
            "servfail" => assert_eq!(ask(&mut machine).1, Reason::AnswerServfail),
            _ => assert_eq!(answered(&mut machine), [ONE, TWO], "{on_stale}: stale"),
        }
        machine.loaded.publisher.confirm();
        assert_eq!(answered(&mut machine), [ONE], "{on_stale}: confirmed");
    }
}

/// Each answered address is counted, by its position in the plan.
#[test]
fn answered_addresses_are_counted() {
    if !can_load("counting of addresses") {
        return;
    }
    let mut machine = loaded("fail-open");
    assert_eq!(machine.loaded.counters.answers(), [0, 0]);
    for _ in 0..5 {
        ask(&mut machine);
    }
    assert_eq!(machine.loaded.counters.answers(), [5, 0]);
}
