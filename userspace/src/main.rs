//! The `zerottl` command.
#![forbid(unsafe_code)]

use std::{
    io::{self, IsTerminal, Write},
    net::{IpAddr, SocketAddr},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand};
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use zerottl::{
    admin::{client, explain::Explanation, status::StatusPage},
    agent, config, dns, plan,
};

/// Where the agent's admin interface is, unless told.
const ADMIN: &str = "127.0.0.1:8053";

/// DNS load balancing and failover with answers that live zero seconds, decided in the kernel.
#[derive(Debug, Parser)]
#[command(name = "zerottl", version, about, propagate_version = true, disable_help_subcommand = true)]
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
        /// The client that asks; matters for sticky names
        #[arg(long, value_name = "IP")]
        client: Option<IpAddr>,
        #[command(flatten)]
        agent: AgentAt,
        /// Print JSON
        #[arg(long)]
        json: bool,
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

/// How to find the running agent.
#[derive(Debug, clap::Args)]
struct AgentAt {
    /// The agent's admin address [default: 127.0.0.1:8053]
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    admin: Option<SocketAddr>,
    /// Take the admin address from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AgentAt {
    fn address(&self) -> Result<SocketAddr, String> {
        match (&self.admin, &self.config) {
            (Some(address), _) => Ok(*address),
            (None, Some(file)) => {
                let loaded = config::load(file).map_err(|error| render(&error))?;
                loaded.model.admin.listen.ok_or_else(|| {
                    format!("{}: there is no [admin] listen address, so the agent cannot be asked", file.display())
                })
            }
            (None, None) => Ok(ADMIN.parse().expect("the constant is an address")),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("starting the runtime failed: {error}")),
    };
    match runtime.block_on(execute(cli.command)) {
        Ok(code) => code,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("zerottl: {message}");
    ExitCode::FAILURE
}

async fn execute(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run { config } => run(&config).await,
        Command::Check { config, json } => check(&config, json),
        Command::Status { agent, json } => {
            show::<StatusPage>(agent.address()?, "/v1/status", json, StatusPage::to_text).await
        }
        Command::Explain { name, client, agent, json } => {
            let client = client.map(|client| format!("&client={client}")).unwrap_or_default();
            let path = format!("/v1/explain?name={}{client}", client::query_value(&name));
            show::<Explanation>(agent.address()?, &path, json, Explanation::to_text).await
        }
        Command::Trace { agent, count } => trace(agent.address()?, count).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "zerottl", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Cli::command(), &directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run(file: &Path) -> Result<ExitCode, String> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ZEROTTL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    logs.with_ansi(io::stderr().is_terminal()).init();

    let loaded = config::load(file).map_err(|error| render(&error))?;
    for warning in loaded.warnings.iter().map(config::Problem::line).chain(plan::share_warnings(&loaded.model)) {
        tracing::warn!("{warning}");
    }
    let cancel = CancellationToken::new();
    let stop = |kind| signal(kind).map_err(|error| format!("installing a signal handler failed: {error}"));
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    let on_signal = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        on_signal.cancel();
    });
    agent::run(loaded.model, cancel).await.map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The file alone decides: nothing is bound, attached or probed.
fn check(file: &Path, json: bool) -> Result<ExitCode, String> {
    let checked = config::load(file);
    let mut out = io::stdout().lock();
    let mut lines = Vec::new();
    let mut problems = Vec::new();
    let ok = match &checked {
        Err(error) => {
            lines.push(render(error));
            problems.extend(error.problems().iter().map(config::Problem::to_json));
            false
        }
        Ok(loaded) => {
            lines.extend(loaded.warnings.iter().map(|warning| warning.render(io::stdout().is_terminal())));
            problems.extend(loaded.warnings.iter().map(config::Problem::to_json));
            for warning in plan::share_warnings(&loaded.model) {
                lines.push(format!("warning: {warning}"));
                problems.push(serde_json::json!({ "severity": "warning", "message": warning }));
            }
            match dns::Zones::load(&loaded.model, Path::new("")) {
                Ok(_) => true,
                Err(error) => {
                    lines.push(format!("error: {error}"));
                    problems.push(serde_json::json!({ "severity": "error", "message": error.to_string() }));
                    false
                }
            }
        }
    };
    let text = if json {
        serde_json::json!({ "ok": ok, "problems": problems }).to_string()
    } else {
        if ok {
            lines.push(format!("{}: ok", file.display()));
        }
        lines.join("\n")
    };
    writeln!(out, "{text}").map_err(|error| format!("writing the result failed: {error}"))?;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(error: &config::ConfigError) -> String {
    error.render(io::stderr().is_terminal())
}

/// Asks the agent for a page and prints it.
async fn show<T: DeserializeOwned>(
    at: SocketAddr,
    path: &str,
    json: bool,
    to_text: impl FnOnce(&T) -> String,
) -> Result<ExitCode, String> {
    let body = client::get(at, path).await.map_err(|error| error.to_string())?;
    let mut out = io::stdout().lock();
    let written = if json {
        out.write_all(&body).and_then(|()| out.write_all(b"\n"))
    } else {
        let page: T = serde_json::from_slice(&body)
            .map_err(|error| format!("the agent at {at} answers in another version's words ({error}); try --json"))?;
        out.write_all(to_text(&page).as_bytes())
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("writing the result failed: {error}")),
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn trace(at: SocketAddr, count: Option<u64>) -> Result<ExitCode, String> {
    let mut left = count.unwrap_or(u64::MAX);
    let print = |line: &str| {
        // A closed pipe ends the trace, as `| head` means it to.
        if left == 0 || writeln!(io::stdout(), "{line}").is_err() {
            return ControlFlow::Break(());
        }
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    client::lines(at, "/v1/trace", print).await.map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}
