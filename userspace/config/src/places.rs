//! Places to listen on at a Site: those of connections, and that of metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use toml::Spanned;

use super::{
    raw,
    readers::each,
    values::{self, Fault, Reader},
};

/// Places of one list to listen on, at most.
const LISTEN_MAX: usize = 16;
/// The port of metrics, the load report and checks.
const ADMIN: u16 = 8054;

/// An address with or without a port, or a wildcard.
pub(super) fn place(text: &str, port: u16) -> Result<SocketAddr, Fault> {
    let place = text.parse::<SocketAddr>().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, port)));
    let Some(place) = place else {
        return Err(Fault::new(
            format!("`{text}` is neither an address nor an address and a port"),
            format!("give \"192.0.2.10\", \"192.0.2.10:{port}\", \"2001:db8::10\" or \"[2001:db8::10]:{port}\""),
        ));
    };
    if place.port() == 0 {
        return Err(Fault::new(format!("`{text}` has port 0"), format!("give the port; {port} unless given")));
    }
    if !place.ip().is_unspecified() {
        values::unicast(place.ip())?;
    }
    Ok(place)
}

/// An empty list is a meaning of its own: nowhere.
pub(super) fn places(reader: &mut Reader<'_>, list: &raw::List<String>, port: u16) -> Vec<Spanned<SocketAddr>> {
    let list = list.as_ref().map_or(&[][..], |list| list.get_ref());
    each(reader, list, ("places to listen on", LISTEN_MAX), |reader, text| {
        let place = reader.parsed(text, |text| place(text, port))?;
        Some((place, place.to_string()))
    })
}

pub(super) fn admin(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<Spanned<Option<SocketAddr>>> {
    if text.get_ref() == "none" {
        return Some(Spanned::new(text.span(), None));
    }
    let place = reader.parsed(text, |text| place(text, ADMIN))?;
    if !place.ip().is_loopback() {
        reader
            .warn(text.span(), format!("whoever reaches {place} reads metrics, the load report and the checks"))
            .label("not only this machine")
            .help("listen on loopback, or let nobody but those who need it through to it");
    }
    Some(Spanned::new(text.span(), Some(place)))
}

/// Where metrics and checks are unless the file says.
pub(super) fn default_admin() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), ADMIN)
}

/// Whether both cannot be listened on at once.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let wild = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || wild && one.port() == other.port() && one.is_ipv4() == other.is_ipv4()
}
