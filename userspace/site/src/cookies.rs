//! Cookies: read from requests, written for responses (RFC 6265).

use http::{HeaderMap, HeaderValue, header::COOKIE};

use zerottl_core::model::SameSite;

/// Bytes of `Cookie` fields that are looked at, of all of them together.
pub const BYTES_MAX: usize = 64 * 1024;

/// The values of all cookies of this name, in the request's order. There may be several `Cookie` fields (RFC 9113 section
/// 8.2.3); from the one on that goes beyond [`BYTES_MAX`], none is looked at.
pub fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let mut left = BYTES_MAX;
    let fields = headers.get_all(COOKIE).iter().map_while(move |field| {
        left = left.checked_sub(field.len())?;
        Some(field.as_bytes())
    });
    fields
        .flat_map(|field| field.split(|byte| *byte == b';'))
        .filter_map(move |pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// Makes one `Cookie` field of several, as HTTP/2 clients send them and nothing behind HTTP/1.1 reads them (RFC 9113 section
/// 8.2.3).
pub fn join(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for field in std::iter::once(second).chain(fields) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(field.as_bytes());
    }
    // Of what may stand in fields, and the separator, comes what may.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, joined);
    }
}

/// Whether a cookie can have this name: a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// The parts of a cookie that is to be set.
#[derive(Clone, Copy, Debug)]
pub struct Cookie<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, of characters that may stand in one.
    pub value: &'a str,
    /// The name below which all hosts get it; none is the one host that sets it.
    pub domain: Option<&'a str>,
    /// Its life, seconds; 0 deletes it.
    pub max_age: u64,
    /// Whether it is for HTTPS alone.
    pub secure: bool,
    /// In whose pages' requests it is sent.
    pub same_site: SameSite,
}

impl Cookie<'_> {
    /// The value of `Set-Cookie`: for all paths, not for scripts. None if something in it cannot stand in a field.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let Self { name, value, max_age, .. } = self;
        let same_site = match self.same_site {
            SameSite::Strict => "Strict",
            // No browser keeps `None` that is not `Secure`.
            SameSite::None if self.secure => "None",
            SameSite::Lax | SameSite::None => "Lax",
        };
        let domain = self.domain.map_or(String::new(), |domain| format!("; Domain={domain}"));
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}{domain}; Path=/; Max-Age={max_age}; HttpOnly; SameSite={same_site}{secure}");
        HeaderValue::try_from(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(description: &str, fields: &[&[u8]], expected: &[&[u8]]) {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_bytes(field).expect("a field"));
        }
        join(&mut headers);
        let found: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(found, expected, "{description}");
    }

    /// RFC 9113 section 8.2.3: nginx, `HAProxy` and Envoy do so, too.
    #[test]
    fn cookie_fields_become_one() {
        check("none", &[], &[]);
        check("one", &[b"a=1; b=2"], &[b"a=1; b=2"]);
        check("three", &[b"a=1", b"b=\"x y\"", b"c=3; d=4"], &[b"a=1; b=\"x y\"; c=3; d=4"]);
        check("bytes beyond ASCII", &[b"a=\xe4", b"b=2"], &[b"a=\xe4; b=2"]);
    }

    #[test]
    fn same_site_is_none_over_https_alone() {
        let set = |same_site, secure| {
            let cookie = Cookie { name: "a", value: "b", domain: None, max_age: 1, secure, same_site };
            cookie.header().and_then(|value| value.to_str().ok().map(str::to_owned)).expect("a field")
        };
        assert!(set(SameSite::Lax, true).ends_with("SameSite=Lax; Secure"));
        assert!(set(SameSite::None, true).ends_with("SameSite=None; Secure"));
        assert!(set(SameSite::None, false).ends_with("SameSite=Lax"));
        assert!(set(SameSite::Strict, false).ends_with("SameSite=Strict"));
    }
}
