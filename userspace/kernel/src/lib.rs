//! The kernel side of the agent: load the XDP program, attach it, publish plans into its maps, read its counters.
//!
//! | module | concern |
//! |---|---|
//! | `zone_names` | the zones' names, as the kernel knows them |
//! | `perfect_hash` | the perfect hash over names |
//! | [`rdata`] | SOAs and HTTPS records as answers carry them |
//! | [`director`] | the distributor's programs: which server a connection goes to |
//! | [`image`] | maps' contents from a model and a plan, pure |
//! | [`inherited`] | descriptors that were open when this process began |
//! | `memory` | memory that loading leaves behind |
//! | [`mmap_array`] | BPF arrays in our memory |
//! | [`publish`] | banks and generations (invariant 4) |
//! | [`attach`] | interfaces, modes, MACs |
//! | [`attachments`] | the program on its interfaces, put on all or none, and kept there |
//! | [`nic`] | interfaces' numbers, drivers, features |
//! | [`pinned_state`] | what is there without an agent |
//! | [`pins`] | what outlives the agent |
//! | [`readiness`] | descriptors of any kind, waited for by a runtime |
//! | [`signatures`] | the signatures of signed zones, a cohort at a time |
//! | [`signed_image`] | what lies where in the maps of signed zones, pure |
//! | `label_tree` | which proof denies a missing label |
//! | [`sys`] | commands of bpf(2) that aya lacks |
//! | [`trace`] | sampled packets as lines |
//! | [`vlans`] | which VLANs the host is in |
//!
//! Needs Linux 5.18 for `bpf_xdp_load_bytes`, and `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`.

pub mod attach;
pub mod attachments;
pub mod director;
pub mod image;
pub mod inherited;
pub(crate) mod label_tree;
mod memory;
pub mod mmap_array;
pub mod nic;
pub(crate) mod perfect_hash;
pub mod pinned_state;
pub mod pins;
pub mod publish;
pub mod rdata;
pub mod readiness;
pub mod signatures;
pub mod signed_image;
pub mod sys;
pub mod trace;
pub mod vlans;
pub(crate) mod zone_names;

use std::{
    error::Error,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError, PerCpuArray, ProgramArray, RingBuf},
    programs::{ProgramError, Xdp},
};
use xdp_ebpf::{
    layout::{Displace, EVENTS_LEN},
    reason::Reason,
};

use self::{
    image::{Image, ImageError},
    mmap_array::Mapped,
    publish::Publisher,
    signatures::SignatureMaps,
    signed_image::SignedImage,
};
use zerottl_core::plan::{Plan, Planner};
use zerottl_dns::{self as dns, Zones, dnssec::AllSigned};

/// The BPF object, built by `build.rs` from `xdp-ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ZEROTTL_XDP_OBJECT"));
/// The benchmarks' object: the same maps and code beside a reflector. Nothing in the agent refers to it, so its binary
/// does not hold it.
pub static BENCH_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ZEROTTL_BENCH_OBJECT"));
/// As [`BENCH_OBJECT`]: the time of receiving softirqs.
pub static SOFTIRQ_OBJECT: &[u8] = aya::include_bytes_aligned!(env!("ZEROTTL_SOFTIRQ_OBJECT"));
/// The maps that programs hand on to each other: the bytes of a key and of a value, and how many entries.
const SHARED: [(&str, u32, u32, u32); 2] = [("COUNTERS", 4, 8, Reason::ALL.len() as u32), ("EVENTS", 0, 0, EVENTS_LEN)];
/// The program's name within [`OBJECT`].
pub const PROGRAM: &str = "zerottl";
/// The name of the program that signs, in each object.
pub const SIGN_PROGRAM: &str = "zerottl_sign";

/// Why the program cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The object, its maps or the verifier.
    #[error(
        "loading the XDP program failed: {}; it needs Linux 5.18, CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (root has them)",
        Chain(.0.as_ref())
    )]
    Bpf(#[source] Box<dyn Error + Send + Sync>),
    /// The configuration does not fit into the maps.
    #[error("the configuration is too large for the XDP program: {0}")]
    Image(#[from] ImageError),
    /// A map cannot be mapped into our memory.
    #[error("mapping the BPF map {0} failed: {1}")]
    Mapping(&'static str, #[source] io::Error),
    /// The object lacks a part: it is not ours.
    #[error("the BPF object has no {0}")]
    Missing(&'static str),
}

/// An error and its sources, with colons between.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + Send + Sync));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl From<aya::EbpfError> for LoadError {
    fn from(error: aya::EbpfError) -> Self {
        Self::Bpf(error.into())
    }
}

impl From<ProgramError> for LoadError {
    fn from(error: ProgramError) -> Self {
        Self::Bpf(error.into())
    }
}

impl From<MapError> for LoadError {
    fn from(error: MapError) -> Self {
        Self::Bpf(error.into())
    }
}

/// A loaded program for one model, with its maps filled but for the plan.
#[derive(Debug)]
pub struct Fastpath {
    ebpf: Ebpf,
    /// By the name of their pins.
    lasting: Vec<(String, OwnedFd)>,
}

/// The part of a loaded program that outlives the agent.
#[derive(Debug)]
pub struct Lasting {
    /// The program.
    pub program: OwnedFd,
    /// The objects that are pinned besides the links, by the names of their pins: the program and some maps.
    pub pins: Vec<(String, OwnedFd)>,
}

/// The result of [`Fastpath::load`]: parts that different tasks own.
pub struct FastpathParts {
    /// The program: attach it, run it.
    pub fastpath: Fastpath,
    /// Writes plans.
    pub publisher: Publisher,
    /// Reads counters.
    pub counters: PacketCounters,
    /// Reads traced packets.
    pub events: RingBuf<MapData>,
}

impl Fastpath {
    /// Loads the agent's object for a planner's model and its zones, its maps sized to them. `first` is any plan of that
    /// planner; it is not published.
    pub fn load(
        planner: &Planner,
        first: &Plan,
        zones: &Zones,
        signed: &AllSigned,
    ) -> Result<FastpathParts, LoadError> {
        Self::load_object(OBJECT, PROGRAM, planner, first, zones, signed)
    }

    /// Loads the object as [`load`](Self::load) does, with the counters and traced packets of the programs before it,
    /// as they are pinned in a folder; they are made if there are none that fit. Nothing is written there.
    pub fn load_after(
        planner: &Planner,
        first: &Plan,
        zones: &Zones,
        signed: &AllSigned,
        folder: &Path,
    ) -> Result<FastpathParts, LoadError> {
        Self::load_with(OBJECT, PROGRAM, planner, first, (zones, signed), Some(folder))
    }

    /// As [`load`](Self::load), for another object of the same maps: the benches have one.
    pub fn load_object(
        object: &[u8],
        program: &'static str,
        planner: &Planner,
        first: &Plan,
        zones: &Zones,
        signed: &AllSigned,
    ) -> Result<FastpathParts, LoadError> {
        Self::load_with(object, program, planner, first, (zones, signed), None)
    }

    fn load_with(
        object: &[u8],
        program: &'static str,
        planner: &Planner,
        first: &Plan,
        (zones, signed): (&Zones, &AllSigned),
        folder: Option<&Path>,
    ) -> Result<FastpathParts, LoadError> {
        let image = Image::new(planner, first, zones, signed)?;
        let (nodes, _) = planner.model().nets.tree();
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| LoadError::Mapping(what, error))?;
        let mut loader = EbpfLoader::new();
        for (map, entries) in sizes(&image, nodes.len(), cpus) {
            loader.map_max_entries(map, entries.max(1));
        }
        if let Some(folder) = folder {
            for (map, key_size, value_size, entries) in SHARED {
                let path = pins::shared(folder, map);
                if fits(&path, (key_size, value_size, entries))? {
                    loader.map_pin_path(map, path);
                }
            }
        }
        let mut ebpf = loader.load(object)?;
        drop(loader);
        memory::give_back();
        for name in [program, SIGN_PROGRAM] {
            let program: &mut Xdp = ebpf.program_mut(name).ok_or(LoadError::Missing("XDP program"))?.try_into()?;
            program.load()?;
        }
        let lasting = lasting(&ebpf)?;
        hand_on(&mut ebpf)?;

        fill(&mut ebpf, "DISPLACE", &image.names.displace)?;
        fill(&mut ebpf, "NAMES", &image.names.entries)?;
        fill(&mut ebpf, "TAILS", &image.names.tails)?;
        fill(&mut ebpf, "RDATA", &image.rdata)?;
        fill(&mut ebpf, "ENDPOINTS", &image.endpoints)?;
        fill(&mut ebpf, "NETS", nodes)?;
        fill(&mut ebpf, "CHOSEN", &image.chosen)?;
        fill_signed(&mut ebpf, &image.signed, signed)?;
        let mut control = map(&mut ebpf, "CONTROL", 1)?;
        control.write(0, &[image.control]);
        let mut publisher = Publisher::new(
            control,
            map(&mut ebpf, "SERVICES", image.services() as usize)?,
            map(&mut ebpf, "SLOTS", image.blocks().max(1) as usize)?,
            &image,
        );
        publisher.fill(first);
        publisher.set_stale(&planner.stale_plan());
        // That was no plan's publication.
        publisher.take_written();
        publisher.set_clock(dns::now());
        let counters = PacketCounters {
            reasons: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?,
            answers: map(&mut ebpf, "ANSWERS", cpus * image.control.answers as usize)?,
            endpoints: image.endpoints.len(),
            stride: image.control.answers as usize,
        };
        let events = RingBuf::try_from(take(&mut ebpf, "EVENTS")?)?;
        Ok(FastpathParts { fastpath: Self { ebpf, lasting }, publisher, counters, events })
    }

    /// Hands the program's aya-log lines to our own log, on a task that ends with the runtime. Reasons appear as their
    /// positions in [`Reason::ALL`].
    #[cfg(feature = "bpf-log")]
    pub fn forward_log(&mut self) -> Result<(), LoadError> {
        use tokio::io::{Interest, unix::AsyncFd};
        let logger = aya_log::EbpfLogger::init(&mut self.ebpf).map_err(|error| LoadError::Bpf(error.into()))?;
        // SAFETY: the logger owns its map's descriptor and keeps it for its own life.
        #[expect(unsafe_code, reason = "the logger is no AsFd, so tokio cannot see that")]
        let registered = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
        let mut logger = registered.map_err(|error| LoadError::Bpf(Box::new(io::Error::from(error))))?;
        tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        });
        Ok(())
    }

    /// The program.
    ///
    /// # Panics
    /// Never: `load` found it.
    pub fn program(&mut self, name: &str) -> &mut Xdp {
        let program = self.ebpf.program_mut(name).expect("load found the program by this name");
        program.try_into().expect("load found the program to be an XDP program")
    }

    /// Returns what has to outlive the agent, to be attached and pinned.
    pub fn lasting(&mut self) -> Result<Lasting, LoadError> {
        let failed = |error: io::Error| LoadError::Bpf(error.into());
        let program = self.program(PROGRAM).fd()?.as_fd().try_clone_to_owned().map_err(failed)?;
        let mut pins = vec![(pins::PROGRAM.to_owned(), program.try_clone().map_err(failed)?)];
        for (name, map) in &self.lasting {
            pins.push((name.clone(), map.try_clone().map_err(failed)?));
        }
        Ok(Lasting { program, pins })
    }

    /// Takes out one of the object's own maps, beyond those that `load` fills.
    pub fn take_map(&mut self, name: &'static str) -> Result<Map, LoadError> {
        take(&mut self.ebpf, name)
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, LoadError> {
    ebpf.take_map(name).ok_or(LoadError::Missing(name))
}

fn map<T: Copy>(ebpf: &mut Ebpf, name: &'static str, len: usize) -> Result<Mapped<T>, LoadError> {
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(LoadError::Missing(name)) };
    Mapped::new(data.fd(), len).map_err(|error| LoadError::Mapping(name, error))
}

/// Whether the map pinned under a path is of this shape; not if there is none.
fn fits(path: &Path, (key_size, value_size, entries): (u32, u32, u32)) -> Result<bool, LoadError> {
    match sys::get(path) {
        Ok(map) => {
            let info = MapData::from_fd(map)?.info()?;
            Ok((info.key_size(), info.value_size(), info.max_entries()) == (key_size, value_size, entries))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LoadError::Bpf(format!("{}: {error}", path.display()).into())),
    }
}

/// Puts the program that signs where the one that decides finds it.
fn hand_on(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    let program: &Xdp = ebpf.program(SIGN_PROGRAM).ok_or(LoadError::Missing("XDP program"))?.try_into()?;
    let program = program.fd()?.try_clone().map_err(|error| LoadError::Bpf(error.into()))?;
    let map = ebpf.map_mut("PROGRAMS").ok_or(LoadError::Missing("PROGRAMS"))?;
    Ok(ProgramArray::try_from(map)?.set(0, &program, 0)?)
}

/// The maps that outlive the agent, by the names of their pins.
fn lasting(ebpf: &Ebpf) -> Result<Vec<(String, OwnedFd)>, LoadError> {
    let shared = SHARED.iter().map(|(map, ..)| (*map, pins::shared_name(map)));
    // An array of programs that nobody in userspace holds is emptied, whoever calls from it.
    let all = shared.chain([("CONTROL", pins::CONTROL.to_owned()), ("PROGRAMS", pins::PROGRAMS.to_owned())]);
    let one = |(map, name): (&'static str, String)| {
        let Some(Map::Array(data) | Map::PerCpuArray(data) | Map::RingBuf(data) | Map::ProgramArray(data)) =
            ebpf.map(map)
        else {
            return Err(LoadError::Missing(map));
        };
        let map = data.fd().as_fd().try_clone_to_owned().map_err(|error| LoadError::Bpf(error.into()))?;
        Ok((name, map))
    };
    all.map(one).collect()
}

/// The maps that are as large as the configuration needs them, and how many entries each is to have.
fn sizes(image: &Image, nodes: usize, cpus: usize) -> Vec<(&'static str, u32)> {
    let per_cpu = |entries: u32| (cpus * entries as usize) as u32;
    let own = [
        ("DISPLACE", image.names.displace.len() as u32),
        ("NAMES", image.names.entries.len() as u32),
        ("TAILS", image.names.tails.len() as u32),
        ("RDATA", image.rdata.len() as u32),
        ("ENDPOINTS", image.endpoints.len() as u32),
        ("NETS", nodes as u32),
        ("CHOSEN", image.chosen.len() as u32),
        ("SERVICES", image.services()),
        ("SLOTS", image.blocks()),
        ("BUCKETS", image.buckets()),
        ("CURSORS", per_cpu(image.control.cursors)),
        ("ANSWERS", per_cpu(image.control.answers)),
        ("BYTE_BUCKETS", image.byte_buckets()),
    ];
    own.into_iter().chain(image.signed.sizes()).collect()
}

/// Writes a whole map; the mapping goes, the contents stay.
fn fill<T: Copy>(ebpf: &mut Ebpf, name: &'static str, values: &[T]) -> Result<(), LoadError> {
    let Some(Map::Array(data)) = ebpf.map(name) else { return Err(LoadError::Missing(name)) };
    mmap_array::write_all(data.fd(), values).map_err(|error| LoadError::Mapping(name, error))
}

/// Fills the maps of signed zones, which write there themselves what they sign from then on.
fn fill_signed(ebpf: &mut Ebpf, image: &SignedImage, signed: &AllSigned) -> Result<(), LoadError> {
    fill(ebpf, "SIGNED_NAMES", &image.names)?;
    fill(ebpf, "SIGNERS", &image.signers)?;
    fill(ebpf, "PROOFS", &image.proofs)?;
    fill(ebpf, "PROOF_BYTES", &image.bytes)?;
    fill(ebpf, "CHILDREN", &image.children)?;
    fill(ebpf, "ORDINALS", &image.ordinals)?;
    fill(ebpf, "REGIONS", &image.regions)?;
    if !image.zones.is_empty() {
        let maps = SignatureMaps {
            cohorts: map(ebpf, "COHORTS", image.cohorts())?,
            regions: map(ebpf, "REGIONS", image.regions.len())?,
            lines: map(ebpf, "SIGNATURES", image.lines)?,
        };
        signatures::follow(maps, image, signed);
    }
    Ok(())
}

/// The program's counters.
pub struct PacketCounters {
    /// One per [`Reason`].
    reasons: PerCpuArray<MapData, u64>,
    /// By CPU, `stride` each, of which `endpoints` are in use.
    answers: Mapped<u64>,
    endpoints: usize,
    stride: usize,
}

impl PacketCounters {
    /// Packets seen under each reason, summed over CPUs.
    pub fn read(&self) -> Result<Vec<(Reason, u64)>, MapError> {
        let count = |reason: &Reason| {
            let values = self.reasons.get(&(*reason as u32), 0)?;
            Ok((*reason, values.iter().sum()))
        };
        Reason::ALL.iter().map(count).collect()
    }

    /// How often each address was answered since the program was loaded, by its position in [`Plan::endpoints`]. A and
    /// AAAA answers alone.
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        let cpus = self.answers.elements() / self.stride.max(1);
        let count = |endpoint: usize| (0..cpus).map(|cpu| self.answers.read(cpu * self.stride + endpoint)).sum();
        (0..self.endpoints).map(count).collect()
    }
}

const _: () = assert!(size_of::<Displace>() == 64, "fill maps whole elements");
