//! The shim: what a process does between the director's fork and its server's exec.

use std::{
    env,
    ffi::{CString, OsStr, OsString},
    fs,
    io::{self, Write as _},
    os::{
        fd::{OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{self, Command, ExitCode},
};

use nix::unistd::{self, User, getgrouplist};
use rustix::{
    process::{Gid, Uid, getgid, getuid},
    thread::{
        CpuSet, clear_ambient_capability_set, sched_setaffinity, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};
use zerottl_kernel::inherited;

/// The command and its subcommand, for nobody to type.
const COMMAND: [&str; 2] = ["director", "exec-server"];

/// A step of a shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It did not understand its arguments.
    Arguments,
    /// It joins its cgroup.
    Cgroup,
    /// It sets its CPUs.
    Cpus,
    /// It looks for its user, whom nobody knows.
    NoUser,
    /// It becomes its user.
    User,
    /// It becomes its program.
    Program,
}

const STAGES: [Stage; 6] = [Stage::Arguments, Stage::Cgroup, Stage::Cpus, Stage::NoUser, Stage::User, Stage::Program];

/// The reason why a shim did not become its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The step that failed.
    pub stage: Stage,
    /// The system's error.
    pub errno: i32,
}

impl Fault {
    /// Bytes of one in the pipe: the stage, the error's number.
    pub(super) const BYTES: usize = 5;

    fn at(stage: Stage) -> impl Fn(io::Error) -> Self {
        move |error| Self { stage, errno: error.raw_os_error().unwrap_or_default() }
    }

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let stage = STAGES.iter().position(|stage| *stage == self.stage).unwrap_or_default();
        let [a, b, c, d] = self.errno.to_le_bytes();
        [stage as u8, a, b, c, d]
    }

    /// Understands one; none if it is not one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [stage, a, b, c, d] = *bytes else { return None };
        Some(Self { stage: *STAGES.get(usize::from(stage))?, errno: i32::from_le_bytes([a, b, c, d]) })
    }
}

/// The arguments of the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ShimArguments {
    /// The number of the pipe's end for a [`Fault`]; the descriptors beneath are the server's.
    pub status: RawFd,
    pub program: OsString,
    pub cgroup: Option<PathBuf>,
    pub user: Option<String>,
    pub cpus: Vec<u32>,
    pub arguments: Vec<OsString>,
}

impl ShimArguments {
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let cpus: Vec<String> = self.cpus.iter().map(ToString::to_string).collect();
        let mut arguments: Vec<OsString> = COMMAND.map(OsString::from).into();
        arguments.extend([
            self.status.to_string().into(),
            self.cgroup.clone().unwrap_or_default().into(),
            self.user.clone().unwrap_or_default().into(),
            cpus.join(",").into(),
            self.program.clone(),
        ]);
        arguments.extend(self.arguments.iter().cloned());
        arguments
    }

    /// Understands them, after the command's own words; none if they are not the shim's.
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let status = arguments.next()?.to_str()?.parse().ok()?;
        let cgroup = Some(PathBuf::from(arguments.next()?)).filter(|path| !path.as_os_str().is_empty());
        let user = Some(arguments.next()?.into_string().ok()?).filter(|user| !user.is_empty());
        let cpus = arguments.next()?.into_string().ok()?;
        let cpus = cpus.split(',').filter(|cpu| !cpu.is_empty()).map(|cpu| cpu.parse().ok()).collect::<Option<_>>()?;
        Some(Self { status, cgroup, user, cpus, program: arguments.next()?, arguments: arguments.collect() })
    }
}

/// Does the shim's work in a process that was started for it, and returns its exit code if there is no server; none in any
/// other process. It comes first of all in `main`, before there are other threads or descriptors.
#[must_use]
pub fn command() -> Option<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    for word in COMMAND {
        if arguments.next().as_deref() != Some(OsStr::new(word)) {
            return None;
        }
    }
    Some(exec_server(arguments))
}

/// Becomes a server. Returns only if it cannot, having told the director why.
#[must_use]
pub fn exec_server(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Some(shim) = ShimArguments::parse(arguments) else {
        let _ = writeln!(io::stderr(), "zerottl: `director exec-server` is for the director alone");
        return ExitCode::from(2);
    };
    let status = own_descriptors(shim.status);
    let Err(fault) = become_server(&shim);
    if let Some(status) = status {
        // Where the director has gone nobody is told.
        let _ = fs::File::from(status).write_all(&fault.to_bytes());
    }
    ExitCode::from(127)
}

/// Closes what is open beyond the server's descriptors, such as a shell's redirections; the pipe closes with the exec.
fn own_descriptors(status: RawFd) -> Option<OwnedFd> {
    let open = fs::read_dir("/proc/self/fd").map(|open| {
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.filter(|number: &RawFd| *number > status).collect::<Vec<_>>()
    });
    let mut taken = inherited::take([status].into_iter().chain(open.unwrap_or_default())).into_iter();
    taken.next()
}

fn become_server(shim: &ShimArguments) -> Result<std::convert::Infallible, Fault> {
    let pid = process::id().to_string();
    if let Some(cgroup) = &shim.cgroup {
        fs::write(cgroup.join("cgroup.procs"), &pid).map_err(Fault::at(Stage::Cgroup))?;
    }
    if !shim.cpus.is_empty() {
        run_on(&shim.cpus).map_err(Fault::at(Stage::Cpus))?;
    }
    let mut command = Command::new(&shim.program);
    command.args(&shim.arguments).env("LISTEN_PID", pid);
    if let Some(user) = &shim.user {
        let user = Account::find(user)?;
        user.assume().map_err(Fault::at(Stage::User))?;
        let home = user.home.as_deref().unwrap_or(Path::new("/"));
        command.env("HOME", home).env("USER", &user.name).env("LOGNAME", &user.name);
    }
    // Where the kernel has none there is nothing to give up.
    let _ = clear_ambient_capability_set();
    Err(Fault::at(Stage::Program)(command.exec()))
}

fn run_on(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// A user of this machine.
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: Option<PathBuf>,
}

impl Account {
    /// Finds one by name or number. A number that nobody has is a user with the group of the same number, and no other.
    fn find(text: &str) -> Result<Self, Fault> {
        let found = match text.parse() {
            Ok(uid) => User::from_uid(unistd::Uid::from_raw(uid)),
            Err(_) => User::from_name(text),
        };
        let found = found.map_err(|errno| Fault { stage: Stage::User, errno: errno as i32 })?;
        let known = found.map(|user| {
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            Self { name: user.name, uid, gid, home: Some(user.dir) }
        });
        let unknown = || text.parse().ok().map(|uid| Self { name: text.to_owned(), uid, gid: uid, home: None });
        known.or_else(unknown).ok_or(Fault { stage: Stage::NoUser, errno: 0 })
    }

    /// Becomes that user, with the user's groups; nothing if this process is that already. Of a process of one thread: the kernel
    /// keeps users by the thread.
    fn assume(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if (uid, gid) == (getuid(), getgid()) && !uid.is_root() {
            return Ok(());
        }
        let groups = match &self.home {
            Some(_) => getgrouplist(&CString::new(self.name.as_str())?, unistd::Gid::from_raw(self.gid))?,
            None => Vec::new(),
        };
        set_thread_groups(&groups.iter().map(|group| Gid::from_raw(group.as_raw())).collect::<Vec<_>>())?;
        set_thread_res_gid(gid, gid, gid)?;
        Ok(set_thread_res_uid(uid, uid, uid)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_faults_come_over() {
        let full = ShimArguments {
            status: 7,
            program: "/usr/bin/app".into(),
            cgroup: Some("/sys/fs/cgroup/a b".into()),
            user: Some("nobody".into()),
            cpus: vec![0, 3],
            arguments: vec!["--x".into(), String::new().into(), "a b".into()],
        };
        let least = ShimArguments { cgroup: None, user: None, cpus: Vec::new(), arguments: Vec::new(), ..full.clone() };
        for shim in [full, least] {
            let arguments = shim.to_arguments();
            assert_eq!(arguments[..2], COMMAND);
            assert_eq!(ShimArguments::parse(arguments.into_iter().skip(2)), Some(shim));
        }
        for wrong in [&[][..], &["x"], &["7", "", "", "0,x", "/a"], &["7", "", "", ""]] {
            assert_eq!(ShimArguments::parse(wrong.iter().map(OsString::from)), None, "{wrong:?}");
        }
        for stage in STAGES {
            let fault = Fault { stage, errno: 2 };
            assert_eq!(Fault::from_bytes(&fault.to_bytes()), Some(fault));
        }
        assert_eq!(Fault::from_bytes(&[9, 0, 0, 0, 0]), None);
        assert_eq!(Fault::from_bytes(&[]), None);
    }

    #[test]
    fn users_have_names_or_numbers() {
        let root = Account::find("0").map(|user| (user.name, user.uid, user.gid));
        assert_eq!(root, Ok(("root".into(), 0, 0)));
        let number = Account::find("54321").map(|user| (user.uid, user.gid, user.home));
        assert_eq!(number, Ok((54321, 54321, None)));
        let nobody = Account::find("no such user").map(|user| user.uid);
        assert_eq!(nobody, Err(Fault { stage: Stage::NoUser, errno: 0 }));
    }
}
