//! The sessions that this process hosts: from the configuration to a store, and what cookies have to know of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::warn;
use zerottl_core::{
    model::{SessionConfig, SessionServerConfig, Web},
    session_id::SessionId,
};
use zerottl_host::key_file::{PasswordFileError, read_password};
use zerottl_session::{Epoch, RemoteTarget, SessionStartError, SessionStore, StoreConfig, StorePage, Worker};
use zerottl_site::session::SessionEpochs;

use crate::directed::Directed;

/// Sessions copied again in a second, at most, after a session server has died.
const REPAIR_RATE: u32 = 5000;

/// The time for which a page of all sessions is shown again, at least.
const SHOWN: Duration = Duration::from_secs(1);
/// How much longer than it took to make a page is shown again: whoever asks all the time costs a twentieth of one CPU.
const SHOWN_FACTOR: u32 = 20;

/// Why sessions cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostingError {
    /// The file of the password.
    #[error("`servers_password` of [web.session]: {0}")]
    Password(#[from] PasswordFileError),
    /// Another file that the configuration names.
    #[error("`{key}` of [web.session]: {}: {source}", path.display())]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The fault.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] SessionStartError),
    /// The file by which other processes see that this one lives.
    #[error("a file beside the other processes' sockets: {0}")]
    Lock(#[source] io::Error),
}

/// This process, as other workers of the Site know it.
#[derive(Clone, Debug)]
pub struct WorkerPlace {
    /// Its name.
    pub name: String,
    /// Where its admin interface is reached: `http://HOST:PORT`, or the path of a Unix socket; empty for nowhere.
    pub reach: String,
    /// A folder that all processes of this machine that a director runs have in common.
    pub folder: Option<PathBuf>,
}

impl WorkerPlace {
    /// Describes this process: one that a director runs, or the Site's only one on this machine.
    pub(crate) fn new(site: &str, web: &Web, directed: Option<&Directed>) -> Self {
        let socket = directed.and_then(Directed::admin_path);
        let folder = socket.as_ref().and_then(|path| path.parent()).map(Path::to_owned);
        let name = directed.map(Directed::name).filter(|name| !name.is_empty()).unwrap_or(site).to_owned();
        let reach = match (socket, web.admin.filter(|_| directed.is_none())) {
            (Some(path), _) => path.to_string_lossy().into_owned(),
            (None, Some(at)) if !at.ip().is_unspecified() => format!("http://{at}"),
            _ => String::new(),
        };
        Self { name, reach, folder }
    }
}

/// Starts to host sessions as the configuration says; none if it has neither session servers nor a journal. Inside a tokio runtime.
pub fn start(
    config: &SessionConfig,
    site: &str,
    place: &WorkerPlace,
    cancel: &CancellationToken,
) -> Result<Option<SessionStore>, HostingError> {
    if config.servers.is_empty() && config.journal.is_none() {
        return Ok(None);
    }
    let password = config.servers_password.as_deref().map(read_password).transpose()?;
    let ca = config.servers_ca.as_deref().map(|path| read("servers_ca", path)).transpose()?;
    let target = |server: &SessionServerConfig| RemoteTarget {
        name: server.name.clone(),
        domain: server.domain.clone(),
        url: server.url.clone(),
        password: password.clone(),
        ca: ca.clone().filter(|_| server.tls),
    };
    let store = StoreConfig {
        site: site.trim_end_matches('.').to_ascii_lowercase(),
        servers: config.servers.iter().map(target).collect(),
        copies: config.copies,
        write: config.write,
        life: config.lifetime.max(Duration::from_secs(1)),
        lease: config.lease,
        timeout: config.timeout,
        size_max: config.size_max,
        sessions_max: config.sessions_max,
        repair_rate: REPAIR_RATE,
    };
    let worker = Worker::new(&place.name, &place.reach, place.folder.as_deref()).or_else(|error| {
        warn!(%error, "the death of this process will be seen by others only when its lease ends");
        Worker::new(&place.name, &place.reach, None)
    });
    let worker = worker.map_err(HostingError::Lock)?;
    Ok(Some(match &config.journal {
        Some(journal) => SessionStore::with_journal(store, worker, journal, cancel)?,
        None => SessionStore::start(store, worker, cancel)?,
    }))
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, HostingError> {
    fs::read(path).map_err(|source| HostingError::File { key, path: path.to_owned(), source })
}

/// The state of all sessions for metrics, about a second old: to make a page is to look at each session. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ShownSessions {
    store: SessionStore,
    last: Arc<Mutex<Option<ShownPage>>>,
}

/// The page that was made last.
#[derive(Debug)]
struct ShownPage {
    /// It is shown until then.
    until: Instant,
    page: Arc<StorePage>,
}

impl ShownSessions {
    /// Shows those of a store.
    pub(crate) fn new(store: SessionStore) -> Self {
        Self { store, last: Arc::default() }
    }

    /// Returns the page, which may be the one that somebody else has asked for.
    pub(crate) fn page(&self) -> Arc<StorePage> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        if let Some(shown) = last.as_ref().filter(|shown| begun < shown.until) {
            return Arc::clone(&shown.page);
        }
        let page = Arc::new(self.store.page());
        let until = begun + SHOWN.max(begun.elapsed() * SHOWN_FACTOR);
        *last = Some(ShownPage { until, page: Arc::clone(&page) });
        page
    }
}

/// The epochs of the sessions that are hosted here, for their cookies.
#[derive(Debug)]
pub struct HostedEpochs(SessionStore);

impl HostedEpochs {
    /// Makes them of a store, if there is one.
    #[must_use]
    pub fn of(store: Option<&SessionStore>) -> Option<Arc<dyn SessionEpochs>> {
        store.map(|store| Arc::new(Self(store.clone())) as Arc<dyn SessionEpochs>)
    }
}

impl SessionEpochs for HostedEpochs {
    fn epoch(&self, id: SessionId) -> Option<u64> {
        self.0.epoch(id).map(|epoch| epoch.0)
    }

    fn seen(&self, id: SessionId, epoch: u64) {
        self.0.seen(id, Epoch(epoch));
    }
}
