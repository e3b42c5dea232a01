//! HTTPS records of dynamic names (RFC 9460): `1 .` with what the pool says, and the Site's addresses as hints.

use bytes::Bytes;
use domain::rdata::{
    Https,
    svcb::{PushError, SvcParams},
};

use zerottl_core::{
    model::{Model, Name},
    plan::Binding,
};

/// SvcPriority of the only record there is (RFC 9460 section 2.4.1).
const PRIORITY: u16 = 1;

/// The record of a Site, parameters in ascending order of their keys (RFC 9460 section 2.2).
///
/// # Panics
/// Never: the parameters are bounded by [`ALPN_LEN_MAX`](zerottl_core::model::ALPN_LEN_MAX), far below what a record holds.
#[must_use]
pub fn https(binding: Binding, model: &Model) -> Https<Bytes, Name> {
    let said = model.pools[binding.pool.0].https.as_ref();
    let params = SvcParams::from_values(|params| {
        let protocols: Vec<&[u8]> = said.iter().flat_map(|https| &https.alpn).map(String::as_bytes).collect();
        if !protocols.is_empty() {
            params.alpn(&protocols).map_err(|_| PushError::ShortBuf)?;
        }
        if let Some(port) = said.and_then(|https| https.port) {
            params.port(port)?;
        }
        if let Some(v4) = binding.v4 {
            params.ipv4hint([v4]).map_err(|_| PushError::ShortBuf)?;
        }
        if let Some(v6) = binding.v6 {
            params.ipv6hint([v6]).map_err(|_| PushError::ShortBuf)?;
        }
        Ok(())
    });
    let params = params.expect("each key stands once, each protocol has 1 to 255 bytes, and memory takes them all");
    Https::new(PRIORITY, Name::root_bytes(), params).expect("the root and some 100 bytes fit in a record")
}
