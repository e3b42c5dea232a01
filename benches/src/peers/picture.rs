//! (l) as a picture: rates, CPU per answer and latency of each server, as bars.

use std::fmt::Write as _;

use super::figures::{PeerCosts, ServerCost};

/// Of the picture, pixels.
const WIDTH: f64 = 760.0;
const LABELS: f64 = 250.0;
/// Behind the longest bar, for its number.
const NUMBERS: f64 = 70.0;
const BAR: f64 = 9.0;
const ROW: f64 = 2.0 * BAR + 7.0;
const HEAD: f64 = 30.0;

/// One panel: its title, the two kinds of bars, and their values of a server.
type Panel = (&'static str, [&'static str; 2], fn(&ServerCost) -> [f64; 2]);

const PANELS: [Panel; 3] = [
    ("answers, thousands per second", ["dnsperf", "kxdpgun"], |server| {
        [0, 1].map(|at| ServerCost::of(&server.answered[at]).median / 1e3)
    }),
    ("CPU time of the server's side per answer, ns", ["dnsperf", "kxdpgun"], |server| {
        [0, 1].map(|at| ServerCost::of(&server.cpu_ns[at]).median)
    }),
    ("latency at half of its own load, µs", ["p50", "p99"], |server| {
        [0, 1].map(|at| ServerCost::of(&server.latency_us[at]).median)
    }),
];

/// Draws it; readable on light and on dark pages, as the reader's system has it.
#[must_use]
pub fn svg(costs: &PeerCosts) -> String {
    let panel_height = HEAD + ROW * costs.servers.len() as f64 + 12.0;
    let height = panel_height * PANELS.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<style>\n.page{{fill:#fff}} text{{fill:#222}} .a{{fill:#2471a3}} .b{{fill:#c0392b}}\n\
         @media (prefers-color-scheme: dark){{.page{{fill:#1b1e22}} text{{fill:#ddd}} .a{{fill:#5dade2}} \
         .b{{fill:#ec7063}}}}\n</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n"
    );
    for (number, (title, kinds, values)) in PANELS.iter().enumerate() {
        let top = panel_height * number as f64 + HEAD;
        let _ = writeln!(svg, "<text x=\"8\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>", top - 10.0);
        for (i, (kind, class)) in kinds.iter().zip(["a", "b"]).enumerate() {
            let x = WIDTH - 150.0 + 75.0 * i as f64;
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"9\" height=\"9\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\">{kind}</text>",
                top - 18.0,
                x + 13.0,
                top - 10.0
            );
        }
        let most = costs.servers.iter().flat_map(values).fold(f64::MIN_POSITIVE, f64::max);
        for (row, server) in costs.servers.iter().enumerate() {
            let y = top + ROW * row as f64;
            let _ = writeln!(svg, "<text x=\"8\" y=\"{:.1}\">{}</text>", y + BAR + 3.0, server.what);
            for ((i, value), class) in values(server).into_iter().enumerate().zip(["a", "b"]) {
                let (y, width) = (y + BAR * i as f64, (WIDTH - LABELS - NUMBERS) * value / most);
                let _ = writeln!(
                    svg,
                    "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>\
                     <text x=\"{:.1}\" y=\"{:.1}\" font-size=\"9\">{value:.0}</text>",
                    BAR - 1.0,
                    LABELS + width + 4.0,
                    y + BAR - 1.5
                );
            }
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_two_bars_in_each_panel() {
        let server = |what: &str| ServerCost {
            answered: [vec![1e5], vec![2e5]],
            cpu_ns: [vec![900.0], vec![800.0]],
            latency_us: [vec![20.0], vec![90.0]],
            ..ServerCost::new(what.to_owned(), Some(0))
        };
        let costs = PeerCosts { servers: vec![server("reflector"), server("zerottl")], absent: Vec::new() };
        let svg = svg(&costs);
        let bars = svg.matches("height=\"8.0\"").count();
        assert_eq!(bars, 2 * 2 * PANELS.len());
        assert!(svg.contains("prefers-color-scheme: dark") && svg.ends_with("</svg>\n"));
    }
}
