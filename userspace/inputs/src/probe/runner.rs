//! The probe tasks, and the one that watches them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    task::{Id, JoinError, JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::Attempt,
    duty::ProbeDuty,
    report::{AddressReport, ProbeId, Reports},
};
use crate::http_check::schedule;
use zerottl_core::{
    model::Model,
    status::{Health, Verdicts},
};
use zerottl_host::{log_limit::LogLimit, resources::AgentShare};

/// Running probes.
#[derive(Debug)]
pub struct Probes {
    /// Changes, and so wakes its receivers, only when some address's health does.
    pub verdicts: watch::Receiver<Verdicts>,
    /// Attempts, errors and ages, to be read at any time; wakes no one.
    pub reports: Reports,
    /// The addresses that are probed.
    pub duty: ProbeDuty,
    /// Ends after the token is cancelled, when every probe has.
    pub task: JoinHandle<()>,
}

/// Everything one probe's task needs; outlives the task, so that a new one can take over.
struct Check {
    /// The operator's name for the Site, and the address: for the log.
    label: String,
    of: ProbeId,
    interval: Duration,
    attempt: Arc<dyn Attempt>,
    /// The grid point of the newest attempt, or the first one's if there was none.
    tick: Mutex<Tick>,
    reports: Reports,
    duty: ProbeDuty,
    verdicts: watch::Sender<Verdicts>,
    permits: Arc<Semaphore>,
    /// The limit on log lines about attempts that could not be made: that strikes all addresses at the same time, every
    /// interval.
    untried: Arc<Mutex<LogLimit>>,
}

/// Between two lines that say so.
const UNTRIED_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
enum Tick {
    First(Instant),
    Last(Instant),
}

/// Starts a task for each of `attempts` and one that watches them.
pub(super) fn start(
    model: &Arc<Model>,
    attempts: Vec<(ProbeId, Arc<dyn Attempt>)>,
    reports: Reports,
    cancel: CancellationToken,
) -> Probes {
    let (sender, verdicts) = watch::channel(reports.verdicts());
    let duty = ProbeDuty::new(model, &reports, &sender);
    let permits = Arc::new(Semaphore::new(AgentShare::now().probes));
    let untried = Arc::new(Mutex::new(LogLimit::new(UNTRIED_EVERY)));
    let now = Instant::now();
    let checks = attempts.into_iter().filter_map(|(of, attempt)| {
        let site = &model.sites[of.site.0];
        let probe = site.probes.get(of.probe)?;
        let interval = probe.interval;
        let by = if site.probes.len() > 1 { format!(" ({probe})") } else { String::new() };
        Some(Arc::new(Check {
            label: format!("{} {}{by}", site.key, site.addresses[of.address].probe),
            of,
            interval,
            attempt,
            // Where there was an attempt before, its grid goes on: reloads one after the other put nothing off.
            tick: Mutex::new(Tick::First(match reports.last_attempt(of) {
                Some(last) => now.max(Instant::from_std(last) + interval),
                None => now + schedule::phase(interval, rand::random()),
            })),
            reports: reports.clone(),
            duty: duty.clone(),
            verdicts: sender.clone(),
            permits: Arc::clone(&permits),
            untried: Arc::clone(&untried),
        }))
    });
    let task = tokio::spawn(watch_over(checks.collect(), sender.clone(), cancel));
    Probes { verdicts, reports, duty, task }
}

/// Runs every check until cancelled; starts those that end again. The sender keeps the channel open when there
/// is nothing to probe.
async fn watch_over(checks: Vec<Arc<Check>>, _verdicts: watch::Sender<Verdicts>, cancel: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut running: HashMap<Id, Arc<Check>> = HashMap::new();
    let spawn = |tasks: &mut JoinSet<()>, running: &mut HashMap<Id, Arc<Check>>, check: Arc<Check>| {
        let id = tasks.spawn(Arc::clone(&check).run()).id();
        running.insert(id, check);
    };
    for check in checks {
        spawn(&mut tasks, &mut running, check);
    }
    loop {
        let ended = tokio::select! {
            () = cancel.cancelled() => break,
            Some(ended) = tasks.join_next_with_id() => ended,
        };
        let (id, why) = match ended {
            Ok((id, ())) => (id, "it returned".to_owned()),
            Err(error) => (error.id(), reason(error)),
        };
        if let Some(check) = running.remove(&id) {
            tracing::error!(probe = check.label, why, "probe task ended unexpectedly, restarting it");
            check.reports.restart(check.of, format!("the checker failed: {why}"));
            spawn(&mut tasks, &mut running, check);
        }
    }
    tasks.shutdown().await;
}

/// Describes how a task ended, as far as it left words.
fn reason(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", words.unwrap_or("no message"))
}

impl Check {
    /// Attempts on schedule, for ever. A successor of a task that panicked goes on with the next grid point, so a panic
    /// in every attempt is not a busy loop.
    async fn run(self: Arc<Self>) {
        loop {
            let next = match *self.tick.lock().unwrap_or_else(PoisonError::into_inner) {
                Tick::First(first) => first,
                Tick::Last(last) => schedule::following(last, self.interval, Instant::now()),
            };
            sleep_until(next).await;
            *self.tick.lock().unwrap_or_else(PoisonError::into_inner) = Tick::Last(next);
            if self.duty.is_on(self.of.site, self.of.address) {
                self.once().await;
            }
        }
    }

    async fn once(&self) {
        // The semaphore is never closed; were it, an attempt beyond the cap is better than none.
        let _permit = self.permits.acquire().await;
        let of = self.of;
        self.reports.begin(of, Instant::now().into_std());
        let result = self.attempt.run().await;
        if !self.duty.is_on(of.site, of.address) {
            // Handed to another meanwhile.
            return;
        }
        let now = Instant::now().into_std();
        if let Err(failure) = &result
            && !failure.is_verdict()
            && let Some(unsaid) = self.untried.lock().unwrap_or_else(PoisonError::into_inner).admit(now)
        {
            tracing::error!(probe = self.label, why = %failure, unsaid, "probe not tried");
        }
        let ended = self.reports.end(of, now, result.as_ref().copied());
        let Some(transition) = ended else { return };
        self.verdicts.send_modify(|verdicts| verdicts[of.site.0][of.address] = transition.to);
        self.log(transition.from, &self.reports.get(of.site, of.address));
    }

    fn log(&self, from: Health, report: &AddressReport) {
        let probe = &self.label;
        if let Some(why) = &report.last_error {
            tracing::warn!(probe, ?from, to = ?report.health, why, "health changed");
        } else {
            tracing::info!(probe, ?from, to = ?report.health, "health changed");
        }
    }
}
