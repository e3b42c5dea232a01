//! The `zerottl` command.
#![forbid(unsafe_code)]

mod cli;

use std::{
    io::{self, IsTerminal, Write},
    net::IpAddr,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use zerottl::{admin::explanation::Explanation, bundles, machine};
use zerottl_config as config;
use zerottl_core::{
    model::Model,
    plan::n_minus_one::{WorstLosses, sentence, worst},
    status::{AdminState, Assessment},
};
use zerottl_host::state::apart;
use zerottl_inputs::agent_client::{self as client, AgentAddress};

use crate::cli::{AgentAt, CommandError, complain, overrides, print, show, unasked};

/// Sentences of `check` on what the death of a Site would do.
const DEATHS_MAX: usize = 1_000;

/// Shown beneath the help.
const HELP_END: &str = "\
Exit status: 0 for success, 1 for failure, 2 if the command line is not understood.
Environment: ZEROTTL_LOG sets what `run` and `site` log, such as `debug` or `info,zerottl_inputs::probe=debug` [default: info];
ZEROTTL_LOG_FORMAT sets the format: `text`, `json` or `journald` [default: `journald` under systemd, else `text`];
ZEROTTL_TOKEN is the token for an agent that asks for one";

/// DNS load balancing and failover with a TTL of 0, decided in the kernel.
#[derive(Debug, Parser)]
#[command(name = "zerottl", version, about, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = HELP_END)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground, until SIGTERM or SIGINT
    Run {
        /// The configuration, TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take over from a running agent that uses the same pin directory
        #[arg(long)]
        take_over: bool,
    },
    /// Check a configuration; show every fault, its place and how to fix it
    Check {
        /// The configuration, TOML
        #[arg(long, value_name = "FILE", default_value = cli::INSTALLED)]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show Sites, names, shares, counters
    Status {
        #[command(flatten)]
        agent: AgentAt,
        #[command(flatten)]
        of: cli::status::Of,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show Sites with their answers per second, loads and problems, again every second; q quits
    Top {
        #[command(flatten)]
        agent: AgentAt,
    },
    /// Show how a name would be answered now, and why
    Explain {
        /// A name of a zone
        #[arg(add = clap_complete::engine::ArgValueCompleter::new(cli::completions::names))]
        name: String,
        /// A record type, such as MX [default: every type that the name has]
        #[arg(value_name = "TYPE")]
        rtype: Option<String>,
        /// The client's address; it matters for sticky names, and for Pool Names whose groups have client nets
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        /// Show the signatures of a signed zone too: which key and cohort, how long they are good, what proofs say
        #[arg(long)]
        dnssec: bool,
        #[command(flatten)]
        agent: AgentAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep new clients away from Sites: Pool and Group Names no longer answer them, their Site Names do
    Drain(overrides::Drain),
    /// Take Sites out as if they were down: their Site Names fail over too
    Maint(overrides::Say),
    /// Undo `drain` and `maint`, and end a hold-down
    Ready(overrides::Say),
    /// Set another weight for Sites, or restore the configured one
    Weight(overrides::Weigh),
    /// Show which secrets of DNS cookies the fronts of a fleet accept and make, or have all make another
    CookieSecrets(cli::cookie_secrets::CookieSecretsArguments),
    /// Make the agent read its file again; a file with a fault changes nothing, and the faults are shown
    Reload {
        #[command(flatten)]
        agent: AgentAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an XDP program that an agent has left on its interfaces
    Detach {
        #[command(flatten)]
        agent: AgentAt,
    },
    /// Show a sample of the packets the XDP program sees, as lines of JSON
    Trace {
        #[command(flatten)]
        agent: AgentAt,
        /// Stop after this many packets
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// Show what a configuration would change in the answers, before anything is touched
    Simulate(cli::simulate::SimulateArguments),
    /// Run the front of a Site, which binds clients to it: redirects, and a proxy to its application servers
    ///
    /// SIGHUP reads the file and the certificates again, SIGUSR1 reopens the access log. SIGUSR2 starts a new process with the
    /// same sockets, and ends this one once that serves. SIGTERM and SIGINT stop it, after `lame_duck` of [web.limits]; SIGQUIT
    /// without that.
    Site(cli::site::SiteArguments),
    /// Run the distributor of a Site, which starts its application servers and has the kernel give them the connections; or ask
    /// one that runs
    ///
    /// SIGTERM and SIGINT stop it and its servers, which may finish their connections within `drain_timeout` of [director].
    Director(cli::director::DirectorArguments),
    /// Show how the sessions of a Site stand, or one of them: who hosts it, and where its copies are
    Session(cli::session::SessionArguments),
    /// Show what the parent of a signed zone needs, and its keys
    Dnssec(cli::dnssec::DnssecArguments),
    /// Make a bundle of signatures for some time ahead, on a host with the keys: front ends answer with it and have none
    Sign(cli::sign::SignArguments),
    /// Print shell completions
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    Man {
        /// The directory; it must exist
        directory: PathBuf,
    },
}

fn main() -> ExitCode {
    // First of all: it is this program that is run for it.
    if let Some(done) = apart::command() {
        return done;
    }
    if let Some(done) = zerottl_director::spawn::command() {
        return done;
    }
    apart::by("/proc/self/exe".into());
    cli::completions::answer(Cli::command);
    let cli = Cli::parse();
    let result = match cli.command {
        // It is a single thread.
        Command::Director(arguments) if arguments.is_keeper() => cli::director::keep(&arguments),
        command => match tokio::runtime::Runtime::new() {
            Ok(runtime) => runtime.block_on(execute(command)),
            Err(error) => Err(CommandError::Sentence(format!("starting the runtime failed: {error}"))),
        },
    };
    result.unwrap_or_else(|error| {
        complain(&error.to_string());
        ExitCode::FAILURE
    })
}

async fn execute(command: Command) -> Result<ExitCode, CommandError> {
    // Of every command: a slip is told before anybody relies on it.
    let log = cli::log::Log::from_environment().map_err(|error| error.to_string())?;
    match command {
        Command::Run { config, take_over } => {
            log.start();
            cli::run::run(config, take_over).await?;
        }
        Command::Check { config, json } => return check(&config, json),
        Command::Status { agent, of, json } => cli::status::status(&agent, &of, json).await?,
        Command::Top { agent } => cli::top::top(agent.address()?).await?,
        Command::Explain { name, rtype, client, dnssec, agent, json } => {
            let client = client.map(|client| format!("&client={client}")).unwrap_or_default();
            let rtype = rtype.map(|rtype| format!("&type={}", client::query_value(&rtype))).unwrap_or_default();
            let dnssec = if dnssec { "&dnssec=true" } else { "" };
            let path = format!("/v1/explain?name={}{rtype}{client}{dnssec}", client::query_value(&name));
            show::<Explanation>(agent.address()?, &path, json, Explanation::to_text).await?;
        }
        Command::Drain(drain) => drain.run().await?,
        Command::Maint(say) => say.run(AdminState::Maint).await?,
        Command::Ready(say) => say.run(AdminState::Ready).await?,
        Command::Weight(weigh) => weigh.run().await?,
        Command::CookieSecrets(arguments) => arguments.run().await?,
        Command::Reload { agent, json } => cli::reload::reload(&agent, json).await?,
        Command::Detach { agent } => cli::pinned_state::detach(&agent)?,
        Command::Trace { agent, count } => trace(agent.address()?, count).await?,
        Command::Simulate(arguments) => cli::simulate::simulate(arguments).await?,
        Command::Site(arguments) => cli::site::site(arguments, || log.start()).await?,
        Command::Director(arguments) => cli::director::director(arguments, || log.start()).await?,
        Command::Dnssec(arguments) => cli::dnssec::dnssec(arguments)?,
        Command::Sign(arguments) => cli::sign::sign(&arguments)?,
        Command::Session(arguments) => cli::session::session(arguments).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            cli::completions::write(shell, &mut script).map_err(|error| error.to_string())?;
            print(&script)?;
        }
        Command::Man { directory } => {
            cli::man::write(Cli::command(), &directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what of the file does not fit this machine, if it is likely to be the one that the file is for, and which bundles
/// are not here.
fn misfits(loaded: &config::Loaded) -> Vec<String> {
    let front = &loaded.model.front;
    let seen = machine::look(front).ok().filter(|seen| machine::is_it(front, seen));
    let of_front = seen.map(|seen| machine::warnings(front, &seen)).unwrap_or_default();
    of_front.into_iter().chain(bundles::absent(&loaded.model)).collect()
}

/// Returns why a front end would refuse the file: names that a bundle does not sign, above all.
fn refusals(loaded: &config::Loaded) -> Vec<String> {
    bundles::refusals(&loaded.model, &loaded.zones)
}

/// The files alone decide, and nothing is bound, attached or probed; what does not fit the machine is a warning.
fn check(file: &Path, json: bool) -> Result<ExitCode, CommandError> {
    let checked = cli::load(file);
    let problems = match &checked {
        Ok(loaded) => &loaded.warnings[..],
        Err(error) => error.problems(),
    };
    let refusals = checked.as_ref().map(refusals).unwrap_or_default();
    let is_ok = checked.is_ok() && refusals.is_empty();
    if json {
        let problems: Vec<_> = problems.iter().map(config::Problem::to_json).collect();
        let mut result = serde_json::json!({ "ok": is_ok, "problems": problems });
        let deaths = checked.as_ref().map(|loaded| deaths(&loaded.model)).unwrap_or_default();
        if !deaths.is_empty() {
            result["if_a_site_dies"] = deaths.iter().map(|line| line.trim_end()).collect();
        }
        if !refusals.is_empty() {
            result["bundles"] = refusals.into();
        }
        let misfits = checked.as_ref().map(misfits).unwrap_or_default();
        if !misfits.is_empty() {
            result["on_this_machine"] = misfits.into();
        }
        print(format!("{result}\n").as_bytes())?;
    } else {
        match &checked {
            Ok(loaded) => {
                for warning in problems {
                    complain(&warning.render(io::stderr().is_terminal()));
                }
                for warning in misfits(loaded) {
                    complain(&format!("warning: {}: {warning}", file.display()));
                }
                for refusal in &refusals {
                    complain(&format!("error: {}: {refusal}", file.display()));
                }
                let ok = if is_ok { format!("{}: ok\n", file.display()) } else { String::new() };
                print((ok + &deaths(&loaded.model).concat()).as_bytes())?;
            }
            Err(error) => complain(&error.render(io::stderr().is_terminal())),
        }
    }
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Describes what the death of a Site would do to the others, where capacities are configured: a line each.
fn deaths(model: &Model) -> Vec<String> {
    let status = Assessment::unknown(model);
    let WorstLosses { losses, omitted } = worst(model, &status, DEATHS_MAX);
    let line = |(_, loss)| format!("as full as its weights let it be, {}\n", sentence(model, &loss));
    let more = (omitted > 0).then(|| format!("these are the worst; {omitted} more are not shown\n"));
    losses.into_iter().map(line).chain(more).collect()
}

async fn trace(at: AgentAddress, count: Option<u64>) -> Result<(), CommandError> {
    let mut left = count.unwrap_or(u64::MAX);
    let print = |line: &str| {
        // A closed pipe ends the trace, as `| head` means it to.
        if left == 0 || writeln!(io::stdout(), "{line}").is_err() {
            return ControlFlow::Break(());
        }
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    client::lines(at, "/v1/trace", print).await.map_err(|error| unasked(&error))
}
