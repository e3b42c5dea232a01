//! XDP programs of a few instructions: one that passes everything, for the client's end of a veth, and one that loses some.
//!
//! A native program on one end sends its replies into the other end's ring, and only an end with a program of its own
//! is woken to read it: GRO alone makes the ring but leaves what `XDP_TX` put there until something else wakes the
//! device (`veth_xdp_flush` asks for a program; seen on Linux 6.18). A few instructions need no compiler and no object.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 2;
const XDP_FLAGS_DRV_MODE: u32 = 4;

/// `r0 = 2 (XDP_PASS); exit`.
const PASS: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
const LICENSE: &CStr = c"GPL";

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; the kernel takes what is missing for zeroes.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches the program that passes everything natively to an interface of the calling thread's namespace, until the link is
/// dropped. Kernel 5.9 or newer.
pub fn attach(interface: &str) -> io::Result<OwnedFd> {
    attach_program(interface, &PASS, XDP_FLAGS_DRV_MODE)
}

/// Attaches it generically, as [`attach`] does natively.
pub fn attach_generic(interface: &str) -> io::Result<OwnedFd> {
    attach_program(interface, &PASS, XDP_FLAGS_SKB_MODE)
}

/// Has an interface of the calling thread's namespace lose one in so many of the packets that come in, at random, until the
/// link is dropped.
pub fn attach_losing(interface: &str, one_in: u32) -> io::Result<OwnedFd> {
    // r0 = bpf_get_prandom_u32(); r0 %= one_in; if r0 == 0 goto drop; r0 = 2 (XDP_PASS); exit; drop: r0 = 1 (XDP_DROP); exit
    let program = [
        0x0000_0007_0000_0085,
        u64::from(one_in) << 32 | 0x94,
        0x0000_0000_0002_0015,
        PASS[0],
        PASS[1],
        0x0000_0001_0000_00b7,
        PASS[1],
    ];
    attach_program(interface, &program, XDP_FLAGS_SKB_MODE)
}

fn attach_program(interface: &str, instructions: &[u64], flags: u32) -> io::Result<OwnedFd> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let target_ifindex = name_to_index(any.as_fd(), interface)?;
    let load = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
    };
    let program = bpf(BPF_PROG_LOAD, &load)?;
    let prog_fd = program.as_raw_fd().cast_unsigned();
    bpf(BPF_LINK_CREATE, &LinkCreate { prog_fd, target_ifindex, attach_type: BPF_XDP, flags })
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is a prefix of `union bpf_attr` for `command`, its length is given, and what it points to
    // lives through the call. The kernel only reads it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new file descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
