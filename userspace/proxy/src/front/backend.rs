//! The choice of a backend, whether it is healthy, and the idle connections to it.

use std::{
    error::Error as _,
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    cause::Cause,
    counters::{BackendCounters, FrontCounters},
    health::{BackendHealth, BackendState, HealthChange},
    log_limit::SharedLogLimit,
    request_body::BodyError,
    upstream_conn::Link,
};
use zerottl_core::model::{BackendProbe, HttpProbe, Web};
use zerottl_host::{log_limit::LogLimit, patience};
use zerottl_inputs::http_check::{CheckStage, Configs, Failure, Get, Progress, SetupError, conn::check_over};

/// Idle connections to one backend.
const IDLE_MAX: usize = 512;
/// Between two lines that say that a backend could not be probed.
const UNTRIED_EVERY: Duration = Duration::from_secs(10);
/// The time that one stays idle before it is closed.
const IDLE_FOR: Duration = Duration::from_secs(30);
/// After so long at rest, a backend may be about to close one just as a request is written to it: servers close them after
/// two seconds and more. What cannot be asked twice takes a new one then.
const SURELY_OPEN: Duration = Duration::from_secs(1);

/// Within so short a time, whoever asks finds out by itself whether the backend has closed one: the look before costs each
/// request of a busy Site something, and seldom sees anything.
const JUST_USED: Duration = Duration::from_millis(5);

/// One of them, at run time.
#[derive(Debug)]
pub(super) struct Backend {
    authority: String,
    /// The authority as an address, where it is one: then nothing is to be resolved.
    address: Option<SocketAddr>,
    position: usize,
    counted: Arc<BackendCounters>,
    /// Whether its health decides whether it is asked.
    is_watched: bool,
    health: Mutex<BackendHealth>,
    /// Whether answers mean anything to its health: mostly they do not, and nothing is locked for them.
    is_weighed: AtomicBool,
    /// Whether its answers have more fields than usual.
    is_wide: AtomicBool,
    failure_log: SharedLogLimit,
    #[expect(clippy::vec_box, reason = "a link is large, and moves from here to a request, to its body, and back")]
    idle: Mutex<Vec<Box<Link>>>,
    connect_timeout: Duration,
}

/// A backend, seen by a connection that may return to it.
#[derive(Clone, Debug)]
pub(super) struct Home(Arc<Backend>);

/// All backends of one configuration.
#[derive(Debug)]
pub(super) struct Backends {
    all: Box<[Arc<Backend>]>,
    /// Requests go round, and those that one of them failed by themselves: so the others share what it leaves.
    turns: [AtomicUsize; 2],
    /// Whether none is left but those that are ejected.
    is_last_resort: AtomicBool,
}

impl Backends {
    /// Starts the backends of a configuration, probed until `cancel`, which ends the tasks started here.
    pub(super) fn start(web: &Web, counters: &Arc<FrontCounters>, cancel: &CancellationToken) -> Self {
        let now = Instant::now();
        let all: Box<[_]> = web
            .backends
            .iter()
            .enumerate()
            .map(|(position, configured)| {
                let counted = Arc::clone(&counters.backends[position]);
                // Counters may outlive a configuration: what is known goes on with them.
                let health = BackendHealth::from(state(&counted), now);
                Arc::new(Backend {
                    is_watched: true,
                    health: Mutex::new(health),
                    ..Backend::unwatched(&configured.authority, position, counted, web.limits.connect_timeout)
                })
            })
            .collect();
        for backend in &all {
            let backend = Arc::clone(backend);
            let (probe, cancel) = (web.backend_probe.clone(), cancel.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = backend.watch(&probe) => {}
                    () = cancel.cancelled() => {}
                }
            });
        }
        Self { all, turns: Default::default(), is_last_resort: AtomicBool::new(false) }
    }

    /// Chooses the one whose turn it is, of those that this request has not been to. An ejected one is asked where no other is left: that
    /// some of its requests fail is better than that all do.
    pub(super) fn choose(&self, tried: &[usize]) -> Option<&Arc<Backend>> {
        let turn = &self.turns[usize::from(!tried.is_empty())];
        for last_resort in [false, true] {
            let fit = || {
                self.all.iter().filter(|backend| {
                    backend.is_asked(last_resort) && (tried.is_empty() || !tried.contains(&backend.position))
                })
            };
            let count = fit().count();
            if count == 0 {
                continue;
            }
            if tried.is_empty() && self.is_last_resort.load(Relaxed) != last_resort {
                self.resort(last_resort);
            }
            return fit().nth(turn.fetch_add(1, Relaxed) % count);
        }
        None
    }

    fn resort(&self, last: bool) {
        if self.is_last_resort.swap(last, Relaxed) == last {
            return;
        }
        if last {
            warn!("all backends that are not down are ejected: requests go to them all the same");
        } else {
            info!("a backend that is not ejected takes requests again");
        }
    }
}

/// Returns the state as it is counted.
fn state(counted: &BackendCounters) -> BackendState {
    match (counted.healthy.load(Relaxed), counted.ejected.load(Relaxed)) {
        (true, _) => BackendState::Asked,
        (false, true) => BackendState::Ejected,
        (false, false) => BackendState::Down,
    }
}

impl Backend {
    /// Makes one that is asked whatever becomes of its requests.
    pub(super) fn unwatched(
        authority: &str,
        position: usize,
        counted: Arc<BackendCounters>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            authority: authority.to_owned(),
            address: authority.parse().ok(),
            position,
            counted,
            is_watched: false,
            health: Mutex::new(BackendHealth::from(BackendState::Asked, Instant::now())),
            is_weighed: AtomicBool::new(false),
            is_wide: AtomicBool::new(false),
            failure_log: SharedLogLimit::new(),
            idle: Mutex::default(),
            connect_timeout,
        }
    }

    pub(super) fn counted(&self) -> &BackendCounters {
        &self.counted
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    fn is_asked(&self, last_resort: bool) -> bool {
        if last_resort { self.counted().ejected.load(Relaxed) } else { self.counted().healthy.load(Relaxed) }
    }

    /// Takes an idle connection that is still open, the one used last first; for what cannot be asked twice only one
    /// that the backend is surely not about to close.
    pub(super) async fn take_idle(&self, repeatable: bool, now: Instant) -> Option<Box<Link>> {
        loop {
            let mut link = {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let rested = now.saturating_duration_since(idle.last()?.idle_since());
                if !repeatable && rested > SURELY_OPEN {
                    return None;
                }
                let link = idle.pop()?;
                if rested < JUST_USED {
                    return Some(link);
                }
                link
            };
            // What came of the backend meanwhile is seen now: that it closed it, for one.
            poll_fn(|cx| {
                link.drive(cx);
                Poll::Ready(())
            })
            .await;
            if link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Makes a new connection. Its failure counts against the backend, unless it is this machine's; its success says less than a
    /// probe does.
    pub(super) async fn connect(&self) -> Result<Box<Link>, Cause> {
        let connected = match self.stream(self.connect_timeout).await {
            Ok(stream) => Link::over(stream, self.is_wide.load(Relaxed)).await,
            Err(error) => Err(error),
        };
        self.counted().connects.fetch_add(1, Relaxed);
        let cause = match connected {
            Ok(link) => return Ok(Box::new(link)),
            Err(error) => Cause::of_connect(error),
        };
        if !matches!(cause, Cause::Ours(_)) {
            self.counted().failures.fetch_add(1, Relaxed);
            self.changed(|health| health.unreachable(Instant::now()), Some(&cause));
        }
        Err(cause)
    }

    /// Notes that it has answered a request to the end.
    fn answered(&self) {
        if self.is_weighed.load(Relaxed) {
            self.changed(
                |health| {
                    health.answered();
                    None
                },
                None,
            );
        }
    }

    /// Notes that it has taken a request over a new connection, or for too long, and not answered it to its end.
    pub(super) fn failed(&self, cause: &Cause) {
        self.counted().failures.fetch_add(1, Relaxed);
        self.changed(|health| health.failed(Instant::now()), Some(cause));
    }

    /// Notes that it has not answered a request, which says nothing of its health.
    pub(super) fn missed(&self) {
        self.counted().failures.fetch_add(1, Relaxed);
    }

    /// Takes more fields of its answers from now on. Returns whether that is new.
    pub(super) fn widen(&self) -> bool {
        let is_new = !self.is_wide.swap(true, Relaxed);
        if is_new {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        is_new
    }

    /// Returns how often it was not said that it does not answer, if it is to be said now.
    pub(super) fn admit_log_line(&self) -> Option<u64> {
        self.failure_log.admit(Instant::now())
    }

    async fn stream(&self, limit: Duration) -> io::Result<TcpStream> {
        let connected = async {
            match self.address {
                Some(address) => TcpStream::connect(address).await,
                None => TcpStream::connect(&self.authority).await,
            }
        };
        timeout(limit, connected).await.map_err(io::Error::from)?
    }

    fn note(&self, succeeded: bool) {
        self.changed(|health| health.probed(succeeded, Instant::now()), None);
    }

    /// Changes what is known of it, and says what comes of that, once.
    fn changed(&self, change: impl FnOnce(&mut BackendHealth) -> Option<HealthChange>, cause: Option<&Cause>) {
        if !self.is_watched {
            return;
        }
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let change = change(&mut health);
        self.is_weighed.store(health.is_weighed(), Relaxed);
        let Some(change) = change else { return };
        let (state, counted) = (health.state(), self.counted());
        counted.healthy.store(state == BackendState::Asked, SeqCst);
        counted.ejected.store(state == BackendState::Ejected, SeqCst);
        let backend = counted.url.as_str();
        let cause = cause.map(tracing::field::display);
        match change {
            HealthChange::Up => info!(backend, "backend is healthy"),
            HealthChange::Down => warn!(backend, cause, "backend is not healthy"),
            HealthChange::Ejected(length) => {
                counted.ejections.fetch_add(1, Relaxed);
                warn!(backend, cause, at_least = ?length, "backend is ejected: it left requests without an answer");
            }
            HealthChange::Back => info!(backend, "backend is no longer ejected: its probes succeed"),
        }
    }

    /// Probes it, and lets go of connections that nobody used for long; until it is dropped.
    async fn watch(&self, probe: &BackendProbe) {
        let mut ticks = interval(probe.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let get = probe.path.as_deref().map(|path| self.get(path));
        let mut untried = LogLimit::new(UNTRIED_EVERY);
        loop {
            ticks.tick().await;
            let ended = patience::within(probe.timeout, self.probe(probe.timeout, get.as_ref())).await;
            let ended = ended.unwrap_or_else(|late| Err(Failure::from_late(late, probe.timeout, CheckStage::Response)));
            match ended {
                Err(why) if !why.is_verdict() => {
                    if let Some(unsaid) = untried.admit(Instant::now().into_std()) {
                        warn!(backend = self.counted().url, %why, unsaid, "backend not probed");
                    }
                }
                ended => self.note(ended.is_ok()),
            }
            self.sweep(Instant::now());
        }
    }

    /// Builds the GET of a path, within the bounds of any probe.
    fn get(&self, path: &str) -> Result<Get, Arc<SetupError>> {
        let probe = HttpProbe {
            path: path.to_owned(),
            host: self.authority.clone(),
            expect_status: (200..400).collect(),
            expect_body: None,
            tls: None,
        };
        Get::new(&probe, &mut Configs::default()).map_err(Arc::new)
    }

    async fn probe(&self, limit: Duration, get: Option<&Result<Get, Arc<SetupError>>>) -> Result<(), Failure> {
        // Whoever asks sees to the time.
        let stream = self.stream(limit * 4).await.map_err(Failure::from_io)?;
        match get {
            None => Ok(()),
            Some(Ok(get)) => get.run(check_over(stream), &Progress::default()).await,
            Some(Err(why)) => Err(Failure::Setup(Arc::clone(why))),
        }
    }

    /// Lets go of connections that nobody used for long.
    pub(super) fn sweep(&self, now: Instant) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| now.duration_since(link.idle_since()) < IDLE_FOR);
    }
}

impl Home {
    pub(super) fn at(backend: &Arc<Backend>) -> Self {
        Self(Arc::clone(backend))
    }

    /// Notes that it became another protocol, which nobody asked for.
    pub(super) fn switched(&self) {
        self.0.failed(&Cause::Switched);
        if let Some(unsaid) = self.0.admit_log_line() {
            warn!(backend = self.0.counted().url, cause = %Cause::Switched, status = 502, unsaid, "a request was not answered");
        }
    }

    /// Notes that the connection has failed within a response's body, and returns the body's error.
    pub(super) fn broke(&self, error: hyper::Error) -> BodyError {
        // What goes wrong with the request's body, after an early answer, is not the backend's.
        if !is_io(&error) {
            return BodyError::Http(error);
        }
        let cause = Cause::Http(error, Bytes::new());
        self.0.failed(&cause);
        if let Some(unsaid) = self.0.admit_log_line() {
            warn!(backend = self.0.counted().url, %cause, unsaid, "an answer broke off");
        }
        let Cause::Http(error, _) = cause else { return BodyError::Slow };
        BodyError::Http(error)
    }

    /// Takes a connection back whose response is over, if it can serve another.
    pub(super) fn put_back(&self, mut link: Box<Link>) {
        self.0.answered();
        if !link.is_ready() {
            return;
        }
        link.rest();
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(link);
        }
    }
}

/// Whether an error is the connection's own.
fn is_io(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}
