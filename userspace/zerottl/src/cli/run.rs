//! `zerottl run`.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use zerottl::{
    agent::{self, Start},
    control::commands::{self, AgentCommand},
};
use zerottl_core::model::OnStop;
use zerottl_host::resources::{AgentShare, Descriptors, boot_offset};

use super::CommandError;

/// A signal so soon after the first is the same one: `timeout` and terminals signal a process and its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The signals that tell the agent what to do.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    leave: Signal,
    reload: Signal,
}

/// Runs the agent until it is told to stop.
pub async fn run(file: PathBuf, take_over: bool) -> Result<(), CommandError> {
    AgentShare::tell(Descriptors::raised());
    let offset_s = boot_offset() / 1_000_000_000;
    if offset_s != 0 {
        tracing::info!(offset_s, "this is a time namespace: the kernel's clock since boot counts, not this one's");
    }
    let loaded = super::load(&file).map_err(|error| CommandError::report(&error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.line());
    }
    let handle = |kind| signal(kind).map_err(|error| format!("installing a signal handler failed: {error}"));
    let signals = Signals {
        terminate: handle(SignalKind::terminate())?,
        interrupt: handle(SignalKind::interrupt())?,
        leave: handle(SignalKind::user_defined1())?,
        reload: handle(SignalKind::hangup())?,
    };
    let (sender, receiver) = commands::channel();
    tokio::spawn(heed(signals, sender.clone()));
    agent::run(Start { file, loaded, take_over, commands: sender }, receiver)
        .await
        .map_err(|error| error.to_string())?;
    Ok(())
}

/// Hands on what signals say, for ever.
async fn heed(mut signals: Signals, commands: mpsc::Sender<AgentCommand>) {
    let mut first = None;
    loop {
        let (name, how) = tokio::select! {
            _ = signals.terminate.recv() => ("SIGTERM", None),
            _ = signals.interrupt.recv() => ("SIGINT", None),
            _ = signals.leave.recv() => ("SIGUSR1", Some(OnStop::Keep)),
            _ = signals.reload.recv() => {
                tracing::info!("SIGHUP: reloading");
                // Where as many wait already, one of them reads the file as it is now.
                let _ = commands.try_send(AgentCommand::Reload(None));
                continue;
            }
        };
        match first {
            None => {
                first = Some(Instant::now());
                tracing::info!("{name}: stopping; a second signal stops immediately");
                // An agent that does not listen any more is stopping.
                let _ = commands.send(AgentCommand::Stop(how)).await;
            }
            Some(first) if first.elapsed() < SAME_SIGNAL => {}
            Some(_) => {
                tracing::warn!("{name} again: stopping immediately; `zerottl detach` removes a program that was left");
                std::process::exit(1);
            }
        }
    }
}
