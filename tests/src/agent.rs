//! The agent: the real `zerottl` in a front's namespace, and what it reports of itself.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

pub use crate::program::binary;
use crate::{
    config::Config,
    lab::Lab,
    netns::Netns,
    process::{Process, eventually},
    program::{PATIENCE, under, until_ready},
};

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    machine: Arc<Netns>,
    folder: PathBuf,
    /// Variables that it has in its environment besides.
    environment: Vec<(String, String)>,
}

impl Agent {
    /// Starts the agent on front `number` and waits for its `READY=1`.
    pub fn start(lab: &Lab, number: usize, config: &Config) -> io::Result<Self> {
        Self::start_with(lab, number, config, &[])
    }

    /// Starts it as [`Self::start`] does, with more in its environment.
    pub fn start_with(lab: &Lab, number: usize, config: &Config, environment: &[(&str, String)]) -> io::Result<Self> {
        let folder = lab.folder("agent")?;
        config.write(&folder)?;
        let machine = Arc::clone(&lab.fronts[number]);
        let environment: Vec<_> = environment.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let process = launch(&machine, &folder, &[], &environment)?;
        Ok(Self { process, machine, folder, environment })
    }

    /// Starts it under another program that runs it in its own place, such as `prlimit` with its arguments.
    pub fn start_under(lab: &Lab, number: usize, config: &Config, wrapper: &[String]) -> io::Result<Self> {
        let folder = lab.folder("agent")?;
        config.write(&folder)?;
        let machine = Arc::clone(&lab.fronts[number]);
        let mut command = under(wrapper)?;
        command.arg("run").arg("--config").arg(folder.join("zerottl.toml"));
        let process = until_ready(&machine, &folder, command)?;
        Ok(Self { process, machine, folder, environment: Vec::new() })
    }

    /// Starts it again from the same folder, with further arguments, and waits for its `READY=1`; the one before is killed
    /// once the new one is ready, if it runs still.
    pub fn restart(&mut self, arguments: &[&str]) -> io::Result<()> {
        self.process = launch(&self.machine, &self.folder, arguments, &self.environment)?;
        Ok(())
    }

    /// Starts another from the same folder, with further arguments, and waits for its `READY=1`; this one is left as it is.
    pub fn beside(&self, arguments: &[&str]) -> io::Result<Self> {
        let Self { machine, folder, environment, .. } = self;
        let process = launch(machine, folder, arguments, environment)?;
        Ok(Self { process, machine: Arc::clone(machine), folder: folder.clone(), environment: environment.clone() })
    }

    /// Kills it, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// Ends it by a signal and waits; an error unless it exits with success.
    pub fn end(&mut self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)?;
        let status = self.process.wait(PATIENCE).map_err(|e| io::Error::other(format!("{e}\n{}", self.log())))?;
        if status.success() {
            return Ok(());
        }
        Err(io::Error::other(format!("zerottl ended with {status}:\n{}", self.log())))
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Where its configuration and log are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.process.ended(), Ok(None))
    }

    /// Reads what `/v1/status` says.
    pub fn status(&self) -> io::Result<AgentReport> {
        let text = self.get("/v1/status")?;
        serde_json::from_str(&text).map(AgentReport).map_err(io::Error::other)
    }

    /// Any page of the admin interface.
    pub fn get(&self, page: &str) -> io::Result<String> {
        let address = format!("http://127.0.0.1:8053{page}");
        self.machine.read("curl", &["-sSf", "--max-time", "5", &address])
    }

    /// Sends JSON to a page of the admin interface.
    pub fn post(&self, page: &str, json: &str) -> io::Result<String> {
        let address = format!("http://127.0.0.1:8053{page}");
        let arguments = ["-sSf", "--max-time", "5", "-H", "content-type: application/json", "-d", json, &address];
        self.machine.read("curl", &arguments)
    }

    /// Runs another `zerottl` command in the agent's namespace, with its configuration; returns what it prints.
    pub fn zerottl(&self, arguments: &[&str]) -> io::Result<String> {
        self.machine.read(&binary()?.to_string_lossy(), arguments)
    }

    /// Runs a command as [`Self::zerottl`] does, and returns its output whatever it exits with.
    pub fn output(&self, arguments: &[&str]) -> io::Result<std::process::Output> {
        let mut command = Command::new(binary()?);
        command.args(arguments);
        self.machine.output(command)
    }

    /// Waits until probes have proven each Site's addresses up or down as told.
    pub fn wait_for(&self, sites: &[(&str, bool)], limit: Duration) -> io::Result<()> {
        let as_told = || {
            let report = self.status();
            report.is_ok_and(|report| sites.iter().all(|(key, up)| report.site_is_proven(key) == Some(*up)))
        };
        if eventually(limit, as_told) {
            return Ok(());
        }
        Err(io::Error::other(format!("{sites:?} not so after {limit:?}: {:?}\n{}", self.status(), self.log())))
    }

    /// The XDP program on an interface of its front: id and mode (`native`, `generic`).
    pub fn attached(&self, interface: &str) -> io::Result<Option<(u64, String)>> {
        attached(&self.machine, interface)
    }

    /// As [`Self::end`].
    pub fn stop(mut self, signal: Signal) -> io::Result<()> {
        self.end(signal)
    }
}

/// Starts `zerottl run` with the configuration in a folder, and waits for its `READY=1`.
fn launch(machine: &Netns, folder: &Path, arguments: &[&str], environment: &[(String, String)]) -> io::Result<Process> {
    let mut command = Command::new(binary()?);
    command.arg("run").arg("--config").arg(folder.join("zerottl.toml")).args(arguments);
    command.envs(environment.iter().cloned());
    until_ready(machine, folder, command)
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("zerottl's log:\n{}", self.log());
        }
    }
}

/// The XDP program on an interface: id and mode (`native`, `generic`).
pub fn attached(machine: &Netns, interface: &str) -> io::Result<Option<(u64, String)>> {
    let text = machine.read("ip", &["-j", "-d", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let xdp = &links[0]["xdp"];
    let mode = match xdp["mode"].as_u64() {
        Some(1) => "native",
        Some(2) => "generic",
        Some(_) => "other",
        None => return Ok(None),
    };
    Ok(xdp["prog"]["id"].as_u64().map(|id| (id, mode.to_owned())))
}

/// The agent's report on itself.
#[derive(Clone, Debug)]
pub struct AgentReport(pub Value);

impl AgentReport {
    fn site(&self, key: &str) -> Option<&Value> {
        self.0["sites"].as_array()?.iter().find(|site| site["key"] == key)
    }

    /// Whether a Site counts as up.
    #[must_use]
    pub fn site_is_up(&self, key: &str) -> Option<bool> {
        self.site(key)?["up"].as_bool()
    }

    /// Whether probes have proven all of a Site's addresses up, or all down; none for anything between.
    #[must_use]
    pub fn site_is_proven(&self, key: &str) -> Option<bool> {
        let addresses = self.site(key)?["addresses"].as_array()?;
        let all = |health: &str| addresses.iter().all(|address| address["health"] == health);
        if all("up") { Some(true) } else { all("down").then_some(false) }
    }

    /// Whether an alarm of a kind is on.
    #[must_use]
    pub fn has_alarm(&self, kind: &str) -> bool {
        self.0["alarms"].as_array().into_iter().flatten().any(|alarm| alarm["kind"] == kind)
    }

    /// One reason's counter.
    #[must_use]
    pub fn reason(&self, name: &str) -> u64 {
        self.0["reasons"][name]["count"].as_u64().unwrap_or(0)
    }

    /// Every reason that has counted something, most first.
    #[must_use]
    pub fn reasons(&self) -> Vec<(String, u64)> {
        let all = self.0["reasons"].as_object().into_iter().flatten();
        let mut counted: Vec<_> = all.map(|(name, _)| (name.clone(), self.reason(name))).collect();
        counted.retain(|(_, count)| *count > 0);
        counted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counted
    }

    /// Queries answered in the kernel.
    #[must_use]
    pub fn kernel_answers(&self) -> u64 {
        let all = self.0["reasons"].as_object().into_iter().flatten();
        all.filter(|(_, reason)| reason["action"] == "answer").filter_map(|(_, reason)| reason["count"].as_u64()).sum()
    }

    /// Answers not sent for their client network's rate, by kernel and sockets.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.reason("drop-limited") + self.0["socket"]["events"]["limited"].as_u64().unwrap_or(0)
    }

    /// The shares of a name's A answers, by Site.
    #[must_use]
    pub fn shares(&self, name: &str) -> Vec<(String, f64)> {
        let names = self.0["names"].as_array().into_iter().flatten();
        let entry =
            names.into_iter().find(|entry| entry["name"].as_str().map(|n| n.trim_end_matches('.')) == Some(name));
        let shares = entry.and_then(|entry| entry["a"]["shares"].as_object()).into_iter().flatten();
        shares.filter_map(|(site, share)| Some((site.clone(), share.as_f64()?))).collect()
    }

    /// The plan's generation.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0["plan"]["generation"].as_u64().unwrap_or(0)
    }
}
