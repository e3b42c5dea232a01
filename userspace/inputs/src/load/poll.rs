//! The tasks that ask Sites for their load, and the one that watches them.
//!
//! One task per Site, on the probes' grid. A Site is asked at its first address; one that fails is left for the next.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant as StdInstant},
};

use tokio::{
    io::AsyncReadExt,
    sync::Semaphore,
    task::{Id, JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    agent_check, body,
    report::{BadReport, REPORT_MAX, Report},
    store::LoadStore,
};
use crate::http_check::{Configs, Failure, Get, ProbeError, Progress, connect, schedule};
use zerottl_core::model::{LoadKind, Model, Poll, SiteId};
use zerottl_host::{
    log_limit::LogLimit,
    patience::{self, Late},
    resources::AgentShare,
};

/// The most attempts that run at once, besides those of the probes.
pub use zerottl_host::resources::LOAD_POLLS_MAX as CONCURRENT_MAX;

/// After so many intervals without a report of whoever's turn it is, this machine asks itself.
const SILENT: u32 = 3;
/// Addresses whose faults are shown, at most.
const FAULTS_MAX: usize = 4;

/// Everything one Site's task needs; outlives the task, so that a new one can take over.
struct Source {
    site: SiteId,
    key: String,
    addresses: Vec<SocketAddr>,
    poll: Poll,
    /// The request for what is fetched; none for an agent check.
    get: Option<Get>,
    loads: LoadStore,
    permits: Arc<Semaphore>,
    /// The limit on log lines about attempts that could not be made: that strikes all Sites at the same time.
    untried: Arc<Mutex<LogLimit>>,
}

/// Between two lines that say so.
const UNTRIED_EVERY: Duration = Duration::from_secs(10);

/// Why there is no report.
enum NoReport {
    /// The Site's doing.
    Bad(BadReport),
    /// This machine could not ask.
    Untried(Failure),
}

/// Starts asking every Site whose load is to be asked for; reads the files that TLS needs first. The handle ends after
/// `cancel`, when every task has. Must be called within a tokio runtime.
pub fn start(model: &Model, loads: &LoadStore, cancel: CancellationToken) -> Result<JoinHandle<()>, ProbeError> {
    let mut configs = Configs::default();
    let permits = Arc::new(Semaphore::new(AgentShare::now().loads));
    let untried = Arc::new(Mutex::new(LogLimit::new(UNTRIED_EVERY)));
    let mut sources = Vec::new();
    for (id, site) in model.sites.iter().enumerate() {
        let Some(load) = &site.load else { continue };
        let failed = |fault| ProbeError { part: "load", site: site.key.clone(), source: Box::new(fault) };
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
            loads: loads.clone(),
            permits: Arc::clone(&permits),
            untried: Arc::clone(&untried),
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
            source.loads.report(source.site, StdInstant::now(), Err(BadReport("the task that asks failed".into())));
            let next = Instant::now() + source.poll.interval;
            running.insert(tasks.spawn(Arc::clone(&source).run(next)).id(), source);
        }
    }
    tasks.shutdown().await;
}

impl Source {
    async fn run(self: Arc<Self>, mut tick: Instant) {
        let mut faults = Faults::default();
        let (mut first, mut last) = (0, Instant::now());
        loop {
            sleep_until(tick).await;
            if !self.loads.is_asked_here(self.site, Instant::now().into_std(), SILENT * self.poll.interval) {
                last = Instant::now();
                tick = schedule::following(tick, self.poll.interval, last);
                continue;
            }
            // The semaphore is never closed.
            let permit = self.permits.acquire().await;
            let at = self.addresses[first];
            let said = self.once(at).await;
            drop(permit);
            let now = Instant::now();
            let since = now.saturating_duration_since(std::mem::replace(&mut last, now));
            match said {
                Ok(report) => self.loads.report(self.site, now.into_std(), faults.tell(at, Ok(report))),
                Err(NoReport::Bad(why)) => {
                    first = (first + 1) % self.addresses.len();
                    self.loads.report(self.site, now.into_std(), faults.tell(at, Err(why)));
                }
                Err(NoReport::Untried(why)) => {
                    if let Some(unsaid) =
                        self.untried.lock().unwrap_or_else(PoisonError::into_inner).admit(now.into_std())
                    {
                        tracing::error!(site = self.key, %why, unsaid, "load not asked for");
                    }
                    self.loads.not_tried(self.site, since, &why);
                }
            }
            tick = schedule::following(tick, self.poll.interval, Instant::now());
        }
    }

    async fn once(&self, at: SocketAddr) -> Result<Report, NoReport> {
        let said = patience::within(self.poll.timeout, async {
            let stream = connect(at).await?;
            let Some(get) = &self.get else {
                let mut line = Vec::new();
                let end = agent_check::LINE_MAX as u64 + 1;
                read_line(&mut stream.take(end), &mut line).await.map_err(Failure::from_io)?;
                return Ok(line);
            };
            get.fetch(stream, &Progress::default(), REPORT_MAX + 1).await
        });
        let report = match said.await {
            Err(Late::Timeout) => Err(BadReport(format!("timeout after {:?}", self.poll.timeout))),
            Err(Late::Starved(lost)) => return Err(NoReport::Untried(Failure::Starved(lost))),
            Ok(Err(failure)) if !failure.is_verdict() => return Err(NoReport::Untried(failure)),
            Ok(Err(failure)) => Err(BadReport(failure.to_string())),
            Ok(Ok(bytes)) if self.get.is_some() => body::read(&bytes),
            Ok(Ok(bytes)) => agent_check::line(&bytes),
        };
        report.map_err(NoReport::Bad)
    }
}

/// Why each address came to nothing since one last did not. They are asked in turn, so the newest fault alone would
/// mostly be that of an address, or a family, that the Site does not even use.
#[derive(Debug, Default)]
struct Faults(Vec<(SocketAddr, String)>);

impl Faults {
    /// Takes in the outcome of asking one address and returns it; a fault comes with those of the others.
    fn tell(&mut self, at: SocketAddr, said: Result<Report, BadReport>) -> Result<Report, BadReport> {
        let Err(BadReport(why)) = said else {
            self.0.clear();
            return said;
        };
        match self.0.iter_mut().find(|(address, _)| *address == at) {
            Some((_, before)) => *before = why,
            None => self.0.push((at, why)),
        }
        let mut all: Vec<String> = self.0.iter().take(FAULTS_MAX).map(|(at, why)| format!("{at}: {why}")).collect();
        if self.0.len() > FAULTS_MAX {
            all.push(format!("and {} more addresses", self.0.len() - FAULTS_MAX));
        }
        Err(BadReport(all.join("; ")))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A Site of two families is told apart in its faults, whichever was asked last.
    #[test]
    fn faults_bear_their_addresses() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.7:9".parse().expect("valid"), "[2001:db8::7]:9".parse().expect("valid"));
        let mut faults = Faults::default();
        let mut fail = |at, why: &str| match faults.tell(at, Err(BadReport(why.into()))) {
            Err(BadReport(why)) => why,
            Ok(_) => panic!("a fault"),
        };
        assert_eq!(fail(v4, "timeout"), "192.0.2.7:9: timeout");
        let both = "192.0.2.7:9: timeout; [2001:db8::7]:9: unreachable";
        assert_eq!(fail(v6, "unreachable"), both);
        assert_eq!(fail(v4, "refused"), "192.0.2.7:9: refused; [2001:db8::7]:9: unreachable");
        assert!(faults.tell(v6, Ok(Report::default())).is_ok());
        assert!(faults.0.is_empty(), "an answer ends them");
        for port in 1..=9 {
            let at = SocketAddr::new(v4.ip(), port);
            assert!(faults.tell(at, Err(BadReport("no".into()))).is_err());
        }
        let text = faults.tell(v4, Err(BadReport("no".into()))).expect_err("a fault").to_string();
        assert!(text.ends_with("; and 5 more addresses"), "{text}");
    }
}
