//! One session server: a connection that is made again, the lease, and the scripts.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, IntoConnectionInfo, Pipeline, Script, ScriptInvocation, Value,
    aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use zerottl_core::session_id::SessionId;

use crate::{
    clock::{self, milliseconds},
    fault::SessionStartError,
    lease::Moment,
    reply::{Misshapen, Reply},
    version::{Epoch, Version},
};

/// Copies that one call keeps, and their bytes, at most; one alone may be larger.
const GROUP: usize = 32;
const GROUP_BYTES: usize = 256 * 1024;

/// The scripts, as a server knows them.
pub(crate) struct Scripts {
    put: Script,
    inspect: Script,
    claim: Script,
    release: Script,
    end: Script,
    ends: Script,
    renew: Script,
    orphans: Script,
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| Scripts {
    put: Script::new(include_str!("scripts/put.lua")),
    inspect: Script::new(include_str!("scripts/inspect.lua")),
    claim: Script::new(include_str!("scripts/claim.lua")),
    release: Script::new(include_str!("scripts/release.lua")),
    end: Script::new(include_str!("scripts/end.lua")),
    ends: Script::new(include_str!("scripts/ends.lua")),
    renew: Script::new(include_str!("scripts/renew.lua")),
    orphans: Script::new(include_str!("scripts/orphans.lua")),
});

/// Why a server has not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteFault {
    /// There is no connection.
    #[error("not connected")]
    Down,
    /// The connection, or the server.
    #[error(transparent)]
    Redis(#[from] redis::RedisError),
    /// Its answer.
    #[error(transparent)]
    Misshapen(#[from] Misshapen),
}

/// Counters of a server.
#[derive(Debug, Default)]
pub(crate) struct RemoteCounts {
    /// Data that was read.
    pub(crate) reads: AtomicU64,
    /// Copies that were kept.
    pub(crate) writes: AtomicU64,
    /// Claims that were asked for.
    pub(crate) claims: AtomicU64,
    /// Writes that were refused, as another owns the session.
    pub(crate) fenced: AtomicU64,
    /// Requests that failed.
    pub(crate) failures: AtomicU64,
    /// Times that it was found started anew, and empty.
    pub(crate) restarts: AtomicU64,
}

/// A connection that works, and the server that it goes to.
#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    incarnation: Arc<str>,
}

/// One session server.
pub(crate) struct Remote {
    /// Its name: host and port.
    pub(crate) name: String,
    /// The beginning of all keys of this Site.
    prefix: String,
    client: Client,
    config: AsyncConnectionConfig,
    live: Mutex<Option<Live>>,
    /// It has lost what it had, and not all of it has been copied again.
    newcomer: AtomicBool,
    /// Sessions in memory are being copied to it again.
    lacks_hosted: AtomicBool,
    /// Sessions that are not in memory are.
    lacks_absent: AtomicBool,
    /// The incarnation that it had last.
    last: Mutex<Option<Arc<str>>>,
    /// The run of the server that it is connected to.
    run: Mutex<String>,
    pub(crate) counts: RemoteCounts,
    /// Since when it is down, and why, for people; none while it is up.
    down: Mutex<Option<(Moment, String)>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where and how a server is reached.
#[derive(Clone, Debug)]
pub struct RemoteTarget {
    /// Its name: host and port.
    pub name: String,
    /// Its failure domain.
    pub domain: String,
    /// `redis://…`, `rediss://…`, with a user.
    pub url: String,
    /// The password of that user.
    pub password: Option<String>,
    /// Certificates (PEM) that its own must be signed by; none is those that the system trusts.
    pub ca: Option<Vec<u8>>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    /// Makes one that is not connected.
    pub(crate) fn new(target: &RemoteTarget, site: &str, timeout: Duration) -> Result<Self, SessionStartError> {
        let failed = |source| SessionStartError::Server { name: target.name.clone(), source };
        let tcp = TcpSettings::default().set_nodelay(true);
        let mut info = target.url.as_str().into_connection_info().map_err(failed)?.set_tcp_settings(tcp);
        if let Some(password) = &target.password {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let client = match &target.ca {
            Some(ca) => {
                let certificates = redis::TlsCertificates { client_tls: None, root_cert: Some(ca.clone()) };
                Client::build_with_tls(info, certificates)
            }
            None => Client::open(info),
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout))
            .set_pipeline_buffer_size(1024);
        Ok(Self {
            name: target.name.clone(),
            prefix: format!("zerottl:{site}:"),
            client: client.map_err(failed)?,
            config,
            live: Mutex::new(None),
            newcomer: AtomicBool::new(false),
            lacks_hosted: AtomicBool::new(false),
            lacks_absent: AtomicBool::new(false),
            last: Mutex::new(None),
            run: Mutex::default(),
            counts: RemoteCounts::default(),
            down: Mutex::new(None),
        })
    }

    /// Whether it is connected.
    pub(crate) fn is_up(&self) -> bool {
        locked(&self.live).is_some()
    }

    /// Why it is not, for people.
    pub(crate) fn why(&self) -> Option<String> {
        locked(&self.down).as_ref().map(|(_, why)| why.clone())
    }

    /// Whether it has been down for so long.
    pub(crate) fn is_down_for(&self, time: Duration) -> bool {
        locked(&self.down).as_ref().is_some_and(|(since, _)| clock::now().saturating_sub(*since) >= time)
    }

    /// The incarnation that it had last.
    pub(crate) fn last_incarnation(&self) -> Option<Arc<str>> {
        locked(&self.last).clone()
    }

    /// The run of the server that it is connected to.
    pub(crate) fn run_id(&self) -> String {
        locked(&self.run).clone()
    }

    /// Whether it is new, and what it says does not count yet.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.newcomer.load(Relaxed)
    }

    /// Sets whether it is; returns whether it was.
    pub(crate) fn set_newcomer(&self, newcomer: bool) -> bool {
        self.newcomer.swap(newcomer, Relaxed)
    }

    /// Whether sessions are being copied to it again.
    pub(crate) fn is_copying(&self) -> bool {
        self.lacks_hosted() || self.lacks_absent()
    }

    /// Whether it lacks sessions that are in memory.
    pub(crate) fn lacks_hosted(&self) -> bool {
        self.lacks_hosted.load(Relaxed)
    }

    /// Sets whether it does.
    pub(crate) fn set_lacks_hosted(&self, lacks: bool) {
        self.lacks_hosted.store(lacks, Relaxed);
    }

    /// Whether it lacks sessions of this worker that are not in memory.
    pub(crate) fn lacks_absent(&self) -> bool {
        self.lacks_absent.load(Relaxed)
    }

    /// Sets whether it does.
    pub(crate) fn set_lacks_absent(&self, lacks: bool) {
        self.lacks_absent.store(lacks, Relaxed);
    }

    /// Counts that it was found started anew, and has everything copied to it from now on.
    pub(crate) fn has_lost_all(&self) {
        self.counts.restarts.fetch_add(1, Relaxed);
        self.set_lacks_hosted(true);
        self.set_lacks_absent(true);
    }

    /// Ends the connection, after a failure.
    pub(crate) fn fail(&self, why: &dyn fmt::Display) {
        self.counts.failures.fetch_add(1, Relaxed);
        let since = locked(&self.down).as_ref().map_or_else(clock::now, |(since, _)| *since);
        *locked(&self.down) = Some((since, why.to_string()));
        *locked(&self.live) = None;
    }

    /// Connects, and loads the scripts. Returns the connection, whether the server may be one that has never served this Site, and its
    /// run; it is in use only once [`Self::joined`] has been told.
    ///
    /// It may if it has no incarnation, or if another worker has just made one and nobody has claimed a session since: of several that
    /// start at once with a new Site's servers, each finds them so.
    pub(crate) async fn connect(&self) -> Result<(MultiplexedConnection, bool, String), RemoteFault> {
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        let mut pipeline = redis::pipe();
        let Scripts { put, inspect, claim, release, end, ends, renew, orphans } = &*SCRIPTS;
        for script in [put, inspect, claim, release, end, ends, renew, orphans] {
            pipeline.load_script(script).ignore();
        }
        pipeline.cmd("EXISTS").arg(self.key("incarnation"));
        pipeline.cmd("EXISTS").arg(self.key("unclaimed"));
        let (is_known, is_unclaimed): (bool, bool) = pipeline.query_async(&mut connection).await?;
        // Who may not ask (ACL) does without: then it is seen only if the server has lost all.
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap_or_default();
        let run = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default();
        Ok((connection, !is_known || is_unclaimed, run.trim().to_owned()))
    }

    /// Returns what of the server's settings endangers sessions, as sentences. A server that does not tell (ACL) has none.
    pub(crate) async fn perils(&self, connection: &mut MultiplexedConnection) -> Vec<String> {
        let mut asked = redis::cmd("CONFIG");
        asked.arg("GET").arg("appendonly").arg("maxmemory-policy").arg("maxmemory");
        let settings: HashMap<String, String> = asked.query_async(connection).await.unwrap_or_default();
        perils(&settings)
    }

    /// Takes a connection into use.
    pub(crate) fn joined(&self, connection: MultiplexedConnection, incarnation: &str, run: &str) {
        run.clone_into(&mut locked(&self.run));
        *locked(&self.down) = None;
        *locked(&self.last) = Some(incarnation.into());
        *locked(&self.live) = Some(Live { connection, incarnation: incarnation.into() });
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn live(&self) -> Result<Live, RemoteFault> {
        locked(&self.live).clone().ok_or(RemoteFault::Down)
    }

    fn session_call<'a>(&self, script: &'a Script, id: SessionId) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        call.key(format!("{}s:{id}", self.prefix));
        call.key(self.key("incarnation")).key(self.key("newcomer")).key(self.key("o:"));
        call
    }

    /// Ends the connection if a request has failed.
    fn answered<T>(&self, answer: Result<T, redis::RedisError>) -> Result<T, RemoteFault> {
        answer.map_err(|error| {
            self.fail(&error);
            error.into()
        })
    }

    /// Runs one script.
    async fn run(&self, live: &mut Live, call: &ScriptInvocation<'_>) -> Result<Reply, RemoteFault> {
        let value: Result<Value, _> = call.invoke_async(&mut live.connection).await;
        let reply = value.map_err(RemoteFault::from).and_then(|value| Reply::read(value).map_err(RemoteFault::from));
        if let Err(fault) = &reply {
            self.fail(fault);
        }
        reply
    }

    /// Reads everything of a session but its data.
    pub(crate) async fn inspect(&self, id: SessionId) -> Result<Reply, RemoteFault> {
        let mut live = self.live()?;
        let mut call = self.session_call(&SCRIPTS.inspect, id);
        call.arg(&*live.incarnation).arg(self.key("w:"));
        self.run(&mut live, &call).await
    }

    /// Claims a session.
    pub(crate) async fn claim(&self, id: SessionId, claim: &ClaimCall<'_>) -> Result<Reply, RemoteFault> {
        self.counts.claims.fetch_add(1, Relaxed);
        let mut live = self.live()?;
        let mut call = self.session_call(&SCRIPTS.claim, id);
        call.key(self.key("unclaimed"));
        call.arg(&*live.incarnation).arg(claim.epoch.0).arg(claim.owner).arg(self.key("w:"));
        call.arg(claim.dead).arg(milliseconds(claim.life));
        call.arg(u8::from(claim.wants_data)).arg(claim.set);
        let reply = self.run(&mut live, &call).await;
        if let Ok(Reply::Claimed { data: Some(_), .. }) = &reply {
            self.counts.reads.fetch_add(1, Relaxed);
        }
        reply
    }

    /// Reads a session's data.
    pub(crate) async fn data(&self, id: SessionId) -> Result<Option<Vec<u8>>, RemoteFault> {
        self.counts.reads.fetch_add(1, Relaxed);
        let mut live = self.live()?;
        let mut command = redis::cmd("HGET");
        command.arg(format!("{}s:{id}", self.prefix)).arg("data");
        let data = command.query_async(&mut live.connection).await;
        self.answered(data)
    }

    /// Gives a session up.
    pub(crate) async fn release(&self, id: SessionId, owner: &str) -> Result<Reply, RemoteFault> {
        let mut live = self.live()?;
        let mut call = SCRIPTS.release.prepare_invoke();
        call.key(format!("{}s:{id}", self.prefix)).key(self.key("o:")).arg(owner);
        self.run(&mut live, &call).await
    }

    /// Keeps copies, many at once; ends may be nobody's, an empty owner, as they are final. The answers are in their order; none at
    /// all if the server fails.
    pub(crate) async fn keep(
        &self,
        owner: &str,
        copies: &[CopyCall],
    ) -> Result<Vec<Result<Reply, Misshapen>>, RemoteFault> {
        let mut live = self.live()?;
        let groups = groups(copies);
        let mut pipeline = Pipeline::with_capacity(groups.len());
        for group in &groups {
            pipeline.invoke_script(&self.keep_call(owner, &live.incarnation, group));
        }
        let values: Vec<Value> = self.answered(pipeline.query_async(&mut live.connection).await)?;
        if values.len() != groups.len() {
            self.fail(&Misshapen);
            return Err(Misshapen.into());
        }
        let read = |(group, value): (&&[CopyCall], Value)| Reply::read_all(value, group.len());
        Ok(groups.iter().zip(values).flat_map(read).collect())
    }

    /// Makes the call of one script for a group of copies.
    fn keep_call(&self, owner: &str, incarnation: &str, group: &[CopyCall]) -> ScriptInvocation<'static> {
        if let [CopyCall { id, version, data: None, life }] = group {
            let mut call = self.session_call(&SCRIPTS.end, *id);
            call.key(self.key("ended")).arg(incarnation).arg(version.epoch.0).arg(owner).arg(milliseconds(*life));
            return call;
        }
        let mut call = SCRIPTS.put.prepare_invoke();
        call.key(self.key("incarnation")).key(self.key("newcomer")).key(self.key("o:"));
        let life = group.iter().map(|copy| copy.life).max().unwrap_or_default();
        call.arg(incarnation).arg(owner).arg(milliseconds(life));
        for copy in group {
            call.key(format!("{}s:{}", self.prefix, copy.id));
            call.arg(copy.version.epoch.0).arg(copy.version.number).arg(copy.data.as_deref().unwrap_or_default());
        }
        call
    }

    /// Renews the lease, over a connection that need not be in use yet.
    pub(crate) async fn renew(
        &self,
        connection: &mut MultiplexedConnection,
        lease: &LeaseCall<'_>,
    ) -> Result<Reply, RemoteFault> {
        let mut call = SCRIPTS.renew.prepare_invoke();
        call.key(self.key(&format!("w:{}", lease.owner))).key(self.key("incarnation")).key(self.key("newcomer"));
        call.key(self.key("workers")).key(self.key("run")).key(self.key("unclaimed"));
        call.arg(lease.value).arg(milliseconds(lease.life)).arg(lease.incarnation).arg(u8::from(lease.all_new));
        call.arg(milliseconds(lease.life)).arg(u8::from(lease.copies)).arg(lease.owner).arg(lease.run);
        let value: Value = call.invoke_async(connection).await?;
        Ok(Reply::read_lease(value)?)
    }

    /// Lists the workers that have a lease, up to `most` sessions of those that have none, and as many of the asker's.
    pub(crate) async fn orphans(&self, most: usize, asker: &str) -> Result<OrphanLists, RemoteFault> {
        let mut live = self.live()?;
        let mut call = SCRIPTS.orphans.prepare_invoke();
        call.key(self.key("incarnation")).key(self.key("newcomer")).key(self.key("workers"));
        call.arg(&*live.incarnation).arg(self.key("w:")).arg(self.key("o:")).arg(self.key("s:")).arg(most);
        call.arg(asker);
        let found = call.invoke_async(&mut live.connection).await;
        self.answered(found)
    }

    /// Lists some sessions of a worker, from a cursor on, which is 0 at first; with the next cursor, 0 at the end.
    pub(crate) async fn owned(
        &self,
        owner: &str,
        cursor: u64,
        about: usize,
    ) -> Result<(u64, Vec<String>), RemoteFault> {
        let mut live = self.live()?;
        let mut command = redis::cmd("SSCAN");
        command.arg(self.key(&format!("o:{owner}"))).arg(cursor).arg("COUNT").arg(about);
        let page = command.query_async(&mut live.connection).await;
        self.answered(page)
    }

    /// Lists some sessions that have ended, from a cursor on, which is 0 at first: each with its epoch, and how long that is still to
    /// be known (ms); with the next cursor, 0 at the end.
    pub(crate) async fn ends(&self, cursor: u64, about: usize) -> Result<EndsPage, RemoteFault> {
        let mut live = self.live()?;
        let mut call = SCRIPTS.ends.prepare_invoke();
        call.key(self.key("ended")).arg(self.key("s:")).arg(cursor).arg(about);
        let page = call.invoke_async(&mut live.connection).await;
        self.answered(page)
    }

    /// Ends the lease, so that others may claim this worker's sessions at once.
    pub(crate) async fn resign(&self, owner: &str) -> Result<(), RemoteFault> {
        let mut live = self.live()?;
        let mut command = redis::cmd("DEL");
        command.arg(self.key(&format!("w:{owner}")));
        Ok(command.exec_async(&mut live.connection).await?)
    }

    /// Whether a worker has a lease here.
    pub(crate) async fn has_lease(&self, owner: &str) -> Result<bool, RemoteFault> {
        let mut live = self.live()?;
        let mut command = redis::cmd("EXISTS");
        command.arg(self.key(&format!("w:{owner}")));
        Ok(command.query_async(&mut live.connection).await?)
    }

    /// The connection in use.
    pub(crate) fn connection(&self) -> Option<MultiplexedConnection> {
        locked(&self.live).as_ref().map(|live| live.connection.clone())
    }
}

/// Parts copies into groups for one call each: a server does nothing else while it runs a script.
fn groups(copies: &[CopyCall]) -> Vec<&[CopyCall]> {
    let (mut groups, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, copy) in copies.iter().enumerate() {
        let size = copy.data.as_ref().map_or(0, bytes::Bytes::len);
        let is_apart = copy.data.is_none() || at > begin && copies[at - 1].data.is_none();
        if at > begin && (is_apart || at - begin == GROUP || bytes + size > GROUP_BYTES) {
            groups.push(&copies[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    groups.extend((begin < copies.len()).then(|| &copies[begin..]));
    groups
}

/// Judges a server's settings.
fn perils(settings: &HashMap<String, String>) -> Vec<String> {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|found| found == value);
    let mut perils = Vec::new();
    if is("appendonly", "no") {
        perils.push("`appendonly no`: a restart of this server loses what it holds; set `appendonly yes`".to_owned());
    }
    let evicts = settings.get("maxmemory-policy").filter(|policy| *policy != "noeviction");
    if let Some(policy) = evicts.filter(|_| !is("maxmemory", "0")) {
        perils.push(format!("`maxmemory-policy {policy}`: a full server drops sessions; set `noeviction`"));
    }
    perils
}

/// The next cursor; sessions, their epochs, and milliseconds.
pub(crate) type EndsPage = (u64, Vec<(String, u64, u64)>);

/// Living workers; sessions of dead ones; sessions of the asker.
pub(crate) type OrphanLists = (Vec<String>, Vec<String>, Vec<String>);

/// A claim as a server is asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClaimCall<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) owner: &'a str,
    /// An owner that is known to have ended; empty for none.
    pub(crate) dead: &'a str,
    pub(crate) life: Duration,
    pub(crate) wants_data: bool,
    /// The servers that hold copies from now on; empty for those before.
    pub(crate) set: &'a str,
}

/// A copy that is to be kept.
#[derive(Clone, Debug)]
pub(crate) struct CopyCall {
    pub(crate) id: SessionId,
    pub(crate) version: Version,
    /// None for a session that has ended.
    pub(crate) data: Option<bytes::Bytes>,
    pub(crate) life: Duration,
}

/// A lease as a server is asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseCall<'a> {
    pub(crate) owner: &'a str,
    /// The server's run: another one after each of its starts; empty if it is not told.
    pub(crate) run: &'a str,
    /// Where the worker is reached.
    pub(crate) value: &'a str,
    pub(crate) life: Duration,
    /// The incarnation of a server that has none.
    pub(crate) incarnation: &'a str,
    /// No server has one: nothing can have been lost.
    pub(crate) all_new: bool,
    /// Sessions are being copied to it.
    pub(crate) copies: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_kept_by_few_calls() {
        let copy = |size: Option<usize>| CopyCall {
            id: SessionId([1; 16]),
            version: Version::default(),
            data: size.map(|size| vec![0; size].into()),
            life: Duration::from_secs(1),
        };
        let sizes = |copies: &[Option<usize>]| {
            let copies: Vec<_> = copies.iter().map(|size| copy(*size)).collect();
            groups(&copies).into_iter().map(<[_]>::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&[Some(1); 70]), [32, 32, 6]);
        assert_eq!(sizes(&[Some(1), Some(1), None, None, Some(1), Some(1)]), [2, 1, 1, 2], "an end stands alone");
        let large = Some(GROUP_BYTES);
        assert_eq!(sizes(&[Some(1), large, large, Some(0), Some(1)]), [1, 1, 2, 1], "few bytes at a time");
    }

    #[test]
    fn settings_that_endanger_sessions_are_named() {
        let judged = |settings: &[(&str, &str)]| {
            perils(&settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let good = [("appendonly", "yes"), ("maxmemory-policy", "noeviction"), ("maxmemory", "100")];
        assert_eq!(judged(&good), Vec::<String>::new());
        assert_eq!(judged(&[]), Vec::<String>::new(), "it does not tell");
        // Debian's, where the policy means nothing without a limit.
        let bad = judged(&[("appendonly", "no"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory", "0")]);
        assert!(bad.len() == 1 && bad[0].contains("appendonly yes"), "{bad:?}");
        let bad = judged(&[("appendonly", "yes"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory", "100")]);
        assert!(bad.len() == 1 && bad[0].contains("noeviction"), "{bad:?}");
    }
}
