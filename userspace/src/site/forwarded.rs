//! What proxies say of a request's client: the fields `X-Forwarded-…`, and who is believed.

use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;

/// Addresses, the client's first, each proxy's after it.
pub(super) const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `http` or `https`.
pub(super) const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The `Host`.
pub(super) const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The port that the client connected to.
pub(super) const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whether what this address says of others is believed.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}
