//! Control groups (cgroup v2): one for the director and all of its servers, which the kernel counts connections in, and in it one for
//! each process, with its memory.
//!
//! ```text
//! BASE                     delegated by systemd (`Delegate=yes`), or the root of all
//! └─ zerottl-NAME          `root`: the program that counts is attached here
//!    ├─ director           the worker and its keeper, so that the sockets they make belong to `root`
//!    └─ app-1, app-2, …    `memory.max`
//! ```
//!
//! A group that gives its children a controller may have no processes of its own, unless it is the root of all. So a group of
//! our own with nobody else in it is the base, as it is under systemd; elsewhere, such as in a root's shell, it is the root of all.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::Mutex,
    time::Duration,
};

use rustix::{io::Errno, process::Pid};

/// The group of the director's own processes.
const DIRECTOR: &str = "director";
/// Before the director's name.
const PREFIX: &str = "zerottl-";
/// The time that processes that are killed have to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time between looks.
const LOOK: Duration = Duration::from_millis(10);

/// The reason why there is no group, or not all of what one should do.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no version 2.
    #[error("no cgroup2 file system is mounted: {0}")]
    None(&'static str),
    /// Something cannot be read.
    #[error("reading {0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// A group cannot be made.
    #[error(
        "making the cgroup {0}: {1}; it takes root and a writable /sys/fs/cgroup, or a systemd unit with `Delegate=yes`"
    )]
    Make(PathBuf, #[source] io::Error),
    /// A process cannot be moved into a group.
    #[error("moving process {1} into the cgroup {0}: {2}")]
    Move(PathBuf, u32, #[source] io::Error),
    /// Memory cannot be limited.
    #[error(
        "`memory_max` has no effect: the cgroup {0} has no memory controller; where version 1 has it, boot with \
         `systemd.unified_cgroup_hierarchy=1`"
    )]
    NoMemory(PathBuf),
    /// A file of a group cannot be written.
    #[error("writing {0}: {1}")]
    Write(PathBuf, #[source] io::Error),
    /// A group cannot be removed.
    #[error("removing the cgroup {0}: {1}")]
    Remove(PathBuf, #[source] io::Error),
}

/// The groups of a director.
#[derive(Debug)]
pub struct Cgroups {
    base: PathBuf,
    root: PathBuf,
    memory: Option<CgroupError>,
    /// One at a time makes and removes.
    busy: Mutex<()>,
}

impl Cgroups {
    /// Makes the groups, or takes over those of an earlier worker, and moves this process and its keeper into theirs: sockets
    /// that are made from now on belong to [`root`](Self::root). `name` is a file's name, such as the Site's key.
    pub fn prepare(name: &str, keeper: Option<Pid>) -> Result<Self, CgroupError> {
        let (mount, own) = own_group()?;
        let keeper = keeper.map(|keeper| keeper.as_raw_nonzero().get().cast_unsigned());
        let moved: Vec<u32> = [process::id()].into_iter().chain(keeper).collect();
        Self::within(&mount, &own, name, &moved)
    }

    fn within(mount: &Path, own: &Path, name: &str, moved: &[u32]) -> Result<Self, CgroupError> {
        let name = format!("{PREFIX}{name}");
        let before = own.parent().filter(|root| own.ends_with(DIRECTOR) && root.ends_with(&name));
        let base = match before.and_then(Path::parent) {
            Some(base) => base.to_owned(),
            None if own != mount && processes(own)?.iter().all(|process| moved.contains(process)) => own.to_owned(),
            None => mount.to_owned(),
        };
        let root = base.join(name);
        make(&root)?;
        let director = root.join(DIRECTOR);
        make(&director)?;
        for process in moved {
            let join = write(&director.join("cgroup.procs"), &process.to_string());
            join.map_err(|error| CgroupError::Move(director.clone(), *process, error))?;
        }
        let memory = [&base, &root].into_iter().find_map(|group| give_memory(group).err());
        Ok(Self { base, root, memory, busy: Mutex::default() })
    }

    /// The group that all others are in: where the program that counts is attached.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The reason why the memory of servers is not limited, to be told once; none if it is.
    #[must_use]
    pub fn without_memory(&self) -> Option<&CgroupError> {
        self.memory.as_ref()
    }

    /// Makes a group for a process, which has to join it, and limits its memory, bytes, where that can be; returns its folder.
    /// `name` is a file's name. A process that needs more is killed, with all of its group.
    pub fn make(&self, name: &str, memory_max: Option<u64>) -> Result<PathBuf, CgroupError> {
        let _alone = self.busy.lock();
        let group = self.root.join(name);
        make(&group)?;
        if self.memory.is_none() {
            let max = memory_max.map_or("max".into(), |max| max.to_string());
            for (file, text) in [("memory.max", max.as_str()), ("memory.oom.group", "1")] {
                let file = group.join(file);
                write(&file, text).map_err(|error| CgroupError::Write(file, error))?;
            }
        }
        Ok(group)
    }

    /// Returns the names of the groups of servers' processes that are there.
    pub(crate) fn of_servers(&self) -> Vec<String> {
        let names = children(&self.root).into_iter().filter_map(|group| group.file_name()?.to_str().map(str::to_owned));
        names.filter(|name| name != DIRECTOR).collect()
    }

    /// Returns the processes of a group and of those that its processes have made in it.
    pub(crate) fn processes(&self, name: &str) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut groups = vec![self.root.join(name)];
        while let Some(group) = groups.pop() {
            let ids = processes(&group).unwrap_or_default().into_iter();
            found.extend(ids.filter_map(|id| Pid::from_raw(id.cast_signed())));
            groups.extend(children(&group));
        }
        found
    }

    /// Kills whatever is left in a group and removes it; nothing if it is not there. Blocks for as long as the kernel takes, two
    /// seconds at most.
    pub fn remove(&self, name: &str) -> Result<(), CgroupError> {
        let _alone = self.busy.lock();
        remove(&self.root.join(name))
    }

    /// Removes all groups, with whatever is left in those of servers, at a clean stop; this process goes back to the base.
    pub fn remove_all(self) -> Result<(), CgroupError> {
        for group in children(&self.root) {
            if !group.ends_with(DIRECTOR) {
                remove(&group)?;
            }
        }
        // Only a group that gives its children nothing may have processes.
        let _ = write(&self.root.join("cgroup.subtree_control"), "-memory");
        if self.base.parent().is_some_and(|parent| parent.join("cgroup.procs").exists()) {
            let _ = write(&self.base.join("cgroup.subtree_control"), "-memory");
        }
        let director = self.root.join(DIRECTOR);
        // All that are there, whoever moved them: nobody of them is to be killed.
        for process in processes(&director)? {
            match write(&self.base.join("cgroup.procs"), &process.to_string()) {
                // It has just ended.
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                back => back.map_err(|error| CgroupError::Move(self.base.clone(), process, error))?,
            }
        }
        remove(&director)?;
        remove(&self.root)
    }
}

/// Returns where version 2 is mounted, and the folder of this process's group.
fn own_group() -> Result<(PathBuf, PathBuf), CgroupError> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| CgroupError::Read(path.into(), error));
    let mounts = read("/proc/self/mountinfo")?;
    let groups = read("/proc/self/cgroup")?;
    let (mount, shown) = mount_of(&mounts).ok_or(CgroupError::None("it needs one at /sys/fs/cgroup"))?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or(CgroupError::None("this process is in no group of version 2"))?;
    let within =
        Path::new(path).strip_prefix(&shown).map_err(|_| CgroupError::None("this process's group is not in it"))?;
    // Without a slash at its end.
    let own = if within.as_os_str().is_empty() { mount.clone() } else { mount.join(within) };
    Ok((mount, own))
}

/// Finds the mount in the words of `/proc/self/mountinfo`: where it is, and which group it shows there.
fn mount_of(mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (shown, at) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then(|| (unescaped(at).into(), unescaped(shown).into()))
    })
}

/// Blanks and the like are octal there.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn processes(group: &Path) -> Result<Vec<u32>, CgroupError> {
    let path = group.join("cgroup.procs");
    let text = fs::read_to_string(&path).map_err(|error| CgroupError::Read(path, error))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn make(group: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::Make(group.to_owned(), error)),
        _ => Ok(()),
    }
}

/// Writes a file that is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    fs::File::options().write(true).open(path)?.write_all(text.as_bytes())
}

/// Gives the children of a group the memory controller.
fn give_memory(group: &Path) -> Result<(), CgroupError> {
    let has = |file: &str| {
        let path = group.join(file);
        let text = fs::read_to_string(&path).map_err(|error| CgroupError::Read(path, error))?;
        Ok(text.split_whitespace().any(|controller| controller == "memory"))
    };
    if has("cgroup.subtree_control")? {
        return Ok(());
    }
    if !has("cgroup.controllers")? {
        return Err(CgroupError::NoMemory(group.to_owned()));
    }
    let control = group.join("cgroup.subtree_control");
    write(&control, "+memory").map_err(|error| CgroupError::Write(control, error))
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Kills whatever is in a group and removes it, with those that its processes have made in it.
fn remove(group: &Path) -> Result<(), CgroupError> {
    // Of Linux 5.14; an older one has the process group's signal alone.
    let _ = write(&group.join("cgroup.kill"), "1");
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        for child in children(group) {
            remove(&child)?;
        }
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Who was killed takes a moment.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && std::time::Instant::now() < end => {
                std::thread::sleep(LOOK);
            }
            done => return done.map_err(|error| CgroupError::Remove(group.to_owned(), error)),
        }
    }
}

#[cfg(test)]
mod tests;
