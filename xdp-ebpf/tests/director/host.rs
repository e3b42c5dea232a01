//! The distributor's maps on the host, with a clock that tests move.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

use xdp_ebpf::director::{
    choose::{HandshakeStage, choose, migrate},
    layout::{
        ChoiceRecord, ClientRecord, ConnectionKey, DirectorControl, HolderRecord, SLOTS, STATE_READY, STRIDE_ONE,
        ServerPage, SharedCells, SlotCells, SlotSettings, SteeredRecord, UNLIMITED,
    },
    maps::{Arrival, DirectorMaps},
    reason::ChoiceReason,
    scratch::PickScratch,
    tally::{closed, established},
    turn::look,
};

/// A connection that has been made.
pub struct Made {
    pub arrival: Arrival,
    pub slot: u32,
    pub cookie: u64,
    pub holder: HolderRecord,
}

#[derive(Default)]
pub struct Host {
    pub control: DirectorControl,
    pub shared: SharedCells,
    pub settings: Vec<SlotSettings>,
    pub slots: Vec<SlotCells>,
    pub pages: HashMap<u32, ServerPage>,
    pub steered: HashMap<ConnectionKey, SteeredRecord>,
    /// Slots without a listener.
    pub missing: HashSet<u32>,
    pub now: Cell<u64>,
    /// The slot of which another CPU takes a place once all have been looked at.
    pub taken: Cell<Option<u32>>,
    scratch: PickScratch,
    choices: RefCell<HashMap<ConnectionKey, &'static ChoiceRecord>>,
    clients: RefCell<HashMap<[u32; 4], ClientRecord>>,
    moved: RefCell<HashMap<u64, u32>>,
    selected: Cell<Option<u32>>,
    next: Cell<u32>,
}

/// Ready, of this weight, without a limit.
pub fn weighing(weight: u64) -> SlotSettings {
    SlotSettings { state: STATE_READY, cap: UNLIMITED, stride: STRIDE_ONE / weight, hang_ns: 0, generation: 1 }
}

impl Host {
    /// Slots from 1 on.
    pub fn new(slots: impl IntoIterator<Item = SlotSettings>) -> Self {
        let mut settings = vec![SlotSettings::default()];
        settings.extend(slots);
        let top = settings.len() as u32 - 1;
        settings.resize(SLOTS as usize, SlotSettings::default());
        let host = Self { settings, ..Self::default() };
        host.now.set(1 << 40);
        Self {
            control: DirectorControl { top, ..DirectorControl::default() },
            slots: (0..SLOTS).map(|_| SlotCells::default()).collect(),
            ..host
        }
    }

    pub fn pass_ms(&self, ms: u64) {
        self.now.set(self.now.get() + ms * 1_000_000);
    }

    /// A client's address and port that nobody has had.
    pub fn newcomer(&self) -> Arrival {
        self.next.set(self.next.get() + 1);
        let key = ConnectionKey { client: [0, 0, 0, self.next.get()], client_port: 1000, local_port: 80 };
        Arrival { key, is_own: false }
    }

    /// A SYN: where it goes, and why.
    pub fn syn(&self, arrival: &Arrival) -> (u32, ChoiceReason) {
        self.selected.set(None);
        let (slot, reason) = choose(self, arrival, self.now.get()).expect("the maps are there");
        let selected = self.selected.get();
        assert!(selected == Some(slot) || reason == ChoiceReason::Unchosen, "{selected:?} for {slot}, {reason:?}");
        (slot, reason)
    }

    /// The end of a handshake that went to a slot.
    pub fn ack(&self, arrival: Arrival, slot: u32) -> Made {
        let holder = HolderRecord { slot, generation: 1, ..HolderRecord::default() };
        let cookie = u64::from(arrival.key.client[3]);
        let counted = established(self, &arrival, &holder, cookie, self.now.get());
        assert!(counted || arrival.is_own);
        Made { arrival, slot, cookie, holder }
    }

    /// A connection, from SYN to the end of the handshake.
    pub fn connect(&self) -> Made {
        let arrival = self.newcomer();
        let (slot, _) = self.syn(&arrival);
        self.ack(arrival, slot)
    }

    pub fn close(&self, made: &Made) {
        closed(self, &made.holder, made.cookie);
    }

    /// The listener of a slot closes with this connection in its queue.
    pub fn migrate(&self, made: &Made) -> Option<u32> {
        let stage = HandshakeStage::Queued { cookie: made.cookie, counted: true };
        migrate(self, &made.arrival, u64::from(made.slot), stage, self.now.get()).map(|(slot, _)| slot)
    }

    /// The listener of a slot closes before the end of a handshake.
    pub fn migrate_handshake(&self, arrival: &Arrival, from: u32) -> Option<u32> {
        migrate(self, arrival, u64::from(from), HandshakeStage::Handshake, self.now.get()).map(|(slot, _)| slot)
    }

    /// The listener of a slot closes with a connection that is yet to be counted.
    pub fn migrate_uncounted(&self, arrival: &Arrival, from: u32) -> Option<u32> {
        let stage = HandshakeStage::Queued { cookie: u64::from(arrival.key.client[3]), counted: false };
        migrate(self, arrival, u64::from(from), stage, self.now.get()).map(|(slot, _)| slot)
    }

    pub fn assigned(&self) -> Vec<u64> {
        (1..=self.control.top as usize).map(|slot| self.slots[slot].assigned.load()).collect()
    }

    pub fn live(&self) -> Vec<u64> {
        (1..=self.control.top as usize).map(|slot| self.slots[slot].live.load()).collect()
    }
}

impl DirectorMaps for Host {
    fn control(&self) -> Option<&DirectorControl> {
        Some(&self.control)
    }
    fn shared(&self) -> Option<&SharedCells> {
        Some(&self.shared)
    }
    fn settings(&self, slot: u32) -> Option<&SlotSettings> {
        self.settings.get(slot as usize)
    }
    fn slot(&self, slot: u32) -> Option<&SlotCells> {
        self.slots.get(slot as usize)
    }
    fn page(&self, slot: u32) -> Option<&ServerPage> {
        self.pages.get(&slot)
    }
    fn scratch(&self) -> Option<&PickScratch> {
        Some(&self.scratch)
    }
    fn look_at_slots(&self, top: u32) {
        (1..=top).for_each(|slot| look(self, slot));
        if let Some(slot) = self.taken.take() {
            self.slots[slot as usize].live.add(1);
        }
    }
    fn steered(&self, key: &ConnectionKey) -> Option<SteeredRecord> {
        self.steered.get(key).copied()
    }
    fn choice(&self, key: &ConnectionKey) -> Option<&ChoiceRecord> {
        self.choices.borrow().get(key).copied()
    }
    fn keep_choice(&self, key: &ConnectionKey, choice: ChoiceRecord) {
        // A map's element stays where it is; a test's few may stay for good.
        self.choices.borrow_mut().insert(*key, Box::leak(Box::new(choice)));
    }
    fn client(&self, client: &[u32; 4]) -> Option<ClientRecord> {
        self.clients.borrow().get(client).copied()
    }
    fn keep_client(&self, client: &[u32; 4], record: ClientRecord) {
        self.clients.borrow_mut().insert(*client, record);
    }
    fn select(&self, slot: u32) -> bool {
        let there = !self.missing.contains(&slot);
        if there {
            self.selected.set(Some(slot));
        }
        there
    }
    fn count(&self, _slot: u32, _reason: ChoiceReason) {}
    fn listener(&self, cookie: u64) -> Option<u32> {
        u32::try_from(cookie).ok()
    }
    fn moved(&self, cookie: u64) -> Option<u32> {
        self.moved.borrow().get(&cookie).copied()
    }
    fn keep_moved(&self, cookie: u64, slot: u32) -> bool {
        self.moved.borrow_mut().insert(cookie, slot);
        true
    }
    fn forget_moved(&self, cookie: u64) -> bool {
        self.moved.borrow_mut().remove(&cookie).is_some()
    }
}
