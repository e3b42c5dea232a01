//! The tasks that ask Sites for their load, and the one that watches them.
//!
//! One task per Site, on the probes' grid. A Site is asked at its first address; one that fails is left for the next.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Instant as StdInstant};

use tokio::{
    io::AsyncReadExt,
    sync::Semaphore,
    task::{Id, JoinHandle, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Board,
    report::{self, BadReport, REPORT_MAX, Report},
    words,
};
use crate::{
    model::{LoadKind, Model, Poll, SiteId},
    probe::{
        ProbeError,
        fetch::{Configs, Failure, Get, Progress, connect},
        schedule,
    },
};

/// The most attempts that run at once; each holds one file descriptor, beside those of the probes.
pub const CONCURRENT_MAX: usize = 128;

/// Everything one Site's task needs; outlives the task, so that a new one can take over.
struct Source {
    site: SiteId,
    key: String,
    addresses: Vec<SocketAddr>,
    poll: Poll,
    /// What is fetched; none for an agent check.
    get: Option<Get>,
    board: Board,
    permits: Arc<Semaphore>,
}

/// Starts asking every Site whose load is to be asked for; reads the files that TLS needs first. The handle ends after
/// `cancel`, when every task has. Must be called within a tokio runtime.
pub fn start(model: &Model, board: &Board, cancel: CancellationToken) -> Result<JoinHandle<()>, ProbeError> {
    let mut configs = Configs::default();
    let permits = Arc::new(Semaphore::new(CONCURRENT_MAX));
    let mut sources = Vec::new();
    for (id, site) in model.sites.iter().enumerate() {
        let Some(load) = &site.load else { continue };
        let failed = |why| ProbeError { part: "load", site: site.key.clone(), why };
        let (poll, get) = match &load.kind {
            LoadKind::Http(poll, http) => (*poll, Some(Get::new(http, &mut configs).map_err(failed)?)),
            LoadKind::AgentCheck(poll) => (*poll, None),
            LoadKind::ProbeHeader | LoadKind::Push => continue,
        };
        sources.push(Arc::new(Source {
            site: SiteId(id),
            key: site.key.clone(),
            addresses: site.addresses.iter().map(|address| SocketAddr::new(address.probe, poll.port)).collect(),
            poll,
            get,
            board: board.clone(),
            permits: Arc::clone(&permits),
        }));
    }
    Ok(tokio::spawn(watch_over(sources, cancel)))
}

/// Runs every source until cancelled; starts those that end again, an interval later.
async fn watch_over(sources: Vec<Arc<Source>>, cancel: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Id, Arc<Source>> = HashMap::new();
    for source in sources {
        let phase = schedule::phase(source.poll.interval, rand::random());
        running.insert(tasks.spawn(Arc::clone(&source).run(Instant::now() + phase)).id(), source);
    }
    loop {
        let id = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = tasks.join_next_with_id() => ended.map_or_else(|error| error.id(), |(id, ())| id),
        };
        if let Some(source) = running.remove(&id) {
            tracing::error!(site = source.key, "the task that asks for the load ended unexpectedly, restarting it");
            source.board.report(source.site, StdInstant::now(), Err(BadReport("the task that asks failed".into())));
            let next = Instant::now() + source.poll.interval;
            running.insert(tasks.spawn(Arc::clone(&source).run(next)).id(), source);
        }
    }
    tasks.shutdown().await;
}

impl Source {
    async fn run(self: Arc<Self>, mut tick: Instant) {
        let mut first = 0;
        loop {
            sleep_until(tick).await;
            // The semaphore is never closed.
            let permit = self.permits.acquire().await;
            let said = self.once(self.addresses[first]).await;
            drop(permit);
            if said.is_err() {
                first = (first + 1) % self.addresses.len();
            }
            self.board.report(self.site, Instant::now().into_std(), said);
            tick = schedule::following(tick, self.poll.interval, Instant::now());
        }
    }

    async fn once(&self, at: SocketAddr) -> Result<Report, BadReport> {
        let said = timeout(self.poll.timeout, async {
            let stream = connect(at).await.map_err(|failure| failure.to_string())?;
            let bytes = if let Some(get) = &self.get {
                get.fetch(stream, &Progress::default(), REPORT_MAX + 1).await
            } else {
                let mut line = Vec::new();
                let end = words::LINE_MAX as u64 + 1;
                let read = read_line(&mut stream.take(end), &mut line).await;
                read.map(|()| line).map_err(Failure::Connect)
            };
            bytes.map_err(|failure| failure.to_string())
        });
        match said.await {
            Err(_) => Err(BadReport(format!("timeout after {:?}", self.poll.timeout))),
            Ok(Err(why)) => Err(BadReport(why)),
            Ok(Ok(bytes)) if self.get.is_some() => report::body(&bytes),
            Ok(Ok(bytes)) => words::line(&bytes),
        }
    }
}

/// Until a line's end, or the stream's: some agents leave the connection open.
async fn read_line(stream: &mut (impl AsyncReadExt + Unpin), line: &mut Vec<u8>) -> std::io::Result<()> {
    while !line.contains(&b'\n') {
        if stream.read_buf(line).await? == 0 {
            break;
        }
    }
    Ok(())
}
