//! The agent: everything wired together, one direction (probes → status → plan → kernel and socket path).
//!
//! | module | concern |
//! |---|---|
//! | `serving` | what belongs to one configuration |
//! | `opening` | what has to be had first: the pins' folder, sockets |
//! | `rehearsal` | what can be tried before a running agent is told to leave |
//! | `rounds` | the loop from what is known to a published plan |
//! | `events` | what hooks are told of |
//! | `news` | what a round has changed, in words for the log |
//! | `assessment_log` | what happened in assessments, as lines of the log |
//! | `counts` | both paths' counters |
//! | `fleet` | the rounds' part in a fleet of fronts |
//! | `files` | the configuration's files, watched |
//! | `tasks` | the parts that must not end |
//! | `supervisor` | notes to the supervisor |
//! | `error` | why the agent does not start, or ends |
//!
//! Order of coming up: sockets are bound, the program is loaded and has its first plan, and only then is it attached, so
//! that it never sees a query it cannot answer; `READY=1` goes to the supervisor after that. On the way down the program
//! is detached first, while the socket path still answers; or it is left where it is.
//!
//! The program that an agent before has left goes on answering until all of this has gone well: only then has its program another's in its
//! place, and only after that is taken away what is not wanted any more. One that takes over tries all it can before it tells
//! the other to leave.
//!
//! A reload makes everything that belongs to a configuration anew, beside the one in force: another program with maps of
//! its own, probes that go on from what is known. Then the program takes the other's place on every interface in one step.
//! Whatever fails before that leaves everything as it was, a panic included.
//!
//! No task ends before the agent does. One that does so all the same takes the agent with it, so that the supervisor
//! starts it anew: answers from a plan that nobody renews would look healthy.

mod assessment_log;
mod counts;
mod error;
mod events;
mod file_words;
mod files;
mod fleet;
mod health_file;
mod news;
mod opening;
mod rehearsal;
mod rolling;
mod rounds;
mod serving;
mod signing;
mod supervisor;
mod tasks;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sd_notify::NotifyState;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info, warn};

pub use self::error::AgentError;
use self::{
    files::Files,
    fleet::{Joined, Membership, keep},
    opening::{HANDOVER, bind, listen, misfits, own, take_off},
    serving::{Common, Prepared, Serving},
    supervisor::notify,
    tasks::{TaskEnded, complain_of, named},
};
use crate::{
    admin::{fleet::lasting_alarms, server, sources::Current},
    control::commands::{AgentCommand, ReloadError, Reloaded},
    observe::{
        self,
        context::ServingContext,
        signing::{Clock, SignedZoneState},
    },
};
use zerottl_config::{self as config, Loaded};
use zerottl_core::{
    minimums,
    model::{Model, OnStop},
};
use zerottl_dns::{self as dns, TcpAdmission};
use zerottl_host::state::{self, writer::StateWriter};
use zerottl_kernel::attachments::{Attachments, Rehearsed};

/// Lines a slow `zerottl trace` may lag behind.
const TRACE_BACKLOG: usize = 4_096;
/// How often interfaces are looked after: one that comes back is answered on within a second.
const CARE: Duration = Duration::from_millis(250);
/// One look in so many at the machine around: addresses come and go.
const LOOKS: u32 = 8;
/// How often the configuration's files are looked at, if they are.
const WATCH: Duration = Duration::from_secs(1);
/// For an agent that was made to leave to write its last state.
const LEAVING: Duration = Duration::from_secs(8);

/// How the agent is started.
#[derive(Debug)]
pub struct Start {
    /// The configuration's file, for reloads.
    pub file: PathBuf,
    /// The configuration that it holds.
    pub loaded: Loaded,
    /// Whether another agent that has the same pins has to leave.
    pub take_over: bool,
    /// Where it is told what to do, which the admin interface does too.
    pub commands: mpsc::Sender<AgentCommand>,
}

/// Runs until it is told to stop. Needs tokio's runtime of several threads, and is best its main future: attaching blocks.
pub async fn run(start: Start, mut commands: mpsc::Receiver<AgentCommand>) -> Result<(), AgentError> {
    let mut agent = Agent::start(start).await?;
    let (listen, names) = (&agent.serving.model.front.listen, agent.serving.model.names.len());
    notify(&[NotifyState::Ready]);
    info!(addresses = ?listen, names, sites = agent.serving.model.sites.len(), "ready");
    let mut care = tokio::time::interval(CARE);
    let mut watch = tokio::time::interval(WATCH);
    care.set_missed_tick_behavior(MissedTickBehavior::Delay);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            command = commands.recv() => match command {
                // Nobody is left to tell it anything.
                None => break Ok(None),
                Some(AgentCommand::Stop(how)) => break Ok(how),
                Some(AgentCommand::Reload(reply)) => agent.reload(reply).await,
            },
            Some(ended) = agent.tasks.join_next() => break Err(TaskEnded::new(ended)),
            Some(ended) = agent.serving.tasks.join_next() => break Err(TaskEnded::new(ended)),
            _ = care.tick() => agent.look_after(),
            _ = watch.tick(), if agent.serving.model.life.watch => if agent.files.changed() {
                info!("the configuration's files have changed");
                agent.reload(None).await;
            },
        }
    };
    if let Err(ended) = &ended {
        error!("{ended}: stopping");
    }
    notify(&[NotifyState::Stopping]);
    // One that fails is started again: what it left answers meanwhile.
    let how = ended.as_ref().map_or(OnStop::Keep, |how| how.unwrap_or(agent.serving.model.life.on_stop));
    agent.stop(how).await;
    info!("stopped");
    ended.map(drop).map_err(AgentError::Ended)
}

/// The parts that live as long as the process.
struct Agent {
    file: PathBuf,
    files: Files,
    /// Of the file, as it is in force.
    parts: config::KnownParts,
    common: Common,
    /// None with `xdp = "off"`.
    attachments: Option<Attachments>,
    context: watch::Sender<ServingContext>,
    /// Looks after the interfaces so far.
    looks: u32,
    /// The alarms that hooks were told of: those of no pool, each a kind and a sentence.
    alarms: Vec<(&'static str, String)>,
    serving: Serving,
    /// The data that the admin pages are made of.
    current: Arc<Current>,
    admission: Arc<TcpAdmission>,
    /// By served address; dropping one closes its sockets.
    sockets: BTreeMap<SocketAddr, DropGuard>,
    /// The sockets and the admin interface; none ends by itself.
    tasks: JoinSet<Result<&'static str, JoinError>>,
    stop: CancellationToken,
    /// Of the state directory; last, since until then something is written there.
    _lock: Option<state::lock::Lock>,
}

impl Agent {
    async fn start(start: Start) -> Result<Self, AgentError> {
        let Start { file, loaded, take_over, commands } = start;
        let Loaded { model, zones, files, parts, .. } = loaded;
        let started = Instant::now();
        let rehearsed = if take_over { rehearsal::rehearse(&model, &zones).await? } else { Rehearsed::default() };
        // Then this, since an agent that has to leave has the sockets too.
        let pins = tokio::task::block_in_place(|| own(&model, take_over))?;
        let admission = Arc::new(TcpAdmission::default());
        let (bound, admin) = listen(&model, &admission, if take_over { HANDOVER } else { Duration::ZERO }).await?;
        let patience = if take_over { LEAVING } else { Duration::from_secs(2) };
        let own_state = || state::lock::own(&model.state, patience).map_err(AgentError::State);
        let lock = tokio::task::block_in_place(own_state)?;
        let folder = pins.as_ref().map(|pins| pins.folder().to_owned());
        let clock = Arc::<Clock>::default();
        let prepare = || Prepared::new(model, zones, None, folder.as_deref(), &clock);
        let mut prepared = tokio::task::block_in_place(prepare)?;
        let (trace, _) = broadcast::channel(TRACE_BACKLOG);
        let (context, seen) = watch::channel(ServingContext::default());
        let dns = Arc::new(dns::DnsService::of(Arc::clone(&prepared.served)));
        let (writer, write_status, writing) = StateWriter::new(prepared.model.state.clone());
        let work = Arc::default();
        let joined = Membership::of(&prepared.model, None).map_err(AgentError::Fleet)?;
        let (fleet, client) = joined.map(|joined| (joined.membership, joined.client)).unzip();
        let common = Common {
            dns,
            trace,
            context: seen,
            work,
            commands,
            clock,
            started,
            writer: Arc::new(writer),
            write_status,
            fleet,
            hooks: Arc::default(),
        };
        let (mut attachments, mut unwanted) = (None, None);
        match (pins, prepared.program.take()) {
            (Some(pins), Some(program)) => {
                let front = &prepared.model.front;
                let start = || Attachments::start(pins, program, front.xdp, &front.interfaces, rehearsed);
                attachments = Some(tokio::task::block_in_place(start)?);
            }
            (pins, _) => unwanted = pins,
        }
        let serving = prepared.serve(&common, None);
        let current = Arc::new(Current::new(Arc::clone(&serving.admin)));
        let stop = CancellationToken::new();
        let mut agent = Self {
            file,
            files: Files::new(files),
            parts,
            common,
            attachments,
            context,
            looks: 0,
            alarms: Vec::new(),
            serving,
            current,
            admission,
            sockets: BTreeMap::new(),
            tasks: JoinSet::new(),
            stop,
            _lock: lock,
        };
        agent.open(bound);
        // The sockets answer by now.
        unwanted.into_iter().for_each(take_off);
        agent.look_after();
        agent.tasks.spawn(named("keeping the state", writing));
        if let Some(client) = client.flatten() {
            agent.tasks.spawn(keep(client, agent.stop.clone()));
        }
        if !admin.is_empty() {
            let serve = server::serve(admin, Arc::clone(&agent.current), agent.stop.clone());
            agent.tasks.spawn(named("the admin interface", serve));
        }
        Ok(agent)
    }

    /// Answers on bound sockets.
    fn open(&mut self, bound: Vec<(SocketAddr, dns::Sockets)>) {
        for (address, sockets) in bound {
            // Ended by its own guard, or with the agent.
            let close = self.stop.child_token();
            let running = sockets.run(Arc::clone(&self.common.dns), close.clone());
            let all = self.stop.clone();
            self.tasks.spawn(async move {
                running.await;
                // Closed by a reload, which is no end of the agent's.
                all.cancelled().await;
                Ok("the socket path")
            });
            self.sockets.insert(address, close.drop_guard());
        }
    }

    fn look_after(&mut self) {
        let mut now = self.context.borrow().clone();
        if let Some(attachments) = &mut self.attachments {
            attachments.look_after();
            (now.attachments, now.alarms) = (attachments.states(), attachments.alarms());
        }
        if self.looks.is_multiple_of(LOOKS)
            && let Some(misfits) = misfits(&self.serving.model.front)
        {
            let said = std::mem::replace(&mut now.warnings, misfits);
            now.warnings.extend(self.attachments.iter().flat_map(Attachments::cautions));
            for warning in now.warnings.iter().filter(|warning| !said.contains(warning)) {
                warn!("{warning}");
            }
        }
        if self.looks.is_multiple_of(LOOKS) {
            now.signed = SignedZoneState::all(&self.common.dns.served(), observe::signing::now());
            now.signing_alarms = observe::signing::alarms(&now.signed, &self.common.clock);
        }
        self.looks = self.looks.wrapping_add(1);
        let mut alarms = now.all_alarms();
        alarms.extend(self.serving.admin.health_file.borrow().alarms());
        let fleet = self.serving.admin.fleet();
        alarms.extend(fleet.iter().flat_map(lasting_alarms));
        events::of_alarms(&self.common.hooks, &self.alarms, &alarms);
        self.alarms = alarms;
        self.context.send_if_modified(|context| {
            let is_new = *context != now;
            *context = now;
            is_new
        });
    }

    /// Reads the file anew and answers by it, or says why not.
    async fn reload(&mut self, reply: Option<oneshot::Sender<Result<Reloaded, ReloadError>>>) {
        notify(&[NotifyState::Reloading]);
        let result = self.try_reload().await;
        match &result {
            Ok(Reloaded { generation, took_ms, warnings }) => {
                for warning in warnings {
                    warn!("{warning}");
                }
                info!(generation, took_ms, "reloaded");
            }
            Err(error) => error!("not reloaded, everything stays as it was: {error}"),
        }
        notify(&[NotifyState::Ready]);
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(result.map_err(|error| ReloadError(error.to_string())));
        }
    }

    async fn try_reload(&mut self) -> Result<Reloaded, AgentError> {
        let since = Instant::now();
        // What somebody has taken away is put back before it is built on.
        self.look_after();
        let Ready { mut prepared, bound, files, warnings, parts, joined } =
            tokio::task::block_in_place(|| bounded(|| self.make_ready()))?;
        if let (Some(attachments), Some(program)) = (&mut self.attachments, prepared.program.take()) {
            let interfaces = &prepared.model.front.interfaces;
            tokio::task::block_in_place(|| attachments.switch(program, interfaces))?;
        }
        let generation = prepared.served.view.plan().generation;
        let (fleet, client) = joined.map(|joined| (joined.membership, joined.client)).unzip();
        let (client, is_in_one) = (client.flatten(), fleet.is_some());
        let before = std::mem::replace(&mut self.common.fleet, fleet);
        if let Some(before) = before.filter(|_| client.is_some() || !is_in_one) {
            before.fleet.leave();
        }
        if let Some(client) = client {
            self.tasks.spawn(keep(client, self.stop.clone()));
        }
        let serving = prepared.serve(&self.common, Some(&self.serving));
        self.open(bound);
        self.sockets.retain(|address, _| serving.model.front.listen.contains(address));
        self.current.store(Arc::clone(&serving.admin));
        let before = std::mem::replace(&mut self.serving, serving);
        before.end().await;
        self.files = Files::new(files);
        self.parts = parts;
        self.looks = 0;
        self.look_after();
        Ok(Reloaded { generation, took_ms: since.elapsed().as_secs_f64() * 1e3, warnings })
    }

    /// All of a reload that can fail for what the file says. Nothing of it is in force.
    fn make_ready(&self) -> Result<Ready, AgentError> {
        let earlier = config::EarlierReading { parts: &self.parts, model: &self.serving.model };
        let loaded = config::load_again(&self.file, earlier).map_err(AgentError::Config)?;
        let Loaded { mut model, mut zones, files, warnings, parts } = loaded;
        fleet::follow_secret(&mut model, self.common.fleet.as_ref());
        same(&self.serving.model, &model)?;
        let of_serials = zones.follow(&self.common.dns.served().zones, &model);
        let new: Vec<_> =
            model.front.listen.iter().filter(|address| !self.sockets.contains_key(address)).copied().collect();
        let bound = bind(&new, &self.admission, model.front.freebind)?;
        let mut warnings: Vec<String> = warnings.iter().map(config::Problem::line).collect();
        warnings.extend(of_serials);
        warnings.extend(misfits(&model.front).unwrap_or_default());
        let folder = self.attachments.as_ref().map(|attachments| attachments.pins().folder());
        let prepared = Prepared::new(model, zones, Some(&self.serving), folder, &self.common.clock)?;
        let known = self.serving.admin.status.borrow().clone();
        let shortfalls = minimums::refused((&self.serving.model, &known), (&prepared.model, &prepared.status));
        if shortfalls.is_empty() {
            let before = self.common.fleet.as_ref();
            let joined = Membership::of(&prepared.model, before).map_err(AgentError::Fleet)?;
            Ok(Ready { prepared, bound, files, warnings, parts, joined })
        } else {
            Err(AgentError::Minimum(shortfalls))
        }
    }

    /// Ends everything; the program first, while the sockets still answer.
    async fn stop(mut self, how: OnStop) {
        // Who takes over waits for the lock: by then the sockets are closed and the state is written.
        let _lock = match (self.attachments, how) {
            (Some(attachments), OnStop::Detach) => {
                attachments.detach();
                None
            }
            (Some(attachments), OnStop::Keep) => Some(attachments.keep()),
            (None, _) => None,
        };
        self.stop.cancel();
        self.serving.end().await;
        self.common.hooks.end().await;
        if let Some(membership) = &self.common.fleet {
            membership.fleet.leave();
        }
        // Nobody keeps anything any more: its task writes the last of it and ends.
        drop(self.common);
        while let Some(ended) = self.tasks.join_next().await {
            complain_of(&ended);
        }
    }
}

/// Fails if something that cannot change while the agent runs has changed.
fn same(before: &Model, now: &Model) -> Result<(), AgentError> {
    let keys = [
        ("[admin] `listen`", before.admin.listen == now.admin.listen),
        ("[state] `directory`", before.state == now.state),
        ("[agent] `pins`", before.life.pins == now.life.pins),
        ("[front] `xdp`", before.front.xdp == now.front.xdp),
    ];
    keys.into_iter().find(|(_, is_same)| !is_same).map_or(Ok(()), |(key, _)| Err(AgentError::Restart(key)))
}

/// A reload that has nothing left to fail for but an interface.
struct Ready {
    prepared: Prepared,
    bound: Vec<(SocketAddr, dns::Sockets)>,
    files: Vec<PathBuf>,
    warnings: Vec<String>,
    parts: config::KnownParts,
    joined: Option<Joined>,
}

/// Runs what may panic. It changes nothing that is in force, so nothing half-done is left.
fn bounded<T>(work: impl FnOnce() -> Result<T, AgentError>) -> Result<T, AgentError> {
    let words = |panic: &(dyn std::any::Any + Send)| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    };
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(AgentError::Panic(words(&*panic))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic of a reload is an error like others: what it says reaches who asked.
    #[test]
    fn a_panic_is_an_error() {
        let check = |work: &dyn Fn() -> Result<(), AgentError>, words: &str| {
            let said = bounded(work).expect_err("an error").to_string();
            assert!(said.contains(words), "{said}");
        };
        check(&|| panic!("at {}", 7), "at 7");
        check(&|| panic!("plain"), "plain");
        check(&|| std::panic::panic_any(7), "without words");
        check(&|| Err(AgentError::Restart("[front] `xdp`")), "a reload cannot change it");
        assert!(matches!(bounded(|| Ok(7)), Ok(7)));
    }
}
