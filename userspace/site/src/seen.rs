//! Facts known of a request before it is decided on.

use std::{borrow::Cow, fmt::Write as _, net::IpAddr};

use http::{Method, Version, header::HOST, request::Parts};
use ipnet::IpNet;

use super::{
    marker::MarkedTarget,
    refusal::Refusal,
    session::{Session, SessionClient},
    topology::Known,
};
use zerottl_core::model::GroupId;

/// A request as operation 500 sees it.
pub(super) struct Seen<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) scheme: &'static str,
    pub(super) client: IpAddr,
    pub(super) authority: Option<Cow<'a, str>>,
    /// The authority's meaning to this Site.
    pub(super) name: Result<Option<Known>, Refusal>,
    /// That of the authority.
    pub(super) port: Option<u16>,
    pub(super) target: &'a str,
    pub(super) found: MarkedTarget<'a>,
    pub(super) session: Session,
    pub(super) asker: SessionClient,
    pub(super) proper: Option<GroupId>,
    pub(super) share: f64,
    /// Whether it may come to stage 550.
    pub(super) may_stay: bool,
}

impl Seen<'_> {
    /// Returns a URL of the same scheme and port, with another host (S4-5A-505, S4-5A-535).
    pub(super) fn url(&self, host: &str, target: &str) -> String {
        let mut url = String::with_capacity(self.scheme.len() + host.len() + target.len() + "://:65535".len());
        url.push_str(self.scheme);
        url.push_str("://");
        url.push_str(host);
        if let Some(port) = self.port {
            // Writing into a String does not fail.
            let _ = write!(url, ":{port}");
        }
        url.push_str(target);
        url
    }

    pub(super) fn net(&self) -> Option<IpNet> {
        self.asker.net
    }

    pub(super) fn is_in_session(&self) -> bool {
        !matches!(self.session, Session::None)
    }
}

/// The host a request is for: the target's, or else the `Host` header's (RFC 9112 section 3.2.2). Two are none that can be
/// believed.
pub(super) fn authority(head: &Parts) -> Option<Cow<'_, str>> {
    if let Some(authority) = head.uri.authority() {
        return Some(Cow::Borrowed(authority.as_str()));
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() { Some(Cow::Borrowed("")) } else { Some(String::from_utf8_lossy(host.as_bytes())) }
}
