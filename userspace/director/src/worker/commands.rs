//! Commands of the operator, and of the other tasks of this process.

use std::{path::PathBuf, sync::Arc};

use rustix::process::Signal;
use tracing::info;
use zerottl_core::model::{Director, ServerCommand, ServerConfig};
use zerottl_host::resources::DirectorShare;

use super::{
    parts::{Entry, fingerprint},
    state::Worker,
};
use crate::{
    command::{Command, Verb},
    member::{Phase, Wanted},
};

impl Worker {
    /// Does what it is asked. Nobody needs to hear the answer any more if the reply cannot be sent.
    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Page(reply) => {
                let _ = reply.send(self.page());
            }
            Command::Do { verb, name, reply } => {
                let _ = reply.send(self.act(verb, name.as_deref()));
            }
            Command::Explain { client, reply } => {
                let _ = reply.send(self.explain(client));
            }
            Command::SitePlaces(reply) => {
                let _ = reply.send(self.site_places());
            }
            Command::SitePlace { name, reply } => {
                let _ = reply.send(self.site_place(&name));
            }
            Command::Reload { config, reply } => {
                let _ = reply.send(self.reload(&config));
            }
            Command::Pass(signal) => self.pass(signal),
        }
    }

    fn site_places(&self) -> Vec<PathBuf> {
        let open = self.runs.iter().filter(|(_, run)| run.config.command == ServerCommand::Site && run.takes());
        open.map(|(slot, run)| self.site_admin(&run.name, *slot)).collect()
    }

    fn site_place(&self, name: &str) -> Option<PathBuf> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        let server = self.config.servers.get(entry.server)?;
        let slot = entry.member.current()?.slot;
        (server.command == ServerCommand::Site).then(|| self.site_admin(name, slot))
    }

    fn act(&mut self, verb: Verb, name: Option<&str>) -> Vec<String> {
        let restart = self.config.restart;
        let servers: Vec<&str> = self.config.servers.iter().map(|server| server.name.as_str()).collect();
        let meant = |entry: &Entry| {
            name.is_none_or(|name| {
                entry.name == name || servers.get(entry.server).is_some_and(|server| *server == name)
            })
        };
        let mut done = Vec::new();
        for entry in self.entries.iter_mut().filter(|entry| meant(entry) && entry.member.wanted() != Wanted::Gone) {
            match verb {
                Verb::Drain => entry.member.want(Wanted::Drain, &restart),
                Verb::Maint => entry.member.want(Wanted::Maint, &restart),
                Verb::Ready => entry.member.want(Wanted::Ready, &restart),
                Verb::Restart if entry.member.wanted() == Wanted::Maint => continue,
                Verb::Restart if !self.rolling.contains(&entry.name) => self.rolling.push_back(entry.name.clone()),
                Verb::Restart => {}
            }
            done.push(entry.name.clone());
        }
        if !done.is_empty() {
            let word = Verb::ALL.iter().find(|(_, one)| *one == verb).map_or("", |(word, _)| word);
            info!(servers = done.join(", "), "{word}, as asked");
            for name in &done {
                self.note_wanted(name);
            }
            self.look();
        }
        done
    }

    /// Writes down for the next worker what the operator wants.
    fn note_wanted(&self, name: &str) {
        let Some(entry) = self.entries.iter().find(|entry| entry.name == name) else { return };
        let Ok(text) = serde_json::to_string(&entry.member.wanted()) else { return };
        if let Err(error) = self.link.note(&format!("wanted.{name}"), &text) {
            tracing::warn!(%error, server = name, "the next worker will not know what is wanted of it");
        }
    }

    /// Sends a signal to the processes of `kind = "site"`, which read the same file. One that starts does not wait for
    /// signals yet, and has read the file just now.
    fn pass(&self, signal: Signal) {
        let serving = self.entries.iter().filter_map(|entry| entry.member.current());
        for run in serving.filter(|run| run.phase == Phase::Ready).filter_map(|run| self.runs.get(&run.slot)) {
            if let (ServerCommand::Site, Some(process)) = (&run.config.command, &run.process)
                && let Err(error) = process.signal(signal)
            {
                tracing::warn!(%error, server = run.name, "the signal was not passed on");
            }
        }
    }

    /// Takes another configuration into force. What only numbers say changes at once; a server whose process has to be
    /// another one is replaced, one after the other.
    pub(crate) fn reload(&mut self, config: &Arc<Director>) -> Result<(), String> {
        let fixed = |one: &Director| (one.listen.clone(), one.pins.clone(), one.control.clone(), one.admin);
        if fixed(config) != fixed(&self.config) {
            return Err("`listen`, `admin`, `control` and `pins` of [director] cannot change without a restart".into());
        }
        let (before, restart) = (std::mem::replace(&mut self.config, Arc::clone(config)), config.restart);
        let share = DirectorShare::now(config.waiting.max, relays(config));
        self.list.set_bounds(share.waiting, config.waiting.timeout);
        self.relays_max = share.relays as u64;
        let mut entries = Vec::new();
        for (name, server) in processes(config) {
            let known = self.entries.iter().position(|entry| entry.name == name);
            let mut entry = known.map_or_else(|| Entry::new(name, server, &restart), |at| self.entries.swap_remove(at));
            entry.server = server;
            if entry.member.wanted() == Wanted::Gone {
                entry.member.want(Wanted::Ready, &restart);
            }
            entries.push(entry);
        }
        for mut entry in self.entries.drain(..) {
            entry.member.want(Wanted::Gone, &restart);
            // What it was of is not in the configuration any more.
            entry.server = usize::MAX;
            entries.push(entry);
        }
        self.entries = entries;
        for run in self.runs.values_mut() {
            let Some(entry) = self.entries.iter().find(|entry| entry.name == run.name) else { continue };
            let Some(server) = config.servers.get(entry.server) else { continue };
            if entry.member.wanted() == Wanted::Gone {
                continue;
            }
            if fingerprint(server) == fingerprint(&run.config) {
                run.config = Arc::new(server.clone());
            } else if !self.rolling.contains(&run.name) {
                self.rolling.push_back(run.name.clone());
            }
        }
        info!(changed = before != *config, "the configuration was read again");
        self.pass(Signal::HUP);
        self.look();
        Ok(())
    }
}

/// Whether a server takes no connections by message.
pub(crate) fn relays(config: &Director) -> bool {
    config.servers.iter().any(|server| !server.handover)
}

/// The processes of a configuration: their names, and which server each is of.
pub(crate) fn processes(config: &Director) -> impl Iterator<Item = (String, usize)> {
    let of = |(at, server): (usize, &ServerConfig)| {
        let name = server.name.clone();
        (1..=server.count).map(move |number| (format!("{name}-{number}"), at))
    };
    config.servers.iter().enumerate().flat_map(of)
}
