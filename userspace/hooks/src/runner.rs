//! The task of a hook: one event after the other, each until it is taken or given up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{event::Message, queue::Queue, ready::ReadyHook};
use zerottl_host::log_limit::LogLimit;

/// The pause after the first failure; each one after it is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// The time between two lines of the log about one hook's failures.
const SAY: Duration = Duration::from_secs(10);
/// After a fault of this program itself.
const RESTART: Duration = Duration::from_secs(1);

/// Delivers what comes into a queue until cancelled, by the newest configuration.
pub(crate) async fn run(hook: watch::Receiver<Arc<ReadyHook>>, queue: Arc<Queue>, stop: CancellationToken) {
    let mut task = JoinSet::new();
    loop {
        task.spawn(deliver_all(hook.clone(), Arc::clone(&queue)));
        tokio::select! {
            // A command that runs is ended with it, before this returns.
            () = stop.cancelled() => return task.shutdown().await,
            ended = task.join_next() => {
                let name = hook.borrow().config.name.clone();
                error!(hook = name, "hook {name}: a fault of zerottl itself: {ended:?}; it goes on");
                sleep(RESTART).await;
            }
        }
    }
}

async fn deliver_all(mut hook: watch::Receiver<Arc<ReadyHook>>, queue: Arc<Queue>) {
    let mut limit = LogLimit::new(SAY);
    let mut is_failing = false;
    loop {
        let message = queue.take().await;
        deliver(&mut hook, &queue, &message, (&mut limit, &mut is_failing)).await;
    }
}

async fn deliver(
    hook: &mut watch::Receiver<Arc<ReadyHook>>,
    queue: &Queue,
    message: &Message,
    (limit, is_failing): (&mut LogLimit, &mut bool),
) {
    let mut attempt = 1;
    loop {
        let ready = Arc::clone(&hook.borrow_and_update());
        let (name, event) = (&ready.config.name, message.kind.word());
        let Err(failure) = ready.attempt(message).await else {
            queue.delivered();
            if std::mem::take(is_failing) {
                info!(hook = name, "hook {name} takes events again");
            }
            debug!(hook = name, event, id = message.id, "hook {name}: {event} delivered");
            return;
        };
        *is_failing = true;
        let is_last = attempt >= ready.config.attempts;
        queue.failed(failure.to_string(), is_last);
        if let Some(unsaid) = limit.admit(Instant::now()) {
            let then = if is_last { "given up" } else { "tried again" };
            warn!(hook = name, event, id = message.id, attempt, unsaid, "hook {name}: {event} {then}: {failure}");
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = sleep(pause(attempt)) => {}
            // Another configuration may do better at once.
            Ok(()) = hook.changed() => {}
        }
        attempt += 1;
    }
}

/// Returns the pause after so many attempts, a part of it by chance, so that hooks of many fronts do not come together.
fn pause(attempt: u32) -> Duration {
    let doubled = PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(PAUSE_MAX);
    doubled.mul_f64(rand::random_range(0.75..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for (attempt, most) in [(1, 500), (2, 1_000), (5, 8_000), (8, 60_000), (4_000_000, 60_000)] {
            let most = Duration::from_millis(most);
            let pause = pause(attempt);
            assert!(pause <= most && pause >= most.mul_f64(0.75), "{attempt}: {pause:?}");
        }
    }
}
