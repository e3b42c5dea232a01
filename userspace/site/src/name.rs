//! Whose name a request is under: looked at before everything else, since no answer may depend on a name that is not ours.

use http::Version;

use super::{
    host::{self, Host},
    refusal::Refusal,
    topology::{Known, Topology},
};

/// Returns what the host is to a Site; nothing where HTTP/1.0 names none. `server_name` is that of the TLS handshake.
pub fn known(
    topology: &Topology,
    authority: Option<&str>,
    version: Version,
    server_name: Option<&str>,
) -> Result<Option<Known>, Refusal> {
    match authority {
        Some(authority) => parsed(topology, host::parse(authority).as_ref(), version, server_name),
        None if version <= Version::HTTP_10 => Ok(None),
        None => Err(Refusal::BadHost),
    }
}

/// Returns what an authority that was taken apart is to a Site; `host` is none where it is not one.
pub fn parsed(
    topology: &Topology,
    host: Option<&Host<'_>>,
    version: Version,
    server_name: Option<&str>,
) -> Result<Option<Known>, Refusal> {
    let host = host.ok_or(Refusal::BadHost)?;
    let known = topology.known(&host.name).ok_or(Refusal::UnknownHost)?;
    let is_coalesced =
        version >= Version::HTTP_2 && known != Known::Own && server_name.is_some_and(|name| name != host.name);
    if is_coalesced { Err(Refusal::Misdirected) } else { Ok(Some(known)) }
}
