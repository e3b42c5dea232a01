//! Publishing plans: banks and generations (invariant 4).
//!
//! A plan is written into a bank that no packet can be reading, as far as it differs from what that bank held; then one
//! store to the generation word makes it the one in use. A packet reads that word once, so it sees one plan whole. The bank it replaced may still be in use by packets
//! on other CPUs; it is written again only after a grace period, waited for by a thread of its own, so that publishing
//! itself does not wait: with four banks it would take three publications within one grace period (8 ms) to have to. Between
//! publications the bank that comes next is brought up to date.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use rustix::thread::{MembarrierCommand, membarrier};
use xdp_ebpf::layout::{ALL_BANKS, BANKS, Control, MAC_MAX, STALE_BANK, ServiceEntry, SlotBlock};

use super::{
    image::{self, Image, Layout, blocks},
    mmap_array::{Mapped, store_u32, store_u64},
};
use zerottl_core::{
    model::Vlan,
    plan::{Plan, Services},
};

/// Writes plans into the maps of one loaded program.
#[derive(Debug)]
pub struct Publisher {
    control: Mapped<Control>,
    services: Mapped<ServiceEntry>,
    slots: Mapped<SlotBlock>,
    bank_services: usize,
    bank_blocks: usize,
    layout: Layout,
    /// By bank: what lies there.
    held: [Services; ALL_BANKS as usize],
    published: u64,
    /// The generation whose bank was brought up to date last.
    prepared: u64,
    written: u64,
    grace: Grace,
}

impl Publisher {
    pub(super) fn new(
        control: Mapped<Control>,
        services: Mapped<ServiceEntry>,
        slots: Mapped<SlotBlock>,
        image: &Image,
    ) -> Self {
        Self {
            control,
            services,
            slots,
            bank_services: image.control.bank_services as usize,
            bank_blocks: image.control.bank_blocks as usize,
            layout: image.layout.clone(),
            held: Default::default(),
            published: 0,
            prepared: 0,
            written: 0,
            grace: Grace::new(),
        }
    }

    /// Answers are made from `plan` when this returns. Generations go only forward: an older plan is refused.
    ///
    /// # Panics
    /// If the plan is of another model than the maps were made for.
    pub fn publish(&mut self, plan: &Plan) {
        assert!(plan.generation > self.published, "generation {} after {}", plan.generation, self.published);
        let bank = plan.generation as usize % BANKS as usize;
        self.grace.wait_for(self.settled_for(plan.generation));
        self.write(bank, plan);
        self.confirm();
        self.store_word((plan.generation << 8) | bank as u64);
        self.published = plan.generation;
        self.grace.begin(plan.generation);
    }

    /// Brings the bank of the next publication up to the plan in use, so that it has only its own changes to write, and not
    /// those of all since that bank was in use. Says whether that is done: not while a packet may still read that bank, and
    /// nobody waits for that here.
    ///
    /// # Panics
    /// If the plan is of another model than the maps were made for.
    pub fn prepare(&mut self, plan: &Plan) -> bool {
        let next = self.published + 1;
        if self.prepared == next {
            return true;
        }
        let is_free = plan.generation == self.published && self.grace.is_settled(self.settled_for(next));
        if is_free {
            self.write(next as usize % BANKS as usize, plan);
            self.prepared = next;
        }
        is_free
    }

    /// The generation that no packet may read an older one than, for the bank of another to be written: the bank's last user
    /// is at most [`BANKS`] generations back.
    fn settled_for(&self, generation: u64) -> u64 {
        (generation + 1).saturating_sub(u64::from(BANKS)).min(self.published)
    }

    /// Fills every bank, so that no later publication has a whole plan to write. Before the program is attached.
    ///
    /// # Panics
    /// If the plan is of another model than the maps were made for.
    pub fn fill(&mut self, plan: &Plan) {
        for bank in 0..BANKS as usize {
            self.write(bank, plan);
        }
    }

    /// Says what is answered once nobody confirms the plan any more. Before the program is attached.
    ///
    /// # Panics
    /// If the plan is of another model than the maps were made for.
    pub(crate) fn set_stale(&mut self, plan: &Plan) {
        self.write(STALE_BANK as usize, plan);
    }

    fn write(&mut self, bank: usize, plan: &Plan) {
        assert_eq!(plan.services.len(), self.bank_services, "a plan of another model");
        for change in self.layout.changes(&self.held[bank], plan) {
            self.services.write(bank * self.bank_services + change.at, &[change.service]);
            self.written += size_of::<ServiceEntry>() as u64;
            for (home, slots) in change.tables.into_iter().flatten() {
                for (at, block) in (bank * self.bank_blocks + home..).zip(blocks(slots)) {
                    self.slots.write(at, &[block]);
                    self.written += size_of::<SlotBlock>() as u64;
                }
            }
        }
        // Shares its memory with the plan.
        self.held[bank] = plan.services.clone();
    }

    /// Bytes of plans written into the maps since this was asked last.
    pub fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// Says that the plan in use is right, as of now.
    #[expect(unsafe_code, reason = "one field of a shared struct")]
    pub fn confirm(&mut self) {
        let control = self.control.pointer(0);
        // SAFETY: the mapping lives as long as `self`.
        unsafe { store_u64(&raw mut (*control).confirmed, zerottl_host::resources::boot_ns()) };
    }

    #[expect(unsafe_code, reason = "one field of a shared struct")]
    fn store_word(&mut self, word: u64) {
        let control = self.control.pointer(0);
        // SAFETY: the mapping lives as long as `self`.
        unsafe { store_u64(&raw mut (*control).word, word) };
    }

    /// Says which MACs are ours; at most [`MAC_MAX`], further ones are left to the socket path.
    #[expect(unsafe_code, reason = "one field of a shared struct")]
    pub fn set_macs(&mut self, macs: &[[u8; 6]]) {
        let control = self.control.pointer(0);
        for i in 0..MAC_MAX {
            let mac = macs.get(i).map_or(0, |m| u64::from_le_bytes([m[0], m[1], m[2], m[3], m[4], m[5], 0, 0]));
            // SAFETY: the mapping lives as long as `self`, and `i` is within the array.
            unsafe { store_u64((&raw mut (*control).mac).cast::<u64>().add(i), mac) };
        }
    }

    /// Says which VLANs are ours. Each is told by a bit or a word of its own, so a packet meets it as it was or as it is.
    #[expect(unsafe_code, reason = "fields of a shared struct")]
    pub fn set_vlans(&mut self, vlans: &[Vlan]) {
        let (single, pairs) = image::vlans(vlans);
        let control = self.control.pointer(0);
        for (i, word) in single.into_iter().enumerate() {
            // SAFETY: the mapping lives as long as `self`, and `i` is within the array.
            unsafe { store_u64((&raw mut (*control).vlans).cast::<u64>().add(i), word) };
        }
        for (i, pair) in pairs.into_iter().enumerate() {
            // SAFETY: as above.
            unsafe { store_u32((&raw mut (*control).vlan_pairs).cast::<u32>().add(i), pair) };
        }
    }

    /// Says what time it is: seconds of the Unix epoch, modulo 2^32.
    #[expect(unsafe_code, reason = "one field of a shared struct")]
    pub fn set_clock(&mut self, now: u32) {
        let control = self.control.pointer(0);
        // SAFETY: the mapping lives as long as `self`.
        unsafe { store_u32(&raw mut (*control).clock, now) };
    }

    /// Samples one packet in `one_in` for the trace; 0 stops it.
    #[expect(unsafe_code, reason = "one field of a shared struct")]
    pub fn set_trace(&mut self, one_in: u32) {
        let control = self.control.pointer(0);
        // SAFETY: the mapping lives as long as `self`.
        unsafe { store_u32(&raw mut (*control).trace, one_in) };
    }
}

/// Grace periods, one after the other, on a thread of its own. The thread ends when this is dropped.
#[derive(Debug)]
struct Grace {
    requests: mpsc::SyncSender<u64>,
    /// Every packet now being answered reads this generation or a later one.
    settled: Arc<AtomicU64>,
}

impl Grace {
    fn new() -> Self {
        let (requests, receiver) = mpsc::sync_channel::<u64>(BANKS as usize);
        let settled = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&settled);
        let waiting = std::thread::Builder::new().name("grace".into()).spawn(move || {
            while let Ok(generation) = receiver.recv() {
                // One period serves all that were asked for meanwhile.
                let newest = receiver.try_iter().fold(generation, u64::max);
                settle(newest, &shared);
            }
        });
        if let Err(error) = waiting {
            tracing::warn!("starting a thread failed, so that publishing waits for grace periods itself: {error}");
        }
        Self { requests, settled }
    }

    /// Starts a grace period after `generation` was published.
    fn begin(&self, generation: u64) {
        // If the thread is behind or gone, `wait_for` does the waiting itself.
        let _ = self.requests.try_send(generation);
    }

    /// Whether no packet reads a generation before `generation`.
    fn is_settled(&self, generation: u64) -> bool {
        self.settled.load(Ordering::Acquire) >= generation
    }

    /// Waits until no packet reads a generation before `generation`, which has been published.
    fn wait_for(&self, generation: u64) {
        if !self.is_settled(generation) {
            settle(generation, &self.settled);
        }
    }
}

/// Waits for a grace period, and says so.
fn settle(generation: u64, settled: &AtomicU64) {
    grace_period();
    settled.fetch_max(generation, Ordering::AcqRel);
}

/// Waits until no run of a program that began before this is left: a membarrier over all CPUs waits for an RCU grace period
/// (`synchronize_rcu`, kernel/sched/membarrier.c), and an XDP program runs as an RCU reader.
pub(crate) fn grace_period() {
    match membarrier(MembarrierCommand::Global) {
        Ok(()) => {}
        Err(error) => {
            // Without it (a seccomp filter, nohz_full): far longer than any run of the program.
            tracing::debug!("membarrier: {error}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
