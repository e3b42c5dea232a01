//! The figures of (i) as text and as JSON, with how they were made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{SignedCosts, SignedEffort, SignedKind, Signing, WireRate, answers::NAMES};
use crate::{
    figure_target::FigureTarget,
    rate::{self, Queries},
    stats::{Quartiles, percentile},
};

/// Returns how (i) is measured.
#[must_use]
pub fn method(effort: &SignedEffort) -> String {
    let SignedEffort { rounds, repeat, rate, signings, names, changes, .. } = effort;
    format!(
        "\
In the kernel's test run: {NAMES} names of three Sites each, in a zone that is signed and in one that is not. Each query is the next of
a walk over all names, or over {NAMES} that are missing, restored and answered, less restored, as `answer` in (a). `by` divides by the row
named behind it, in the same round. DO: the query has an OPT record with DO, as resolvers send it, so that a signed zone signs; plain: it
has none. Metered: signed bytes are counted by client network, as by default, and each query comes from another client of
128.0.0.0/2. {rounds} rounds of {repeat} runs.
Over veth: as (b), {wire_names} names, beside Knot with its geoip module (weighted, all alternatives signed when it is loaded) and AF_XDP, in
namespaces of its own that are set up alike; its worker is on CPU 0, where Knot puts it. Both sign with one ECDSA P-256 key; Knot must have got no query by a socket. {wire_rounds} rounds of
{seconds} s.
First signing: a process of its own, whose allocator counts what stays of it; the kernel's maps by their entries. {signings} times; two
addresses for each Site.
Changes: as a status change in (c), {names} names, three Sites of its own for each pool, {changes} changes of each of two agents, in turn: one
whose zone is signed, one whose is not. Nothing is signed at a change.",
        wire_names = rate::NAMES,
        wire_rounds = rate.rounds,
        seconds = rate.seconds,
    )
}

/// (i) as tables.
#[must_use]
pub fn table(costs: &SignedCosts) -> String {
    let mut text = format!("{:<46} {:>24} {:>18}  by\n", "in the kernel", "answer, ns", "ratio");
    for kind in &costs.kinds {
        let (cost, ratio) = (format!("{:.1}", kind.cost()), format!("{:.2}", kind.ratio()));
        let _ = writeln!(text, "{:<46} {cost:>24} {ratio:>18}  {}", kind.what, kind.base);
    }
    let _ = writeln!(text, "{:<22} {:>26} {:>26} {:>18}", "over veth", "Knot, 1/s", "zerottl, 1/s", "by Knot's");
    for rate in &costs.rates {
        let [knot, zerottl] = [rate.knot(), rate.zerottl()].map(|figure| format!("{figure:.0}"));
        let _ = writeln!(text, "{:<22} {knot:>26} {zerottl:>26} {:>18}", what(rate), format!("{:.2}", rate.ratio()));
    }
    text.push_str("median [quartiles]\n");
    let _ = writeln!(
        text,
        "{:>7} {:>5} {:>10} {:>20} {:>12} {:>12} {:>12}",
        "names", "Sites", "signatures", "first signing, s", "own, MB", "maps, MB", "together, MB"
    );
    for signing in &costs.signings {
        let [own, maps, all] = [signing.own_bytes, signing.map_bytes, signing.bytes()].map(|bytes| bytes / 1e6);
        let seconds = format!("{:.2}", signing.seconds());
        let (names, sites) = (signing.scene.names, signing.scene.sites);
        let signatures = signing.signatures;
        let _ =
            writeln!(text, "{names:>7} {sites:>5} {signatures:>10} {seconds:>20} {own:>12.2} {maps:>12.2} {all:>12.2}");
    }
    let _ = writeln!(
        text,
        "{:<46} {:>12} {:>12} {:>8}",
        "status change to published plan, µs", "unsigned", "signed", "ratio"
    );
    for (what, [unsigned, signed]) in changes(costs) {
        let _ = writeln!(text, "{what:<46} {unsigned:>12.0} {signed:>12.0} {:>8.2}", signed / unsigned);
    }
    text
}

/// A kind of rate, in words.
fn what(rate: &WireRate) -> String {
    let queries = match rate.queries {
        Queries::Plain => "plain",
        Queries::Signed => "signed",
    };
    format!("{}, {queries}", rate.generator.tool())
}

/// Percentiles of what changes took, unsigned and signed.
fn changes(costs: &SignedCosts) -> [(&'static str, [f64; 2]); 2] {
    [("p50", 0.5), ("p99", 0.99)].map(|(what, share)| (what, costs.changes.each_ref().map(|us| percentile(us, share))))
}

/// The figures of (i) that have a target.
#[must_use]
pub fn targets(costs: &SignedCosts) -> Vec<FigureTarget> {
    let most = |what, figure, target| FigureTarget { what, figure, target, at_least: false };
    let of_kind = |kind: &SignedKind| {
        let what = format!("(i) {} by {}", kind.what, kind.base);
        Some(most(what, kind.ratio().median, kind.at_most?))
    };
    let mut targets: Vec<_> = costs.kinds.iter().filter_map(of_kind).collect();
    for rate in costs.rates.iter().filter(|rate| rate.queries == Queries::Signed) {
        let what = format!("(i) answered rate by Knot's, {}", what(rate));
        targets.push(FigureTarget { what, figure: rate.ratio().median, target: 2.0, at_least: true });
    }
    for signing in &costs.signings {
        let Some((seconds, bytes)) = signing.scene.at_most else { continue };
        let of = format!("(i) {} names with {} Sites", signing.scene.names, signing.scene.sites);
        targets.push(most(format!("{of}: first signing, s"), signing.seconds().median, seconds));
        targets.push(most(format!("{of}: memory, MB"), signing.bytes() / 1e6, bytes / 1e6));
    }
    let [(_, [unsigned, signed]), _] = changes(costs);
    let what = format!("(i) a status change, {} names: signed by unsigned, p50", costs.names);
    targets.push(most(what, signed / unsigned, 1.05));
    targets
}

/// (i) as JSON.
#[must_use]
pub fn json(costs: &SignedCosts) -> Value {
    let kind = |kind: &SignedKind| {
        let (cost, ratio): (Quartiles, Quartiles) = (kind.cost(), kind.ratio());
        json!({ "what": kind.what, "answer_ns": cost.json(), "by": kind.base, "ratio": ratio.json() })
    };
    let rate = |rate: &WireRate| {
        json!({
            "what": what(rate),
            "knot_per_s": rate.knot().json(),
            "zerottl_per_s": rate.zerottl().json(),
            "ratio": rate.ratio().json(),
        })
    };
    let signing = |signing: &Signing| {
        json!({
            "names": signing.scene.names,
            "sites": signing.scene.sites,
            "signatures": signing.signatures,
            "seconds": signing.seconds().json(),
            "own_bytes": signing.own_bytes,
            "map_bytes": signing.map_bytes,
        })
    };
    let change = |(what, [unsigned, signed]): (&str, [f64; 2])| json!({ "what": what, "unsigned_us": unsigned, "signed_us": signed, "ratio": signed / unsigned });
    json!({
        "kinds": costs.kinds.iter().map(kind).collect::<Vec<_>>(),
        "rates": costs.rates.iter().map(rate).collect::<Vec<_>>(),
        "signings": costs.signings.iter().map(signing).collect::<Vec<_>>(),
        "changes": changes(costs).into_iter().map(change).collect::<Vec<_>>(),
    })
}
