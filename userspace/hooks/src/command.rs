//! One attempt to run a command with an event.

use std::{env, ffi::OsString, process::Stdio, thread, time::Duration};

use rustix::{
    process::{Pid, Signal, kill_process_group},
    thread::clear_ambient_capability_set,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, Command},
    runtime::Handle,
    sync::oneshot,
    time::timeout,
};

use crate::{event::Message, failure::HookFailure};

/// Bytes of what a command says that fails, at most.
const SAID_MAX: usize = 500;
/// The time for what it has said before its end to be read.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Where programs are found that a script calls, unless the agent was told otherwise.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its arguments.
pub(crate) struct Program {
    words: Vec<String>,
}

impl Program {
    pub fn new(words: Vec<String>) -> Self {
        Self { words }
    }

    /// Runs it to its end. Whoever drops this before kills it, with all that it has started.
    pub async fn run(&self, message: &Message) -> Result<(), HookFailure> {
        let mut group = Group::start(self.command(message)).await.map_err(HookFailure::Start)?;
        let (mut input, mut errors) = (group.child.stdin.take(), group.child.stderr.take());
        let body = message.body.clone();
        let write = async {
            if let Some(mut input) = input.take() {
                // It need not read it.
                let _ = input.write_all(&body).await;
            }
        };
        let mut said = Vec::new();
        let read = listen(&mut errors, &mut said);
        // What it has started in the background may keep the pipe, but it has ended.
        let status = tokio::select! {
            biased;
            status = group.child.wait() => status,
            never = async { tokio::join!(write, read); std::future::pending().await } => never,
        };
        let status = status.map_err(HookFailure::Start)?;
        group.is_over = true;
        if status.success() {
            return Ok(());
        }
        // Its last words may still be in the pipe.
        let _ = timeout(LAST_WORDS, listen(&mut errors, &mut said)).await;
        let said = String::from_utf8_lossy(&said).trim().replace(char::is_control, " ");
        Err(HookFailure::Exit { status, said })
    }

    fn command(&self, message: &Message) -> Command {
        let (program, arguments) = self.words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        let mut command = Command::new(program);
        // What the agent has in its environment may be secret, or about itself, as the supervisor's socket is.
        command.args(arguments).env_clear().env("PATH", env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH)));
        command.envs(message.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/");
        command.process_group(0);
        command
    }
}

/// Takes what comes over a pipe until it is closed, and keeps the beginning: a full pipe would hold the command up.
async fn listen(pipe: &mut Option<ChildStderr>, said: &mut Vec<u8>) {
    let mut piece = [0; 512];
    while let Some(pipe) = pipe
        && let Ok(length @ 1..) = pipe.read(&mut piece).await
    {
        let room = SAID_MAX.saturating_sub(said.len()).min(length);
        said.extend_from_slice(&piece[..room]);
    }
}

/// A running command, with all processes of its group; they are killed when it is dropped before its end.
struct Group {
    child: Child,
    pid: Option<Pid>,
    is_over: bool,
}

impl Group {
    /// Starts it from a thread without the agent's ambient capabilities: a hook loads no programs into the kernel.
    async fn start(mut command: Command) -> std::io::Result<Self> {
        let (give, take) = oneshot::channel();
        let runtime = Handle::current();
        thread::Builder::new().name("hook".into()).spawn(move || {
            let _in_runtime = runtime.enter();
            // A kernel without them has none to take away.
            let _ = clear_ambient_capability_set();
            let started = command.spawn().map(|child| {
                let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
                Self { child, pid, is_over: false }
            });
            // Nobody waiting any more drops it, which ends it.
            drop(give.send(started));
        })?;
        take.await.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its id is its own for as long as it is not waited for.
        if let Some(pid) = self.pid.filter(|_| !self.is_over) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use zerottl_core::model::EventKind;

    use super::*;
    use crate::event::HookEvent;

    fn message() -> Message {
        let event = HookEvent::new(EventKind::SiteUp, "Site boston is up").of_site("boston");
        Message::new(event, "ns1", SystemTime::UNIX_EPOCH)
    }

    fn shell(script: &str) -> Program {
        Program::new(["/bin/sh", "-c", script].map(ToOwned::to_owned).to_vec())
    }

    #[tokio::test]
    async fn a_command_gets_the_event_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out").display().to_string();
        shell(&format!("cat >{path}; echo >>{path}; env >>{path}")).run(&message()).await.expect("it ends well");
        let out = std::fs::read_to_string(&path).expect("written");
        let (body, variables) = out.split_once('\n').expect("two lines at least");
        assert!(body.ends_with('}') && body.contains(r#""site":"boston""#), "{out}");
        let mut names: Vec<_> = variables.lines().filter_map(|line| line.split('=').next()).collect();
        names.retain(|name| !["PWD", "SHLVL", "_", "PATH", "OLDPWD"].contains(name));
        names.sort_unstable();
        let own =
            ["ZEROTTL_EVENT", "ZEROTTL_FRONT", "ZEROTTL_ID", "ZEROTTL_SITE", "ZEROTTL_TEXT", "ZEROTTL_TIME"].to_vec();
        assert_eq!(names, own, "{out}");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let said = shell("echo no route >&2; exit 3").run(&message()).await.expect_err("it fails").to_string();
        assert_eq!(said, "exit status: 3: no route");
        // It says more than a pipe holds, and reads nothing.
        let much = shell("yes | head -c 300000 >&2; exit 1").run(&message()).await.expect_err("it fails").to_string();
        assert!(much.len() < SAID_MAX + 100, "{much}");
        let missing = Program::new(vec!["/no/such/program".into()]);
        let said = missing.run(&message()).await.expect_err("it is not there").to_string();
        assert!(said.starts_with("it does not start: No such file"), "{said}");
    }

    #[tokio::test]
    async fn a_command_without_an_end_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("alive");
        let script = format!("(while :; do touch {0}; sleep 0.02; done) & wait", path.display());
        let begun = Instant::now();
        let run = timeout(Duration::from_millis(500), shell(&script).run(&message())).await;
        assert!(run.is_err() && begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::remove_file(&path).expect("it was alive");
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!path.exists(), "a child has outlived it");
    }

    /// A command whose child goes on has ended all the same.
    #[tokio::test]
    async fn what_is_left_in_the_background_is_not_waited_for() {
        let begun = Instant::now();
        shell("sleep 3 & exit 0").run(&message()).await.expect("it ends well");
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}
