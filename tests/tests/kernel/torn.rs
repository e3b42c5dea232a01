//! Invariant 4: one packet reads one generation. Answers at full rate from several CPUs while generations flip as fast as
//! they can: no answer's parts are of two generations, and generations only go forward (`tests/src/kernel/torn.rs`).

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use aya::{maps::Map, programs::Xdp};
use tests::{
    kernel::torn::{FlippingProgram, MODULUS, TornAnswer, questions, run, torn_figures},
    lab::can_load,
    turn::alone,
};
use xdp_ebpf::layout::{ServiceEntry, SlotBlock};
use zerottl_kernel::{PROGRAM, image::Bank, mmap_array::Mapped};

/// A publisher that writes in place must be seen to within this.
const PATIENCE: Duration = Duration::from_mins(1);

/// S4-DNS-STATUS, invariant 4: 0 mixed in 1,000,000 answers, or in as many as `ZEROTTL_TORN` says.
#[test]
fn no_answer_is_of_two_generations() {
    let _alone = alone();
    if !can_load("torn plans") {
        return;
    }
    let wanted: u64 = std::env::var("ZEROTTL_TORN").map_or(1_000_000, |count| count.parse().unwrap());
    let begun = Instant::now();
    let figures = torn_figures(wanted);
    eprintln!("{figures:?} in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(figures.hold(wanted), "{figures:?}");
}

/// The test above fails for a publisher that writes into the bank in use.
#[test]
fn writing_in_place_is_seen() {
    let _alone = alone();
    if !can_load("torn plans, made on purpose") {
        return;
    }
    let mut machine = FlippingProgram::new(0);
    machine.publish(1);
    let bank = 1 % xdp_ebpf::layout::BANKS as usize;
    let plan = machine.plan(1).clone();
    let laid = Bank::new(&machine.layout, &plan);
    let (services, blocks) = (laid.services.len(), laid.blocks.len());
    let banks = xdp_ebpf::layout::BANKS as usize;
    let service_map = machine.loaded.fastpath.take_map("SERVICES").unwrap();
    let slot_map = machine.loaded.fastpath.take_map("SLOTS").unwrap();
    let (Map::Array(service_map), Map::Array(slot_map)) = (&service_map, &slot_map) else { panic!("arrays") };
    let mut service_memory = Mapped::<ServiceEntry>::new(service_map.fd(), banks * services).unwrap();
    let mut slot_memory = Mapped::<SlotBlock>::new(slot_map.fd(), banks * blocks).unwrap();
    let FlippingProgram { loaded, layout, plans } = &mut machine;
    let program: &Xdp = loaded.fastpath.program(PROGRAM);
    let questions: Vec<_> = questions();
    let (mixed, ended, count) = (AtomicU64::new(0), AtomicBool::new(false), AtomicUsize::new(0));
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for question in &questions {
                    if matches!(run(program, question), TornAnswer::Mixed(_)) {
                        mixed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                count.fetch_add(questions.len(), Ordering::Relaxed);
            }
        });
        let mut generation = 2;
        while mixed.load(Ordering::Relaxed) == 0 && Instant::now() < end && !asker.is_finished() {
            let plan = &mut plans[(generation % MODULUS) as usize];
            plan.services.iter_mut().for_each(|service| service.ttl = generation as u32);
            let laid = Bank::new(layout, plan);
            service_memory.write(bank * services, &laid.services);
            slot_memory.write(bank * blocks, &laid.blocks);
            generation += 1;
        }
        ended.store(true, Ordering::Relaxed);
        asker.join().unwrap();
    });
    let mixed = mixed.load(Ordering::Relaxed);
    assert!(mixed > 0, "no mixed answer in {} though plans are written in place", count.load(Ordering::Relaxed));
}
