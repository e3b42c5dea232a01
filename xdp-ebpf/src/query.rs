//! The DNS message of a query: header, one question, perhaps an OPT record (RFC 1035 section 4, RFC 6891 section 6.1.2).
//!
//! ```text
//!  0    2       4    6    8    10   12            name_len        +4
//! +----+-------+----+----+----+----+-------------+-------+-------+--------------------------------------
//! | ID | flags | QD | AN | NS | AR | QNAME       | QTYPE | QCLAS | 0 | 41 | size | ext,ver,flags | len …
//! +----+-------+----+----+----+----+-------------+-------+-------+--------------------------------------
//! ```

use crate::{
    frame::Frame,
    layout::Control,
    name::{self, Folded, OFFSET_MASK},
    net::Datagram,
    reason::Reason,
    rtype::TYPE_OPT,
    sum::Sum,
};

/// Length of a DNS header.
pub const HEADER: usize = 12;
/// QTYPE and QCLASS.
pub const QUESTION_FIXED: usize = 4;
/// Length of a record before its data, its owner a pointer.
pub const RECORD_FIXED: usize = 12;
/// Length of an OPT record without options.
pub const OPT: usize = 11;
/// The bits of a compression pointer beside its target, RFC 1035 section 4.1.4.
pub(crate) const POINTER: u16 = 0xc000;
/// CLASS IN.
pub(crate) const CLASS_IN: u16 = 1;
/// The largest message that a client without EDNS takes, RFC 1035 section 4.2.1.
pub(crate) const SIZE_PLAIN: usize = 512;
/// The largest message that we send, and the size that we advertise.
pub(crate) const SIZE_EDNS: usize = 1232;
/// Bytes after the question that the kernel sums up; OPT records of real clients are far shorter.
pub(crate) const REST_MAX: usize = 512;

/// A well-formed question of class IN.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Length of the name, 1 to 255.
    pub name_len: usize,
    /// The name.
    pub name: Folded,
    /// QTYPE.
    pub rtype: u16,
    /// Whether there is an OPT record.
    pub has_edns: bool,
    /// The contents of the OPT record; zeros if there is none.
    pub edns: Edns,
    /// Sum of the whole message.
    pub sum: Sum,
}

/// An OPT record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    /// The client's buffer as it says.
    pub size: usize,
    /// Only 0 is known.
    pub version: u8,
    /// DNSSEC OK, RFC 3225: copied.
    pub dnssec_ok: bool,
    /// Bytes of options.
    pub options_len: usize,
}

impl Query {
    /// The longest message the client takes from us.
    #[inline(always)]
    #[must_use]
    pub(crate) fn size_max(&self) -> usize {
        self.edns.size.clamp(SIZE_PLAIN, SIZE_EDNS)
    }
}

/// Reads the message of a datagram.
#[inline(always)]
pub fn parse(frame: Frame, datagram: &Datagram, control: &Control) -> Result<Query, Reason> {
    if datagram.dns_len < HEADER {
        return Err(Reason::DropShort);
    }
    let dns = datagram.dns;
    let header = frame.claim::<HEADER>(dns).ok_or(Reason::Internal)?;
    let flags = header.u8::<2>();
    if flags & 0x80 != 0 {
        return Err(Reason::DropResponse);
    }
    if flags & 0x78 != 0 {
        return Err(Reason::PassOpcode);
    }
    // QDCOUNT 1, ANCOUNT 0; NSCOUNT 0, ARCOUNT 0 or 1.
    let additional = header.u32::<8>();
    if header.u32::<4>() != 0x0001_0000_u32.to_be() || additional & !1_u32.to_be() != 0 {
        return Err(Reason::PassCounts);
    }

    let name_at = dns + HEADER;
    let name_len = control.forget::<0xff>(name::walk(frame, name_at)?);
    let question_len = HEADER + name_len + QUESTION_FIXED;
    if question_len > datagram.dns_len {
        return Err(Reason::PassName);
    }
    let question = frame.claim::<QUESTION_FIXED>((name_at + name_len) & OFFSET_MASK).ok_or(Reason::PassName)?;
    if question.u16::<2>() != CLASS_IN.to_be() {
        return Err(Reason::PassClass);
    }
    let rest_len = datagram.dns_len - question_len;
    let rest_at = dns + question_len;
    let edns = if additional == 0 { Edns::default() } else { opt(frame, rest_at, rest_len)? };
    let rest = if rest_len == 0 { Sum::ZERO } else { sum_rest(frame, rest_at, rest_len, control)? };

    let name = name::fold(frame, name_at, name_len, control).ok_or(Reason::Internal)?;
    let sum = Sum::ZERO
        .u32(header.u32::<0>())
        .u32(header.u32::<4>())
        .u32(header.u32::<8>())
        .add(name.sum)
        .add_at(name_len, rest.u32(question.u32::<0>()));
    // From here on the verifier follows queries with an OPT and without as one.
    let has_edns = control.forget::<1>(usize::from(additional != 0)) != 0;
    let edns = Edns {
        size: control.forget::<0xffff>(edns.size),
        options_len: control.forget::<0xffff>(edns.options_len),
        ..edns
    };
    Ok(Query { name_len, name, rtype: u16::from_be(question.u16::<0>()), has_edns, edns, sum })
}

/// RFC 6891 section 6.1.2. Options are read later; bytes behind the record are no one's business.
#[inline(always)]
fn opt(frame: Frame, at: usize, len: usize) -> Result<Edns, Reason> {
    if len < OPT {
        return Err(Reason::PassAdditional);
    }
    let opt = frame.claim::<OPT>(at & OFFSET_MASK).ok_or(Reason::PassAdditional)?;
    if opt.u8::<0>() != 0 || opt.u16::<1>() != TYPE_OPT.to_be() {
        return Err(Reason::PassAdditional);
    }
    let options_len = usize::from(u16::from_be(opt.u16::<9>()));
    if OPT + options_len > len {
        return Err(Reason::PassAdditional);
    }
    let size = usize::from(u16::from_be(opt.u16::<3>()));
    Ok(Edns { size, version: opt.u8::<6>(), dnssec_ok: opt.u8::<7>() & 0x80 != 0, options_len })
}

/// Sums up what lies behind the question, from an even offset.
#[inline(always)]
fn sum_rest(frame: Frame, at: usize, len: usize, control: &Control) -> Result<Sum, Reason> {
    if len > REST_MAX {
        return Err(Reason::PassLong);
    }
    let full = control.forget::<0x3ff>(len) / 8;
    let mut sum = Sum::ZERO;
    let mut i = 0;
    while i < REST_MAX / 8 {
        if i == full {
            break;
        }
        sum = sum.u64(frame.claim::<8>((at + 8 * i) & OFFSET_MASK).ok_or(Reason::Internal)?.u64::<0>());
        i += 1;
    }
    let left = len % 8;
    if left != 0 {
        let word = frame.claim::<8>((at + len - 8) & OFFSET_MASK).ok_or(Reason::Internal)?.u64::<0>();
        sum = sum.u64((u64::from_le(word) >> (8 * (8 - left))).to_le());
    }
    Ok(sum)
}
