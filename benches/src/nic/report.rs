//! A card's figures as text, Markdown and JSON.

use std::{fmt::Write as _, path::Path, time::Duration};

use serde_json::{Value, json};

use super::{
    figures::{NicCosts, NicPhase, frames, server},
    interface::Interface,
};

/// Lines that a card may have, Gbit/s.
const LINES: [u32; 3] = [10, 25, 100];
/// Bytes on the line beside a frame: check sequence, preamble, gap (IEEE 802.3).
const AROUND: usize = 4 + 20;

/// Describes the card.
#[must_use]
pub fn card(interface: &Interface) -> String {
    let Interface { name, mtu, driver, firmware, queues, speed, .. } = interface;
    let speed = speed.map_or("unknown".to_owned(), |speed| format!("{speed} Mbit/s"));
    let queues = queues.map_or("unknown".to_owned(), |queues| queues.to_string());
    let firmware = if firmware.is_empty() || firmware == "N/A" { "unknown" } else { firmware };
    format!("{name}: driver {driver}, firmware {firmware}, speed {speed}, receive queues {queues}, MTU {mtu}")
}

/// Says what to start at the other end.
#[must_use]
pub fn other_end(interface: &Interface, queries: &Path, time: Duration) -> String {
    let (server, mac) = (server(), interface.mac.map(|byte| format!("{byte:02x}")).join(":"));
    // Both programs, with what attaching takes, and as much again for whoever starts this second.
    let seconds = 4 * time.as_secs() + 60;
    format!(
        "\nAt the other end, a machine on the same segment with an interface IFACE that kxdpgun can use (Debian: knot-dnsutils), copy\n\
         {} to it and run, now:\n  ip route replace {server}/32 dev IFACE\n  \
         ip neigh replace {server} lladdr {mac} dev IFACE nud permanent\n  \
         kxdpgun -t {seconds} -Q 20000000 -b 32 -I IFACE -i zerottl-nic-queries {server}\n\
         One machine may not be enough: several may send at once. No address is needed here. Ctrl-C ends this, and the programs are off.\n",
        queries.display()
    )
}

fn line_rate(gbit: u32) -> f64 {
    let [_, answer] = frames();
    f64::from(gbit) * 1e9 / (8 * (answer + AROUND)) as f64
}

/// Formats the figures as tables of Markdown, which are readable as they are.
#[must_use]
pub fn markdown(costs: &NicCosts) -> String {
    let mut text = format!("{}\n\n", card(&costs.interface));
    text += "| program | mode | packets/s | cores busy | ns per packet | cycles per packet | packets/s per core |\n";
    text += "|---|---|---|---|---|---|---|\n";
    for phase in &costs.phases {
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} |",
            phase.what,
            mode(phase),
            phase.per_s(),
            phase.softirq_s / phase.elapsed_s,
            phase.ns(),
            phase.cycles(),
            phase.per_s_and_core(),
        );
    }
    let [query, answer] = frames();
    let _ = write!(text, "\n| line full of answers | packets/s |");
    for phase in &costs.phases {
        let _ = write!(text, " cores for it, {} |", phase.what);
    }
    let _ = writeln!(text, "\n|{}", "---|".repeat(2 + costs.phases.len()));
    for gbit in LINES {
        let _ = write!(text, "| {gbit} Gbit/s | {:.0} |", line_rate(gbit));
        for phase in &costs.phases {
            let _ = write!(text, " {:.1} |", line_rate(gbit) / phase.per_s_and_core());
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\nQueries are frames of {query} bytes, answers of {answer}; {AROUND} more on the line. CPU is all time in receiving \
         softirqs, by their tracepoints; cycles are that by the mean frequency of /proc/cpuinfo, {:.0} MHz.",
        costs.phases.first().map_or(0.0, |phase| phase.hz / 1e6)
    );
    text
}

fn mode(phase: &NicPhase) -> &'static str {
    if phase.native { "native" } else { "generic" }
}

/// Everything as JSON.
#[must_use]
pub fn json(costs: &NicCosts) -> Value {
    let phase = |phase: &NicPhase| {
        json!({
            "what": phase.what,
            "mode": mode(phase),
            "packets_per_s": phase.per_s(),
            "softirq_cores": phase.softirq_s / phase.elapsed_s,
            "ns_per_packet": phase.ns(),
            "cycles_per_packet": phase.cycles(),
            "packets_per_s_and_core": phase.per_s_and_core(),
        })
    };
    json!({
        "driver": costs.interface.driver,
        "firmware": costs.interface.firmware,
        "queues": costs.interface.queues,
        "speed_mbit_s": costs.interface.speed,
        "phases": costs.phases.iter().map(phase).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_so_many_answers() {
        // 96 bytes and 24 around them.
        assert_eq!(frames(), [80, 96]);
        assert!((line_rate(10) - 10_416_666.67).abs() < 1.0);
    }

    #[test]
    fn cores_for_a_line_are_its_packets_by_those_of_a_core() {
        let interface = Interface {
            name: "eth0".to_owned(),
            mac: [0; 6],
            mtu: 1500,
            driver: "veth".to_owned(),
            firmware: String::new(),
            queues: None,
            speed: Some(10_000),
            is_default: false,
        };
        let phase = NicPhase { what: "zerottl", native: true, packets: 2e6, elapsed_s: 1.0, softirq_s: 0.5, hz: 2e9 };
        let text = markdown(&NicCosts { interface, phases: vec![phase] });
        assert!(text.contains("| zerottl | native | 2000000 | 0.50 | 250 | 500 | 4000000 |"), "{text}");
        assert!(text.contains("| 10 Gbit/s | 10416667 | 2.6 |"), "{text}");
    }
}
