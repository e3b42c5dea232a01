//! `zerottl site`.

use std::{path::PathBuf, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use zerottl::{config, site::run};

use super::Failure;

/// Which Site, by which file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(flatten)]
    which: Option<Which>,
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
pub async fn site(arguments: Arguments, log: impl FnOnce()) -> Result<(), Failure> {
    let Some(which) = arguments.which else {
        return Err(Failure::Words("give --config FILE and --as SITE; see `zerottl site --help`".into()));
    };
    log();
    serve(which).await
}

async fn serve(Which { config: file, site }: Which) -> Result<(), Failure> {
    let loaded = config::load(&file).map_err(|error| Failure::shown(&error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.line());
    }
    let handle = |kind| signal(kind).map_err(|error| format!("installing a signal handler failed: {error}"));
    let (mut terminate, mut interrupt) = (handle(SignalKind::terminate())?, handle(SignalKind::interrupt())?);
    let mut hang_up = handle(SignalKind::hangup())?;
    let (reload, reloads) = mpsc::channel(1);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        let mut is_stopping = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hang_up.recv() => {
                    tracing::info!("SIGHUP: reloading");
                    // Where one waits already, it reads the file as it is now.
                    let _ = reload.try_send(());
                    continue;
                }
            };
            if is_stopping {
                std::process::exit(1);
            }
            is_stopping = true;
            tracing::info!("{name}: stopping, once requests under way have ended; once more to stop at once");
            stop.cancel();
        }
    });
    run::run(file, site, Arc::new(loaded.model), reloads, cancel, || {
        if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
            tracing::warn!("telling the supervisor failed: {error}");
        }
    })
    .await?;
    Ok(())
}
