//! The shipped object with libbpf instead of the agent's loader: no one is tied to aya.

use std::path::Path;

use kernel_table::{
    packet::{A, ask},
    world::OUR_MAC,
};
use libbpf_rs::{MapCore, MapFlags, Object, ObjectBuilder, ProgramInput};
use tests::{kernel::planned::Planned, lab::can_run};
use xdp_ebpf::{
    layout::{BANKS, Control},
    reason::Reason,
};
use zerottl_kernel::{
    OBJECT, PROGRAM,
    image::{Bank, Image},
};

const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

const CONFIG: &str = r#"
[front]
interfaces = ["lo"]
addresses = ["203.0.113.53"]
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster@app.com"
[pool."app.com"]
sites = ["one"]
[site.one]
name = "one.app.com"
addresses = ["192.0.2.10"]
"#;

/// The question for A of a name.
fn query(name: &str) -> Vec<u8> {
    ask(name, A).v4().bytes()
}

/// A map's value as bytes.
fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: the layout's types are plain integers without implicit padding, which its assertions check.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

fn fill<T: Copy>(object: &mut Object, name: &str, at: u32, values: &[T]) {
    let map = object.maps_mut().find(|map| map.name() == name).expect("a map of the object");
    for (index, value) in (at..).zip(values) {
        map.update(&index.to_ne_bytes(), bytes_of(value), MapFlags::ANY).unwrap();
    }
}

/// The XDP action and the frame as it leaves.
fn run(object: &Object, frame: &[u8]) -> (u32, Vec<u8>) {
    let program = object.progs_mut().find(|program| program.name() == PROGRAM).expect("the program");
    let mut out = vec![0; 4096];
    let input = ProgramInput { data_in: Some(frame), data_out: Some(&mut out), ..ProgramInput::default() };
    let output = program.test_run(input).unwrap();
    (output.return_value, output.data.expect("asked for").to_vec())
}

fn count(object: &Object, reason: Reason) -> u64 {
    let map = object.maps().find(|map| map.name() == "COUNTERS").expect("a map of the object");
    let values = map.lookup_percpu(&(reason as u32).to_ne_bytes(), MapFlags::ANY).unwrap().expect("an array's entry");
    values.iter().map(|value| u64::from_ne_bytes(value[..8].try_into().unwrap())).sum()
}

/// Loads with maps resized, answers nothing without a plan, and with one what it says.
#[test]
fn the_object_loads_with_libbpf() {
    if !can_run("the object with libbpf") {
        return;
    }
    let planned = Planned::read(CONFIG, Path::new(""));
    let plan = planned.plan(1);
    let image = Image::new(&planned.planner, &plan, &planned.zones, &[]).unwrap();

    let mut open = ObjectBuilder::default().open_memory(OBJECT).unwrap();
    let sizes = [
        ("DISPLACE", image.names.displace.len() as u32),
        ("NAMES", image.names.entries.len() as u32),
        ("RDATA", image.rdata.len() as u32),
        ("ENDPOINTS", image.endpoints.len() as u32),
        ("SERVICES", image.services()),
        ("SLOTS", image.blocks()),
        ("ANSWERS", libbpf_rs::num_possible_cpus().unwrap() as u32 * image.control.answers),
        ("CURSORS", libbpf_rs::num_possible_cpus().unwrap() as u32 * image.control.cursors),
    ];
    for (name, entries) in sizes {
        open.maps_mut().find(|map| map.name() == name).expect("a map").set_max_entries(entries).unwrap();
    }
    let mut object = open.load().unwrap();
    for (name, entries) in sizes {
        assert_eq!(object.maps().find(|map| map.name() == name).unwrap().max_entries(), entries, "{name}");
    }

    let frame = query("app.com");
    assert_eq!(run(&object, &frame), (XDP_PASS, frame.clone()));
    assert_eq!(count(&object, Reason::PassNotOurs), 1, "empty maps serve no address");

    fill(&mut object, "DISPLACE", 0, &image.names.displace);
    fill(&mut object, "NAMES", 0, &image.names.entries);
    fill(&mut object, "RDATA", 0, &image.rdata);
    fill(&mut object, "ENDPOINTS", 0, &image.endpoints);
    let mut control = Control { mac: [0; 8], ..image.control };
    control.mac[0] = u64::from_le_bytes([OUR_MAC[0], OUR_MAC[1], OUR_MAC[2], OUR_MAC[3], OUR_MAC[4], OUR_MAC[5], 0, 0]);
    fill(&mut object, "CONTROL", 0, &[control]);
    assert_eq!(run(&object, &frame), (XDP_PASS, frame.clone()));
    assert_eq!(count(&object, Reason::PassNoPlan), 1, "zero answers without a plan");
    let answered = [Reason::AnswerA, Reason::AnswerAaaa, Reason::AnswerNodata];
    assert_eq!(answered.map(|reason| count(&object, reason)), [0; 3]);

    let bank = Bank::new(&image.layout, &plan);
    let at = BANKS - 1;
    fill(&mut object, "SERVICES", at * control.bank_services, &bank.services);
    fill(&mut object, "SLOTS", at * control.bank_blocks, &bank.blocks);
    fill(&mut object, "CONTROL", 0, &[Control { word: 1 << 8 | u64::from(at), ..control }]);
    let (action, answer) = run(&object, &frame);
    assert_eq!((action, count(&object, Reason::AnswerA)), (XDP_TX, 1));
    assert!(answer.ends_with(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 10]), "{answer:x?}");

    // The walk needs the scratch map and `bpf_loop`.
    for (name, rcode, reason) in [("a.none.app.com", 3, Reason::AnswerNxdomain), ("www.org", 5, Reason::AnswerRefused)]
    {
        let (action, answer) = run(&object, &query(name));
        assert_eq!((action, count(&object, reason), answer[14 + 20 + 8 + 3]), (XDP_TX, 1, rcode));
    }
}
