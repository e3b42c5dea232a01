//! All hooks of an agent, whatever its configuration.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::{
    event::{HookEvent, Message},
    queue::{HookCounts, Queue},
    ready::ReadyHook,
    runner,
};
use zerottl_core::model::EventKind;

/// The time that the end of a hook may take.
const ENDING: Duration = Duration::from_millis(500);

/// The hooks of an agent: the one way in for events. Queues and counts outlive a reload.
#[derive(Default)]
pub struct Hooks {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The name of this front.
    front: String,
    hooks: Vec<Running>,
}

/// A hook with its task, which ends with it.
struct Running {
    current: watch::Sender<Arc<ReadyHook>>,
    queue: Arc<Queue>,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl Hooks {
    /// Goes on with these hooks: those that there are by name keep their queue and their counts, and others end. Needs
    /// tokio's runtime.
    pub fn put(&self, front: &str, ready: Vec<ReadyHook>) {
        let mut state = self.state();
        front.clone_into(&mut state.front);
        let mut before = std::mem::take(&mut state.hooks);
        for hook in ready {
            let (name, max) = (hook.config.name.clone(), hook.config.queue);
            if let Some(at) = before.iter().position(|running| running.current.borrow().config.name == name) {
                let running = before.swap_remove(at);
                running.queue.set_max(max);
                running.current.send_replace(Arc::new(hook));
                state.hooks.push(running);
                continue;
            }
            let (current, newest) = watch::channel(Arc::new(hook));
            let (queue, stop) = (Arc::new(Queue::new(max)), CancellationToken::new());
            let task = tokio::spawn(runner::run(newest, Arc::clone(&queue), stop.clone()));
            state.hooks.push(Running { current, queue, task, stop: stop.drop_guard() });
        }
    }

    /// Whether a hook wants events of this kind: others need not be made.
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.state().hooks.iter().any(|hook| hook.wants(kind))
    }

    /// Tells an event to every hook that wants it. Never waits.
    pub fn send(&self, event: HookEvent) {
        let state = self.state();
        let kind = event.kind;
        let mut wanted = state.hooks.iter().filter(|hook| hook.wants(kind)).peekable();
        if wanted.peek().is_none() {
            return;
        }
        let message = Arc::new(Message::new(event, &state.front, SystemTime::now()));
        wanted.for_each(|hook| hook.queue.push(Arc::clone(&message)));
    }

    /// The counts of each, in the configuration's order.
    #[must_use]
    pub fn counts(&self) -> Vec<HookCounts> {
        self.state().hooks.iter().map(Running::counts).collect()
    }

    /// Ends all of them, commands that run included, and says how many events are not delivered.
    pub async fn end(&self) {
        let all = std::mem::take(&mut self.state().hooks);
        let mut tasks = Vec::new();
        for hook in all {
            let HookCounts { name, waiting, .. } = hook.counts();
            if waiting > 0 {
                warn!(hook = name, waiting, "hook {name}: {waiting} events are not delivered before the end");
            }
            drop(hook.stop);
            tasks.push(hook.task);
        }
        for task in tasks {
            // One that does not end has been told, and goes with the process.
            let _ = timeout(ENDING, task).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn wants(&self, kind: EventKind) -> bool {
        self.current.borrow().config.events.contains(&kind)
    }

    fn counts(&self) -> HookCounts {
        self.queue.counts(&self.current.borrow().config.name)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use zerottl_core::model::{HookConfig, HookTarget};

    fn config(name: &str, script: &str) -> HookConfig {
        HookConfig {
            name: name.into(),
            target: HookTarget::Command(["/bin/sh", "-c", script].map(ToOwned::to_owned).to_vec()),
            events: vec![EventKind::Word, EventKind::Alarm],
            keys: vec![],
            timeout: Duration::from_secs(5),
            attempts: 3,
            queue: 2,
        }
    }

    fn put(hooks: &Hooks, configs: &[HookConfig]) {
        hooks.put("ns1", ReadyHook::all(configs).expect("commands need no files"));
    }

    async fn until(hooks: &Hooks, done: impl Fn(&[HookCounts]) -> bool) -> Vec<HookCounts> {
        for _ in 0..500 {
            let counts = hooks.counts();
            if done(&counts) {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:?}", hooks.counts());
    }

    fn lines(path: &Path) -> Vec<String> {
        fs::read_to_string(path).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
    }

    /// The second hook is dead: the first gets all it wants all the same, once each and in order.
    #[tokio::test]
    async fn each_event_comes_once_to_those_that_want_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let write = format!("echo $ZEROTTL_EVENT $ZEROTTL_TEXT $ZEROTTL_FRONT >>{}", path.display());
        let hooks = Hooks::default();
        put(&hooks, &[config("good", &write), config("dead", "sleep 100")]);
        assert!(hooks.wants(EventKind::Word) && !hooks.wants(EventKind::SiteUp));
        hooks.send(HookEvent::new(EventKind::SiteUp, "not wanted"));
        for (kind, number) in [(EventKind::Word, 1), (EventKind::Alarm, 2), (EventKind::Word, 3), (EventKind::Word, 4)]
        {
            hooks.send(HookEvent::new(kind, number.to_string()));
            until(&hooks, |counts| counts[0].delivered == number).await;
        }
        assert_eq!(lines(&path), ["word 1 ns1", "alarm 2 ns1", "word 3 ns1", "word 4 ns1"]);
        let counts = hooks.counts();
        // One is tried, two wait.
        assert_eq!((counts[1].delivered, counts[1].waiting, counts[1].dropped), (0, 3, 1));
        hooks.end().await;
        assert!(hooks.counts().is_empty());
    }

    #[tokio::test]
    async fn an_event_is_tried_again_with_its_id_and_then_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let fails = format!("echo $ZEROTTL_ID >>{}; test $ZEROTTL_TEXT != bad", path.display());
        let hooks = Hooks::default();
        put(&hooks, &[config("one", &fails)]);
        hooks.send(HookEvent::new(EventKind::Word, "bad"));
        hooks.send(HookEvent::new(EventKind::Word, "good"));
        let counts = until(&hooks, |counts| counts[0].delivered == 1).await;
        assert_eq!((counts[0].failed, counts[0].failures, counts[0].waiting), (1, 3, 0));
        let ids = lines(&path);
        assert_eq!(ids.len(), 4);
        assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    }

    /// A reload mends a hook: what waits is delivered by the new configuration, and the counts go on.
    #[tokio::test]
    async fn what_waits_outlives_a_reload() {
        let hooks = Hooks::default();
        put(&hooks, &[HookConfig { attempts: 20, ..config("one", "exit 1") }]);
        hooks.send(HookEvent::new(EventKind::Word, "a"));
        until(&hooks, |counts| counts[0].failures > 0 && counts[0].last_error.is_some()).await;
        put(&hooks, &[config("other", "exit 0"), config("one", "exit 0")]);
        let counts = until(&hooks, |counts| counts[1].delivered == 1).await;
        assert!(counts[1].failures > 0 && counts[1].last_error.is_none(), "{counts:?}");
        assert_eq!(counts[0].name, "other");
        put(&hooks, &[]);
        assert!(!hooks.wants(EventKind::Word));
    }
}
