//! `zerottl simulate`: what a configuration would change, before anything is touched.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use zerottl::{
    admin::status::StatusPage,
    bundles,
    simulate::{
        Simulation,
        compare::{Answers, Changes, Names, compare},
        queries::{self, QuestionGroup},
        status_of,
    },
};
use zerottl_config as config;
use zerottl_core::{model::Model, status::Assessment};
use zerottl_inputs::agent_client::{self as client, AgentAddress, ClientError};

use super::{CommandError, print};

/// Bytes of a query file, at most.
const QUERIES_LEN_MAX: u64 = 256 << 20;

/// `zerottl simulate`'s arguments.
#[derive(Debug, clap::Args)]
pub struct SimulateArguments {
    /// The new configuration, TOML; the running agent is asked at its [admin] `listen`
    #[arg(long, value_name = "NEW")]
    config: PathBuf,
    /// Compare with this configuration instead of the running agent; Sites count as their `initial` says
    #[arg(long, value_name = "OLD")]
    against: Option<PathBuf>,
    /// Use the queries of this file: `name type` lines as for dnsperf, or lines of `zerottl trace` [default: A and AAAA of
    /// every name, by clients from anywhere]
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The base that the candidate is compared with.
enum Base {
    /// A running agent, with where it is.
    Agent(String, Box<StatusPage>),
    /// Another file.
    File(Box<config::Loaded>),
    /// Nothing, and why.
    Nothing(String),
}

/// Runs the command.
pub async fn simulate(arguments: SimulateArguments) -> Result<(), CommandError> {
    let load = |file: &Path| super::load(file).map_err(|error| CommandError::report(&error));
    let candidate = load(&arguments.config)?;
    let listed = arguments.queries.as_deref().map(read_queries).transpose()?;
    let base = match &arguments.against {
        Some(file) => Base::File(Box::new(load(file)?)),
        None => ask_agent(&candidate).await?,
    };
    let mut warnings: Vec<_> = candidate.warnings.iter().map(config::Problem::line).collect();
    if let Base::Agent(_, page) = &base {
        warnings.extend(forgotten(page, &candidate.model));
        if page.names_omitted > 0 {
            let (omitted, listed) = (page.names_omitted, page.names.len());
            warnings.push(format!(
                "warning: the agent tells of {listed} names and leaves out {omitted}, which are not compared (give the file \
                 that it runs by as `--against`)"
            ));
        }
    }
    let refusals = bundles::refusals(&candidate.model, &candidate.zones);
    let absent = bundles::absent(&candidate.model);
    warnings.extend(refusals.iter().chain(&absent).map(|warning| format!("warning: {warning}")));
    for warning in &warnings {
        super::complain(warning);
    }
    let against = match (&base, &arguments.against) {
        (Base::Agent(at, page), _) => {
            format!("against the agent at {at} (plan {}), with the health that it sees", page.plan.generation)
        }
        (Base::File(_), Some(file)) => format!("against {}, with Sites as `initial` says", file.display()),
        (Base::File(_), None) => String::new(),
        (Base::Nothing(why), _) => format!("against nothing ({why}), with Sites as `initial` says"),
    };
    let compared = tokio::task::spawn_blocking(move || run(candidate, base, listed.as_deref()));
    let (changes, runs) = compared.await.map_err(|error| format!("the simulation failed: {error}"))??;
    if arguments.json {
        let mut page = serde_json::to_value(&changes).map_err(|error| format!("writing JSON failed: {error}"))?;
        page["queries"] = runs.into();
        page["against"] = against.into();
        if !refusals.is_empty() {
            page["bundles"] = refusals.into();
        }
        return print(format!("{page}\n").as_bytes());
    }
    let head = format!("{}: {runs} queries, {against}\n\n", arguments.config.display());
    print((head + &changes.to_text()).as_bytes())
}

/// Returns what the agent would forget, as far as no state directory here has said so.
fn forgotten(page: &StatusPage, candidate: &Model) -> Vec<String> {
    if zerottl_host::state::writer::peek(&candidate.state).is_ok() {
        return Vec::new();
    }
    let lost = page.sites.iter().filter(|site| candidate.site_by_key(&site.key).is_none());
    let said = lost.flat_map(|site| site.word.iter().chain(&site.weight_order).map(move |page| (site, page)));
    let words = said.map(|(site, page)| {
        format!(
            "warning: `{}` (by {}) of Site `{}` would be forgotten: the file has no such Site",
            page.what, page.by, site.key
        )
    });
    words.collect()
}

/// The agent at the candidate's admin address. Where none answers, all is shown as it will be; where one does but not as
/// it should, that is an error.
async fn ask_agent(candidate: &config::Loaded) -> Result<Base, CommandError> {
    let admin = &candidate.model.admin;
    let Some(place) = super::nearest(admin) else {
        return Ok(Base::Nothing("there is no [admin] `listen`, so no agent can be asked".into()));
    };
    let at = AgentAddress { place: place.clone(), token: admin.token.clone() };
    match client::get(&at, "/v1/status").await {
        Ok(body) => {
            let page = serde_json::from_slice(&body)
                .map_err(|error| format!("what answers at {at} is no agent of this version ({error})"))?;
            Ok(Base::Agent(at.to_string(), Box::new(page)))
        }
        Err(error @ ClientError::Connect(..)) => Ok(Base::Nothing(error.to_string())),
        Err(error) => Err(super::unasked(&error)),
    }
}

fn read_queries(file: &Path) -> Result<Vec<QuestionGroup>, CommandError> {
    let fault = |error: &dyn std::fmt::Display| CommandError::Sentence(format!("{}: {error}", file.display()));
    let mut text = String::new();
    let opened = fs::File::open(file).map_err(|error| fault(&error))?;
    opened.take(QUERIES_LEN_MAX).read_to_string(&mut text).map_err(|error| fault(&error))?;
    queries::read(&text).map_err(|error| fault(&error))
}

/// Loads what there is, asks it, and compares; the number of queries run besides.
fn run(
    candidate: config::Loaded,
    base: Base,
    listed: Option<&[QuestionGroup]>,
) -> Result<(Changes, u64), CommandError> {
    let words = |error: zerottl::simulate::SimulateError| CommandError::Sentence(error.to_string());
    let (page, old) = match base {
        Base::Agent(_, page) => (Some(page), None),
        Base::File(old) => (None, Some(*old)),
        Base::Nothing(_) => (None, None),
    };
    let status =
        |model: &Model| page.as_deref().map_or_else(|| Assessment::unknown(model), |page| status_of(page, model));
    let mut then = Simulation::load(candidate, status).map_err(words)?;
    let mut now = old.map(|old| Simulation::load(old, Assessment::unknown)).transpose().map_err(words)?;
    // Names that go are asked for, too: what becomes of them is part of the change.
    let gone: Vec<_> = page.iter().flat_map(|page| &page.names).filter_map(|name| name.name.parse().ok()).collect();
    // What is new cannot be told from what the agent's page leaves out.
    let told = page.as_ref().filter(|page| page.names_omitted > 0).map(|page| names_of(page));
    let all = || match &told {
        Some(_) => queries::every(gone.iter()),
        None => queries::every(now.iter().flat_map(Simulation::names).chain(&gone).chain(then.names())),
    };
    let groups = listed.map_or_else(all, <[QuestionGroup]>::to_vec);
    let times = queries::times(groups.len());
    let runs: usize = groups.iter().map(|group| group.askers.len().max(times)).sum();
    let runs = runs as u64 * if now.is_some() { 2 } else { 1 };

    let bar = progress(runs);
    let answers_then = then.run(&groups, times, |ran| bar.inc(ran)).map_err(words)?;
    let mut names_then: Names = then.names().map(ToString::to_string).collect();
    if let Some(told) = &told {
        names_then.retain(|name| told.contains(name));
    }
    let before = match (&mut now, &page) {
        (Some(now), _) => {
            let names = now.names().map(ToString::to_string).collect();
            Some((now.run(&groups, times, |ran| bar.inc(ran)).map_err(words)?, names))
        }
        (None, Some(page)) => {
            let answers = Answers::of_page(page);
            let answers = if listed.is_some() { answers.within(&answers_then) } else { answers };
            Some((answers, names_of(page)))
        }
        (None, None) => None,
    };
    bar.finish_and_clear();
    // Two samples differ by more than one does from the truth.
    let precision = queries::precision(times) * if now.is_some() { std::f64::consts::SQRT_2 } else { 1.0 };
    let before = before.as_ref().map(|(answers, names): &(Answers, Names)| (answers, names));
    Ok((compare(before, (&answers_then, &names_then), precision), runs))
}

fn names_of(page: &StatusPage) -> Names {
    page.names.iter().map(|name| name.name.clone()).collect()
}

/// On a terminal only.
fn progress(runs: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(runs), target);
    if let Ok(style) = ProgressStyle::with_template("simulating {bar:30} {human_pos} of {human_len} queries, {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
