//! The stand-alone Site: everything wired, from its start to its end.
//!
//! ```text
//! front::serve ─> Stack ─> Operation (layer) ─> Proxy ─> backends
//!                   ^ exchanged whole by a reload
//! ```
//!
//! Whoever cancels the token given to [`run`] stops it: nothing is accepted any more, requests under way may finish for
//! [`GRACE`](super::front::GRACE).

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;
use tracing::{error, info, warn};

use super::{
    admin::{self, Shown},
    front::{self, Counters, Proxy, ProxyBody},
    gate::Gate,
    layer::{Answering, Guarded, Operation, OperationLayer},
    peers::PeerHealth,
};
use crate::{
    config,
    model::{Model, SiteId, Web},
};

/// One configuration in force.
#[derive(Debug)]
struct Serving {
    gate: Arc<Gate>,
    web: Arc<Web>,
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
        let peers = PeerHealth::start(model, site, web, cancel.clone())?;
        let gate = match before {
            Some(before) => before.gate.renewed(model, site, peers)?,
            None => Gate::new(model, site, peers)?,
        };
        let gate = Arc::new(gate);
        // What the same backends have done goes on counting.
        let counters = match before.filter(|before| before.web.backends == web.backends) {
            Some(before) => Arc::clone(&before.counters),
            None => Counters::new(web),
        };
        let proxy = Proxy::new(web, Arc::clone(&counters), cancel);
        let operation = OperationLayer::new(Arc::clone(&gate)).layer(proxy);
        Ok(Self { gate, web: Arc::clone(web), operation, counters, cancel: cancel.clone() })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Whatever configuration is in force when a request comes.
#[derive(Clone, Debug)]
struct Stack(Arc<ArcSwap<Serving>>);

impl Service<Request<Incoming>> for Stack {
    type Response = Response<Guarded<ProxyBody>>;
    type Error = Infallible;
    type Future = Answering<<Proxy as Service<Request<Incoming>>>::Future>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        self.0.load().operation.clone().call(request)
    }
}

/// Serves a Site until `cancel`; each message asks for a reload of the file and the certificates. The error is a sentence.
/// `ready` is called once the Site listens.
pub async fn run(
    file: PathBuf,
    key: String,
    model: Arc<Model>,
    mut reloads: mpsc::Receiver<()>,
    cancel: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), String> {
    let site = find(&model, &key)?;
    let serving = Serving::new(&model, site, None)?;
    let web = Arc::clone(&serving.web);
    let bound = front::bind(&web)?;
    let certificates = bound.iter().find_map(|bound| bound.certificates().cloned());
    let (at, counters) = (bound.iter().map(front::Bound::local).collect::<Vec<_>>(), Arc::clone(&serving.counters));
    let backends = web.backends.len();
    let stack = Stack(Arc::new(ArcSwap::from_pointee(serving)));
    if let Some(place) = web.admin {
        let (stack, connections, certificates) = (stack.clone(), Arc::clone(&counters), certificates.clone());
        let shown = move || {
            let now = stack.0.load();
            let (gate, backends) = (Arc::clone(&now.gate), Arc::clone(&now.counters));
            let certificates = certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.read());
            Shown { gate, backends, connections: Arc::clone(&connections), certificates }
        };
        admin::start(place, shown, cancel.clone())?;
    }
    info!(site = key, listen = ?at, backends, "serving");
    let service = stack.clone();
    let mut server = tokio::spawn(async move { front::serve(bound, service, &web.limits, counters, cancel).await });
    ready();
    loop {
        tokio::select! {
            ended = &mut server => return ended.map_err(|error| error.to_string()),
            Some(()) = reloads.recv() => {
                match reload(&file, &key, &stack) {
                    Ok(()) => info!("reloaded"),
                    Err(why) => error!("not reloaded, everything stays as it was: {why}"),
                }
                if let Some(Err(why)) = certificates.as_ref().map(|certificates| certificates.reload()) {
                    error!("certificates not reloaded: {why}");
                }
            }
        }
    }
}

/// The Site with a key; the error names those that there are.
pub fn find(model: &Model, key: &str) -> Result<SiteId, String> {
    model.site_by_key(key).ok_or_else(|| {
        let keys: Vec<&str> = model.sites.iter().map(|site| site.key.as_str()).take(20).collect();
        format!("no Site `{key}` in the configuration; there are {}", keys.join(", "))
    })
}

/// All of a new configuration, or nothing and why.
fn reload(file: &Path, key: &str, stack: &Stack) -> Result<(), String> {
    let loaded = config::load(file).map_err(|error| format!("\n{}", error.render(false)))?;
    for warning in &loaded.warnings {
        warn!("{}", warning.line());
    }
    let model = Arc::new(loaded.model);
    let site = find(&model, key)?;
    let before = stack.0.load_full();
    let next = Serving::new(&model, site, Some(&before))?;
    let fixed = |web: &Web| (web.listen.clone(), web.tls.clone(), web.admin, web.limits);
    if fixed(&next.web) != fixed(&before.web) {
        return Err("`listen`, `tls`, `admin` and `limits` of [web] need a restart: a reload cannot change them".into());
    }
    stack.0.store(Arc::new(next));
    Ok(())
}
