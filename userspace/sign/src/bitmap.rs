//! The types of an NSEC (RFC 4034 section 4.1.2).

use bytes::Bytes;
use domain::{
    base::Rtype,
    rdata::dnssec::{RtypeBitmap, RtypeBitmapBuilder},
};

/// The bitmap of some types, in any order.
///
/// # Panics
/// Never: a bitmap that was built can be read.
#[must_use]
pub fn bitmap(types: impl IntoIterator<Item = Rtype>) -> RtypeBitmap<Bytes> {
    let mut builder = RtypeBitmapBuilder::new_vec();
    for rtype in types {
        // A vector takes whatever is added.
        let _ = builder.add(rtype);
    }
    let octets = Bytes::from(builder.finalize().as_slice().to_vec());
    RtypeBitmap::from_octets(octets).expect("a bitmap was built")
}
