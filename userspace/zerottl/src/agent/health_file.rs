//! Watches the file of `[health]`, by which any program states the health of Sites, or that of a fleet, which has words, too.
//!
//! It is looked at once a second and read when it has changed and then stayed for one look, as the configuration's own
//! files are. What cannot be read, or is too long, changes nothing of what it stated before.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use thiserror::Error;
use tokio::{sync::watch, task::spawn_blocking, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use zerottl_core::{
    model::{FleetEngine, Model},
    saved_state::ms,
    statements::{FILE_MAX, FileReading, LineFaults, health_of, parse, words_of},
};

use super::{file_words::FileWords, files::Files};
use crate::{control::health::HealthHandle, observe::health_file::HealthFileState};

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The reason why the file gives no statements.
#[derive(Debug, Error)]
enum HealthFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a file")]
    NotAFile,
    #[error("it is longer than {} MiB", FILE_MAX >> 20)]
    TooLong,
}

/// Reads the file of a model whenever it changes, until cancelled.
pub(super) async fn watch(
    model: Arc<Model>,
    health: HealthHandle,
    mut words: FileWords,
    state: watch::Sender<HealthFileState>,
    cancel: CancellationToken,
) {
    let Some((path, takes_words)) = file_of(&model) else { return cancel.cancelled().await };
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut files: Option<Files> = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
        }
        let (of, model) = (path.clone(), Arc::clone(&model));
        // A disk may be slow, and a long file takes its time.
        let looking = spawn_blocking(move || look(files.take(), &of, &model, takes_words));
        let looked = tokio::select! {
            () = cancel.cancelled() => return,
            looked = looking => looked,
        };
        let Ok((watched, found)) = looked else {
            // It panicked, which was written; a new look begins anew.
            files = None;
            continue;
        };
        files = Some(watched);
        if let Some(found) = found {
            if let Ok((reading, faults)) = &found {
                words.read(reading, faults.count == 0, Instant::now());
            }
            take(&path, found, &health, &state);
        }
        let refused = tokio::select! {
            () = cancel.cancelled() => return,
            refused = words.apply() => refused,
        };
        state.send_if_modified(|state| {
            let is_new = state.refused != refused;
            state.refused = refused;
            is_new
        });
    }
}

/// The file of a model, and whether words are taken from it: that of a fleet, or of health alone.
fn file_of(model: &Model) -> Option<(PathBuf, bool)> {
    match model.fleet.as_ref().map(|fleet| &fleet.engine) {
        Some(FleetEngine::File(path)) => Some((path.clone(), true)),
        _ => Some((model.health_file.clone()?, false)),
    }
}

/// The findings in a file: its statements, and the lines that are left out.
type Found = Result<(FileReading, LineFaults), HealthFileError>;

/// Looks at the file, and reads it at the first look and where it has changed.
fn look(files: Option<Files>, path: &Path, model: &Model, takes_words: bool) -> (Files, Option<Found>) {
    match files {
        None => {
            let files = Files::new(vec![path.to_owned()]);
            (files, Some(read(path, model, takes_words)))
        }
        Some(mut files) => {
            let found = files.changed().then(|| read(path, model, takes_words));
            (files, found)
        }
    }
}

fn read(path: &Path, model: &Model, takes_words: bool) -> Found {
    // The kind first: opening a FIFO would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(HealthFileError::NotAFile);
    }
    let file = fs::File::open(path)?;
    let changed = file.metadata()?.modified()?;
    let mut text = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(HealthFileError::TooLong);
    }
    let parsed = parse(&text);
    let (statements, of_sites) = health_of(model, &parsed.statements, takes_words);
    let mut faults = parsed.faults;
    faults.extend(of_sites);
    let reading = FileReading {
        // One that is to change in the future has just changed.
        age: SystemTime::now().duration_since(changed).unwrap_or_default(),
        at_wall_ms: changed.duration_since(UNIX_EPOCH).map_or(0, ms),
        name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        statements,
        words: if takes_words { words_of(&parsed.statements) } else { Vec::new() },
    };
    Ok((reading, faults))
}

/// Hands on what was found, and says what is wrong with it where that is new.
fn take(path: &Path, found: Found, health: &HealthHandle, state: &watch::Sender<HealthFileState>) {
    let before = state.borrow().clone();
    let now = match found {
        Ok((reading, faults)) => {
            health.read_file(&reading);
            HealthFileState {
                path: Some(path.to_owned()),
                statements: reading.statements.len(),
                faults: faults.first.iter().map(ToString::to_string).collect(),
                ignored: faults.count,
                error: None,
                refused: before.refused.clone(),
            }
        }
        Err(error) => HealthFileState { path: Some(path.to_owned()), error: Some(error.to_string()), ..before.clone() },
    };
    let (old, new) = (before.alarms(), now.alarms());
    for (_, message) in new.iter().filter(|alarm| !old.contains(alarm)) {
        warn!("{message}");
    }
    if new.is_empty() && !old.is_empty() {
        info!("{} is in order again", path.display());
    }
    if before.path.is_none() && now.error.is_none() {
        info!(statements = now.statements, "{} is watched for statements of health", path.display());
    }
    state.send_replace(now);
}
