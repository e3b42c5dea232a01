//! The maps, and what else of the kernel the choice needs; the programs and the tests each have their own.

use super::{
    layout::{
        ChoiceRecord, ClientRecord, ConnectionKey, DirectorControl, ServerPage, SharedCells, SlotCells, SlotSettings,
        SteeredRecord,
    },
    reason::ChoiceReason,
    scratch::PickScratch,
};

/// A connection that a slot is to be found for.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its key.
    pub key: ConnectionKey,
    /// Whether it comes from the very address that it goes to: one that this machine makes to itself.
    pub is_own: bool,
}

impl Arrival {
    /// The key by which the director steers it.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> ConnectionKey {
        ConnectionKey { local_port: 0, ..self.key }
    }
}

/// The kernel as the choice sees it. Each map's element is none where there is none.
pub trait DirectorMaps {
    /// `CONTROL`.
    fn control(&self) -> Option<&DirectorControl>;
    /// `SHARED`.
    fn shared(&self) -> Option<&SharedCells>;
    /// A slot's element of `SETTINGS`.
    fn settings(&self, slot: u32) -> Option<&SlotSettings>;
    /// A slot's element of `TALLY`.
    fn slot(&self, slot: u32) -> Option<&SlotCells>;
    /// The page of a slot's process.
    fn page(&self, slot: u32) -> Option<&ServerPage>;
    /// Memory of this CPU's own.
    fn scratch(&self) -> Option<&PickScratch>;
    /// Calls [`turn::look`](super::turn::look) for each slot from 1 to `top`.
    fn look_at_slots(&self, top: u32);
    /// Where the director wants its own connection.
    fn steered(&self, key: &ConnectionKey) -> Option<SteeredRecord>;
    /// The last choice for a connection.
    fn choice(&self, key: &ConnectionKey) -> Option<&ChoiceRecord>;
    /// Keeps a choice.
    fn keep_choice(&self, key: &ConnectionKey, choice: ChoiceRecord);
    /// The server of a client's address.
    fn client(&self, client: &[u32; 4]) -> Option<ClientRecord>;
    /// Keeps the server of a client's address.
    fn keep_client(&self, client: &[u32; 4], record: ClientRecord);
    /// Gives the connection to a slot's listener; false if there is none.
    fn select(&self, slot: u32) -> bool;
    /// Counts a choice.
    fn count(&self, slot: u32, reason: ChoiceReason);
    /// The slot of a listener, by its socket's cookie.
    fn listener(&self, cookie: u64) -> Option<u32>;
    /// The slot that a connection was moved to, by its socket's cookie.
    fn moved(&self, cookie: u64) -> Option<u32>;
    /// Keeps the slot that a connection was moved to; false if there is no room.
    fn keep_moved(&self, cookie: u64, slot: u32) -> bool;
    /// Forgets where a connection was moved to; false if it was not kept.
    fn forget_moved(&self, cookie: u64) -> bool;
}
