//! A network namespace, and a bpffs of its own, with a thread that lives in it.
//!
//! The namespace has no name and no mount: only the thread, its children and an open file keep it, so it goes with the
//! process however that ends. So does the bpffs, which is mounted in a mount namespace of the thread's own: what an agent
//! pins there nobody else meets, and nothing of it stays. Children are started by the thread, so they are born inside, and since it lives as long
//! as the [`Netns`] does, a parent-death signal on them means "the lab is gone" (the kernel sends it when the thread
//! that forked them ends, not the process). `ip netns exec` is not used: it remounts /sys and hides the bpffs.

use std::{
    fs::File,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::process::die_with_parent;

/// Where agents pin unless told otherwise.
const BPFFS: &str = "/sys/fs/bpf";

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace; it and everything in it end when this is dropped.
#[derive(Debug)]
pub struct Netns {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    file: File,
    mounts: File,
}

impl Netns {
    /// A new namespace with its loopback up. Needs root.
    pub fn new() -> io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        let (made, wait) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name("netns".into()).spawn(move || {
            let entered = enter_new();
            let failed = entered.is_err();
            let _ = made.send(entered);
            if !failed {
                for job in inbox {
                    job();
                }
            }
        })?;
        let (file, mounts) = wait.recv().map_err(io::Error::other)??;
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), file, mounts };
        namespace.ip("link set lo up")?;
        // A link-local address under duplicate detection may not be used for neighbour discovery yet, for seconds.
        namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        Ok(namespace)
    }

    /// Where other processes find it while this one lives: for `nsenter --net=…` and `ip link … netns …`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Returns where other processes find its view of the file system while this one lives: for `nsenter --mount=…`.
    #[must_use]
    pub fn mounts(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.mounts.as_raw_fd())
    }

    /// Has the programs inside find hosts by DNS, from these servers: with a resolv.conf and an nsswitch.conf of their own,
    /// written into `folder`.
    pub fn resolve_by(&self, servers: &[IpAddr], folder: &Path) -> io::Result<()> {
        let servers = servers.iter().fold(String::new(), |all, server| format!("{all}nameserver {server}\n"));
        for (system, text) in [("/etc/resolv.conf", servers), ("/etc/nsswitch.conf", "hosts: files dns\n".into())] {
            // It may be a link to where something else keeps it.
            let system =
                std::fs::canonicalize(system).map_err(|e| io::Error::new(e.kind(), format!("{system}: {e}")))?;
            let own = folder.join(system.file_name().unwrap_or_default());
            std::fs::write(&own, text)?;
            self.run(move || mount_bind(own, system))??;
        }
        Ok(())
    }

    /// Has the programs inside find hosts, names apart by spaces, by a hosts file of their own, written into `folder`.
    pub fn knows(&self, names: &str, address: IpAddr, folder: &Path) -> io::Result<()> {
        let own = folder.join("hosts");
        std::fs::write(&own, format!("127.0.0.1 localhost\n{address} {names}\n"))?;
        self.run(move || mount_bind(own, "/etc/hosts"))??;
        Ok(())
    }

    /// Runs `job` on the namespace's thread. Sockets made there stay in the namespace wherever they are used.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let (done, wait) = mpsc::sync_channel(1);
        let job = move || {
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        };
        let jobs = self.jobs.as_ref().ok_or_else(|| io::Error::other("namespace closed"))?;
        jobs.send(Box::new(job)).map_err(|_| io::Error::other("the namespace's thread ended"))?;
        match wait.recv().map_err(io::Error::other)? {
            Ok(value) => Ok(value),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Starts a program inside; it is killed when the namespace's thread ends.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        self.run(move || command.spawn())?.map_err(|e| io::Error::new(e.kind(), format!("{program}: {e}")))
    }

    /// Runs a program inside to its end.
    pub fn output(&self, mut command: Command) -> io::Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.spawn(command)?.wait_with_output()
    }

    /// Runs a program inside and returns what it printed; an error if it fails.
    pub fn read(&self, program: &str, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(program);
        command.args(arguments);
        let output = self.output(command)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = format!("{program} {}: {}: {said}", arguments.join(" "), output.status);
            return Err(io::Error::other(line));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs lines of `ip` commands inside; stops at the first that fails.
    pub fn ip(&self, lines: &str) -> io::Result<()> {
        let mut command = Command::new("ip");
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = self.spawn(command)?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("ip: {}in\n{lines}", String::from_utf8_lossy(&output.stderr))))
    }

    /// Sets a value under /proc/sys, as this namespace sees it.
    pub fn sysctl(&self, key: &str, value: &'static str) -> io::Result<()> {
        let path = format!("/proc/sys/{key}");
        self.run(move || std::fs::write(path, value))?
    }

    /// A UDP socket inside, bound to `source` (any address if none) and connected to `server`.
    pub fn udp(&self, source: Option<IpAddr>, server: SocketAddr) -> io::Result<UdpSocket> {
        let any = if server.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        self.run(move || {
            let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
            socket.connect(server)?;
            Ok(socket)
        })?
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn enter_new() -> io::Result<(File, File)> {
    // SAFETY: only this thread's namespaces change; no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("bpf", BPFFS, "bpf", MountFlags::empty(), None)?;
    Ok((File::open("/proc/thread-self/ns/net")?, File::open("/proc/thread-self/ns/mnt")?))
}
