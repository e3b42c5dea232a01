//! Where application servers invite requests (`web.invite`): the listener, who may ask there, and sessions that they name.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    directed::Directed,
    front::{self, Arrivals, Bound, FrontCounters, ListenError, Peer},
    handover::Inherited,
    sessions::WorkerPlace,
};
use zerottl_core::{
    admin_access,
    model::{AdminToken, InviteConfig, Web, WebLimits},
    session_id::SessionId,
};
use zerottl_invitation::{InvitationGate, SessionFetcher, TakeoverError, TakeoverFuture};
use zerottl_invited::message::SessionTaken;
use zerottl_session::{Hint, SessionFault, SessionStore};

/// Connections at a time, at most: a few of each channel.
const CONNECTIONS_MAX: usize = 2048;
/// Bytes of a token file, at most.
const TOKEN_MAX: u64 = 4096;

/// The reason why no invitations can be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InviteStartError {
    /// The place cannot be had.
    #[error("invite: {0}")]
    Listen(#[from] ListenError),
    /// The file with the token.
    #[error("`token` of [web.invite]: {}: {source}", path.display())]
    Token {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: io::Error,
    },
}

/// A listener that takes invitations.
#[derive(Debug)]
pub(crate) struct InviteListener {
    /// Its socket.
    pub(crate) bound: Bound,
    config: InviteConfig,
    token: Option<AdminToken>,
}

impl InviteListener {
    /// Listens, if the configuration says so. Inside a tokio runtime.
    pub(crate) fn bind(
        web: &Web,
        directed: Option<&Directed>,
        inherited: &mut Inherited,
    ) -> Result<Option<Self>, InviteStartError> {
        let Some(config) = web.invite.clone() else { return Ok(None) };
        let token = config.token.as_deref().map(token).transpose()?;
        let bound = Bound::plain(place(config.listen, directed.map(Directed::name)), inherited)?;
        Ok(Some(Self { bound, config, token }))
    }

    /// Starts to take invitations, until `cancel`.
    pub(crate) fn start(
        &self,
        worker: &WorkerPlace,
        store: Option<&SessionStore>,
        cancel: &CancellationToken,
    ) -> InvitationGate {
        let own = self.bound.local();
        let mut config = self.config.clone();
        config.workers.retain(|worker| worker.authority.parse() != Ok(own));
        let fetcher = store.map(|store| Arc::new(StoreFetcher(store.clone())) as Arc<dyn SessionFetcher>);
        InvitationGate::start(&config, &worker.name, fetcher, cancel.clone())
    }

    /// Serves application servers until `cancel`. Inside a tokio runtime.
    pub(crate) fn serve(self, gate: InvitationGate, store: Option<SessionStore>, cancel: CancellationToken) {
        let body = store.as_ref().map_or(0, |store| store.size_max() as u64 + 1);
        let second = Duration::from_secs(1);
        let limits = WebLimits {
            connections: CONNECTIONS_MAX,
            connections_per_client: CONNECTIONS_MAX,
            body: body.max(64 * 1024),
            head_timeout: 5 * second,
            // A connection for signals rests from one beat to the next.
            idle_timeout: (5 * second).max(self.config.stall * 2),
            grace: second,
            ..WebLimits::default()
        };
        info!(listen = %self.bound.local(), "application servers may invite");
        let token = self.token.map(Arc::new);
        let mut router = zerottl_invitation::api::router(gate);
        if let Some(store) = store {
            // Their data, for those that are on other machines than the admin interface.
            router = router.merge(zerottl_session::api::routes(store));
        }
        let router = router.layer(middleware::from_fn(move |request, next| admit(token.clone(), request, next)));
        let arrivals = Arrivals::new(vec![self.bound], None);
        let counters = FrontCounters::new(&Web::at([]));
        tokio::spawn(async move { front::serve(arrivals, router, &limits, counters, cancel).await });
    }
}

/// Returns where a process listens: of several for the same Site that a director runs, each at a port of its own.
fn place(listen: SocketAddr, process: Option<&str>) -> SocketAddr {
    let number = process.and_then(|name| name.rsplit_once('-')).and_then(|(_, number)| number.parse().ok());
    let port = listen.port().saturating_add(number.unwrap_or(1_u16).saturating_sub(1));
    SocketAddr::new(listen.ip(), port)
}

fn token(path: &Path) -> Result<AdminToken, InviteStartError> {
    use io::Read as _;

    let failed = |source| InviteStartError::Token { path: path.to_owned(), source };
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text));
    read.map_err(failed)?;
    AdminToken::new(&text).map_err(|why| failed(io::Error::new(io::ErrorKind::InvalidData, why)))
}

/// Lets those in who show the token, or, without one, come by loopback and not as a web page.
async fn admit(token: Option<Arc<AdminToken>>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Peer>().map(|peer| peer.local);
    let (head, body) = request.into_parts();
    match admin_access::admit(&head, local, token.as_deref()) {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(refusal) => refusal.status_and_text().into_response(),
    }
}

/// Sessions of the store.
struct StoreFetcher(SessionStore);

impl SessionFetcher for StoreFetcher {
    fn fetch(&self, id: SessionId) -> TakeoverFuture<'_> {
        Box::pin(async move {
            let held = self.0.read(id, Hint::default()).await.map_err(takeover_error)?;
            let (tag, bytes) = held.map_or((None, 0), |held| (Some(held.tag.to_string()), held.data.len()));
            Ok(SessionTaken { id: id.to_string(), tag, bytes })
        })
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }
}

fn takeover_error(fault: SessionFault) -> TakeoverError {
    match fault {
        SessionFault::Elsewhere { worker } => TakeoverError::Elsewhere(worker),
        SessionFault::Ended => TakeoverError::Ended,
        other => TakeoverError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_listen_beside_each_other() {
        let listen = "10.0.0.1:8055".parse().unwrap();
        for (process, port) in [(None, 8055), (Some("web-1"), 8055), (Some("web-3"), 8057), (Some("web"), 8055)] {
            assert_eq!(place(listen, process).port(), port, "{process:?}");
        }
    }
}
