//! The figures of (g) as text and as JSON, with how they were made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CLIENTS, ConnectionPath, DOWNLOADS, DirectorEffort, PathCosts, PathFigure, SERVERS};
use crate::figure_target::FigureTarget;

/// Returns how (g) is measured.
#[must_use]
pub fn method(effort: DirectorEffort) -> String {
    let DirectorEffort { rounds, download, connections, spread, timed } = effort;
    format!(
        "\
Two namespaces joined by a veth (GRO, no TSO). Clients, and what receives their packets (threaded NAPI), have CPU 0; everything of the
servers' machine has CPU 1. The servers are one program of one thread without work of its own (accept, read 8 bytes, write 1,
close), {SERVERS} processes each: `SO_REUSEPORT`, listeners that share an address; zerottl director, weighted-round-robin; HAProxy
(mode tcp, one thread, roundrobin) and nginx (stream, one process), in front of the same {SERVERS} on loopback. `direct` is one
such server with a listener of its own. No checks, no logs. Each round asks all, the first in turn; the first round is not kept;
ratios are taken round by round. {rounds} rounds of each: a download of {} MB on one connection, the fastest of {DOWNLOADS}; {} connections of {CLIENTS} clients at
a time, each a connect, a request, a response and the server's close; {} connections for the spread; {timed} one after the
other for latency. CPU time is that of the processes (schedstat): the way's servers, what is between, the director's keeper and
worker, and the servers' NAPI thread, in which the kernel chooses a listener; `both machines` adds the clients and their NAPI thread.",
        download / 1_000_000,
        connections * CLIENTS,
        spread * CLIENTS
    )
}

/// (g) as a table.
#[must_use]
pub fn table(costs: &PathCosts) -> String {
    let mut text = format!("{:<50}", "");
    for path in ConnectionPath::ALL {
        let _ = write!(text, " {:>24}", path.name());
    }
    text.push('\n');
    for figure in PathFigure::ALL {
        let _ = write!(text, "{:<50}", figure.name());
        let precision = if figure == PathFigure::Spread { 2 } else { 0 };
        for path in ConnectionPath::ALL {
            let _ = write!(text, " {:>24}", format!("{:.precision$}", costs.figure(path, figure)));
        }
        let _ = write!(text, "\n{:<50}", "  the director's by that");
        for path in ConnectionPath::ALL {
            let ratio = if path == ConnectionPath::Director {
                String::new()
            } else {
                format!("{:.3}", costs.ratio(figure, path))
            };
            let _ = write!(text, " {ratio:>24}");
        }
        text.push('\n');
    }
    text.push_str("median [quartiles]\n");
    text
}

/// The figures of (g) that have a target.
#[must_use]
pub fn targets(costs: &PathCosts) -> Vec<FigureTarget> {
    let target = |what: &str, figure, by, target| FigureTarget {
        what: format!("(g) {what}"),
        figure: costs.ratio(figure, by).median,
        target,
        at_least: true,
    };
    vec![
        target("download by that with nothing between", PathFigure::Download, ConnectionPath::Direct, 0.98),
        target(
            "connections by servers' CPU by plain hashing's",
            PathFigure::PerServersCpu,
            ConnectionPath::Hashing,
            0.98,
        ),
        target("  the same, by CPU of both machines", PathFigure::PerCpu, ConnectionPath::Hashing, 0.98),
        target("connections by servers' CPU by HAProxy's", PathFigure::PerServersCpu, ConnectionPath::HaProxy, 2.0),
        target("connections by servers' CPU by nginx's", PathFigure::PerServersCpu, ConnectionPath::Nginx, 2.0),
    ]
}

/// (g) as JSON.
#[must_use]
pub fn json(costs: &PathCosts) -> Value {
    let path = |path: ConnectionPath| {
        let figure = |figure: PathFigure| {
            let ratio = costs.ratio(figure, path).json();
            (figure.name().to_owned(), json!({ "figure": costs.figure(path, figure).json(), "director_by_it": ratio }))
        };
        let figures: serde_json::Map<_, _> = PathFigure::ALL.into_iter().map(figure).collect();
        (path.name().to_owned(), Value::from(figures))
    };
    ConnectionPath::ALL.into_iter().map(path).collect::<serde_json::Map<_, _>>().into()
}
