//! Loading the distributor's programs.

use std::{
    error::Error,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray},
    programs::{SkReuseport, SockOps},
};
use xdp_ebpf::director::{
    layout::{
        ABI, ADDRESSES_MAX, CHOICES_LEN, CLIENTS_LEN, ChoiceRecord, ClientRecord, ConnectionKey, DirectorControl,
        HolderRecord, LISTENERS_LEN, MOVED_LEN, SLOTS, STEERED_LEN, ServerPage, SharedCells, SlotCells, SlotSettings,
        SteeredRecord,
    },
    reason::ChoiceReason,
};

use super::{errors::DirectorLoadError, files::DirectorPins};
use crate::{
    memory,
    mmap_array::{Mapped, store_u32},
    sys,
};

/// The BPF object, built by `build.rs` from `xdp-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ZEROTTL_DIRECTOR_OBJECT"));
/// The program that chooses, by its name in the object.
pub(super) const CHOOSE: &str = "choose";
/// The program that counts.
pub(super) const COUNT: &str = "count";

/// The maps that the programs share: the bytes of a key and of a value, and how many entries.
const MAPS: [(&str, usize, usize, u32); 13] = [
    ("CONTROL", 4, size_of::<DirectorControl>(), 1),
    ("SHARED", 4, size_of::<SharedCells>(), 1),
    ("SETTINGS", 4, size_of::<SlotSettings>(), SLOTS),
    ("TALLY", 4, size_of::<SlotCells>(), SLOTS),
    ("PAGES", 4, 4, SLOTS),
    ("SOCKETS", 4, 4, SLOTS * ADDRESSES_MAX),
    ("HOLDERS", 4, size_of::<HolderRecord>(), 0),
    ("LISTENERS", 8, 4, LISTENERS_LEN),
    ("CHOICES", size_of::<ConnectionKey>(), size_of::<ChoiceRecord>(), CHOICES_LEN),
    ("CLIENTS", 16, size_of::<ClientRecord>(), CLIENTS_LEN),
    ("STEERED", size_of::<ConnectionKey>(), size_of::<SteeredRecord>(), STEERED_LEN),
    ("MOVED", 8, 4, MOVED_LEN),
    ("COUNTERS", 4, 8, SLOTS * ChoiceReason::ALL.len() as u32),
];

fn bpf(error: impl Into<Box<dyn Error + Send + Sync>>) -> DirectorLoadError {
    DirectorLoadError::Bpf(error.into())
}

/// The maps that are not mapped into our memory.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) pages: OwnedFd,
    pub(super) sockets: OwnedFd,
    pub(super) holders: OwnedFd,
    pub(super) listeners: OwnedFd,
    pub(super) choices: OwnedFd,
    pub(super) steered: OwnedFd,
    pub(super) moved: OwnedFd,
}

/// The programs, loaded and attached, with their maps.
pub(super) struct Loaded {
    /// One for each address; they share all maps.
    pub(super) choosers: Vec<Ebpf>,
    pub(super) pins: DirectorPins,
    pub(super) taken_over: bool,
    pub(super) control: Mapped<DirectorControl>,
    pub(super) shared: Mapped<[u64; size_of::<SharedCells>() / 8]>,
    pub(super) settings: Mapped<SlotSettings>,
    pub(super) tally: Mapped<[u64; size_of::<SlotCells>() / 8]>,
    pub(super) pages: Vec<Option<Mapped<ServerPage>>>,
    pub(super) maps: Maps,
    pub(super) counters: PerCpuArray<MapData, u64>,
}

/// Loads and attaches everything, for `DirectorPrograms::open`.
pub(super) fn open(pins: &Path, cgroup: &Path, addresses: usize) -> Result<Loaded, DirectorLoadError> {
    if !(1..=ADDRESSES_MAX as usize).contains(&addresses) {
        return Err(DirectorLoadError::Addresses(addresses));
    }
    let pins = DirectorPins::own(pins)?;
    let taken_over = complete(&pins)?;
    if !taken_over {
        pins.remove_maps().map_err(bpf)?;
        // Before Linux 6.2 an array of maps takes none without type information if its own form has some, and pages are made
        // without: so the loader is to find this one, and not to make one after the object's.
        let pages = page_map().and_then(|page| sys::create_array_of_maps(page.as_fd(), SLOTS)).map_err(bpf)?;
        sys::pin(pages.as_fd(), &pins.map("PAGES")).map_err(bpf)?;
    }
    let paths = MAPS.map(|(name, ..)| (name, pins.map(name)));
    let mut choosers = Vec::with_capacity(addresses);
    for address in 0..addresses as u32 {
        let mut loader = EbpfLoader::new();
        loader.override_global("ADDRESS", &address, true);
        for (name, path) in &paths {
            loader.map_pin_path(name, path.as_path());
        }
        let mut ebpf = loader.load(OBJECT).map_err(bpf)?;
        let missing = DirectorLoadError::Missing("program that chooses");
        let chooser: &mut SkReuseport = ebpf.program_mut(CHOOSE).ok_or(missing)?.try_into().map_err(bpf)?;
        chooser.load().map_err(bpf)?;
        choosers.push(ebpf);
    }
    memory::give_back();
    let first = choosers.first_mut().ok_or(DirectorLoadError::Addresses(0))?;
    let missing = DirectorLoadError::Missing("program that counts");
    let counting: &mut SockOps = first.program_mut(COUNT).ok_or(missing)?.try_into().map_err(bpf)?;
    counting.load().map_err(bpf)?;
    pins.count_in(cgroup, counting.fd().map_err(bpf)?)?;

    let counters = first.take_map("COUNTERS").ok_or(DirectorLoadError::Missing("COUNTERS"))?;
    let counters = PerCpuArray::try_from(counters).map_err(bpf)?;
    let get = |name: &'static str| sys::get(&pins.map(name)).map_err(bpf);
    let control: Mapped<DirectorControl> = mapped("CONTROL", get("CONTROL")?, 1)?;
    // SAFETY: a field of the mapping's one element.
    #[expect(unsafe_code, reason = "memory shared with the kernel")]
    unsafe {
        store_u32(&raw mut (*control.pointer(0)).abi, ABI);
    }
    Ok(Loaded {
        taken_over,
        control,
        shared: mapped("SHARED", get("SHARED")?, 1)?,
        settings: mapped("SETTINGS", get("SETTINGS")?, SLOTS as usize)?,
        tally: mapped("TALLY", get("TALLY")?, SLOTS as usize)?,
        pages: (0..SLOTS).map(|slot| pinned_page(&pins, slot)).collect::<Result<_, _>>()?,
        maps: Maps {
            pages: get("PAGES")?,
            sockets: get("SOCKETS")?,
            holders: get("HOLDERS")?,
            listeners: get("LISTENERS")?,
            choices: get("CHOICES")?,
            steered: get("STEERED")?,
            moved: get("MOVED")?,
        },
        counters,
        choosers,
        pins,
    })
}

fn mapped<T: Copy>(name: &'static str, map: OwnedFd, len: usize) -> Result<Mapped<T>, DirectorLoadError> {
    Mapped::new(map, len).map_err(|error| DirectorLoadError::Mapping(name, error))
}

/// Whether all maps are pinned, each of the shape that the programs take.
fn complete(pins: &DirectorPins) -> Result<bool, DirectorLoadError> {
    for (name, key_size, value_size, entries) in MAPS {
        let map = match sys::get(&pins.map(name)) {
            Ok(map) => map,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(DirectorLoadError::Folder(pins.map(name), error)),
        };
        let info = MapData::from_fd(map).and_then(|map| map.info()).map_err(bpf)?;
        if (info.key_size() as usize, info.value_size() as usize, info.max_entries()) != (key_size, value_size, entries)
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a map for a page, of the very form that `PAGES` takes.
pub(super) fn page_map() -> io::Result<OwnedFd> {
    sys::create_mmapable_array(size_of::<ServerPage>() as u32, 1)
}

fn pinned_page(pins: &DirectorPins, slot: u32) -> Result<Option<Mapped<ServerPage>>, DirectorLoadError> {
    match sys::get(&pins.page(slot)) {
        Ok(page) => mapped("PAGES", page, 1).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DirectorLoadError::Folder(pins.page(slot), error)),
    }
}
