//! The maps of (n) and the programs that look up in them. aya makes neither arrays of maps nor programs of a few
//! instructions, so both are made here by bpf(2), and nothing is compiled.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    io,
    ops::Range,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use zerottl_kernel::mmap_array;

use crate::{cost, error::BenchError};

/// An entry, one cache line: the next index of a walk that meets all, and a last word that is 0. Both words are read.
pub(super) type Entry = [u64; 8];

// Commands and constants of the kernel's include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;
const BPF_F_NO_PREALLOC: u32 = 1;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const XDP_PASS: u64 = 2;

/// Look-ups of one run of a program: each is verified by itself, and so many hide what a run costs.
pub(super) const LOOK_UPS: i32 = 1_024;
/// Entries of an inner array: they and the kernel's head before them fit into 32 KiB.
pub(super) const INNER: u32 = 504;
/// Bits of [`RECIPROCAL`].
const SHIFT: i32 = 39;
/// The reciprocal of [`INNER`]: a product of it divides an index below 2^30, and takes less time than a division.
const RECIPROCAL: i32 = (1_u64 << SHIFT).div_ceil(INNER as u64) as i32;
/// Inner arrays that are put into the outer one by one call: fewer than the descriptors that a process may have.
pub(super) const PUT: usize = 256;

/// The kind of map that the entries lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableForm {
    /// One array that a process may map.
    Mapped,
    /// One array.
    Plain,
    /// An array of small arrays.
    Arrays,
    /// An array of small arrays of one value each, in which entries begin where cache lines do.
    Lines,
    /// A hash map whose entries are made one by one.
    Hash,
}

impl TableForm {
    pub(super) const ALL: [Self; 5] = [Self::Mapped, Self::Plain, Self::Arrays, Self::Lines, Self::Hash];

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Mapped => "array, mmapable",
            Self::Plain => "array",
            Self::Arrays => "array of arrays of 32 KB",
            Self::Lines => "the same, entries on cache lines",
            Self::Hash => "hash, not preallocated",
        }
    }
}

/// Calls bpf(2) with these words of `union bpf_attr`, into which the kernel may write.
fn bpf(what: &str, command: libc::c_long, mut attributes: [u64; 8]) -> Result<(libc::c_long, u64), BenchError> {
    // SAFETY: the attributes live through the call and have the length given; the addresses in them are of memory that the
    // callers below keep meanwhile, as large as the map's keys and values times their number, or as the lengths beside them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(&attributes)) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(format!("(n) {what}: {error}; run this as root, on Linux 5.18 or newer").into());
    }
    Ok((result, attributes[0]))
}

/// As [`bpf`], for the commands that return a descriptor.
fn made(what: &str, command: libc::c_long, attributes: [u64; 8]) -> Result<OwnedFd, BenchError> {
    let fd = i32::try_from(bpf(what, command, attributes)?.0)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn make(kind: u32, value: usize, entries: u32, flags: u32, inner: Option<&OwnedFd>) -> Result<OwnedFd, BenchError> {
    let inner = inner.map_or(0, number);
    let attributes = [pair(kind, 4), pair(value as u32, entries), pair(flags, inner), 0, 0, 0, 0, 0];
    made("making a map", BPF_MAP_CREATE, attributes)
}

/// Puts values, which lie one after another, under keys.
fn put<T>(map: &OwnedFd, keys: Range<u32>, values: &[T]) -> Result<(), BenchError> {
    let keys: Vec<u32> = keys.collect();
    let count = pair(keys.len() as u32, number(map));
    let attributes = [0, 0, keys.as_ptr().addr() as u64, values.as_ptr().addr() as u64, count, 0, 0, 0];
    bpf("filling a map", BPF_MAP_UPDATE_BATCH, attributes).map(drop)
}

/// Makes the map that a program begins with and leaves its results in: an index, and the sum of what was read.
pub(super) fn state() -> Result<OwnedFd, BenchError> {
    make(ARRAY, size_of::<[u64; 2]>(), 1, 0, None)
}

/// A map with all entries.
pub(super) struct Table {
    pub(super) form: TableForm,
    pub(super) entries: u32,
    map: OwnedFd,
    /// Bytes before the first entry of an inner array of [`TableForm::Lines`].
    pub(super) pad: u8,
    /// The last inner array.
    inner: Option<OwnedFd>,
}

impl Table {
    pub(super) fn new(form: TableForm, entries: &[Entry], pad: u8) -> Result<Self, BenchError> {
        let number = entries.len() as u32;
        let one = |kind, flags| make(kind, size_of::<Entry>(), number, flags, None);
        let (map, inner) = match form {
            TableForm::Mapped => (one(ARRAY, BPF_F_MMAPABLE)?, None),
            TableForm::Plain => (one(ARRAY, 0)?, None),
            TableForm::Hash => (one(HASH, BPF_F_NO_PREALLOC)?, None),
            TableForm::Arrays | TableForm::Lines => {
                let (map, inner) = Self::nested(form, entries, pad)?;
                (map, Some(inner))
            }
        };
        match form {
            TableForm::Mapped => mmap_array::write_all(&map, entries)?,
            TableForm::Plain | TableForm::Hash => put(&map, 0..number, entries)?,
            TableForm::Arrays | TableForm::Lines => (),
        }
        Ok(Self { form, entries: number, map, pad, inner })
    }

    /// Makes the inner arrays, and puts them into an outer one, which keeps them.
    fn nested(form: TableForm, entries: &[Entry], pad: u8) -> Result<(OwnedFd, OwnedFd), BenchError> {
        let before = usize::from(pad) / 8;
        let inner = |entries: &[Entry]| -> Result<OwnedFd, BenchError> {
            let mut words = vec![0_u64; before];
            words.extend(entries.iter().flatten());
            words.resize(before + INNER as usize * size_of::<Entry>() / 8, 0);
            let count = if form == TableForm::Lines { 1 } else { INNER };
            let map = make(ARRAY, words.len() * 8 / count as usize, count, 0, None)?;
            put(&map, 0..count, &words)?;
            Ok(map)
        };
        let all: Vec<&[Entry]> = entries.chunks(INNER as usize).collect();
        let mut last = inner(all[0])?;
        let outer = make(ARRAY_OF_MAPS, 4, all.len() as u32, 0, Some(&last))?;
        for (chunk, from) in all.chunks(PUT).zip((0_u32..).step_by(PUT)) {
            let maps = chunk.iter().map(|entries| inner(entries)).collect::<Result<Vec<_>, _>>()?;
            put(&outer, from..from + maps.len() as u32, &maps.iter().map(number).collect::<Vec<_>>())?;
            last = maps.into_iter().next_back().unwrap_or(last);
        }
        Ok((outer, last))
    }
}

// Registers: 6 is the sum of what was read, 7 the index, 8 the number of look-ups, 10 the end of the stack.
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const ADD: u8 = 0x0f;
const ADD_NUMBER: u8 = 0x07;
const SUBTRACT: u8 = 0x1f;
const MULTIPLY: u8 = 0x27;
const AND: u8 = 0x57;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;
const STORE_HALF: u8 = 0x63;
const STORE_ZERO: u8 = 0x62;
const UNLESS: u8 = 0x55;
const IF_BELOW: u8 = 0xa5;
const LOAD_MAP: u8 = 0x18;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// One instruction, as `struct bpf_insn` has it.
fn op(code: u8, to: u8, from: u8, offset: i16, number: i32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(number.cast_unsigned()) << 32
}

/// Ends the run with 0 unless the instruction before it skips that.
fn give_up() -> [u64; 2] {
    [op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]
}

/// Looks the key at a place of the stack up in a map, or in the one that was found before.
fn find(map: Option<&OwnedFd>, key: i32) -> Vec<u64> {
    let mut code = match map {
        Some(map) => vec![op(LOAD_MAP, 1, 1, 0, map.as_raw_fd()), 0],
        None => vec![op(MOVE, 1, 0, 0, 0)],
    };
    code.extend([op(MOVE, 2, 10, 0, 0), op(ADD_NUMBER, 2, 0, 0, key), op(CALL, 0, 0, 0, 1), op(UNLESS, 0, 0, 2, 0)]);
    code.extend(give_up());
    code
}

/// Loads a program that begins with the index in the state, does this and says that all went well.
fn program(state: &OwnedFd, then: impl Fn(&mut Vec<u64>)) -> Result<OwnedFd, BenchError> {
    let mut code = vec![op(STORE_ZERO, 10, 0, -4, 0)];
    code.extend(find(Some(state), -4));
    code.extend([op(STORE, 10, 0, -16, 0), op(LOAD, 7, 0, 0, 0), op(SET, 6, 0, 0, 0), op(SET, 8, 0, 0, 0)]);
    then(&mut code);
    code.extend([op(SET, 0, 0, 0, XDP_PASS as i32), op(EXIT, 0, 0, 0, 0)]);
    let kind = pair(BPF_PROG_TYPE_XDP, code.len() as u32);
    let attributes = [kind, code.as_ptr().addr() as u64, c"GPL".as_ptr().addr() as u64, 0, 0, 0, 0, 0];
    made("loading a program", BPF_PROG_LOAD, attributes)
}

impl Table {
    /// Finds the entry of the index.
    fn find(&self) -> Vec<u64> {
        let nested = matches!(self.form, TableForm::Arrays | TableForm::Lines);
        if !nested {
            return [vec![op(STORE_HALF, 10, 7, -4, 0)], find(Some(&self.map), -4)].concat();
        }
        let mut code = vec![
            op(MOVE, 9, 7, 0, 0),
            op(MULTIPLY, 9, 0, 0, RECIPROCAL),
            op(SHIFT_RIGHT, 9, 0, 0, SHIFT),
            op(STORE_HALF, 10, 9, -4, 0),
            op(MULTIPLY, 9, 0, 0, INNER.cast_signed()),
            op(SUBTRACT, 7, 9, 0, 0),
        ];
        let own = self.form == TableForm::Arrays;
        code.push(if own { op(STORE_HALF, 10, 7, -8, 0) } else { op(STORE_ZERO, 10, 0, -8, 0) });
        code.extend([find(Some(&self.map), -4), find(None, -8)].concat());
        if !own {
            code.extend([op(MOVE, 1, 7, 0, 0), op(IF_BELOW, 1, 0, 2, INNER.cast_signed())]);
            code.extend(give_up());
            code.extend([op(SHIFT_LEFT, 1, 0, 0, 6), op(ADD, 0, 1, 0, 0)]);
        }
        // The index again, of its remainder.
        code.push(op(ADD, 7, 9, 0, 0));
        code
    }

    /// Loads a program that looks entries up and adds what it reads to the state: the index that was read is the next one,
    /// or the next is computed.
    pub(super) fn walk(&self, state: &OwnedFd, chained: bool) -> Result<OwnedFd, BenchError> {
        let pad = i16::from(self.pad);
        program(state, |code| {
            let begin = code.len();
            code.extend(self.find());
            code.extend([
                op(LOAD, 1, 0, pad, 0),
                op(LOAD, 2, 0, pad + 56, 0),
                op(ADD, 1, 2, 0, 0),
                op(ADD, 6, 1, 0, 0),
            ]);
            if chained {
                code.push(op(MOVE, 7, 1, 0, 0));
            } else {
                // A generator whose period is the number of entries.
                let last = (self.entries - 1).cast_signed();
                code.extend([op(MULTIPLY, 7, 0, 0, 1_664_525), op(ADD_NUMBER, 7, 0, 0, 1_013_904_223)]);
                code.push(op(AND, 7, 0, 0, last));
            }
            code.push(op(ADD_NUMBER, 8, 0, 0, 1));
            let jump = ((code.len() - begin) as u16).cast_signed();
            code.push(op(IF_BELOW, 8, 0, -jump - 1, LOOK_UPS));
            code.extend([op(LOAD, 9, 10, -16, 0), op(STORE, 9, 7, 0, 0), op(LOAD, 1, 9, 8, 0)]);
            code.extend([op(ADD, 1, 6, 0, 0), op(STORE, 9, 1, 8, 0)]);
        })
    }

    /// Puts the last inner array into the outer one again.
    pub(super) fn put_again(&self) -> Result<(), BenchError> {
        let inner = self.inner.as_ref().ok_or("(n) this map has no inner maps")?;
        put(&self.map, 0..1, &[number(inner)])
    }

    /// Returns where the first entry lies in its cache line.
    pub(super) fn offset_in_line(&self, state: &OwnedFd) -> Result<u8, BenchError> {
        let program = program(state, |code| {
            code.extend(self.find());
            code.extend([op(LOAD, 9, 10, -16, 0), op(STORE, 9, 0, 0, 0)]);
        })?;
        let [address, _] = run(&program, state, 1)?.1;
        Ok((address % 64) as u8)
    }
}

/// Runs a program so often, and returns the CPU time of that, ns, and the state that it leaves.
pub(super) fn run(program: &OwnedFd, state: &OwnedFd, repeat: u32) -> Result<(f64, [u64; 2]), BenchError> {
    let (key, mut words, packet) = (0_u32, [0_u64; 2], [0_u8; 64]);
    let element = [
        number(state).into(),
        (&raw const key).addr() as u64,
        words.as_mut_ptr().expose_provenance() as u64,
        0,
        0,
        0,
        0,
        0,
    ];
    bpf("setting the state", BPF_MAP_UPDATE_ELEM, element)?;
    let data = packet.as_ptr().addr() as u64;
    let attributes = [number(program).into(), packet.len() as u64, data, 0, repeat.into(), 0, 0, 0];
    let begun = cost::cpu_time();
    let (_, head) = bpf("running a program", BPF_PROG_TEST_RUN, attributes)?;
    let elapsed = cost::cpu_time() - begun;
    if head >> 32 != XDP_PASS {
        return Err("(n) an entry was not found".into());
    }
    bpf("reading the state", BPF_MAP_LOOKUP_ELEM, element)?;
    Ok((elapsed, words))
}
