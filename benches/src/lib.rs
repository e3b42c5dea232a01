//! The benchmarks: what an answer costs in the kernel, what rate it sustains, how fast a plan is made and published,
//! how the Site does beside nginx, and the distributor beside others.
//!
//! | module | what |
//! |---|---|
//! | [`cost`] | (a) time in the kernel per answered query |
//! | [`rate`] | (b) answered rate over veth |
//! | [`agent`] | (c) planner and publisher |
//! | [`error`] | the error that ends a benchmark |
//! | [`instructions`] | what rounds and plans of (e) take, counted by valgrind |
//! | [`kinds`] | (d) what each kind of answer costs beside the plain one |
//! | [`sites`] | (e) one agent and many Sites, none or all of which fail |
//! | [`web`] | (f) `zerottl site` beside nginx |
//! | [`director`] | (g) `zerottl director` beside plain hashing and proxies |
//! | [`sessions`] | (h) sessions beside tower-sessions, takeovers, memory |
//! | [`signed`] | (i) signed answers beside unsigned ones and beside Knot's, first signing |
//! | [`fleet`] | (j) three fronts and three nodes of etcd beside three fronts alone |
//! | [`scale`] | (k) answers, starts and reloads as names grow to a million |
//! | [`peers`] | (l) beside gdnsd, Knot, NSD and `PowerDNS` |
//! | [`two_cpus`] | (m) two CPUs beside one |
//! | [`pages`] | (n) look-ups in small and in large pages of the kernel |
//! | [`nic`] | `--nic IFACE`: a real network card |
//! | `knot` | a model as Knot's zone |
//! | `page` | figures between the markers of a document |
//! | `process_time` | the CPU time of a process, and its memory |
//! | [`scene`] | the names, Sites and queries of all of them |
//! | [`stats`] | median and quartiles |
//! | [`figure_target`] | a figure beside what was to be reached |
//! | [`report`] | figures and methods as text, and as JSON |
//!
//! `cargo xtask bench` runs them all; its arguments are those of [`Arguments`].
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "figures far below 2^52, none of them negative"
)]

pub mod agent;
pub mod cost;
pub mod director;
pub mod error;
pub mod figure_target;
pub mod fleet;
pub mod instructions;
pub mod kinds;
mod knot;
pub mod nic;
mod page;
pub mod pages;
pub mod peers;
mod process_time;
pub mod rate;
pub mod report;
pub mod scale;
pub mod scene;
pub mod sessions;
pub mod signed;
pub mod sites;
pub mod stats;
pub mod two_cpus;
pub mod web;

use std::{path::PathBuf, time::Duration};

use crate::error::BenchError;

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchPart {
    /// (a) Time in the kernel per answered query
    Cost,
    /// (b) Answered rate over veth
    Rate,
    /// (c) Planner and publisher
    Plan,
    /// (d) What each kind of answer costs beside the plain one
    Kinds,
    /// (e) One agent and 10,000 Sites, none or all of which fail
    Sites,
    /// (f) `zerottl site` beside nginx
    Web,
    /// (g) `zerottl director` beside plain hashing and proxies of TCP
    Director,
    /// (h) Sessions beside tower-sessions, and after a worker's death
    Sessions,
    /// (i) Signed answers beside unsigned ones and beside Knot's, first signing
    Signed,
    /// (j) Three fronts that share votes by etcd, at rest and in storms
    Fleet,
    /// (k) Answers, starts and reloads as names grow to a million
    Scale,
    /// (l) Beside gdnsd, Knot, NSD and `PowerDNS`
    Peers,
    /// (m) Two CPUs and two queues beside one
    Cpus,
    /// (n) Look-ups in maps of small and of large pages
    Pages,
}

/// The benchmarks' arguments.
#[derive(Clone, Debug, Default, clap::Parser)]
#[command(about = "zerottl's benchmarks", name = "cargo xtask bench --")]
pub struct Arguments {
    /// A smoke run: few names, few rounds; the figures mean little
    #[arg(long)]
    pub quick: bool,
    /// Also write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Only this; may be given again
    #[arg(long, value_enum)]
    pub only: Vec<BenchPart>,
    /// Only (l) and (m), the chapter of docs/peers.md
    #[arg(long)]
    pub peers: bool,
    /// A network card
    #[command(flatten)]
    pub nic: NicArguments,
    /// Also write the figures of (l) and (m) between the markers of this page, and the picture of (l) beside it
    #[arg(long, value_name = "PAGE")]
    pub into: Option<PathBuf>,
    /// The program whose instructions are counted
    #[arg(skip)]
    pub counted: PathBuf,
    /// The program of the servers that a director has
    #[arg(skip)]
    pub minimal_server: PathBuf,
    /// The program that signs and counts what stays
    #[arg(skip)]
    pub signing: PathBuf,
    /// An argument that cargo adds
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// The arguments for a network card.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct NicArguments {
    /// Instead, measure this network card, while another machine sends
    #[arg(id = "nic", long = "nic", value_name = "IFACE")]
    pub interface: Option<String>,
    /// Measure the card even if it carries the default route
    #[arg(long, requires = "nic")]
    pub yes_this_interface: bool,
    /// Seconds of counting at the card, with each program
    #[arg(long, default_value_t = 20, requires = "nic", value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub nic_seconds: u64,
}

/// Runs the benchmarks that were asked for and prints figures, methods and a summary.
pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let Arguments { quick, json, counted, minimal_server, signing, .. } = arguments;
    let wanted = |part| arguments.wants(part);
    let sizes = if *quick { vec![10, 1_000] } else { vec![10, 100, 1_000, 10_000, 100_000] };
    println!("zerottl benchmarks\n{}", report::machine().join("\n"));

    if let Some(interface) = &arguments.nic.interface {
        return nic_part(arguments, interface);
    }
    let mut all = report::Measured::default();
    if wanted(BenchPart::Cost) {
        let (rounds, repeat) = if *quick { (3, 10_000) } else { (21, 100_000) };
        println!("\n(a) time in the kernel per answered query\n{}", report::COST_METHOD);
        println!("{rounds} rounds of {repeat} runs.\n");
        let mut scenes: Vec<_> = sizes.iter().map(|names| (*names, scene::PLANS_FEW)).collect();
        if !quick {
            scenes.extend([(10_000, scene::PLANS_MANY), (100_000, scene::PLANS_MANY)]);
        }
        let effort = cost::CostEffort { scenes, rounds, repeat };
        let measured = rate::on_own_cpu(move || cost::measure(&effort))??;
        println!("{}", report::cost_table(&measured));
        all.costs = Some(measured);
    }
    if wanted(BenchPart::Rate) {
        all.rates = rate_part(*quick)?;
    }
    if wanted(BenchPart::Plan) {
        println!("\n(c) planner and publisher\n{}\n", report::AGENT_METHOD);
        let (time, changes) = if *quick { (60, 5) } else { (1_500, 500) };
        all.figures = agent::measure(&agent::PlanEffort { names: sizes.clone(), time: Duration::from_millis(time) })?;
        println!("\n{}", report::agent_table(&all.figures));
        let sizes: Vec<_> = sizes.into_iter().filter(|names| (1_000..=10_000).contains(names)).collect();
        all.changes = agent::changes(&sizes, changes)?;
        println!("status changes, {changes} in each scene\n{}", report::changes_table(&all.changes));
    }
    if wanted(BenchPart::Kinds) {
        let (rounds, repeat) = if *quick { (3, 10_000) } else { (21, 100_000) };
        println!("\n(d) what each kind of answer costs\n{}\n{rounds} rounds of {repeat} runs.\n", report::KINDS_METHOD);
        let effort = cost::CostEffort { scenes: Vec::new(), rounds, repeat };
        all.kinds = rate::on_own_cpu(move || kinds::measure(&effort))??;
        println!("{}", report::kind_table(&all.kinds));
    }

    if wanted(BenchPart::Sites) {
        let (count, interval_s, runs, window_s) = if *quick { (100, 1, 1, 2) } else { (10_000, 10, 5, 10) };
        println!("\n(e) one agent and {count} Sites\n{}", report::SITES_METHOD);
        println!("{runs} rounds of both states, {window_s} s each; a probe of each Site every {interval_s} s.\n");
        let effort = sites::SitesEffort { sites: count, interval_s, runs, window: Duration::from_secs(window_s) };
        let measured = sites::measure(&effort, counted)?;
        println!("{}", report::sites_table(&measured));
        all.sites = Some(measured);
    }
    if wanted(BenchPart::Web) {
        let (rounds, seconds) = if *quick { (1, 1) } else { (11, 2) };
        println!("\n(f) zerottl site beside nginx\n{}\n{rounds} rounds of {seconds} s each.\n", report::web_method());
        all.web = web::measure(web::WebEffort { rounds, seconds })?;
        println!("{}", report::web_table(&all.web));
    }

    if wanted(BenchPart::Director) {
        let effort = director::DirectorEffort::new(*quick);
        println!("\n(g) zerottl director beside plain hashing and proxies\n{}\n", director::report::method(effort));
        let measured = director::measure(effort, minimal_server)?;
        println!("{}", director::report::table(&measured));
        all.director = Some(measured);
    }
    if wanted(BenchPart::Sessions) {
        let effort = sessions::SessionsEffort::new(*quick);
        println!("\n(h) sessions beside tower-sessions\n{}\n", sessions::report::method(effort));
        let measured = sessions::measure(effort)?;
        println!("{}", sessions::report::table(&measured));
        all.sessions = Some(measured);
    }
    if wanted(BenchPart::Signed) {
        let effort = signed::SignedEffort::new(*quick);
        println!("\n(i) signed answers\n{}\n", signed::report::method(&effort));
        let measured = signed::measure(&effort, signing)?;
        println!("{}", signed::report::table(&measured));
        all.signed = Some(measured);
    }
    if wanted(BenchPart::Fleet) {
        all.fleet = fleet_part(*quick)?;
    }
    if wanted(BenchPart::Scale) {
        all.scale = scale_part(*quick)?;
    }
    last_parts(arguments, &mut all)?;

    println!("\nsummary");
    for target in report::targets(&all) {
        println!("{target}");
    }
    if let Some(file) = json {
        std::fs::write(file, format!("{:#}\n", report::json(&all)))?;
        println!("\nwritten to {}", file.display());
    }
    Ok(())
}

fn rate_part(quick: bool) -> Result<Vec<rate::Rate>, BenchError> {
    let (rounds, seconds, timed_rounds) = if quick { (1, 1, 1) } else { (11, 2, 5) };
    println!("\n(b) answered rate over veth\n{}", report::RATE_METHOD);
    println!("{rounds} rounds of {seconds} s, {timed_rounds} rounds of 1 s with statistics.\n");
    let measured = rate::measure(rate::RateEffort { rounds, seconds, timed_rounds })?;
    println!("{}", report::rate_table(&measured));
    Ok(measured)
}

fn fleet_part(quick: bool) -> Result<Vec<fleet::FleetCost>, BenchError> {
    let effort = fleet::effort::FleetEffort::new(quick);
    println!("\n(j) a fleet of three fronts\n{}\n", fleet::report::method(&effort));
    let measured = fleet::measure(&effort)?;
    println!("{}", fleet::report::table(&measured));
    Ok(measured)
}

fn scale_part(quick: bool) -> Result<scale::Scale, BenchError> {
    let (names, rounds, repeat) =
        if quick { (vec![1_000, 10_000], 3, 10_000) } else { (vec![1_000, 10_000, 100_000, 1_000_000], 11, 1_000_000) };
    println!("\n(k) names up to a million\n{}\n{rounds} rounds of {repeat} runs.\n", scale::METHOD);
    let effort = scale::ScaleEffort { names: names.clone(), rounds, repeat };
    let answers = rate::on_own_cpu(move || scale::measure(&effort))??;
    println!("{}\n\n{}\n", scale::table(&answers), scale::live::METHOD);
    let (live_names, live_rounds, seconds) =
        if quick { (vec![1_000, 10_000], 1, 1) } else { (vec![1_000, 100_000, 1_000_000], 5, 7) };
    let live = scale::live::measure(&scale::live::LiveEffort { names: live_names, rounds: live_rounds, seconds })?;
    println!("{}\n\n{}\n", scale::live::table(&live), scale::start::METHOD);
    let starts = scale::start::measure(&names)?;
    println!("{}", scale::start::table(&starts));
    Ok(scale::Scale { answers, live, starts })
}

fn last_parts(arguments: &Arguments, all: &mut report::Measured) -> Result<(), BenchError> {
    if arguments.wants(BenchPart::Peers) {
        all.peers = Some(peers_part(arguments)?);
    }
    if arguments.wants(BenchPart::Cpus) {
        all.cpus = cpus_part(arguments)?;
    }
    if arguments.wants(BenchPart::Pages) {
        all.pages = Some(pages_part(arguments.quick)?);
    }
    Ok(())
}

fn peers_part(arguments: &Arguments) -> Result<peers::figures::PeerCosts, BenchError> {
    let effort = peers::PeersEffort::new(arguments.quick);
    println!("\n(l) beside other servers\n{}\n", peers::report::method(effort));
    let measured = peers::measure(effort)?;
    println!("{}", peers::report::table(&measured));
    let markdown = peers::report::markdown(&measured);
    into(arguments, "peers", &markdown)?;
    if let Some(page) = arguments.page() {
        std::fs::write(page.with_extension("svg"), peers::picture::svg(&measured))?;
    }
    Ok(measured)
}

fn nic_part(arguments: &Arguments, interface: &str) -> Result<(), BenchError> {
    let time = Duration::from_secs(arguments.nic.nic_seconds);
    let folder = std::env::temp_dir();
    let wish =
        nic::NicWish { interface: interface.to_owned(), consent: arguments.nic.yes_this_interface, time, folder };
    let measured = nic::measure(&wish)?;
    let markdown = nic::report::markdown(&measured);
    println!("{markdown}");
    into(arguments, "nic", &markdown)?;
    if let Some(file) = &arguments.json {
        std::fs::write(file, format!("{:#}\n", nic::report::json(&measured)))?;
    }
    Ok(())
}

fn cpus_part(arguments: &Arguments) -> Result<Vec<two_cpus::CpuScaling>, BenchError> {
    let effort = two_cpus::TwoCpusEffort::new(arguments.quick);
    println!("\n(m) two CPUs\n{}\n", two_cpus::report::method(effort));
    let measured = two_cpus::measure(effort)?;
    println!("{}", two_cpus::report::table(&measured));
    into(arguments, "cpus", &two_cpus::report::markdown(&measured))?;
    Ok(measured)
}

fn pages_part(quick: bool) -> Result<pages::PageCosts, BenchError> {
    let effort = pages::PagesEffort::new(quick);
    println!("\n(n) pages of the kernel\n{}\n", pages::method(&effort));
    let measured = rate::on_own_cpu(move || pages::measure(&effort))??;
    println!("{}", pages::table(&measured));
    Ok(measured)
}

/// Writes a part's tables into the page that was asked for, below the machine they are of.
fn into(arguments: &Arguments, part: &str, tables: &str) -> Result<(), BenchError> {
    let Some(page) = arguments.page() else { return Ok(()) };
    let machine: Vec<_> =
        report::machine().iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    page::write(&page, part, &format!("{}.\n\n{tables}", machine.join("; ")))
}

impl Arguments {
    /// The page of [`into`](Self::into), below the checkout: cargo starts benchmarks in their package's folder.
    fn page(&self) -> Option<PathBuf> {
        self.into.as_ref().map(|page| ::tests::scratch::root().join(page))
    }

    fn wants(&self, part: BenchPart) -> bool {
        if self.peers {
            return matches!(part, BenchPart::Peers | BenchPart::Cpus);
        }
        self.only.is_empty() || self.only.contains(&part)
    }
}
