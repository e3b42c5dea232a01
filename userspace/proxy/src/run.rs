//! The stand-alone Site: everything wired, from its start to its end.
//!
//! ```text
//! front::serve ─> Stack ─> Operation (layer) ─> Proxy ─> backends
//!                   ^ exchanged whole by a reload
//! ```
//!
//! Whoever cancels the token given to [`run`] stops it: nothing is accepted any more, requests under way may finish for
//! `limits.grace`. A [`SiteCommand`] to stop does that after `limits.lame_duck`, one to follow once the next process serves.

use std::{
    convert::Infallible,
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header::CACHE_CONTROL, uri::PathAndQuery};
use http_body_util::Full;
use sd_notify::NotifyState;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{error, info, warn};

use crate::{
    admin::{self, SiteView},
    directed::{AdminSocketError, Directed, LAST_ACCEPTS},
    front::{
        self, AccessLogError, AccessLogWriter, Arrivals, BindError, ClientBody, FrontCounters, ListenError, Proxy,
        ProxyBody,
    },
    handover::{HandoverSockets, Inherited, SiteCommand, notify},
    invitations::{InviteListener, InviteStartError},
    sessions::{self, HostedEpochs, HostingError, ShownSessions, WorkerPlace},
};
use zerottl_config as config;
use zerottl_core::model::{Model, SiteId, UnknownSite, Web, WebLimits};
use zerottl_host::resources::SiteShare;
use zerottl_inputs::http_check::ProbeError;
use zerottl_invitation::InvitationGate;
use zerottl_session::SessionStore;
use zerottl_site::{
    admission::{Admission, AdmissionError},
    layer::{Answering, Guarded, Operation, OperationLayer},
    peers::PeerHealth,
    respond::Page,
};

/// A Site that cannot be served, and why.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunError(#[from] StartError);

/// The parts of [`RunError`].
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The configuration is one of the DNS side alone.
    #[error("the configuration has no [web]: it says what runs at a Site")]
    NoWeb,
    /// The Site is not in the configuration.
    #[error(transparent)]
    Site(#[from] UnknownSite),
    /// It cannot be found out which peers are up.
    #[error(transparent)]
    Peers(#[from] ProbeError),
    /// Operation 500 does not start.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// The front does not listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin interface does not listen.
    #[error("admin: {0}")]
    Admin(#[source] ListenError),
    /// The admin interface has no socket.
    #[error(transparent)]
    AdminSocket(#[from] AdminSocketError),
    /// Connections that are handed over are not received.
    #[error("receiving connections from the director: {0}")]
    Receive(#[source] io::Error),
    /// There are no copies of the sockets to be given on.
    #[error("keeping sockets: {0}")]
    Sockets(#[source] io::Error),
    /// The access log cannot be written.
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    /// No invitations can be taken.
    #[error(transparent)]
    Invite(#[from] InviteStartError),
    /// Sessions cannot be hosted.
    #[error(transparent)]
    Hosting(#[from] HostingError),
    /// The server has ended by itself.
    #[error(transparent)]
    Server(#[from] JoinError),
}

/// A configuration that does not take the place of the one in force, and why.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file has faults.
    #[error("\n{}", .0.render(false))]
    Config(#[source] config::ConfigError),
    /// The Site cannot be served by it.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It differs in what sockets and places are made of.
    #[error("`listen`, `tls`, `admin`, `invite` and `limits` of [web] need a restart: a reload cannot change them")]
    NeedsRestart,
    /// It differs in how sessions are hosted.
    #[error("`session` of [web] with `servers` needs a restart: a reload cannot change it")]
    SessionsNeedRestart,
}

/// One configuration in force.
#[derive(Debug)]
struct Serving {
    admission: Arc<Admission>,
    web: Arc<Web>,
    /// The path that DNS asks for this Site's health.
    probes: Vec<String>,
    operation: Operation<Proxy>,
    counters: Arc<FrontCounters>,
    /// Ends what it has started: probes of backends and peers.
    cancel: CancellationToken,
}

impl Serving {
    /// Makes one of a model; `before` is the one in force.
    fn new(
        model: &Arc<Model>,
        site: SiteId,
        before: Option<&Self>,
        (store, gate): (Option<&SessionStore>, Option<&InvitationGate>),
    ) -> Result<Self, StartError> {
        let cancel = CancellationToken::new();
        let made = Self::made(model, site, before, (store, gate), &cancel);
        if made.is_err() {
            cancel.cancel();
        }
        made
    }

    fn made(
        model: &Arc<Model>,
        site: SiteId,
        before: Option<&Self>,
        (store, gate): (Option<&SessionStore>, Option<&InvitationGate>),
        cancel: &CancellationToken,
    ) -> Result<Self, StartError> {
        let web = model.web.get(site.0).ok_or(StartError::NoWeb)?;
        let peers = PeerHealth::start(model, site, web, cancel.clone())?;
        let admission = match before {
            Some(before) => before.admission.renewed(model, site, peers),
            None => Admission::hosting(model, site, peers, HostedEpochs::of(store)),
        };
        let admission = Arc::new(admission?);
        // What the same backends have done goes on counting.
        let counters = match before.filter(|before| before.web.backends == web.backends) {
            Some(before) => Arc::clone(&before.counters),
            None => FrontCounters::new(web),
        };
        let proxy = Proxy::new(web, Arc::clone(&counters), gate.cloned(), cancel);
        let operation = OperationLayer::new(Arc::clone(&admission)).layer(proxy);
        let probes = model.sites[site.0].http_probes().map(|http| http.path.clone()).collect();
        Ok(Self { admission, web: Arc::clone(web), probes, operation, counters, cancel: cancel.clone() })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// The service: whatever configuration is in force when a request comes.
#[derive(Clone, Debug)]
struct Stack {
    serving: Arc<ArcSwap<Serving>>,
    /// Whether the Site is about to stop.
    leaving: Arc<AtomicBool>,
}

impl Stack {
    /// Makes the health probe's answer while the Site is about to stop; nothing else is different then.
    fn lame_duck(&self, serving: &Serving, target: &Uri) -> Option<Page> {
        let asked = target.path_and_query().map(PathAndQuery::as_str);
        if !self.leaving.load(Relaxed) || !asked.is_some_and(|asked| serving.probes.iter().any(|probe| probe == asked))
        {
            return None;
        }
        let mut page = Page::new(Full::new(Bytes::from_static(b"503: this Site is about to stop\n")));
        *page.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        page.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(page)
    }
}

impl Service<Request<ClientBody>> for Stack {
    type Response = Response<Guarded<ProxyBody>>;
    type Error = Infallible;
    type Future = Answering<<Proxy as Service<Request<ClientBody>>>::Future>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ClientBody>) -> Self::Future {
        let serving = self.serving.load();
        match self.lame_duck(&serving, request.uri()) {
            Some(page) => Answering::here(page),
            None => serving.operation.clone().call(request),
        }
    }
}

/// The Site that is to be served.
#[derive(Debug)]
pub struct SiteSetup {
    /// The configuration, which is read again at a reload.
    pub file: PathBuf,
    /// The Site's key in it.
    pub key: String,
    /// The configuration as it was read.
    pub model: Arc<Model>,
    /// Sockets that listen already.
    pub inherited: Inherited,
}

/// Serves a Site until `cancel`, or a command to end. `ready` is called once the Site listens.
pub async fn run(
    setup: SiteSetup,
    commands: mpsc::Receiver<SiteCommand>,
    cancel: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), RunError> {
    let SiteSetup { file, key, model, mut inherited } = setup;
    let site = model.known_site(&key).map_err(StartError::from)?;
    let web = Arc::clone(model.web.get(site.0).ok_or(StartError::NoWeb)?);
    // Before what a director has given is taken: the sockets are found by it.
    let bound = front::bind(&web, &mut inherited).map_err(StartError::from)?;
    let mut directed = inherited.take_directed();
    let worker = WorkerPlace::new(&key, &web, directed.as_ref());
    // Until the last request has been answered, which is after `cancel`.
    let hosting = CancellationToken::new();
    let _ended = hosting.clone().drop_guard();
    let store = sessions::start(&web.session, &model.sites[site.0].name.to_string(), &worker, &hosting);
    let store = store.map_err(StartError::from)?;
    let invite = InviteListener::bind(&web, directed.as_ref(), &mut inherited).map_err(StartError::from)?;
    let gate = invite.as_ref().map(|invite| invite.start(&worker, store.as_ref(), &cancel));
    let serving = Serving::new(&model, site, None, (store.as_ref(), gate.as_ref()))?;
    let certificates = bound.iter().find_map(|bound| bound.certificates().cloned());
    let (at, counters) = (bound.iter().map(front::Bound::local).collect::<Vec<_>>(), Arc::clone(&serving.counters));
    let backends = web.backends.len();
    // Where a director runs several processes of this Site, `web.admin` is the director's.
    let place = web.admin.filter(|_| directed.is_none());
    let at_socket = directed.as_ref().is_some_and(Directed::has_admin);
    let admins = place.map(|_| admin::CONNECTIONS_MAX).or(at_socket.then_some(admin::SOCKET_CONNECTIONS_MAX));
    let wish = (web.limits.connections, admins.unwrap_or(0));
    SiteShare::tell(wish.0, wish.1);
    let share = SiteShare::now(wish.0, wish.1);
    let limits = WebLimits {
        connections: share.clients,
        connections_per_client: web.limits.connections_per_client.min(share.clients),
        ..web.limits
    };
    open_access_log(&counters, &web)?;
    let stack = Stack { serving: Arc::new(ArcSwap::from_pointee(serving)), leaving: Arc::default() };
    let admin = place.map(|place| front::Bound::plain(place, &mut inherited)).transpose();
    let admin = admin.map_err(StartError::Admin)?;
    let sockets = bound
        .iter()
        .chain(&admin)
        .chain(invite.as_ref().map(|invite| &invite.bound))
        .map(|bound| (bound.local(), bound.as_fd()));
    let handover = match &directed {
        Some(_) => HandoverSockets::of_director(),
        None => HandoverSockets::new(sockets).map_err(StartError::Sockets)?,
    };
    let sessions = store.clone().map(ShownSessions::new);
    let view = view(stack.clone(), Arc::clone(&counters), certificates.clone(), gate.clone(), sessions);
    let mut arrivals = Arrivals::new(bound, None);
    let mut lame_duck = web.limits.lame_duck;
    if let Some(directed) = &mut directed {
        if let Some(socket) = directed.admin_socket().map_err(StartError::AdminSocket)? {
            admin::start_at_socket(socket, view, store.clone(), cancel.clone());
        }
        arrivals.handed = directed.receive().map_err(StartError::Receive)?;
        directed.go_round(cancel.clone());
        lame_duck = lame_duck.max(LAST_ACCEPTS);
        info!(process = directed.name(), "run by a director");
    } else if let Some(bound) = admin {
        admin::start(bound, share.admin, view, store.clone(), cancel.clone());
    }
    if let (Some(invite), Some(gate)) = (invite, &gate) {
        invite.serve(gate.clone(), store.clone(), cancel.clone());
    }
    info!(site = key, listen = ?at, backends, "serving");
    let (service, counts, stop) = (stack.clone(), Arc::clone(&counters), cancel.clone());
    let server = tokio::spawn(async move { front::serve(arrivals, service, &limits, counts, stop).await });
    ready();
    inherited.close_rest();
    let running = Running { store, gate, file, key, stack, counters, certificates, handover, lame_duck, cancel };
    Ok(running.until_ended(server, commands).await.map_err(StartError::from)?)
}

/// Makes what reads the state of each moment, for the admin interface.
fn view(
    stack: Stack,
    connections: Arc<FrontCounters>,
    certificates: Option<Arc<front::Certificates>>,
    gate: Option<InvitationGate>,
    sessions: Option<ShownSessions>,
) -> impl Fn() -> SiteView {
    move || {
        let now = stack.serving.load();
        SiteView {
            admission: Arc::clone(&now.admission),
            backends: Arc::clone(&now.counters),
            connections: Arc::clone(&connections),
            certificates: certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.read()),
            gate: gate.clone(),
            sessions: sessions.clone(),
        }
    }
}

/// A Site that serves.
struct Running {
    store: Option<SessionStore>,
    gate: Option<InvitationGate>,
    file: PathBuf,
    key: String,
    stack: Stack,
    counters: Arc<FrontCounters>,
    certificates: Option<Arc<front::Certificates>>,
    handover: HandoverSockets,
    lame_duck: Duration,
    cancel: CancellationToken,
}

impl Running {
    /// Does what it is told until the server has ended.
    async fn until_ended(
        mut self,
        mut server: JoinHandle<()>,
        mut commands: mpsc::Receiver<SiteCommand>,
    ) -> Result<(), JoinError> {
        let cancel = self.cancel.clone();
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = &mut server => {
                    self.counters.access.swap(None).iter().for_each(|log| log.finish());
                    if let Some(store) = &self.store {
                        store.resign().await;
                    }
                    return ended;
                }
                () = cancel.cancelled(), if !stopping => {
                    stopping = true;
                    self.handover.release();
                }
                Some(command) = commands.recv() => self.obey(command),
            }
        }
    }

    fn obey(&self, command: SiteCommand) {
        match command {
            SiteCommand::Reload => {
                // Whatever becomes of the rest: who moves a log away must not find it grow.
                self.counters.access.load().iter().for_each(|log| log.reopen());
                self.reload_all();
            }
            SiteCommand::Reopen => {
                self.counters.access.load().iter().for_each(|log| log.reopen());
                info!("access log opened anew");
            }
            SiteCommand::Follow => {
                if let Err(why) = self.handover.follow() {
                    error!("{why}: this process continues");
                }
            }
            SiteCommand::Leave => {
                match self.handover.follower() {
                    Some(pid) => notify(&[NotifyState::MainPid(pid)]),
                    None => notify(&[NotifyState::Stopping]),
                }
                self.cancel.cancel();
            }
            SiteCommand::Stop => {
                notify(&[NotifyState::Stopping]);
                self.stack.leaving.store(true, Relaxed);
                let (stop, wait) = (self.cancel.clone(), self.lame_duck);
                tokio::spawn(async move {
                    sleep(wait).await;
                    stop.cancel();
                });
            }
        }
    }

    /// Reads the file and the certificates again, each of which may fail by itself.
    fn reload_all(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(error) => warn!(%error, "no time"),
        }
        match self.reload() {
            Ok(()) => info!("reloaded"),
            Err(why) => error!("not reloaded, everything stays as it was: {why}"),
        }
        if let Some(Err(why)) = self.certificates.as_deref().map(front::Certificates::reload) {
            error!("certificates not reloaded: {why}");
        }
        notify(&[NotifyState::Ready]);
    }

    /// Takes all of a new configuration, or nothing and says why.
    fn reload(&self) -> Result<(), ReloadError> {
        let loaded = config::load(&self.file).map_err(ReloadError::Config)?;
        for warning in &loaded.warnings {
            warn!("{}", warning.line());
        }
        let model = Arc::new(loaded.model);
        let site = model.known_site(&self.key).map_err(StartError::from)?;
        let before = self.stack.serving.load_full();
        let next = Serving::new(&model, site, Some(&before), (self.store.as_ref(), self.gate.as_ref()))?;
        let fixed = |web: &Web| (web.listen.clone(), web.tls.clone(), web.admin, web.limits, web.invite.clone());
        if fixed(&next.web) != fixed(&before.web) {
            return Err(ReloadError::NeedsRestart);
        }
        let hosts = |web: &Web| !web.session.servers.is_empty() || web.session.journal.is_some();
        if (self.store.is_some() || hosts(&next.web)) && next.web.session != before.web.session {
            return Err(ReloadError::SessionsNeedRestart);
        }
        if next.web.access_log != before.web.access_log {
            open_access_log(&self.counters, &next.web)?;
        }
        self.stack.serving.store(Arc::new(next));
        Ok(())
    }
}

/// Writes requests to the log that the configuration names, or to none.
fn open_access_log(counters: &FrontCounters, web: &Web) -> Result<(), StartError> {
    counters.access.store(web.access_log.as_ref().map(AccessLogWriter::open).transpose()?);
    Ok(())
}
