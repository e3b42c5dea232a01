//! The figures of (h) as text and as JSON, with how they were made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CONNECTIONS, SessionCosts, SessionFigure, SessionKeeping, SessionsEffort, takeover::TakeoverFigure};
use crate::figure_target::FigureTarget;

/// Returns how (h) is measured.
#[must_use]
pub fn method(effort: SessionsEffort) -> String {
    let SessionsEffort { rounds, time, sessions, deaths, hosted, kept, .. } = effort;
    format!(
        "\
One program, benches/peers/sessions, has one handler: it reads a session's cart (about 300 bytes of JSON), counts, keeps the cart, and
answers the count. Its sessions are kept by tower-sessions 0.14 with tower-sessions-redis-store 0.16 (fred 10, 6 connections, as in
its example); by tower-sessions 0.15 in memory; by zerottl's SessionLayer behind operation 500, whose cookie is signed and has an
epoch; by tower-sessions 0.15 over zerottl's store. `no sessions` answers without any: what HTTP costs. Each has its own process, on
CPU 0; the clients and all session servers share CPU 1: Redis with appendonly yes (everysec), for all alike. Loopback of a namespace.
{sessions} sessions each; {CONNECTIONS} connections, HTTP/1.1 kept alive, the next request follows the response; each connection has sessions of its own, and
every answer must be the count before and one: a lost update ends the benchmark. {rounds} rounds of {time:?}, and of a quarter of that with
one client alone; the first in turn; the first round is not kept; ratios are taken round by round. CPU time is the application's
process (schedstat), what it does for copies included.
Takeover: a worker of the same program with {hosted} sessions in ack-one, 2 copies at 3 servers, is killed by SIGKILL, and another is asked
for each on {CONNECTIONS} connections at once, both CPUs for all; times are from the kill to the answer, {deaths} deaths of each kind. The answers' counts
go on where they were.
Memory: resident bytes of a process after {kept} such sessions, less those before, divided."
    )
}

/// (h) as tables.
#[must_use]
pub fn table(costs: &SessionCosts) -> String {
    let mut text = String::new();
    for figure in SessionFigure::ALL {
        let _ = writeln!(text, "{:<52} {:>28} {:>26}", figure.name(), "", "by tower-sessions, Redis");
        for keeping in SessionKeeping::ALL {
            let (value, ratio) = (costs.figure(keeping, figure), costs.ratio(keeping, figure));
            let (value, ratio) = (format!("{value:.0}"), format!("{ratio:.2}"));
            let _ = writeln!(text, "  {:<50} {value:>28} {ratio:>26}", keeping.name());
        }
    }
    for takeovers in &costs.takeovers {
        let _ = writeln!(text, "{} sessions of a worker whose death is {}", takeovers.sessions, takeovers.news.name());
        for figure in TakeoverFigure::ALL {
            let _ = writeln!(text, "  {:<50} {:>28}", figure.name(), format!("{:.2}", takeovers.figure(figure)));
        }
    }
    let _ = writeln!(text, "memory of a session, bytes");
    for memory in &costs.memory {
        let _ = writeln!(text, "  {:<50} {:>28.0}", memory.keeper.name(), memory.bytes);
    }
    text.push_str("median [quartiles]\n");
    text
}

/// The figures of (h) that have a target.
#[must_use]
pub fn targets(costs: &SessionCosts) -> Vec<FigureTarget> {
    let ratio = |what: &str, keeping, figure, target| FigureTarget {
        what: format!("(h) {what}"),
        figure: costs.ratio(keeping, figure).median,
        target,
        at_least: true,
    };
    let (rate, cpu) = (SessionFigure::Rate, SessionFigure::PerCpu);
    let mut targets = vec![
        ratio("async, 2 copies: requests a second by tower-sessions' with Redis", SessionKeeping::Async, rate, 3.0),
        ratio("  the same, by CPU time of the application", SessionKeeping::Async, cpu, 3.0),
        ratio("ack-one, 2 copies: requests a second by tower-sessions' with Redis", SessionKeeping::AckOne, rate, 1.0),
        ratio("  the same, by CPU time of the application", SessionKeeping::AckOne, cpu, 1.0),
    ];
    for takeovers in &costs.takeovers {
        let mut add = |figure: TakeoverFigure, target, at_least| {
            let what = format!("(h) death {}: {}", takeovers.news.name(), figure.name());
            targets.push(FigureTarget { what, figure: takeovers.figure(figure).high, target, at_least });
        };
        add(TakeoverFigure::Reads, 1.0, false);
        add(TakeoverFigure::Reads, 1.0, true);
    }
    targets
}

/// (h) as JSON.
#[must_use]
pub fn json(costs: &SessionCosts) -> Value {
    let keeping = |keeping: SessionKeeping| {
        let figure = |figure: SessionFigure| {
            let ratio = costs.ratio(keeping, figure).json();
            (figure.name().to_owned(), json!({ "figure": costs.figure(keeping, figure).json(), "by_redis": ratio }))
        };
        let figures: serde_json::Map<_, _> = SessionFigure::ALL.into_iter().map(figure).collect();
        (keeping.name().to_owned(), Value::from(figures))
    };
    let takeovers = costs.takeovers.iter().map(|takeovers| {
        let figures = TakeoverFigure::ALL.map(|figure| (figure.name().to_owned(), takeovers.figure(figure).json()));
        (takeovers.news.name().to_owned(), figures.into_iter().collect::<serde_json::Map<_, _>>().into())
    });
    let memory = costs.memory.iter().map(|memory| (memory.keeper.name().to_owned(), memory.bytes.into()));
    json!({
        "rates": SessionKeeping::ALL.into_iter().map(keeping).collect::<serde_json::Map<_, _>>(),
        "takeovers": takeovers.collect::<serde_json::Map<String, Value>>(),
        "memory_bytes": memory.collect::<serde_json::Map<String, Value>>(),
    })
}
