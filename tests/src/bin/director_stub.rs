//! The processes of `zerottl director` for tests: the keeper, a worker that has one server and nothing else to do, and the start of
//! a server by itself.
//!
//! | arguments | what it is |
//! |---|---|
//! | `keeper FOLDER WAY` | the keeper of `worker FOLDER WAY` |
//! | `worker FOLDER WAY` | writes `FOLDER/log`; SIGTERM stops it; `WAY` is how it fails |
//! | `start OPTIONS -- PROGRAM …` | starts a server, prints its process id or the fault, waits for its end |

use std::{
    ffi::OsString,
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{ExitCode, abort, id},
};

use clap::Parser;
use rustix::process::{Signal, getpgrp};
use tokio::signal::unix::{SignalKind, signal};
use zerottl_director::{
    keeper::{self, KeeperLink, Kept, WorkerCommand},
    listeners::{Listener, ListenerOwner},
    spawn::{self, ServerProcess, ServerStart},
};

/// The server of the worker.
const SERVER: [&str; 2] = ["-c", "while :; do sleep 1; done"];

#[derive(Debug, Parser)]
enum Stub {
    Keeper { folder: PathBuf, way: String },
    Worker { folder: PathBuf, way: String },
    Start(Start),
}

#[derive(Debug, clap::Args)]
struct Start {
    #[arg(long)]
    user: Option<String>,
    #[arg(long)]
    cpus: Vec<u32>,
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Addresses that it listens on
    #[arg(long)]
    listen: Vec<std::net::SocketAddr>,
    #[arg(last = true)]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    if let Some(done) = spawn::command() {
        return done;
    }
    match Stub::parse() {
        Stub::Keeper { folder, way } => {
            let arguments = vec!["worker".into(), folder.into(), way.into()];
            keeper::keep(&WorkerCommand { program: "/proc/self/exe".into(), arguments }).unwrap_or_else(|error| {
                eprintln!("{error}");
                ExitCode::from(99)
            })
        }
        Stub::Worker { folder, way } => runtime().block_on(worker(&folder, &way)),
        Stub::Start(start) => runtime().block_on(self::start(start)),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

async fn start(start: Start) -> ExitCode {
    let listeners = Listener::all(&start.listen, ListenerOwner::Server).expect("free addresses");
    let descriptors: Vec<_> = listeners.iter().map(|listener| (listener.name(), listener.as_fd())).collect();
    let (program, arguments) = start.command.split_first().expect("a program");
    let start = ServerStart {
        name: "app-1",
        program: Path::new(program),
        arguments,
        descriptors: &descriptors,
        environment: &[("COLOUR".into(), "blue".into())],
        user: start.user.as_deref(),
        cpus: &start.cpus,
        cgroup: start.cgroup.as_deref(),
    };
    match spawn::start(&start).await {
        Ok(process) => {
            println!("{}", process.pid());
            println!("{}", process.ended().await);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            println!("{fault}");
            ExitCode::FAILURE
        }
    }
}

struct Log(File);

impl Log {
    fn say(&mut self, text: &str) {
        // In one piece, as two workers may write.
        self.0.write_all(format!("{} {text}\n", id()).as_bytes()).expect("a log that can be written");
    }
}

async fn worker(folder: &Path, way: &str) -> ExitCode {
    if way == "never-ready" {
        return ExitCode::from(7);
    }
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a folder");
    let mut log = Log(log);
    let (link, kept) = KeeperLink::from_env().expect("a keeper");
    let mut stop = signal(SignalKind::terminate()).expect("a handler");
    let mut hang_up = signal(SignalKind::hangup()).expect("a handler");
    let stopping = kept.stopping;
    let names: Vec<&str> = kept.descriptors.iter().map(|(name, _)| name.as_str()).collect();
    let notes: Vec<String> = kept.notes.iter().map(|(name, text)| format!("{name}={text}")).collect();
    log.say(&format!("began with [{}] [{}] stopping={stopping}", names.join(" "), notes.join(" ")));
    let (_listener, server) = adopted(&link, kept).await;
    log.say(&format!("server {}", server.pid()));
    link.note("starts", &(notes.len() + 1).to_string()).expect("a note");
    link.ready().expect("a keeper");
    if way == "raves" {
        abort();
    }
    let finish = async |log: &mut Log| {
        server.signal(Signal::KILL).expect("a server");
        log.say(&format!("server {}", server.ended().await));
        ExitCode::SUCCESS
    };
    if stopping {
        return finish(&mut log).await;
    }
    loop {
        tokio::select! {
            _ = stop.recv() => {
                log.say("stop");
                if way == "dies-in-stop" {
                    abort();
                }
                return finish(&mut log).await;
            }
            _ = hang_up.recv() => log.say("hang-up"),
            end = server.ended() => log.say(&end.to_string()),
            () = link.closed() => {
                log.say("the keeper has gone");
                return ExitCode::from(8);
            }
        }
    }
}

/// Takes over what there is, or makes it.
async fn adopted(link: &KeeperLink, kept: Kept) -> (Listener, ServerProcess) {
    let mut descriptors: std::collections::BTreeMap<String, OwnedFd> = kept.descriptors.into_iter().collect();
    if let (Some(listener), Some(server)) = (descriptors.remove("listener"), descriptors.remove("server")) {
        let server = ServerProcess::from_pidfd(server).expect("a server that lives");
        return (Listener::adopt(listener).expect("a listener"), server);
    }
    let listener = Listener::new("127.0.0.1:0".parse().expect("an address"), ListenerOwner::Server);
    let listener = listener.expect("a free port");
    let arguments = SERVER.map(OsString::from);
    let start = ServerStart {
        name: "app-1",
        program: Path::new("/bin/sh"),
        arguments: &arguments,
        descriptors: &[(listener.name(), listener.as_fd())],
        environment: &[],
        user: None,
        cpus: &[],
        cgroup: None,
    };
    let server = spawn::start(&start).await.expect("a server");
    assert_ne!(getpgrp(), server.pid(), "a group of its own");
    link.keep("listener", &listener).expect("a keeper");
    link.keep("server", &server).expect("a keeper");
    (listener, server)
}
