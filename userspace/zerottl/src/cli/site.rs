//! `zerottl site`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{InvalidHeaderName, InvalidHeaderValue},
};
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use zerottl_config::{self as config, Loaded};
use zerottl_host::resources::Descriptors;
use zerottl_kernel::inherited;
use zerottl_proxy::{Inherited, SiteCommand, SiteSetup, is_directed};
use zerottl_server::Contract;
use zerottl_site::explain::{self, ExplainRequest};

use super::{CommandError, print};

/// Signals that may wait until they are looked at.
const COMMANDS: usize = 16;

/// Which Site, by which file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SiteArguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    which: Option<Which>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show how a Site would handle a request, step by step
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The URL of the request, with scheme and host
    url: String,
    #[command(flatten)]
    which: Which,
    /// The client's address
    #[arg(long, value_name = "IP", default_value = "192.0.2.1")]
    client: IpAddr,
    /// The method
    #[arg(long, default_value = "GET")]
    method: Method,
    /// A header field; may be given again
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The HTTP version
    #[arg(long, value_name = "VERSION", default_value = "1.1", value_parser = ["1.0", "1.1", "2"])]
    http: String,
    /// The server's name in the TLS handshake, if it is not the URL's host
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// Assume that the request belongs to a session
    #[arg(long)]
    in_session: bool,
    /// Assume that the Site is too busy
    #[arg(long)]
    busy: bool,
    /// Assume that a Site is down; may be given again
    #[arg(long, value_name = "SITE")]
    down: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The fault of a header field.
#[derive(Debug, Error)]
enum BadHeader {
    #[error("no `:` between name and value")]
    NoColon,
    #[error(transparent)]
    Name(#[from] InvalidHeaderName),
    #[error(transparent)]
    Value(#[from] InvalidHeaderValue),
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), BadHeader> {
    let (name, value) = text.split_once(':').ok_or(BadHeader::NoColon)?;
    Ok((HeaderName::try_from(name.trim())?, HeaderValue::try_from(value.trim())?))
}

/// Which Site, by which file.
#[derive(Debug, clap::Args)]
struct Which {
    /// The configuration, TOML: the same file as the DNS side's, with a [web] section
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The Site that this machine belongs to, by its key in the file
    #[arg(long = "as", value_name = "SITE")]
    site: String,
}

/// Runs a Site until it is told to stop.
pub async fn site(arguments: SiteArguments, log: impl FnOnce()) -> Result<(), CommandError> {
    if let Some(Command::Explain(question)) = arguments.command {
        return explain(question);
    }
    let Some(which) = arguments.which else {
        return Err(CommandError::Sentence("give --config FILE and --as SITE; see `zerottl site --help`".into()));
    };
    log();
    serve(which).await
}

fn load(file: &Path) -> Result<Loaded, CommandError> {
    config::load(file).map_err(|error| CommandError::report(&error))
}

fn explain(asked: Explain) -> Result<(), CommandError> {
    let model = load(&asked.which.config)?.model;
    let known = |key: &String| model.known_site(key).map_err(|error| error.to_string());
    let site = known(&asked.which.site)?;
    let down = asked.down.iter().map(known).collect::<Result<_, _>>()?;
    let version = match asked.http.as_str() {
        "1.0" => Version::HTTP_10,
        "2" => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let question = ExplainRequest {
        url: asked.url,
        method: asked.method,
        version,
        headers: asked.header.into_iter().collect::<HeaderMap>(),
        client: asked.client,
        server_name: asked.sni,
        in_session: asked.in_session,
        busy: asked.busy,
        down,
    };
    let explanation = explain::explain(&model, site, &question).map_err(|error| error.to_string())?;
    let text = if asked.json {
        let json = serde_json::to_string(&explanation).map_err(|error| error.to_string())?;
        format!("{json}\n")
    } else {
        explanation.to_text()
    };
    print(text.as_bytes())
}

async fn serve(Which { config: file, site: key }: Which) -> Result<(), CommandError> {
    let _ = Descriptors::raised();
    let loaded = load(&file)?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.line());
    }
    let handle = |kind| signal(kind).map_err(|error| format!("installing a signal handler failed: {error}"));
    let (mut terminate, mut interrupt) = (handle(SignalKind::terminate())?, handle(SignalKind::interrupt())?);
    let (mut hang_up, mut reopen) = (handle(SignalKind::hangup())?, handle(SignalKind::user_defined1())?);
    let (mut leave, mut follow) = (handle(SignalKind::quit())?, handle(SignalKind::user_defined2())?);
    let (give, commands) = mpsc::channel(COMMANDS);
    tokio::spawn(async move {
        let mut is_stopping = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = leave.recv() => {
                    tracing::info!("SIGQUIT: stopping, since another process serves");
                    let _ = give.try_send(SiteCommand::Leave);
                    continue;
                }
                _ = follow.recv() => {
                    tracing::info!("SIGUSR2: starting the next process");
                    let _ = give.try_send(SiteCommand::Follow);
                    continue;
                }
                _ = hang_up.recv() => {
                    tracing::info!("SIGHUP: reloading");
                    // Where several wait already, they read the file as it is now.
                    let _ = give.try_send(SiteCommand::Reload);
                    continue;
                }
                _ = reopen.recv() => {
                    // Where reloads wait already, they do this, too.
                    let _ = give.try_send(SiteCommand::Reopen);
                    continue;
                }
            };
            if is_stopping {
                std::process::exit(1);
            }
            is_stopping = true;
            tracing::info!(
                "{name}: stopping once the requests under way have ended; a second signal stops immediately"
            );
            let _ = give.send(SiteCommand::Stop).await;
        }
    });
    let contract = if is_directed() { Contract::from_env().map_err(|error| error.to_string())? } else { None };
    let inherited = contract.map_or_else(|| Inherited::take(inherited::take), Inherited::of_director);
    let setup = SiteSetup { file, key, model: Arc::new(loaded.model), inherited };
    zerottl_proxy::run(setup, commands, CancellationToken::new(), || {
        if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
            tracing::warn!("telling the supervisor failed: {error}");
        }
    })
    .await
    .map_err(|error| error.to_string())?;
    Ok(())
}
