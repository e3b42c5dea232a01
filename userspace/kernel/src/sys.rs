//! The commands of bpf(2) on links that aya does not have in the form needed here.
//!
//! aya attaches by netlink where a link is refused, which cannot be pinned, and updates a link whatever program it has. Here
//! a link is made or nothing is, and it is updated only from the program that is expected on it.
#![expect(unsafe_code, reason = "system calls")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

// Commands and constants of the kernel's include/uapi/linux/bpf.h.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_CGROUP_SOCK_OPS: u32 = 3;
const BPF_XDP: u32 = 37;
const BPF_LINK_TYPE_CGROUP: u32 = 3;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_F_REPLACE: u32 = 4;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// The head of `union bpf_attr` of `BPF_MAP_CREATE`.
#[repr(C)]
struct CreateMap {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
}

/// `union bpf_attr` of the commands on an element of a map; of `BPF_MAP_GET_NEXT_KEY` too, which has the next key for a value.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` of `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_CREATE`.
#[repr(C)]
struct Create {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_UPDATE`.
#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `union bpf_attr` of `BPF_LINK_DETACH`.
#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `union bpf_attr` of `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ProgramById {
    prog_id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The head of `struct bpf_link_info`, with what it says of an XDP link.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    unused: [u32; 3],
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawProgramInfo {
    kind: u32,
    id: u32,
}

/// The kernel's facts about an XDP link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkInfo {
    /// The number of the interface it is on; none once it is on none, as the interface has gone or somebody has detached it.
    pub interface: Option<u32>,
    /// The number of the program that it has.
    pub program: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<i32> {
    // SAFETY: one of the structs above, of the size given; the kernel takes what is behind it for zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn info<T: Copy + Default>(object: BorrowedFd<'_>) -> io::Result<T> {
    let mut info = T::default();
    let attributes = InfoByFd {
        bpf_fd: number(object),
        info_len: size_of::<T>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes)?;
    Ok(info)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it, for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Attaches an XDP program to an interface (Linux 5.9); `flags` are `XDP_FLAGS_`. It is off again once nothing refers to the
/// link any more, neither a descriptor nor a pin.
pub(crate) fn link_create(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let create = Create { prog_fd: number(program), target_ifindex: interface, attach_type: BPF_XDP, flags };
    bpf(BPF_LINK_CREATE, &create).map(owned)
}

/// Attaches a `sock_ops` program to a cgroup v2 (Linux 5.7), beside those that are there.
pub(crate) fn link_create_sock_ops(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let create =
        Create { prog_fd: number(program), target_ifindex: number(cgroup), attach_type: BPF_CGROUP_SOCK_OPS, flags: 0 };
    bpf(BPF_LINK_CREATE, &create).map(owned)
}

/// Returns the number of the cgroup that a link is on; 0 once that has been removed. An error for another kind of link.
pub(crate) fn link_cgroup(link: BorrowedFd<'_>) -> io::Result<u64> {
    let RawLinkInfo { kind, ifindex, unused: [high, ..], .. } = info(link)?;
    if kind != BPF_LINK_TYPE_CGROUP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no link of a program on a cgroup"));
    }
    // One number of 64 bits, where an XDP link's info has the interface.
    let bytes: Vec<u8> = [ifindex, high].iter().flat_map(|half| half.to_ne_bytes()).collect();
    Ok(bytes.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)))
}

/// Puts another program in a link's place, in one step for every packet. With `from`, only if that is the program it has
/// (`EPERM` if not); `ENOLINK` if the interface has gone.
pub(crate) fn link_update(link: BorrowedFd<'_>, to: BorrowedFd<'_>, from: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let flags = if from.is_some() { BPF_F_REPLACE } else { 0 };
    let update = Update { link_fd: number(link), new_prog_fd: number(to), flags, old_prog_fd: from.map_or(0, number) };
    bpf(BPF_LINK_UPDATE, &update).map(drop)
}

/// Takes a link's program off its interface (Linux 5.9), done when this returns: where the last reference to a link goes
/// instead, the kernel does that some time later.
pub fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_LINK_DETACH, &Detach { link_fd: number(link) }).map(drop)
}

/// Pins an object under a path of a bpffs that does not exist yet.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Object { pathname: text.as_ptr() as u64, bpf_fd: number(object), file_flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}

/// The object pinned under a path.
pub fn get(path: &Path) -> io::Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Object { pathname: text.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    bpf(BPF_OBJ_GET, &attributes).map(owned)
}

/// Makes an array that can be mapped into memory (Linux 5.5).
pub(crate) fn create_mmapable_array(value_size: u32, max_entries: u32) -> io::Result<OwnedFd> {
    let map_type = BPF_MAP_TYPE_ARRAY;
    let map_flags = BPF_F_MMAPABLE;
    let create = CreateMap { map_type, key_size: 4, value_size, max_entries, map_flags, inner_map_fd: 0 };
    bpf(BPF_MAP_CREATE, &create).map(owned)
}

/// Makes an array of maps of the form of this one.
pub(crate) fn create_array_of_maps(inner: BorrowedFd<'_>, max_entries: u32) -> io::Result<OwnedFd> {
    let map_type = BPF_MAP_TYPE_ARRAY_OF_MAPS;
    let inner_map_fd = number(inner);
    let create = CreateMap { map_type, key_size: 4, value_size: 4, max_entries, map_flags: 0, inner_map_fd };
    bpf(BPF_MAP_CREATE, &create).map(owned)
}

/// A value of a map, of the sizes that the caller knows the map to have; none if there is none.
pub(crate) fn element<K, V: Copy + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let mut value = V::default();
    found(bpf(BPF_MAP_LOOKUP_ELEM, &of(map, std::ptr::from_ref(key) as u64, std::ptr::from_mut(&mut value) as u64)))
        .map(|found| found.then_some(value))
}

/// Sets a value of a map, as for [`element`].
pub(crate) fn set_element<K, V>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    bpf(BPF_MAP_UPDATE_ELEM, &of(map, std::ptr::from_ref(key) as u64, std::ptr::from_ref(value) as u64)).map(drop)
}

/// Removes a value of a map, as for [`element`]; whether it was there.
pub(crate) fn remove_element<K>(map: BorrowedFd<'_>, key: &K) -> io::Result<bool> {
    found(bpf(BPF_MAP_DELETE_ELEM, &of(map, std::ptr::from_ref(key) as u64, 0)))
}

/// The key after another one, or the first; none after the last. One that is not there is before the first.
pub(crate) fn next_key<K: Copy + Default>(map: BorrowedFd<'_>, key: Option<&K>) -> io::Result<Option<K>> {
    let mut next = K::default();
    let key = key.map_or(0, |key| std::ptr::from_ref(key) as u64);
    found(bpf(BPF_MAP_GET_NEXT_KEY, &of(map, key, std::ptr::from_mut(&mut next) as u64)))
        .map(|found| found.then_some(next))
}

fn of(map: BorrowedFd<'_>, key: u64, value: u64) -> Element {
    Element { map_fd: number(map), padding: 0, key, value, flags: 0 }
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks the kernel which interface a link is on and which program it has, at this moment. Takes no descriptor, so it is
/// known also where there is none left. An error for what is no XDP link.
pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let RawLinkInfo { kind, prog_id, ifindex, .. } = info(link)?;
    if kind != BPF_LINK_TYPE_XDP {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no link of an XDP program"));
    }
    Ok(LinkInfo { interface: (ifindex != 0).then_some(ifindex), program: prog_id })
}

/// A program's number.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    info(program).map(|info: RawProgramInfo| info.id)
}

/// The program with this number; needs `CAP_SYS_ADMIN`.
pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_PROG_GET_FD_BY_ID, &ProgramById { prog_id: id, next_id: 0, open_flags: 0 }).map(owned)
}
