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
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_XDP: u32 = 37;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_F_REPLACE: u32 = 4;

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
