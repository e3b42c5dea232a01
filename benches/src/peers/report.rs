//! (l) as text, Markdown and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    PeersEffort,
    figures::{PeerCosts, ServerCost},
};
use crate::{figure_target::FigureTarget, rate::Generator, stats::Quartiles};

/// Of the reflector's rate, by kxdpgun.
const OF_REFLECTOR: f64 = 0.95;
/// Times the rate of Knot by `AF_XDP` and of gdnsd.
const TIMES_PEER: f64 = 2.5;
/// The name of the one that the others are compared with.
const OWN: &str = "zerottl";

/// Describes how (l) is measured.
#[must_use]
pub fn method(effort: PeersEffort) -> String {
    let PeersEffort { rounds, latency_rounds, seconds, .. } = effort;
    format!(
        "\
The layout of (b), a wire for each server; 1,000 names, each over three Sites, A, IPv4, no EDNS, TTL 0. Every server has shown one
right answer to dig. dnsperf keeps 500 queries outstanding; kxdpgun sends as fast as it can. A server in user space has one
thread for UDP; it is tried on CPU 1, beside NAPI, and on both CPUs, and with kxdpgun also at 1.5 times what it answers to
dnsperf, and is measured where it answered most. {rounds} rounds of {seconds} s each, another server first in each. Answers as the
generator counts them. CPU per answer: CPU time of the server's threads and of the front's NAPI thread (schedstat, ns), by
answers; the client's NAPI and the generator are not in it. Latency: dnsperf at half of the median rate that it got from this
server, the time of each reply as dnsperf says it (-v, whole µs), {latency_rounds} rounds of {seconds} s. Ratios are taken round by round.
gdnsd: plugin_weighted, nothing monitored, min_ttl 0. Knot: mod-geoip, weighted; one thread for UDP, by sockets or by AF_XDP (copy
mode). NSD: a plain zone of one fixed address for each name, rate limiting off, minimal responses: it does not choose. PowerDNS:
zone file with LUA records, pickwrandom, one Lua state for all."
    )
}

/// One row of the two tables.
struct Row {
    what: String,
    /// Per generator: answers, zerottl's by it, it by the reflector's.
    rates: [[String; 3]; 2],
    /// As the rates: CPU time, and it by zerottl's.
    cpu: [[String; 2]; 2],
    load: String,
    latencies: [String; 2],
}

fn rows(costs: &PeerCosts) -> Vec<Row> {
    let (Some(reflector), Some(own)) = (costs.servers.first(), costs.server(OWN)) else { return Vec::new() };
    let row = |server: &ServerCost| {
        let rates = [0, 1].map(|at| {
            let [by_it, by_reflector] = [own.by(server, at), server.by(reflector, at)];
            let places = if by_it.median < 10.0 { 2 } else { 1 };
            [
                format!("{:.0}", scaled(ServerCost::of(&server.answered[at]), 1e-3)),
                format!("{by_it:.places$}"),
                format!("{by_reflector:.3}"),
            ]
        });
        let number = |series: &Vec<f64>| format!("{:.0}", ServerCost::of(series));
        let ttl = server.ttl.filter(|ttl| *ttl > 0).map_or(String::new(), |ttl| format!(", TTL {ttl}"));
        Row {
            what: format!("{}{ttl}", server.what),
            rates,
            cpu: [0, 1].map(|at| {
                let ratio = Quartiles::of_pairs(&server.cpu_ns[at], &own.cpu_ns[at], |it, own| it / own);
                [number(&server.cpu_ns[at]), format!("{ratio:.2}")]
            }),
            load: format!("{:.0}", server.half_qps / 1e3),
            latencies: [0, 1].map(|at| number(&server.latency_us[at])),
        }
    };
    costs.servers.iter().map(row).collect()
}

fn scaled(figure: Quartiles, by: f64) -> Quartiles {
    Quartiles { low: figure.low * by, median: figure.median * by, high: figure.high * by }
}

const RATE_HEAD: [&str; 7] = [
    "",
    "dnsperf, 10^3/s",
    "zerottl by it",
    "it by the reflector",
    "kxdpgun, 10^3/s",
    "zerottl by it",
    "it by the reflector",
];
const EFFORT_HEAD: [&str; 8] = [
    "",
    "CPU per answer, ns: dnsperf",
    "by zerottl's",
    "kxdpgun",
    "by zerottl's",
    "half load, 10^3/s",
    "latency there, µs: p50",
    "p99",
];

fn tables(costs: &PeerCosts) -> [Vec<Vec<String>>; 2] {
    let head = |words: &[&str]| vec![words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
    let (mut rates, mut efforts) = (head(&RATE_HEAD), head(&EFFORT_HEAD));
    for Row { what, rates: rate, cpu, load, latencies } in rows(costs) {
        rates.push([what.clone()].into_iter().chain(rate.into_iter().flatten()).collect());
        efforts.push([what].into_iter().chain(cpu.into_iter().flatten()).chain([load]).chain(latencies).collect());
    }
    [rates, efforts]
}

fn absent(costs: &PeerCosts) -> String {
    let mut text = String::new();
    for absent in &costs.absent {
        let _ = writeln!(text, "{}: not measured. {}", absent.name, absent.why.trim_end());
    }
    text
}

/// Formats (l) as text.
#[must_use]
pub fn table(costs: &PeerCosts) -> String {
    let mut text = String::new();
    for table in tables(costs) {
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..table[0].len()).map(width).collect();
        for row in &table {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 { write!(line, "{cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push('\n');
    }
    text + "median [quartiles]\n" + &absent(costs)
}

/// Formats (l) as tables of Markdown.
#[must_use]
pub fn markdown(costs: &PeerCosts) -> String {
    let mut text = String::new();
    for table in tables(costs) {
        for (number, row) in table.iter().enumerate() {
            let _ = writeln!(text, "| {} |", row.join(" | ").trim_start());
            if number == 0 {
                let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
            }
        }
        text.push('\n');
    }
    for line in absent(costs).lines() {
        let _ = writeln!(text, "{line}\n");
    }
    text += "| zerottl's rate by another's | figure | aimed at | |\n|---|---|---|---|\n";
    for FigureTarget { what, figure, target, .. } in targets(costs) {
        let met = if figure >= target { "met" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {figure:.2} | {target} | {met} |", what.replace("(l) zerottl by ", ""));
    }
    text
}

/// The figures that have a target.
#[must_use]
pub fn targets(costs: &PeerCosts) -> Vec<FigureTarget> {
    let (Some(own), mut targets) = (costs.server(OWN), Vec::new()) else { return Vec::new() };
    let mut add = |what: String, figure: Quartiles, target| {
        targets.push(FigureTarget { what, figure: figure.median, target, at_least: true });
    };
    for (at, generator) in Generator::ALL.into_iter().enumerate() {
        let tool = generator.tool();
        for server in &costs.servers {
            let what = format!("(l) zerottl by {}: {tool}", server.what);
            if server.what.starts_with("reflector") {
                add(what, own.by(server, at), OF_REFLECTOR);
            } else if server.what.starts_with("gdnsd") || server.what.ends_with("AF_XDP") {
                add(what, own.by(server, at), TIMES_PEER);
            }
        }
    }
    targets
}

/// Everything as JSON: medians and quartiles.
#[must_use]
pub fn json(costs: &PeerCosts) -> Value {
    let (reflector, own) = (costs.servers.first(), costs.server(OWN));
    let server = |server: &ServerCost| {
        let mut of_generator = serde_json::Map::new();
        for (at, generator) in Generator::ALL.into_iter().enumerate() {
            let figures = json!({
                "answered_per_s": ServerCost::of(&server.answered[at]).json(),
                "cpu_ns_per_answer": ServerCost::of(&server.cpu_ns[at]).json(),
                "by_reflector": reflector.map(|reflector| server.by(reflector, at).json()),
                "zerottl_by_it": own.map(|own| own.by(server, at).json()),
            });
            of_generator.insert(generator.tool().to_owned(), figures);
        }
        let [p50, p99] = [0, 1].map(|at| ServerCost::of(&server.latency_us[at]).json());
        json!({
            "server": server.what,
            "ttl": server.ttl,
            "rates": of_generator,
            "half_load_per_s": server.half_qps,
            "latency_us": { "p50": p50, "p99": p99 },
        })
    };
    let absent: Vec<_> =
        costs.absent.iter().map(|absent| json!({ "server": absent.name, "why": absent.why })).collect();
    json!({ "servers": costs.servers.iter().map(server).collect::<Vec<_>>(), "absent": absent })
}
