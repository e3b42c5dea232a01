//! The `zerottl` command.
#![forbid(unsafe_code)]

mod cli;

use std::{
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;
use zerottl::{
    admin::{client, explain::Explanation, status::StatusPage},
    config,
};

use crate::cli::{AgentAt, Failure, complain, print, show, unasked};

/// What is logged: the environment variable, in the words of `tracing_subscriber::EnvFilter`.
const LOG_VARIABLE: &str = "ZEROTTL_LOG";

/// Shown beneath the help.
const HELP_END: &str = "\
Exit status: 0 if it went well, 1 if not, 2 if the command line is not understood.
Environment: ZEROTTL_LOG says what `run` logs, such as `debug` or `info,zerottl::probe=debug` [default: info]";

/// DNS load balancing and failover with answers that live zero seconds, decided in the kernel.
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
        /// Make another agent that has the same pins leave, and go on in its place
        #[arg(long)]
        take_over: bool,
    },
    /// Check a configuration: exit 0, or 1 with every fault's place and mend
    Check {
        /// The configuration, TOML
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show Sites, names, shares, counters
    Status {
        #[command(flatten)]
        agent: AgentAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a name would be answered now, and why
    Explain {
        /// A Pool, Group or Site Name
        name: String,
        /// The client that asks; matters to sticky names, and to Pool Names whose groups have client nets
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        #[command(flatten)]
        agent: AgentAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take off a program that an agent has left on its interfaces
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
    let cli = Cli::parse();
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(execute(cli.command)),
        Err(error) => Err(Failure::Words(format!("starting the runtime failed: {error}"))),
    };
    let text = match result {
        Ok(code) => return code,
        Err(Failure::Words(words)) => format!("zerottl: {words}"),
        Err(Failure::Shown(text)) => text,
    };
    complain(&text);
    ExitCode::FAILURE
}

async fn execute(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run { config, take_over } => {
            log_to_stderr();
            cli::run::run(config, take_over).await?;
        }
        Command::Check { config, json } => return check(&config, json),
        Command::Status { agent, json } => {
            let shown = show::<StatusPage>(agent.address()?, "/v1/status", json, StatusPage::to_text).await;
            if shown.is_err() {
                cli::left::status(&agent, json)?;
            }
            shown?;
        }
        Command::Explain { name, client, agent, json } => {
            let client = client.map(|client| format!("&client={client}")).unwrap_or_default();
            let path = format!("/v1/explain?name={}{client}", client::query_value(&name));
            show::<Explanation>(agent.address()?, &path, json, Explanation::to_text).await?;
        }
        Command::Detach { agent } => cli::left::detach(&agent)?,
        Command::Trace { agent, count } => trace(agent.address()?, count).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "zerottl", &mut script);
            print(&script)?;
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn log_to_stderr() {
    let wish = std::env::var_os(LOG_VARIABLE);
    let parsed = wish.as_ref().map(|wish| {
        let wish = wish.to_str().ok_or_else(|| "it is not UTF-8".to_owned())?;
        EnvFilter::try_new(wish).map_err(|error| error.to_string())
    });
    let (filter, fault) = match parsed {
        Some(Ok(filter)) => (filter, None),
        Some(Err(fault)) => (EnvFilter::new("info"), Some(fault)),
        None => (EnvFilter::new("info"), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would panic where stderr is closed.
        .log_internal_errors(false)
        .init();
    if let Some(fault) = fault {
        tracing::warn!("{LOG_VARIABLE}: {fault}; logging as by `info`");
    }
}

/// The files alone decide: nothing is bound, attached or probed.
fn check(file: &Path, json: bool) -> Result<ExitCode, Failure> {
    let checked = config::load(file);
    let problems = match &checked {
        Ok(loaded) => &loaded.warnings[..],
        Err(error) => error.problems(),
    };
    if json {
        let problems: Vec<_> = problems.iter().map(config::Problem::to_json).collect();
        let result = serde_json::json!({ "ok": checked.is_ok(), "problems": problems });
        print(format!("{result}\n").as_bytes())?;
    } else {
        match &checked {
            Ok(_) => {
                for warning in problems {
                    complain(&warning.render(io::stderr().is_terminal()));
                }
                print(format!("{}: ok\n", file.display()).as_bytes())?;
            }
            Err(error) => complain(&error.render(io::stderr().is_terminal())),
        }
    }
    Ok(if checked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn trace(at: SocketAddr, count: Option<u64>) -> Result<(), Failure> {
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
