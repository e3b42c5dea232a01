//! Whether processes answer: their checks and their pages.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tracing::debug;
use zerottl_core::model::{HttpProbe, ServerCheck};
use zerottl_host::patience;
use zerottl_inputs::http_check::{Configs, Failure, Get, Progress, conn::check_over};

use super::{
    parts::Event,
    state::{LOOK, Worker},
};
use crate::member::Seen;

/// From one check to the next until the first is answered.
const EAGER: Duration = Duration::from_millis(50);
/// The time for which a page says that its server hangs, until that server is given up; measured in looks of a loop that
/// runs, so that a machine that stood still finds nobody guilty.
const HUNG_MIN: Duration = Duration::from_secs(2);
/// That time in units of `hang_after`.
const HUNG_TIMES: u32 = 10;

impl Worker {
    /// Sums up what is known of the process in a slot.
    pub(crate) fn seen(&self, slot: u32) -> Seen {
        let Some(run) = self.runs.get(&slot) else {
            return Seen { ended: Some("is not known any more".into()), ..Seen::default() };
        };
        let hang = run.config.hang_after.unwrap_or_default();
        let patience = HUNG_MIN.max(hang * HUNG_TIMES);
        let checks_fail = run.config.check.as_ref().is_some_and(|check| run.judged.failures >= check.failures);
        let failed = if checks_fail {
            Some(format!("fails its check: {}", run.judged.failure))
        } else if run.judged.hangs && LOOK * run.judged.hung_looks >= patience {
            let age = Duration::from_nanos(run.judged.age.unwrap_or_default());
            Some(format!("hangs: it has not gone round its loop for {:.1} s", age.as_secs_f64()))
        } else {
            None
        };
        let runs = run.process.is_some();
        let asked = run.config.check.is_some() || run.config.hang_after.is_some() && self.balance.is_kernel();
        Seen {
            ended: run.ended.clone(),
            answers: runs && (run.judged.answered || !asked),
            failed: failed.filter(|_| runs),
            live: self.balance.tally(slot).live,
        }
    }

    /// Reads the pages.
    pub(crate) fn look_at_pages(&mut self) {
        let now = monotonic();
        for (slot, run) in &mut self.runs {
            let Some(hang) = run.config.hang_after else { continue };
            let Some(page) = self.balance.page(*slot).filter(|page| page.looped_at != 0) else { continue };
            let age = now.saturating_sub(page.looped_at);
            let judged = &mut run.judged;
            judged.answered |= run.config.check.is_none();
            judged.hangs = u128::from(age) > hang.as_nanos();
            judged.hung_looks = if judged.hangs { judged.hung_looks + 1 } else { 0 };
            judged.age = Some(age);
            judged.pending = (page.has_pending == 1).then_some(page.pending);
        }
    }

    /// Begins to check the process in a slot, if it is to be checked.
    pub(crate) fn begin_checks(&mut self, slot: u32) {
        let Some(run) = self.runs.get(&slot) else { return };
        let (Some(check), Some(target)) = (run.config.check.clone(), run.place(0)) else { return };
        let get = match check.path.as_deref().map(|path| get(path, target)).transpose() {
            Ok(get) => get.map(Arc::new),
            Err(error) => {
                let verdict = Err(error);
                return self.checked(slot, run.generation, verdict);
            }
        };
        let (generation, events, asks) = (run.generation, self.events.clone(), self.events.clone());
        let mut answered = run.judged.answered;
        let task = tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                let (reply, socket) = tokio::sync::oneshot::channel();
                if asks.send(Event::Ask { slot, target, reply }).await.is_err() {
                    return;
                }
                let Ok(socket) = socket.await else { return };
                let result = match socket {
                    Ok(socket) => once(socket, target, &check, get.as_deref()).await,
                    Err(error) => Err(Failure::from_io(error)),
                };
                let verdict = match result {
                    Err(failure) if !failure.is_verdict() => {
                        debug!(%failure, slot, "a check says nothing about the server");
                        None
                    }
                    result => Some(result.map_err(|failure| failure.to_string())),
                };
                if let Some(verdict) = verdict {
                    answered |= verdict.is_ok();
                    if events.send(Event::Checked { slot, generation, verdict }).await.is_err() {
                        return;
                    }
                }
                let interval = if answered { check.interval } else { check.interval.min(EAGER) };
                sleep(interval.saturating_sub(begun.elapsed()).max(EAGER / 10)).await;
            }
        });
        if let Some(run) = self.runs.get_mut(&slot) {
            run.tasks.push(task.abort_handle());
        }
    }

    /// A check has ended.
    pub(crate) fn checked(&mut self, slot: u32, generation: u64, verdict: Result<(), String>) {
        let Some(run) = self.run_of(slot, generation) else { return };
        match verdict {
            Ok(()) => {
                run.judged.failures = 0;
                if !std::mem::replace(&mut run.judged.answered, true) {
                    self.note(slot);
                    self.look();
                }
            }
            // Until it has answered once it is starting.
            Err(failure) if run.judged.answered => {
                run.judged.failures += 1;
                run.judged.failure = failure;
            }
            Err(failure) => run.judged.failure = failure,
        }
    }
}

fn get(path: &str, target: SocketAddr) -> Result<Get, String> {
    let probe = HttpProbe {
        path: path.to_owned(),
        host: target.to_string(),
        expect_status: (200..400).collect(),
        expect_body: None,
        tls: None,
    };
    Get::new(&probe, &mut Configs::default()).map_err(|error| error.to_string())
}

/// Checks once.
async fn once(
    socket: tokio::net::TcpSocket,
    target: SocketAddr,
    check: &ServerCheck,
    get: Option<&Get>,
) -> Result<(), Failure> {
    let progress = Progress::default();
    let steps = async {
        let stream = socket.connect(target).await.map_err(Failure::from_io)?;
        match get {
            None => Ok(()),
            Some(get) => get.run(check_over(stream), &progress).await,
        }
    };
    patience::within(check.timeout, steps)
        .await
        .unwrap_or_else(|late| Err(Failure::from_late(late, check.timeout, progress.stage())))
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
