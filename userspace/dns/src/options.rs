//! EDNS options: those of a query, and those of its answer (RFC 6891 section 6.1.2).
//!
//! ```text
//! +--------+--------+-----------------------------------------------------------------------
//! | code 2 |  len 2 | NSID   (3)  ignored in a query; the server's text in an answer
//! |        |        | CLIENT-SUBNET (8)  family 2 | source 1 | scope 1 | address 0 to 16
//! |        |        | COOKIE (10) client cookie 8 | server cookie 0 or 8 to 32
//! |        |        | TCP-KEEPALIVE (11) nothing in a query; how long we wait in an answer, 2
//! +--------+--------+-----------------------------------------------------------------------
//! ```
//!
//! Whatever else a query has is ignored and not echoed: keepalive (RFC 7828) has no meaning over UDP, and padding (RFC 7830)
//! none here. Of options that stand twice the first counts.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use domain::base::{
    iana::OptionCode,
    message_builder::OptBuilder,
    opt::{Opt, UnknownOptData},
    wire::Composer,
};
use xdp_ebpf::cookie::{CLIENT_LEN, SERVER_LEN};

use crate::client::Subnet;
use zerottl_core::model;

/// Bytes of an option before its data.
const HEAD_LEN: usize = 4;
/// Bytes of a COOKIE option's data with both cookies, as we make them.
pub(crate) const COOKIE_LEN: usize = CLIENT_LEN + SERVER_LEN;
/// Bytes of a CLIENT-SUBNET option's data before the address.
const SUBNET_HEAD_LEN: usize = 4;
/// Bytes of a TCP-KEEPALIVE option's data in an answer, and the unit of what it says (RFC 7828 section 3.1).
const KEEPALIVE_LEN: usize = 2;
const KEEPALIVE_UNIT_MS: u128 = 100;
/// Address families (RFC 7871 section 6).
const FAMILY_NONE: u16 = 0;
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;

/// The known options of a query, unread but for their bounds: one that the configuration turns off is not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOptions<'a> {
    nsid: bool,
    cookie: Option<&'a [u8]>,
    subnet: Option<&'a [u8]>,
    keepalive: Option<&'a [u8]>,
}

/// The requests in a query's options, of what this server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// NSID.
    pub nsid: bool,
    /// COOKIE.
    pub cookie: Option<CookieOption<'a>>,
    /// CLIENT-SUBNET.
    pub subnet: Option<Subnet>,
}

/// The data of a COOKIE option (RFC 7873 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieOption<'a> {
    /// The client's own.
    pub client: &'a [u8; CLIENT_LEN],
    /// The cookie that it takes for ours: none, or 8 to 32 bytes.
    pub server: &'a [u8],
}

impl<'a> QueryOptions<'a> {
    /// The first of each known option.
    #[must_use]
    pub fn read(opt: &'a Opt<[u8]>) -> Self {
        let mut options = Self::default();
        // The whole slice was checked when `opt` was made, and unknown data reads any bytes.
        for option in opt.iter::<UnknownOptData<_>>().flatten() {
            let (code, data) = (option.code(), *option.data());
            match code {
                OptionCode::NSID => options.nsid = true,
                OptionCode::COOKIE => options.cookie = options.cookie.or(Some(data)),
                OptionCode::CLIENT_SUBNET => options.subnet = options.subnet.or(Some(data)),
                OptionCode::TCP_KEEPALIVE => options.keepalive = options.keepalive.or(Some(data)),
                _ => {}
            }
        }
        options
    }

    /// Returns what they ask for, of what is turned on; none where one of those breaks its format: FORMERR.
    #[must_use]
    pub fn wishes(&self, edns: &model::EdnsConfig) -> Option<Wishes<'a>> {
        let cookie = self.cookie.filter(|_| edns.cookies.is_some());
        let subnet = self.subnet.filter(|_| edns.client_subnet);
        Some(Wishes {
            nsid: self.nsid,
            cookie: cookie.map(|data| CookieOption::read(data).ok_or(())).transpose().ok()?,
            subnet: subnet.map(|data| read_subnet(data).ok_or(())).transpose().ok()?,
        })
    }
}

impl QueryOptions<'_> {
    /// Whether they ask how long a connection may be idle, which a query over TCP may; none where it says how long itself:
    /// FORMERR (RFC 7828 sections 3.1 and 3.2.1).
    #[must_use]
    pub fn keepalive(&self) -> Option<bool> {
        self.keepalive.map_or(Some(false), |data| data.is_empty().then_some(true))
    }
}

impl<'a> CookieOption<'a> {
    /// RFC 7873 section 5.2.2: 8 bytes, or 16 to 40.
    fn read(data: &'a [u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        matches!(server.len(), 0 | 8..=32).then_some(Self { client, server })
    }
}

/// RFC 7871 section 6, and section 7.2.1 for what is malformed. Family 0 has neither bits nor an address: `dig +subnet=0`
/// sends it, and other servers take it for the wish of section 7.1.2 not to use the client's address.
fn read_subnet(data: &[u8]) -> Option<Subnet> {
    let (&[family_high, family_low, source, scope], address) = data.split_first_chunk::<SUBNET_HEAD_LEN>()?;
    if scope != 0 || address.len() != usize::from(source.div_ceil(8)) {
        return None;
    }
    let mut octets = [0; 16];
    octets.get_mut(..address.len())?.copy_from_slice(address);
    let bits = u128::from_be_bytes(octets);
    let address = match u16::from_be_bytes([family_high, family_low]) {
        FAMILY_NONE if source == 0 => None,
        FAMILY_V4 if source <= 32 => Some(IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32))),
        FAMILY_V6 if source <= 128 => Some(IpAddr::V6(Ipv6Addr::from_bits(bits))),
        _ => return None,
    };
    let host = u128::MAX.checked_shr(source.into()).unwrap_or(0);
    (bits & host == 0).then_some(Subnet { address, source })
}

/// The options of an answer, in their order there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EdnsOptions<'a> {
    /// NSID's text.
    pub nsid: Option<&'a str>,
    /// Both cookies.
    pub cookie: Option<[u8; COOKIE_LEN]>,
    /// The subnet as it was given, and SCOPE PREFIX-LENGTH.
    pub subnet: Option<(Subnet, u8)>,
    /// How long the connection may be idle.
    pub keepalive: Option<Duration>,
}

impl EdnsOptions<'_> {
    /// Bytes they take in the OPT.
    #[must_use]
    pub(crate) fn wire_len(&self) -> usize {
        let nsid = self.nsid.map_or(0, |text| HEAD_LEN + text.len());
        let cookie = self.cookie.map_or(0, |cookie| HEAD_LEN + cookie.len());
        let subnet = self.subnet.map_or(0, |(subnet, _)| HEAD_LEN + subnet_len(subnet));
        let keepalive = self.keepalive.map_or(0, |_| HEAD_LEN + KEEPALIVE_LEN);
        nsid + cookie + subnet + keepalive
    }

    /// Appends them.
    ///
    /// # Errors
    /// Where the message may not grow.
    pub fn write<Target: Composer>(&self, opt: &mut OptBuilder<'_, Target>) -> Result<(), Target::AppendError> {
        if let Some(text) = self.nsid {
            push(opt, OptionCode::NSID, text.as_bytes())?;
        }
        if let Some(cookie) = self.cookie {
            push(opt, OptionCode::COOKIE, &cookie)?;
        }
        if let Some((subnet, scope)) = self.subnet {
            let (family, octets) = match subnet.address {
                None => (FAMILY_NONE, [0; 16]),
                Some(IpAddr::V4(address)) => (FAMILY_V4, (u128::from(address.to_bits()) << 96).to_be_bytes()),
                Some(IpAddr::V6(address)) => (FAMILY_V6, address.octets()),
            };
            let mut data = [0; SUBNET_HEAD_LEN + 16];
            data[..2].copy_from_slice(&family.to_be_bytes());
            (data[2], data[3]) = (subnet.source, scope);
            data[SUBNET_HEAD_LEN..].copy_from_slice(&octets);
            push(opt, OptionCode::CLIENT_SUBNET, &data[..subnet_len(subnet)])?;
        }
        if let Some(idle) = self.keepalive {
            let units = u16::try_from(idle.as_millis() / KEEPALIVE_UNIT_MS).unwrap_or(u16::MAX);
            push(opt, OptionCode::TCP_KEEPALIVE, &units.to_be_bytes())?;
        }
        Ok(())
    }
}

fn subnet_len(subnet: Subnet) -> usize {
    // A source of more bits than an address has is refused when it is read.
    SUBNET_HEAD_LEN + usize::from(subnet.source.div_ceil(8)).min(16)
}

fn push<Target: Composer>(
    opt: &mut OptBuilder<'_, Target>,
    code: OptionCode,
    data: &[u8],
) -> Result<(), Target::AppendError> {
    // At most 32 bytes; the length is 16 bits.
    opt.push_raw_option(code, data.len() as u16, |target| target.append_slice(data))
}
