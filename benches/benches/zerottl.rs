//! The benchmarks' door.
use rustix::thread::{CpuSet, sched_setaffinity};
fn main() {
    let has = |w: &str| std::env::args().any(|a| a == w);
    if has("cost") {
        let mut set = CpuSet::new();
        set.set(1);
        sched_setaffinity(None, &set).unwrap();
        let names = if has("--quick") { vec![10, 1000] } else { vec![10, 100, 1_000, 10_000, 100_000] };
        let effort = benches::cost::Effort { names, rounds: 11, repeat: 200_000 };
        let costs = benches::cost::measure(&effort, |c| {
        println!("{:>6} {:5} empty {} restore {} resize {} reflect {} reflector {} answer {} alone {:.2} without {:.2} with {:.2}", c.names, c.edns, c.empty(), c.restore(), c.resize(), c.reflect(), c.reflector(), c.answer(), c.ratio_alone(), c.ratio_without_restore(), c.ratio_with_restore());
    }).unwrap();
        println!("{:?} {:?}", costs.reflector, costs.agent);
    }
    if has("rate") {
        benches::rate::measure(
            &benches::rate::Effort { rounds: if has("--quick") { 3 } else { 11 }, seconds: 2 },
            |r| {
                println!(
                    "{:?} reflector {:.0} agent {:.0} ratio {:.3} diff {}",
                    r.generator,
                    r.reflector(),
                    r.agent(),
                    r.ratio(),
                    r.difference_ns()
                );
                println!("{r:?}");
            },
        )
        .unwrap();
    }
}
