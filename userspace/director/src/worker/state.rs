//! The loop's state.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zerottl_core::model::Director;

use super::{
    parts::{Counts, Entry, Event, RunParts, Waiting},
    placements::Placements,
};
use crate::{
    balance::Balance, cgroups::Cgroups, keeper::KeeperLink, listeners::Listener, stray::Stray,
    waiting_list::WaitingList,
};

/// From one look at processes, checks and pages to the next.
pub(crate) const LOOK: Duration = Duration::from_millis(50);
/// The note with the names of those that are still to be replaced.
pub(crate) const ROLLING: &str = "rolling";

/// The loop's state.
pub(crate) struct Worker {
    pub(crate) site: String,
    pub(crate) config: Arc<Director>,
    pub(crate) link: Arc<KeeperLink>,
    pub(crate) balance: Balance,
    pub(crate) cgroups: Option<Arc<Cgroups>>,
    /// The director's own listeners, by address.
    pub(crate) own: Vec<(SocketAddr, Arc<Listener>)>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) runs: BTreeMap<u32, RunParts>,
    /// Slots whose process has ended, until their last connection is counted off.
    pub(crate) buried: BTreeSet<u32>,
    pub(crate) list: WaitingList<Waiting>,
    /// Connections that are relayed at a time, at most.
    pub(crate) relays_max: u64,
    pub(crate) counts: Counts,
    pub(crate) placements: Placements,
    pub(crate) strays: Vec<Stray>,
    /// Names of processes that are still to be replaced, one after the other.
    pub(crate) rolling: VecDeque<String>,
    /// Those that the keeper knows to be replaced, with the one whose turn it is.
    pub(crate) rolling_noted: Vec<String>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) generation: u64,
    /// Why the kernel does not choose, if it does not.
    pub(crate) note: Option<String>,
    pub(crate) stopping: bool,
    /// Arguments of this program, for `kind = "site"`.
    pub(crate) site_arguments: Vec<OsString>,
    /// The folder of the sockets where `zerottl site` processes show their state.
    pub(crate) runtime: PathBuf,
    /// Ends its tasks.
    pub(crate) cancel: CancellationToken,
}
