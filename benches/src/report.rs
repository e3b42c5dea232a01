//! The figures as text and as JSON, with how they were made.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    agent::{Figure, STEPS, StatusChanges},
    cost::{Cost, Costs, Size},
    director::{self, PathCosts},
    figure_target::FigureTarget,
    fleet::{self, FleetCost},
    kinds::AnswerKind,
    pages::{self, PageCosts},
    peers::{self, figures::PeerCosts},
    rate::{self, Rate},
    scale::{self, Scale},
    scene::PLANS_FEW,
    sessions::{self, SessionCosts},
    signed::{self, SignedCosts},
    sites::{SitesCost, State},
    stats::percentile,
    two_cpus::{self, CpuScaling},
    web::{self, Compared, WebCost, WebLoad, WebWork},
};

/// The measurements; what was not asked for is empty.
#[derive(Debug, Default)]
pub struct Measured {
    /// (a)
    pub costs: Option<Costs>,
    /// (b)
    pub rates: Vec<Rate>,
    /// (c), what can be repeated
    pub figures: Vec<Figure>,
    /// (c), status changes
    pub changes: Vec<StatusChanges>,
    /// (d)
    pub kinds: Vec<AnswerKind>,
    /// (e)
    pub sites: Option<SitesCost>,
    /// (f)
    pub web: Vec<WebCost>,
    /// (g)
    pub director: Option<PathCosts>,
    /// (h)
    pub sessions: Option<SessionCosts>,
    /// (i)
    pub signed: Option<SignedCosts>,
    /// (j)
    pub fleet: Vec<FleetCost>,
    /// (k), if measured.
    pub scale: Scale,
    /// (l)
    pub peers: Option<PeerCosts>,
    /// (m)
    pub cpus: Vec<CpuScaling>,
    /// (n)
    pub pages: Option<PageCosts>,
}

/// Describes what this runs on, a line each.
#[must_use]
pub fn machine() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = rustix::system::uname();
    let virtual_machine = if cpuinfo.contains(" hypervisor ") { ", in a virtual machine" } else { "" };
    vec![
        format!("CPU       {} x {}{virtual_machine}", cpus, model.map_or("unknown", |(_, name)| name)),
        format!("kernel    Linux {} {}", kernel.release().to_string_lossy(), kernel.machine().to_string_lossy()),
        format!("BPF JIT   {}", jit(read("/proc/sys/net/core/bpf_jit_enable").trim())),
        format!("load      {} (1, 5, 15 minutes before the start)", loads(&read("/proc/loadavg"))),
    ]
}

/// The words for a switch that a network namespace of one's own does not show.
fn jit(switch: &str) -> &'static str {
    match switch {
        "" => "unknown",
        "0" => "off",
        _ => "on",
    }
}

fn loads(line: &str) -> String {
    line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// How (a) is measured.
pub const COST_METHOD: &str = "\
Each timed program runs in BPF_PROG_TEST_RUN, pinned to one CPU, and first restores a query over the packet: the next
of a walk over ALL names in an order unlike that of the maps. Then it does one thing. The queries are made from one
template, so that they take no room in the caches; the packet itself is warm. Time is the thread's CPU clock around the
whole call, by the number of runs. Rounds go through all programs in turn; the first is not kept. The counters must
show that every run was answered.
  loop       a program that only returns: what the test run itself costs
  restore    loop + restoring
  resize     growing by 16 bytes and shrinking again, restoring subtracted: part of `answer`, not of `reflect`
  reflect    restore + reflector, less restore; hides in restoring's shadow, as a CPU works on both at once
  answer     restore + the agent's whole program (parse, find, choose, write, count), less restore
             (the shrinking that each longer answer costs the next restoring is left in: against us)
  reflector  loop + reflector alone, run on its own reply again and again: nothing restored
Ratios: `alone` is (answer + loop) / reflector: what each program shows by itself in the kernel's test run.
`with` is (restore + answer) / (restore + reflect): nothing subtracted. `without` is answer / reflect: the loop and
restoring subtracted from both, so that a figure near zero divides; `-` where it is below 0.5 ns.
Names are 22 bytes in wire form, A queries over IPv4, weighted round robin; 30 Sites, each Pool over three of them.
`plans` is how many different threes there are; Pools of the same three share their tables.";

/// How (b) is measured.
pub const RATE_METHOD: &str = "\
Two network namespaces, a veth pair of one queue, XDP native. The generator and its sending run on CPU 0; both ends' NAPI
is threaded and pinned to CPU 1, where the XDP program, XDP_TX and the client's receiving take turns. The client
computes UDP checksums, as from beyond a real wire, and its stack checks those of the replies of both programs. dnsperf
keeps 500 queries outstanding on one socket; kxdpgun sends as fast as it can from AF_XDP (copy mode). Answered rates as
the generator counts replies. Each round runs both programs, the first in turn; the first round is not kept; ratios and
differences are taken round by round. The kernel's counters must show at least as many answers as came. The time of a run
is measured in rounds of its own, by kernel.bpf_stats_enabled, whose own cost is in all figures: it is about what `empty`
shows, the client's program that only passes on dnsperf's replies.";

/// How (c) is measured.
pub const AGENT_METHOD: &str = "\
Wall-clock time, one thread. Criterion with 11 samples, but for status changes, which are made one at a time with 50 ms
between: each publication needs the grace period of an earlier one. A status change is one Site's going down or coming
back, another one each time: what the agent does in a round, from the verdict to the plan that is answered from. Of 30
Sites for all pools, one is in every tenth; where all their threes are used, 4,060 plans differ and 406 change with a Site.";

/// How (d) is measured.
pub const KINDS_METHOD: &str = "\
One query of each kind, asked again and again of 1,000 names and one of 122 labels: restored and answered, less restored.
`by plain` divides by the first row's in the same round. Caches are warm. Random clients: each query comes from another
address of 128.0.0.0/2, which the client nets cover by /22, each next to others of another group.";

/// How (e) is measured.
pub const SITES_METHOD: &str = "\
Pools of 100 Sites, each with a name of its own and one address; one listener serves all of them, over loopback in a
namespace. All fail when it is closed (connections are refused). The agent's own counters tell its rounds, plans and bytes
written; CPU and memory of the process are the kernel's, in a window in which nobody asks for its pages. Making one whole
plan of either state and laying it out is measured outside the agent, as CPU time of ten in a row; instructions are
counted by valgrind. `by none` divides the medians.";

/// How (f) is measured.
#[must_use]
pub fn web_method() -> String {
    format!(
        "\
Loopback in a namespace. The front under test, zerottl site or nginx (one process), has CPU 0; wrk and the backend, an nginx
that says 1 KiB, share CPU 1. {} connections, plain HTTP/1.1, kept alive on both sides; no access logs. Redirects: nginx
`return 302 http://NAME$request_uri`; zerottl site goes through operation 500 from the Pool Name to its Site Name, with a
marker. Proxied: nginx `proxy_pass` with `keepalive`; zerottl site finds the session's cookie good and proxies; the backend
gets the same X-Forwarded fields of both. Full load: the next request follows the response. Moderate load: 0 to 32 ms later,
at random. Each round asks both, the first in turn; the first round is not kept; ratios are taken round by round. CPU time is
the front's own, user and kernel; a run in which any request failed does not count.",
        web::CONNECTIONS
    )
}

/// (f) as a table.
#[must_use]
pub fn web_table(web: &[WebCost]) -> String {
    let mut text = format!("{:<72} {:>26} {:>26} {:>20}\n", "", "nginx", "zerottl site", "by nginx's");
    for web in web {
        for Compared { what, nginx, zerottl, ratio } in web.figures() {
            let what = format!("{}: {what}", web.what());
            let [nginx, zerottl] = [nginx, zerottl].map(|figure| format!("{figure:.0}"));
            let _ = writeln!(text, "{what:<72} {nginx:>26} {zerottl:>26} {:>20}", format!("{ratio:.2}"));
        }
    }
    text.push_str("median [quartiles]\n");
    text
}

/// (e) as a table.
#[must_use]
pub fn sites_table(sites: &SitesCost) -> String {
    let mut text = format!("{:<50} {:>30} {:>30} {:>8}\n", "", "none fails", "all fail", "by none");
    for ((what, none, decimals), (_, all, _)) in sites.none.figures().into_iter().zip(sites.all.figures()) {
        let ratio = if none.median > 0.0 { format!("{:.2}", all.median / none.median) } else { "-".to_owned() };
        let [none, all] = [none, all].map(|figure| format!("{figure:.decimals$}"));
        let _ = writeln!(text, "{what:<50} {none:>30} {all:>30} {ratio:>8}");
    }
    text.push_str("median [quartiles]\n");
    text
}

/// (d) as a table.
#[must_use]
pub fn kind_table(kinds: &[AnswerKind]) -> String {
    let mut text = format!("{:<42} {:>24} {:>18}\n", "", "answer, ns", "by plain");
    for kind in kinds {
        let _ = writeln!(
            text,
            "{:<42} {:>24} {:>18}",
            kind.what,
            format!("{:.1}", kind.cost()),
            format!("{:.2}", kind.ratio())
        );
    }
    text.push_str("median [quartiles]\n");
    text
}

/// (a) as a table.
#[must_use]
pub fn cost_table(costs: &Costs) -> String {
    let mut text = format!(
        "{:>7} {:>6} {:<4} {:>5} {:>8} {:>7} {:>18} {:>20} {:>16} {:>6} {:>6} {:>8}\n",
        "names",
        "plans",
        "EDNS",
        "loop",
        "restore",
        "resize",
        "reflect",
        "answer",
        "reflector",
        "alone",
        "with",
        "without"
    );
    for cost in &costs.costs {
        let Cost { names, plans, edns, .. } = cost;
        let _ = writeln!(
            text,
            "{names:>7} {:>6} {:<4} {:>5.1} {:>8.1} {:>7.1} {:>18} {:>20} {:>16} {:>6.2} {:>6.2} {:>8}",
            plans.min(names),
            if *edns { "yes" } else { "no" },
            cost.empty().median,
            cost.restore().median,
            cost.resize().median,
            format!("{:.1}", cost.reflect()),
            format!("{:.1}", cost.answer()),
            format!("{:.1}", cost.reflector()),
            cost.ratio_alone(),
            cost.ratio_with_restore().median,
            cost.ratio_without_restore().map_or("-".to_owned(), |ratio| format!("{ratio:.0}")),
        );
    }
    text.push_str("ns; median [quartiles]\n");
    for (what, Size { xlated, jited }) in [("reflector", costs.reflector), ("agent", costs.agent)] {
        let _ = writeln!(text, "{what}: {xlated} instructions after the verifier, {jited} bytes of machine code");
    }
    text
}

/// (b) as a table.
#[must_use]
pub fn rate_table(rates: &[Rate]) -> String {
    let mut text = format!(
        "{:<8} {:>24} {:>24} {:>20} {:>20} {:>17} {:>16} {:>12}\n",
        "",
        "reflector, 1/s",
        "agent, 1/s",
        "ratio",
        "difference, ns",
        "reflector run, ns",
        "agent run, ns",
        "empty, ns"
    );
    for rate in rates {
        let _ = writeln!(
            text,
            "{:<8} {:>24} {:>24} {:>20} {:>20} {:>17} {:>16} {:>12}",
            rate.generator.tool(),
            format!("{:.0}", rate.reflector()),
            format!("{:.0}", rate.agent()),
            format!("{:.3}", rate.ratio()),
            format!("{:.0}", rate.difference_ns()),
            format!("{:.0}", rate.reflector_ns()),
            format!("{:.0}", rate.agent_ns()),
            rate.empty_ns().map_or("-".to_owned(), |ns| format!("{ns:.0}")),
        );
    }
    let _ = writeln!(text, "{} names, {PLANS_FEW} plans; median [quartiles]", rate::NAMES);
    text
}

/// (c) as a table.
#[must_use]
pub fn agent_table(figures: &[Figure]) -> String {
    let mut text = format!("{:<56} {:>7} {:>30}\n", "", "names", "µs");
    for Figure { what, names, us } in figures {
        let _ = writeln!(text, "{what:<56} {names:>7} {:>30}", format!("{us:.1}"));
    }
    text
}

/// Formats what status changes cost.
#[must_use]
pub fn changes_table(changes: &[StatusChanges]) -> String {
    let mut text = format!(
        "{:<34} {:>7} {:>7} {:<31} {:>8} {:>8} {:>8}\n",
        "", "names", "Sites", "", "p50, µs", "p99, µs", "most, µs"
    );
    for StatusChanges { what, names, sites, us } in changes {
        for (step, us) in STEPS.iter().zip(us) {
            let of = |share| percentile(us, share);
            let _ = writeln!(
                text,
                "{what:<34} {names:>7} {sites:>7} {step:<31} {:>8.0} {:>8.0} {:>8.0}",
                of(0.5),
                of(0.99),
                of(1.0)
            );
        }
    }
    text
}

/// The figures that have a target.
#[must_use]
pub fn targets(measured: &Measured) -> Vec<FigureTarget> {
    let Measured { costs, rates, changes, kinds, sites, web, director, sessions, signed, .. } = measured;
    let mut targets = Vec::new();
    let mut add =
        |what: String, figure, target, at_least| targets.push(FigureTarget { what, figure, target, at_least });
    let plain: Vec<&Cost> =
        costs.iter().flat_map(|costs| &costs.costs).filter(|cost| !cost.edns && cost.plans == PLANS_FEW).collect();
    if let Some(cost) = plain.iter().find(|cost| cost.names == 1_000) {
        add("(a) answer by reflector, 1,000 names: alone".into(), cost.ratio_alone(), 8.0, false);
        add("(a)   the same, `with` restoring in both".into(), cost.ratio_with_restore().median, 8.0, false);
        if let Some(ratio) = cost.ratio_without_restore() {
            add("(a)   the same, `without` loop and restoring in either".into(), ratio, 8.0, false);
        }
    }
    if let [first, .., last] = plain[..] {
        let span = format!("{} names by {}", last.names, first.names);
        let many = costs.iter().flat_map(|costs| &costs.costs).find(|c| c.names == last.names && c.plans > PLANS_FEW);
        let with_loop = |cost: &Cost| cost.answer().median + cost.empty().median;
        add(format!("(a) flatness, {span}: loop + answer"), with_loop(last) / with_loop(first), 1.5, false);
        if let Some(many) = many {
            let what = format!("(a)   the same with {} plans", many.plans);
            add(what, with_loop(many) / with_loop(first), 1.5, false);
        }
        let ratio = last.answer().median / first.answer().median;
        add(format!("(a)   the same, answer less loop and restoring, {span}"), ratio, 1.5, false);
    }
    for rate in rates {
        let what = format!("(b) answered rate by the reflector's, {}", rate.generator.tool());
        add(what, rate.ratio().median, 0.95, true);
    }
    for StatusChanges { what, names, us, .. } in changes.iter().filter(|changes| changes.names == 10_000) {
        let [.., whole] = us;
        let what = format!("(c) status change to published plan, {names} names, {what}: p99, ms");
        add(what, percentile(whole, 0.99) / 1e3, 1.0, false);
    }
    for kind in kinds {
        // Of the others, none is asked.
        let most = match kind.what {
            "A, EDNS with a cookie" => 2.5,
            "A, 122 labels" | "A, random clients, 1,000,000 client nets" => 4.0,
            "NXDOMAIN" | "A, random clients, rate limiting" | "A, one client over its rate, dropped" => 2.0,
            _ => continue,
        };
        add(format!("(d) {} by the plain answer", kind.what), kind.ratio().median, most, false);
    }
    if let Some(sites) = sites {
        let (none, all) = (&sites.none, &sites.all);
        let mut compared = Vec::new();
        for (what, none, all) in [
            ("planning rounds", none.rounds_per_s, all.rounds_per_s),
            ("CPU of a round", none.round_us, all.round_us),
            ("CPU of making a whole plan", none.plan_ms, all.plan_ms),
            ("CPU of laying it out", none.lay_out_ms, all.lay_out_ms),
        ] {
            let (none, all) = (none.median, all.median);
            compared.push((what, none, all));
        }
        compared.push(("instructions of a round's assessment", none.round_instructions, all.round_instructions));
        compared.push(("instructions of making and laying out a plan", none.plan_instructions, all.plan_instructions));
        for (what, none, all) in compared {
            let (low, high) = (none.min(all), none.max(all));
            add(format!("(e) {what}, {} Sites: more of either state by less", sites.sites), high / low, 1.10, false);
        }
        let still = [none.plans, all.plans, none.written, all.written].map(|figure| figure.high);
        add("(e) plans made and bytes written while nothing changes".into(), still.iter().sum(), 0.0, false);
    }
    for web in web {
        let [rate, _, _, p99] = web.figures();
        let (work, least) = match web.work {
            WebWork::Redirect => ("redirects", 1.0),
            WebWork::Proxy => ("proxied in a session", 0.9),
        };
        if web.load == WebLoad::Full {
            add(format!("(f) {work}: requests a second by nginx's"), rate.ratio.median, least, true);
        }
        add(format!("(f) {}: p99 by nginx's", web.what()), p99.ratio.median, 1.2, false);
    }
    targets.extend(director.iter().flat_map(director::report::targets));
    targets.extend(sessions.iter().flat_map(sessions::report::targets));
    targets.extend(signed.iter().flat_map(signed::report::targets));
    targets.extend(fleet::report::targets(&measured.fleet));
    targets.extend(scale::targets(&measured.scale));
    targets.extend(measured.peers.iter().flat_map(peers::report::targets));
    targets.extend(two_cpus::report::targets(&measured.cpus));
    targets
}

/// Everything as JSON: medians and quartiles.
#[must_use]
pub fn json(measured: &Measured) -> Value {
    let Measured {
        costs,
        rates,
        figures,
        changes,
        kinds,
        sites,
        web,
        director,
        sessions,
        signed,
        fleet,
        scale,
        peers,
        cpus,
        pages,
    } = measured;
    let (costs, sites) = (costs.as_ref(), sites.as_ref());
    let size = |size: Size| json!({ "instructions": size.xlated, "machine_code_bytes": size.jited });
    let cost = |cost: &Cost| {
        json!({
            "names": cost.names,
            "plans": cost.plans.min(cost.names),
            "edns": cost.edns,
            "loop_ns": cost.empty().json(),
            "restore_ns": cost.restore().json(),
            "resize_ns": cost.resize().json(),
            "reflect_ns": cost.reflect().json(),
            "answer_ns": cost.answer().json(),
            "reflector_ns": cost.reflector().json(),
            "ratio_alone": cost.ratio_alone(),
            "ratio_with_restore": cost.ratio_with_restore().json(),
            "ratio_without_restore": cost.ratio_without_restore(),
        })
    };
    let rate = |rate: &Rate| {
        json!({
            "generator": rate.generator.tool(),
            "reflector_per_s": rate.reflector().json(),
            "agent_per_s": rate.agent().json(),
            "ratio": rate.ratio().json(),
            "difference_ns": rate.difference_ns().json(),
            "reflector_run_ns": rate.reflector_ns().json(),
            "agent_run_ns": rate.agent_ns().json(),
            "empty_run_ns": rate.empty_ns().map(|ns| ns.json()),
        })
    };
    let change = |changes: &StatusChanges| {
        let step = |(step, us): (&&str, &Vec<f64>)| {
            let of = |share| percentile(us, share);
            ((*step).to_owned(), json!({ "p50": of(0.5), "p99": of(0.99), "most": of(1.0) }))
        };
        let steps: serde_json::Map<_, _> = STEPS.iter().zip(&changes.us).map(step).collect();
        json!({ "what": changes.what, "names": changes.names, "sites": changes.sites, "us": steps })
    };
    json!({
        "machine": machine(),
        "reflector": costs.map(|costs| size(costs.reflector)),
        "agent": costs.map(|costs| size(costs.agent)),
        "cost": costs.map(|costs| costs.costs.iter().map(cost).collect::<Vec<_>>()),
        "rate": rates.iter().map(rate).collect::<Vec<_>>(),
        "plan": figures.iter().map(|f| json!({ "what": f.what, "names": f.names, "us": f.us.json() })).collect::<Vec<_>>(),
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "sites": sites.map(|sites| {
            let state = |state: &State| -> Value {
                state.figures().into_iter().map(|(what, figure, _)| (what.to_owned(), figure.json())).collect()
            };
            json!({ "sites": sites.sites, "none": state(&sites.none), "all": state(&sites.all) })
        }),
        "kinds": kinds.iter().map(AnswerKind::json).collect::<Vec<_>>(),
        "web": web.iter().map(web_json).collect::<Vec<_>>(),
        "director": director.as_ref().map(director::report::json),
        "sessions": sessions.as_ref().map(sessions::report::json),
        "signed": signed.as_ref().map(signed::report::json),
        "fleet": fleet::report::json(fleet),
        "scale": scale.json(),
        "peers": peers.as_ref().map(peers::report::json),
        "cpus": two_cpus::report::json(cpus),
        "pages": pages.as_ref().map(pages::json),
    })
}

fn web_json(web: &WebCost) -> Value {
    let figure = |Compared { what, nginx, zerottl, ratio }: Compared| {
        (what.to_owned(), json!({ "nginx": nginx.json(), "zerottl": zerottl.json(), "ratio": ratio.json() }))
    };
    let figures: serde_json::Map<_, _> = web.figures().into_iter().map(figure).collect();
    json!({ "what": web.what(), "figures": figures })
}
