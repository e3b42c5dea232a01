//! Cookies: read from requests, written for responses (RFC 6265).

use http::{HeaderMap, HeaderValue, header::COOKIE};

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

/// Whether a cookie can have this name: a token (RFC 9110 section 5.6.2).
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(is_token)
}

/// What a cookie is to be.
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
}

impl Cookie<'_> {
    /// The value of `Set-Cookie`: for all paths, not for scripts, not in requests that other sites' pages make. None if
    /// something in it cannot stand in a field.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let Self { name, value, max_age, .. } = self;
        let domain = self.domain.map_or(String::new(), |domain| format!("; Domain={domain}"));
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}{domain}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).ok()
    }
}
