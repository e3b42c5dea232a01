//! The memory that a session takes, of the process that keeps it.

use std::path::Path;

use super::{
    effort::SessionsEffort,
    scene::{ApplicationSetting, SessionScene},
};
use crate::error::BenchError;

/// Keepers of the sessions whose memory is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryUse {
    /// tower-sessions' store in memory.
    Tower,
    /// zerottl's store, without session servers.
    Alone,
    /// zerottl's store, with two copies at three servers.
    Copied,
    /// tower-sessions' records in zerottl's store, with two copies at three servers.
    TowerCopied,
}

impl MemoryUse {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Tower, Self::Alone, Self::Copied, Self::TowerCopied];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tower => "tower-sessions, memory",
            Self::Alone => "zerottl, without session servers",
            Self::Copied => "zerottl, 2 copies at 3 servers",
            Self::TowerCopied => "tower-sessions over zerottl's store, 2 copies at 3",
        }
    }

    const fn keeper(self) -> &'static str {
        match self {
            Self::Tower => "tower-memory",
            Self::Alone | Self::Copied => "zerottl",
            Self::TowerCopied => "tower-zerottl",
        }
    }
}

/// The memory of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionMemory {
    /// Its keeper.
    pub keeper: MemoryUse,
    /// Bytes that the process has more, by sessions.
    pub bytes: f64,
}

/// Measures all keepers, each in a process of its own.
pub(super) fn measure(effort: SessionsEffort, program: &Path) -> Result<Vec<SessionMemory>, BenchError> {
    let one = |keeper: MemoryUse| {
        let scene = SessionScene::new(program, 3)?;
        let count = effort.kept.to_string();
        let mut words = vec!["memory".to_owned(), keeper.keeper().to_owned(), count];
        if matches!(keeper, MemoryUse::Copied | MemoryUse::TowerCopied) {
            let setting = ApplicationSetting { keeper: keeper.keeper(), write: "async", copies: 2, servers: 3 };
            words.push(scene.configuration(0, setting)?.display().to_string());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = scene.machine.read(&program.to_string_lossy(), &words)?;
        let (before, after) = said.trim().split_once(' ').ok_or("the program says no memory")?;
        let more = after.parse::<f64>()? - before.parse::<f64>()?;
        Ok(SessionMemory { keeper, bytes: more / effort.kept as f64 })
    };
    MemoryUse::ALL.into_iter().map(one).collect()
}
