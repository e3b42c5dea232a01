//! `--nic IFACE`: what a real network card does, for whoever has one.
//!
//! Attaches the reflector, then zerottl's program, to an interface of this machine while another machine sends queries, and
//! tells packets a second, CPU and cycles per packet, and what that means for whole lines. Nothing else is changed: no address,
//! no queue, no setting; and the program is off when this one ends, however it does, as are those that count the time in softirqs.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use zerottl_core::model::XdpMode;
use zerottl_kernel::{PROGRAM, attach::Attached};

use crate::{
    error::BenchError,
    nic::{
        figures::{NicCosts, NicPhase},
        interface::Interface,
        softirq::SoftirqClock,
    },
    rate::{COUNTED_REFLECTOR, NAMES, Queries, Responder},
    scene,
};

pub mod figures;
pub mod interface;
pub mod report;
mod softirq;

/// From attaching until counting: a card may reset its queues, and its link.
const SETTLE: Duration = Duration::from_secs(3);
/// No card's packet costs less, ns: what is below is other packets' time, and this card's is spent elsewhere.
const PACKET_NS_MIN: f64 = 10.0;

/// The owner's wish.
#[derive(Clone, Debug)]
pub struct NicWish {
    /// The interface.
    pub interface: String,
    /// Whether it may be one that carries the default route.
    pub consent: bool,
    /// Counting, with each program.
    pub time: Duration,
    /// Where the questions for the other end are left.
    pub folder: PathBuf,
}

/// Looks at the interface, says what to start elsewhere, and counts.
///
/// # Errors
/// Without consent for an interface that carries the default route; if nothing arrives.
pub fn measure(wish: &NicWish) -> Result<NicCosts, BenchError> {
    let interface = Interface::look(&wish.interface)?;
    println!("{}", report::card(&interface));
    if interface.is_default && !wish.consent {
        return Err(format!(
            "{0} carries the default route: attaching may reset it, and queries for port 53 that come to it would be answered by the \
             benchmark. --yes-this-interface if that may be",
            wish.interface
        )
        .into());
    }
    println!("{}", report::other_end(&interface, &queries_file(&wish.folder)?, wish.time));
    let mut phases = Vec::new();
    for (what, program) in [("reflector", COUNTED_REFLECTOR), ("zerottl", PROGRAM)] {
        let model = scene::model(NAMES, scene::PLANS_FEW);
        let responder = Responder::load_at(program, model, interface.mac)?;
        let attached = attach(&responder, &interface.name)?;
        thread::sleep(SETTLE);
        phases.push(count(what, &responder, &attached, wish.time)?);
        drop(attached);
    }
    Ok(NicCosts { interface, phases })
}

/// Native where the driver can, otherwise as the kernel does it for any.
fn attach(responder: &Responder, interface: &str) -> Result<Attached, BenchError> {
    match responder.attach_here(interface, XdpMode::Native) {
        Ok(attached) => Ok(attached),
        Err(why) => {
            println!("native XDP: no. {why}\nGeneric XDP instead, which is not what this card could do.");
            responder.attach_here(interface, XdpMode::Generic)
        }
    }
}

fn count(
    what: &'static str,
    responder: &Responder,
    attached: &Attached,
    time: Duration,
) -> Result<NicPhase, BenchError> {
    let answered = || Ok::<_, BenchError>(responder.answered(Queries::Plain)?.ok_or("this program does not count")?);
    let clock = SoftirqClock::start()?;
    let (packets, softirq_s, begun) = (answered()?, clock.seconds()?, Instant::now());
    thread::sleep(time);
    let phase = NicPhase {
        what,
        native: attached.mode == zerottl_kernel::attach::AttachMode::Native,
        packets: (answered()? - packets) as f64,
        elapsed_s: begun.elapsed().as_secs_f64(),
        softirq_s: clock.seconds()? - softirq_s,
        hz: hz(&fs::read_to_string("/proc/cpuinfo")?).ok_or("/proc/cpuinfo names no frequency")?,
    };
    if phase.packets == 0.0 {
        let seen = responder.seen()?;
        return Err(format!(
            "{what}: nothing was answered; what came: {}",
            if seen.is_empty() { "nothing" } else { &seen }
        )
        .into());
    }
    if phase.ns() < PACKET_NS_MIN {
        return Err(format!(
            "{what}: {:.2} ns in softirqs for each packet cannot be: is NAPI threaded (`/sys/class/net/IFACE/threaded`)?",
            phase.ns()
        )
        .into());
    }
    Ok(phase)
}

/// The mean frequency of /proc/cpuinfo, Hz.
fn hz(cpuinfo: &str) -> Option<f64> {
    let lines = cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("cpu MHz")?.trim_start_matches(['\t', ' ', ':']).parse().ok());
    let mhz: Vec<f64> = lines.collect();
    (!mhz.is_empty()).then(|| mhz.iter().sum::<f64>() / mhz.len() as f64 * 1e6)
}

/// Writes the questions for the other end's generator.
fn queries_file(folder: &Path) -> Result<PathBuf, BenchError> {
    let file = folder.join("zerottl-nic-queries");
    let questions = (0..NAMES).fold(String::new(), |all, i| all + &scene::pool_name(i) + " A\n");
    // That of an earlier run, or a link that somebody else has put there.
    drop(fs::remove_file(&file));
    File::create_new(&file)?.write_all(questions.as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frequency_is_read() {
        let cpuinfo = "processor\t: 0\ncpu MHz\t\t: 2000.000\n\nprocessor\t: 1\ncpu MHz\t\t: 3000.000\n";
        assert_eq!(hz(cpuinfo), Some(2.5e9));
        assert_eq!(hz("processor: 0\n"), None);
    }
}
