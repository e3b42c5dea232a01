//! A file that keeps the sessions of a Site that is one machine, so that a restart loses none.
//!
//! To the store the journal is the one server that it has: changed sessions come by a queue, each once, and a thread writes all
//! that have come while the last commit was under way by the next one. A commit is on the disk when it returns.
//!
//! | `write` | what holds |
//! |---|---|
//! | `async` | A change is acknowledged at once, as long as the oldest one that is not on the disk is younger than [`LAG_MAX`]; so whatever ends the process loses changes of one second at most. |
//! | `ack-one`, `ack-all` | A change is acknowledged when it is on the disk. |

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableTable as _, StorageError, TableDefinition, backends::FileBackend};
use tokio_util::sync::CancellationToken;
use zerottl_core::session_id::SessionId;

use crate::{
    clock,
    entry::{Entry, Phase},
    lease::Moment,
    version::{Epoch, Version},
};

/// In the queue of each entry, the journal stands where the first server would.
pub(crate) const PLACE: usize = 0;
/// The age of the oldest change that is not on the disk from which on changes wait for it, in any mode.
pub const LAG_MAX: Duration = Duration::from_secs(1);
/// Bytes of the file that are kept in memory.
const CACHE: usize = 16 << 20;
/// The form of the file.
const FORMAT: &str = "1";

/// A session as the file has it: epoch, number, when it ends (Unix, ms), and its data; none if it was ended for good.
pub(crate) type Row<'a> = (u64, u64, u64, Option<&'a [u8]>);
pub(crate) const SESSIONS: TableDefinition<'_, [u8; 16], Row<'_>> = TableDefinition::new("sessions");
/// `format` and `site`.
const ABOUT: TableDefinition<'_, &str, &str> = TableDefinition::new("about");

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened.
    #[error("journal {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The fault.
        source: io::Error,
    },
    /// Another process has it.
    #[error("journal {}: another process uses it", .0.display())]
    InUse(PathBuf),
    /// It cannot be read.
    #[error(
        "journal {}: it is damaged, or none of zerottl's ({why}); with another file, or without this one, sessions begin anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: Box<str>,
    },
    /// It is another Site's.
    #[error("journal {}: it is of the Site {site}", path.display())]
    OtherSite {
        /// The file.
        path: PathBuf,
        /// The Site.
        site: Box<str>,
    },
    /// It was made by another release.
    #[error("journal {}: its form is {format}, and this release writes form {FORMAT}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its form.
        format: Box<str>,
    },
    /// There is no thread for it.
    #[error("the journal's thread: {0}")]
    Thread(#[source] io::Error),
}

/// A session as it was read from the file.
#[derive(Debug)]
pub(crate) struct JournalRow {
    id: SessionId,
    version: Version,
    data: Option<Bytes>,
    /// How much longer it lives.
    left: Duration,
}

impl JournalRow {
    /// Makes what is kept in memory of it.
    pub(crate) fn entry(self, life: Duration) -> Entry {
        let now = clock::now();
        let (has_ended, used) = (self.data.is_none(), now.saturating_sub(life.saturating_sub(self.left)));
        let entry = Entry::new(self.id, self.version, self.data, vec![PLACE], now);
        {
            let mut state = entry.state();
            if has_ended {
                state.phase = Phase::Ended;
            }
            (state.used, state.prolonged) = (used, used);
            state.acknowledge(PLACE, self.version);
        }
        entry
    }
}

/// The journal of a store.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// When the oldest change was made that is being written, ms; 0 while none is.
    pub(crate) oldest: AtomicU64,
    /// Sessions that were written.
    pub(crate) written: AtomicU64,
    /// Commits that were made of them.
    pub(crate) commits: AtomicU64,
    why: Mutex<Option<String>>,
    /// Asks the thread to end; and it has.
    pub(crate) closing: CancellationToken,
    pub(crate) closed: CancellationToken,
}

/// A file that is open, before anybody writes it.
#[derive(Debug)]
pub(crate) struct OpenJournal {
    pub(crate) journal: Arc<Journal>,
    pub(crate) database: Database,
    pub(crate) rows: Vec<JournalRow>,
}

impl OpenJournal {
    /// Opens the file of a Site, makes it if there is none, and reads all of it.
    pub(crate) fn open(path: &Path, site: &str, cancel: &CancellationToken) -> Result<Self, JournalError> {
        // A file that was written by somebody else may make its reader panic.
        let opened = panic::catch_unwind(AssertUnwindSafe(|| {
            let database = open(path)?;
            let rows = read(&database, path, site)?;
            Ok((database, rows))
        }));
        let damaged = |_| Err(JournalError::Damaged { path: path.to_owned(), why: "it cannot be read".into() });
        let (database, rows) = opened.unwrap_or_else(damaged)?;
        let journal = Journal {
            path: path.to_owned(),
            oldest: AtomicU64::new(0),
            written: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            why: Mutex::default(),
            closing: cancel.child_token(),
            closed: CancellationToken::new(),
        };
        Ok(Self { journal: Arc::new(journal), database, rows })
    }
}

impl Journal {
    /// Whether changes have to wait for the disk.
    pub(crate) fn is_behind(&self) -> bool {
        let oldest = self.oldest.load(Relaxed);
        let is_old = oldest != 0 && clock::now().saturating_sub(Duration::from_millis(oldest)) >= LAG_MAX;
        is_old || self.closing.is_cancelled()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Why it cannot be written, if so.
    pub(crate) fn why(&self) -> Option<String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why it cannot be written, or that it can.
    pub(crate) fn set_why(&self, why: Option<String>) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Writes what is not yet, and closes the file.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// Returns when a session ends that was used then, in ms of Unix time, which goes on over a restart of the machine.
pub(crate) fn ends(used: Moment, life: Duration) -> u64 {
    let left = life.saturating_sub(clock::now().saturating_sub(used));
    u64::try_from((unix_now() + left).as_millis()).unwrap_or(u64::MAX)
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Opens a file, which is nobody else's business.
fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens the file again that could be opened before.
pub(crate) fn reopen(path: &Path) -> Result<Database, DatabaseError> {
    redb::Builder::new().set_cache_size(CACHE).create_with_backend(FileBackend::new(file(path)?)?)
}

fn open(path: &Path) -> Result<Database, JournalError> {
    let failed = |source| JournalError::File { path: path.to_owned(), source };
    let damaged = |why: &dyn ToString| JournalError::Damaged { path: path.to_owned(), why: why.to_string().into() };
    let file = file(path).map_err(failed)?;
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(damaged(&"it is no file"));
    }
    let opened = FileBackend::new(file).and_then(|backend| {
        redb::Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).create_with_backend(backend)
    });
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            JournalError::InUse(path.to_owned())
        }
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            failed(source)
        }
        other => damaged(&other),
    })
}

/// Reads all sessions that have not ended by time, and takes those out that have.
fn read(database: &Database, path: &Path, site: &str) -> Result<Vec<JournalRow>, JournalError> {
    let now = u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX);
    let all = || -> Result<Result<Vec<JournalRow>, JournalError>, redb::Error> {
        let transaction = database.begin_write()?;
        let mut rows = Vec::new();
        {
            let mut about = transaction.open_table(ABOUT)?;
            let text = |found: Option<redb::AccessGuard<'_, &str>>| found.map(|found| Box::<str>::from(found.value()));
            let (format, of) = (text(about.get("format")?), text(about.get("site")?));
            if let Some(format) = format.filter(|format| **format != *FORMAT) {
                return Ok(Err(JournalError::OtherFormat { path: path.to_owned(), format }));
            }
            if let Some(site) = of.filter(|of| **of != *site) {
                return Ok(Err(JournalError::OtherSite { path: path.to_owned(), site }));
            }
            about.insert("format", FORMAT)?;
            about.insert("site", site)?;
            let mut sessions = transaction.open_table(SESSIONS)?;
            sessions.retain(|_, (_, _, ends, _)| ends > now)?;
            for row in sessions.iter()? {
                let (id, row) = row?;
                let (epoch, number, ends, data) = row.value();
                rows.push(JournalRow {
                    id: SessionId(id.value()),
                    version: Version { epoch: Epoch(epoch), number },
                    data: data.map(Bytes::copy_from_slice),
                    left: Duration::from_millis(ends.saturating_sub(now)),
                });
            }
        }
        transaction.commit()?;
        Ok(Ok(rows))
    };
    all().unwrap_or_else(|error| Err(JournalError::Damaged { path: path.to_owned(), why: error.to_string().into() }))
}
