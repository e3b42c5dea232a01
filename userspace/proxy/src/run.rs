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
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header::CACHE_CONTROL, uri::PathAndQuery};
use http_body_util::Full;
use sd_notify::NotifyState;
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{error, info, warn};

use crate::{
    admin::{self, Shown},
    front::{self, AccessLog, ClientBody, Counters, Proxy, ProxyBody},
    handover::{Inherited, Keeper, SiteCommand, tell},
};
use zerottl_config as config;
use zerottl_core::model::{Model, ProbeKind, SiteId, Web, WebLimits};
use zerottl_host::resources::SiteShare;
use zerottl_site::{
    admission::Admission,
    layer::{Answering, Guarded, Operation, OperationLayer},
    peers::PeerHealth,
    respond::Page,
};

/// One configuration in force.
#[derive(Debug)]
struct Serving {
    gate: Arc<Admission>,
    web: Arc<Web>,
    /// The path that DNS asks for this Site's health.
    probe: Option<String>,
    operation: Operation<Proxy>,
    counters: Arc<Counters>,
    /// Ends what it has started: probes of backends and peers.
    cancel: CancellationToken,
}

impl Serving {
    fn new(model: &Arc<Model>, site: SiteId, before: Option<&Self>) -> Result<Self, String> {
        let cancel = CancellationToken::new();
        let made = Self::made(model, site, before, &cancel);
        if made.is_err() {
            cancel.cancel();
        }
        made
    }

    fn made(
        model: &Arc<Model>,
        site: SiteId,
        before: Option<&Self>,
        cancel: &CancellationToken,
    ) -> Result<Self, String> {
        let web = model.web.get(site.0).ok_or("the configuration has no [web]: it says what runs at a Site")?;
        let peers = PeerHealth::start(model, site, web, cancel.clone()).map_err(|error| error.to_string())?;
        let gate = match before {
            Some(before) => before.gate.renewed(model, site, peers),
            None => Admission::new(model, site, peers),
        };
        let gate = Arc::new(gate.map_err(|error| error.to_string())?);
        // What the same backends have done goes on counting.
        let counters = match before.filter(|before| before.web.backends == web.backends) {
            Some(before) => Arc::clone(&before.counters),
            None => Counters::new(web),
        };
        let proxy = Proxy::new(web, Arc::clone(&counters), cancel);
        let operation = OperationLayer::new(Arc::clone(&gate)).layer(proxy);
        let probe = model.sites[site.0].probe.as_ref().and_then(|probe| match &probe.kind {
            ProbeKind::Http(http) => Some(http.path.clone()),
            ProbeKind::Tcp => None,
        });
        Ok(Self { gate, web: Arc::clone(web), probe, operation, counters, cancel: cancel.clone() })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Whatever configuration is in force when a request comes.
#[derive(Clone, Debug)]
struct Stack {
    serving: Arc<ArcSwap<Serving>>,
    /// Whether the Site is about to stop.
    leaving: Arc<AtomicBool>,
}

impl Stack {
    /// The health probe's answer while the Site is about to stop; nothing else is different then.
    fn lame_duck(&self, serving: &Serving, target: &Uri) -> Option<Page> {
        let asked = target.path_and_query().map(PathAndQuery::as_str);
        if !self.leaving.load(Relaxed) || asked.is_none() || asked != serving.probe.as_deref() {
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

/// Serves a Site until `cancel`, or a command to end. The error is a sentence. `ready` is called once the Site listens.
pub async fn run(
    setup: SiteSetup,
    mut commands: mpsc::Receiver<SiteCommand>,
    cancel: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let SiteSetup { file, key, model, mut inherited } = setup;
    let site = model.known_site(&key).map_err(|error| error.to_string())?;
    let serving = Serving::new(&model, site, None)?;
    let web = Arc::clone(&serving.web);
    let bound = front::bind(&web, &mut inherited)?;
    let certificates = bound.iter().find_map(|bound| bound.certificates().cloned());
    let (at, counters) = (bound.iter().map(front::Bound::local).collect::<Vec<_>>(), Arc::clone(&serving.counters));
    let backends = web.backends.len();
    let wish = (web.limits.connections, web.admin.map_or(0, |_| admin::CONNECTIONS_MAX));
    SiteShare::tell(wish.0, wish.1);
    let share = SiteShare::now(wish.0, wish.1);
    let limits = WebLimits {
        connections: share.clients,
        connections_per_client: web.limits.connections_per_client.min(share.clients),
        ..web.limits
    };
    counters.access.store(web.access_log.as_ref().map(AccessLog::open).transpose()?);
    let stack = Stack { serving: Arc::new(ArcSwap::from_pointee(serving)), leaving: Arc::default() };
    let admin = web.admin.map(|place| front::Bound::plain(place, &mut inherited)).transpose();
    let admin = admin.map_err(|why| format!("admin: {why}"))?;
    let sockets = bound.iter().chain(&admin).map(|bound| (bound.local(), bound.as_fd()));
    let mut keeper = Keeper::new(sockets).map_err(|error| format!("keeping sockets: {error}"))?;
    if let Some(bound) = admin {
        let (stack, connections, certificates) = (stack.clone(), Arc::clone(&counters), certificates.clone());
        let shown = move || {
            let now = stack.serving.load();
            let (gate, backends) = (Arc::clone(&now.gate), Arc::clone(&now.counters));
            let certificates = certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.read());
            Shown { gate, backends, connections: Arc::clone(&connections), certificates }
        };
        admin::start(bound, share.admin, shown, cancel.clone());
    }
    info!(site = key, listen = ?at, backends, "serving");
    let (service, counts, stop) = (stack.clone(), Arc::clone(&counters), cancel.clone());
    let mut server = tokio::spawn(async move { front::serve(bound, service, &limits, counts, stop).await });
    ready();
    inherited.over();
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = &mut server => {
                counters.access.swap(None).iter().for_each(|log| log.finish());
                return ended.map_err(|error| error.to_string());
            }
            () = cancel.cancelled(), if !stopping => {
                stopping = true;
                keeper.release();
            }
            Some(command) = commands.recv() => match command {
                SiteCommand::Reload => {
                    // Whatever becomes of the rest: who moves a log away must not find it grow.
                    counters.access.load().iter().for_each(|log| log.reopen());
                    reload_all(&file, &key, &stack, &counters, certificates.as_deref());
                }
                SiteCommand::Reopen => {
                    counters.access.load().iter().for_each(|log| log.reopen());
                    info!("access log opened anew");
                }
                SiteCommand::Follow => {
                    if let Err(why) = keeper.follow() {
                        error!("{why}: this process goes on");
                    }
                }
                SiteCommand::Leave => {
                    match keeper.follower() {
                        Some(pid) => tell(&[NotifyState::MainPid(pid)]),
                        None => tell(&[NotifyState::Stopping]),
                    }
                    cancel.cancel();
                }
                SiteCommand::Stop => {
                    tell(&[NotifyState::Stopping]);
                    stack.leaving.store(true, Relaxed);
                    let (stop, wait) = (cancel.clone(), web.limits.lame_duck);
                    tokio::spawn(async move {
                        sleep(wait).await;
                        stop.cancel();
                    });
                }
            }
        }
    }
}

fn reload_all(file: &Path, key: &str, stack: &Stack, counters: &Counters, certificates: Option<&front::Certificates>) {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "no time"),
    }
    match reload(file, key, stack, counters) {
        Ok(()) => info!("reloaded"),
        Err(why) => error!("not reloaded, everything stays as it was: {why}"),
    }
    if let Some(Err(why)) = certificates.map(front::Certificates::reload) {
        error!("certificates not reloaded: {why}");
    }
    tell(&[NotifyState::Ready]);
}

/// All of a new configuration, or nothing and why.
fn reload(file: &Path, key: &str, stack: &Stack, counters: &Counters) -> Result<(), String> {
    let loaded = config::load(file).map_err(|error| format!("\n{}", error.render(false)))?;
    for warning in &loaded.warnings {
        warn!("{}", warning.line());
    }
    let model = Arc::new(loaded.model);
    let site = model.known_site(key).map_err(|error| error.to_string())?;
    let before = stack.serving.load_full();
    let next = Serving::new(&model, site, Some(&before))?;
    let fixed = |web: &Web| (web.listen.clone(), web.tls.clone(), web.admin, web.limits);
    if fixed(&next.web) != fixed(&before.web) {
        return Err("`listen`, `tls`, `admin` and `limits` of [web] need a restart: a reload cannot change them".into());
    }
    if next.web.access_log != before.web.access_log {
        counters.access.store(next.web.access_log.as_ref().map(AccessLog::open).transpose()?);
    }
    stack.serving.store(Arc::new(next));
    Ok(())
}
