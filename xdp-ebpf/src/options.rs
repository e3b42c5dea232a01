//! EDNS options: COOKIE (RFC 7873, RFC 9018), NSID (RFC 5001), client subnet (RFC 7871).
//!
//! They are read from a copy in the scratch area and answered from there, by steps whose body the verifier looks at once.
//! What is malformed, or odd, goes up: the socket path says FORMERR. An option that is turned off is not looked at.
//!
//! ```text
//! +------+-----+----------+   +------+-----+--------+----------------------+   +------+-----+--------+--------+-------+----
//! |  3   | len | NSID     |   |  10  | 24  | client | 1,0,0,0 time  hash   |   |  8   | len | family | source | scope | address
//! +------+-----+----------+   +------+-----+--------+----------------------+   +------+-----+--------+--------+-------+----
//! ```

use crate::{
    cookie::{self, CookieVerdict},
    frame::Frame,
    layout::{Control, NSID_MAX, OPTION_COOKIE, OPTION_SUBNET},
    maps::{LoopStep, Maps},
    name::OFFSET_MASK,
    net::Datagram,
    reason::Reason,
    scratch::{OPTIONS_MAX, Options, Scratch},
};

const CODE_NSID: u16 = 3;
const CODE_SUBNET: u16 = 8;
const CODE_COOKIE: u16 = 10;
/// Code and length before an option's data.
const FIXED: usize = 4;
/// More options than fit.
const COUNT_MAX: u32 = (OPTIONS_MAX / FIXED) as u32 + 2;
/// A client cookie, and one with a server cookie as ours are.
const COOKIE_CLIENT: u32 = 8;
const COOKIE_WHOLE: u32 = 24;
/// Family and prefix lengths before a client subnet's address.
const SUBNET_FIXED: u32 = 4;

/// [`Options::found`]: NSID is asked for.
const FOUND_NSID: u32 = 1;
/// [`Options::found`]: a cookie.
const FOUND_COOKIE: u32 = 2;
/// [`Options::found`]: a client subnet.
const FOUND_SUBNET: u32 = 4;
/// [`Options::found`]: something for the socket path.
const FOUND_FAULT: u32 = 8;
/// [`Options::found`]: all have been read.
const FOUND_END: u32 = 16;

/// Reads the `len` bytes of options at `at`, and checks a cookie among them: here, where the verifier knows few ways, and
/// not where the answer's options are composed.
#[inline(always)]
pub fn read<M: Maps>(
    frame: Frame,
    maps: &M,
    control: &Control,
    datagram: &Datagram,
    at: usize,
    len: usize,
) -> Result<(), Reason> {
    let options = &maps.scratch().ok_or(Reason::Internal)?.options;
    if len > OPTIONS_MAX {
        return Err(Reason::PassLong);
    }
    let full = control.forget::<0x1ff>(len) / 8;
    let mut i = 0;
    while i < 64 {
        if i >= full {
            break;
        }
        let word = frame.claim::<8>((at + 8 * i) & OFFSET_MASK).ok_or(Reason::Internal)?;
        options.set_asked(i, word.u64::<0>());
        i += 1;
    }
    // Eleven bytes of the record lie before the options, so there are eight before any end.
    let rest = len % 8;
    let word = frame.claim::<8>((at + len - 8) & OFFSET_MASK).ok_or(Reason::Internal)?.u64::<0>();
    if rest != 0 {
        options.set_asked(full, (u64::from_le(word) >> (8 * (8 - rest))).to_le());
    }
    options.at.set(0);
    options.end.set(len as u32);
    options.found.set(0);
    options.v6.set(u32::from(datagram.v6));
    options.known.set(0);
    let source = datagram.source(frame).ok_or(Reason::Internal)?;
    options.client[0].set(source[0]);
    options.client[1].set(source[1]);
    maps.repeat::<Read>(COUNT_MAX);
    if options.found.get() & (FOUND_FAULT | FOUND_END) != FOUND_END {
        return Err(Reason::PassAdditional);
    }
    if options.found.get() & FOUND_COOKIE != 0 {
        maps.repeat::<ServerCookie>(1);
    }
    Ok(())
}

/// Reads one option.
struct Read;

impl LoopStep for Read {
    #[inline(always)]
    fn step<M: Maps>(_: &M, control: &Control, scratch: &Scratch) -> bool {
        let options = &scratch.options;
        let (at, end, found) = (options.at.get(), options.end.get(), options.found.get());
        if at == end {
            options.found.set(found | FOUND_END);
            return true;
        }
        let head = options.asked(at as usize, 0).to_be();
        let (code, len) = ((head >> 48) as u16, u32::from((head >> 32) as u16));
        let data = at + FIXED as u32;
        let next = data + len;
        if next > end {
            options.found.set(found | FOUND_FAULT);
            return true;
        }
        options.at.set(next);
        let now = match code {
            CODE_NSID => FOUND_NSID,
            CODE_COOKIE if found & FOUND_COOKIE == 0 && control.options & OPTION_COOKIE != 0 => {
                options.cookie[0].set(data);
                options.cookie[1].set(len);
                if len == COOKIE_CLIENT || (16..=40).contains(&len) { FOUND_COOKIE } else { FOUND_FAULT }
            }
            CODE_SUBNET if found & FOUND_SUBNET == 0 && control.options & OPTION_SUBNET != 0 => {
                options.subnet.set(data);
                if subnet_is_good(options, data as usize, len) { FOUND_SUBNET } else { FOUND_FAULT }
            }
            _ => 0,
        };
        options.found.set(found | now);
        now == FOUND_FAULT
    }
}

/// RFC 7871 section 6: family 1 or 2, no scope, as many bytes of address as the prefix needs, and none of its host bits.
#[inline(always)]
fn subnet_is_good(options: &Options, at: usize, len: u32) -> bool {
    if len < SUBNET_FIXED {
        return false;
    }
    let (family, source, scope) = subnet_head(options, at);
    let bits_max = match family {
        1 => 32,
        2 => 128,
        _ => return false,
    };
    if scope != 0 || source > bits_max || len - SUBNET_FIXED != source.div_ceil(8) {
        return false;
    }
    let (address, mask) = (subnet_address(options, at), prefix_mask(source));
    address[0] & !mask[0] == 0 && address[1] & !mask[1] == 0
}

/// Family, source prefix length, scope prefix length.
#[inline(always)]
fn subnet_head(options: &Options, at: usize) -> (u16, u32, u8) {
    let head = options.asked(at, 0).to_be();
    ((head >> 48) as u16, (head >> 40) as u32 & 0xff, (head >> 32) as u8)
}

/// The address as in a packet, zeros behind what the option holds.
#[inline(always)]
fn subnet_address(options: &Options, at: usize) -> [u64; 2] {
    let (_, source, _) = subnet_head(options, at);
    // Whole bytes; the bits beyond the prefix in the last are looked at by whoever reads the option.
    let mask = prefix_mask((source + 7) & !7);
    [options.asked(at, 4) & mask[0], options.asked(at, 12) & mask[1]]
}

/// The network mask of a prefix length, as in a packet; all ones beyond 128.
#[inline(always)]
fn prefix_mask(bits: u32) -> [u64; 2] {
    let ones = |bits: u32| match bits {
        0 => 0,
        64.. => u64::MAX,
        _ => u64::MAX << (64 - bits),
    };
    [ones(bits).to_be(), ones(bits.saturating_sub(64)).to_be()]
}

/// The client subnet, if there is one and it decides: family, and its address as in a packet. One of no bits is only given
/// back (RFC 7871 section 7.2.1).
#[inline(always)]
#[must_use]
pub fn subnet(scratch: &Scratch) -> Option<(bool, [u64; 2])> {
    let options = &scratch.options;
    if options.found.get() & FOUND_SUBNET == 0 {
        return None;
    }
    let at = options.subnet.get() as usize;
    let (family, source, _) = subnet_head(options, at);
    if source == 0 { None } else { Some((family == 2, subnet_address(options, at))) }
}

/// Whether the cookie is one that we gave this client.
#[inline(always)]
#[must_use]
pub(crate) fn knows_client(scratch: &Scratch) -> bool {
    scratch.options.known.get() != 0
}

/// Composes the answer's options, and says how long they are: at most 80 bytes.
#[inline(always)]
pub fn compose<M: Maps>(maps: &M, scope: u32) -> Result<usize, Reason> {
    let options = &maps.scratch().ok_or(Reason::Internal)?.options;
    options.scope.set(scope);
    maps.repeat::<Compose>(1);
    Ok(options.said_len.get() as usize)
}

struct Compose;

impl LoopStep for Compose {
    #[inline(always)]
    fn step<M: Maps>(_: &M, control: &Control, scratch: &Scratch) -> bool {
        let options = &scratch.options;
        let found = options.found.get();
        let mut at = 0;
        if found & FOUND_NSID != 0 && control.nsid_len != 0 {
            head(options, at, CODE_NSID, control.nsid_len as u16);
            let mut i = 0;
            while i < NSID_MAX / 8 {
                options.say(at + FIXED + 8 * i, control.nsid[i]);
                i += 1;
            }
            at = FIXED + (control.nsid_len as usize & 0x1f);
        }
        // The verifier follows NSID or none, and a cookie or none, as one.
        at = control.forget::<0x3f>(at);
        if found & FOUND_COOKIE != 0 {
            head(options, at, CODE_COOKIE, COOKIE_WHOLE as u16);
            options.say(at + FIXED, options.asked(options.cookie[0].get() as usize, 0));
            options.say(at + FIXED + 8, options.server[0].get());
            options.say(at + FIXED + 16, options.server[1].get());
            at += FIXED + COOKIE_WHOLE as usize;
        }
        at = control.forget::<0x7f>(at);
        if found & FOUND_SUBNET != 0 {
            let from = options.subnet.get() as usize;
            let (_, source, _) = subnet_head(options, from);
            let len = 4 + (source as usize).div_ceil(8);
            head(options, at, CODE_SUBNET, len as u16);
            let address = subnet_address(options, from);
            // Family and source as they came, then the scope, then the address.
            // Of no bits, so is the scope: times 1, or 0 for those. A branch here is another way for the verifier to follow
            // from each state that calls this, some thousand instructions in all.
            let scope = options.scope.get() * ((source + 127) >> 7);
            let told = options.asked(from, 0).to_be() & 0xffff_ff00_0000_0000 | u64::from(scope) << 32;
            options.say(at + FIXED, told.to_be());
            options.say(at + FIXED + 4, address[0]);
            options.say(at + FIXED + 12, address[1]);
            at += FIXED + len;
        }
        // What lies behind the end is summed up with the last word.
        options.say(at, 0);
        options.said_len.set(at as u32);
        true
    }
}

#[inline(always)]
fn head(options: &Options, at: usize, code: u16, len: u16) {
    options.say(at, (u64::from(code) << 48 | u64::from(len) << 32).to_be());
}

/// The server cookie that the client gets: its own while that is fresh, else a new one.
struct ServerCookie;

impl LoopStep for ServerCookie {
    #[inline(always)]
    fn step<M: Maps>(_: &M, control: &Control, scratch: &Scratch) -> bool {
        let options = &scratch.options;
        let at = options.cookie[0].get() as usize;
        let (client, prefix, hash) = (options.asked(at, 0), options.asked(at, 8), options.asked(at, 16));
        let (address, v6) = ([options.client[0].get(), options.client[1].get()], options.v6.get() != 0);
        // SAFETY: a reference to an aligned u32; volatile because the agent stores to it while we run.
        let now = unsafe { core::ptr::read_volatile(&raw const control.clock) };
        if options.cookie[1].get() == COOKIE_WHOLE {
            let verdict = cookie::check(&control.secrets[0], client, prefix, hash, address, v6, now);
            options.known.set(u32::from(verdict != CookieVerdict::Bad));
            if verdict == CookieVerdict::Fresh {
                options.server[0].set(prefix);
                options.server[1].set(hash);
                return true;
            }
        }
        let prefix = cookie::prefix(now);
        options.server[0].set(prefix);
        options.server[1].set(cookie::server_hash(&control.secrets[0], client, prefix, address, v6));
        true
    }
}
