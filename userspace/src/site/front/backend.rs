//! Which backend, whether it is healthy, and connections kept to it.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Poll,
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    counters::{BackendCounters, Counters},
    link::Link,
};
use crate::{
    log_limit::LogLimit,
    model::{BackendProbe, HttpProbe, Web},
    patience,
    probe::{
        failure::Stage,
        fetch::{Configs, Failure, Get, Progress, attempt_over},
        health::{Machine, Transition},
    },
    status::Health,
};

/// Probes in a row that must succeed before an unhealthy backend is asked again.
const RISE: u32 = 2;
/// Probes or connects in a row that must fail before a backend is no longer asked.
const FALL: u32 = 3;
/// Connections kept to one backend.
const KEPT_MAX: usize = 512;
/// Between two lines that say that a backend could not be probed.
const UNTRIED_EVERY: Duration = Duration::from_secs(10);
/// How long one is kept without use.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// One of them, at run time.
#[derive(Debug)]
pub(super) struct Backend {
    authority: String,
    /// What the authority is, where it is an address: then nothing is to be resolved.
    address: Option<SocketAddr>,
    position: usize,
    counters: Arc<Counters>,
    health: Mutex<Machine>,
    #[expect(clippy::vec_box, reason = "a link is large, and moves from here to a request, to its body, and back")]
    kept: Mutex<Vec<Box<Link>>>,
    connect_timeout: Duration,
}

/// A backend, seen by a connection that may return to it.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Backend>);

/// All of them.
#[derive(Debug)]
pub(super) struct Backends {
    all: Box<[Arc<Backend>]>,
    next: AtomicUsize,
}

impl Backends {
    /// The backends of this configuration, probed until `cancel`, which ends the tasks started here.
    pub(super) fn start(web: &Web, counters: &Arc<Counters>, cancel: &CancellationToken) -> Self {
        let all: Box<[_]> = web
            .backends
            .iter()
            .enumerate()
            .map(|(position, configured)| {
                Arc::new(Backend {
                    authority: configured.authority.clone(),
                    address: configured.authority.parse().ok(),
                    position,
                    counters: Arc::clone(counters),
                    // Counters may outlive a configuration: what is known goes on with them.
                    health: Mutex::new(Machine::from(counters.backends[position].health(), RISE, FALL)),
                    kept: Mutex::default(),
                    connect_timeout: web.limits.connect_timeout,
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
        Self { all, next: AtomicUsize::new(0) }
    }

    /// The healthy ones, each once, the first of them another every time.
    pub(super) fn turn(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let (from, count) = (self.next.fetch_add(1, Relaxed), self.all.len());
        (0..count).map(move |step| &self.all[from.wrapping_add(step) % count]).filter(|backend| backend.is_healthy())
    }
}

impl Backend {
    pub(super) fn counted(&self) -> &BackendCounters {
        &self.counters.backends[self.position]
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    fn is_healthy(&self) -> bool {
        self.counted().healthy.load(Relaxed)
    }

    /// A kept connection that still stands, the one used last first.
    pub(super) async fn kept(&self) -> Option<Box<Link>> {
        loop {
            let mut link = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
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

    /// A new connection. Its failure counts against the backend; its success says less than a probe does.
    pub(super) async fn connect(&self) -> io::Result<Box<Link>> {
        let connected = self.stream(self.connect_timeout).await;
        self.counted().connects.fetch_add(1, Relaxed);
        if connected.is_err() {
            self.note(false);
            self.counted().failures.fetch_add(1, Relaxed);
        }
        Link::over(connected?).await.map(Box::new)
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
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Transition { to, .. }) = health.observe(succeeded) else { return };
        self.counted().healthy.store(to == Health::Up, SeqCst);
        let backend = self.counted().url.as_str();
        if to == Health::Up {
            info!(backend, "backend is healthy");
        } else {
            warn!(backend, "backend is not healthy");
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
            let ended = ended.unwrap_or_else(|late| Err(Failure::from_late(late, probe.timeout, Stage::Response)));
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

    /// What is asked at a path, within the bounds of any probe. The error is a sentence.
    fn get(&self, path: &str) -> Result<Get, String> {
        let probe = HttpProbe {
            path: path.to_owned(),
            host: self.authority.clone(),
            expect_status: (200..400).collect(),
            expect_body: None,
            tls: None,
        };
        Get::new(&probe, &mut Configs::default())
    }

    async fn probe(&self, limit: Duration, get: Option<&Result<Get, String>>) -> Result<(), Failure> {
        // Whoever asks sees to the time.
        let stream = self.stream(limit * 4).await.map_err(Failure::from_io)?;
        match get {
            None => Ok(()),
            Some(Ok(get)) => get.run(attempt_over(stream), &Progress::default()).await,
            Some(Err(why)) => Err(Failure::Http(why.clone())),
        }
    }

    fn sweep(&self, now: Instant) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|link| now.duration_since(link.idle_since()) < KEPT_FOR);
    }
}

impl Kept {
    pub(super) fn at(backend: &Arc<Backend>) -> Self {
        Self(Arc::clone(backend))
    }

    /// Takes a connection back whose response is over, if it can serve another.
    pub(super) fn keep(&self, mut link: Box<Link>) {
        if !link.is_ready() {
            return;
        }
        link.rest();
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(link);
        }
    }
}
