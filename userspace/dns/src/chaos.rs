//! Class CH: what an operator lets be asked of the server itself (RFC 4892).

use std::borrow::Cow;

use bytes::Bytes;
use domain::{
    base::{Name, Rtype, iana::Rcode},
    rdata::Txt,
};

use super::{
    query::Question,
    reply::{Reply, Rr},
};
use zerottl_core::model::Chaos;

/// Answers a question of class CH: TXT or ANY of the four names, where a text is configured; REFUSED else.
#[must_use]
pub fn answer<'a>(question: Question<'a>, chaos: &Chaos) -> Reply<'a> {
    let text = text_of(question.name, chaos).filter(|_| matches!(question.rtype, Rtype::TXT | Rtype::ANY));
    let Some(text) = text else { return Reply::bare(Rcode::REFUSED) };
    // One string, as every server has it; the configuration keeps it to 255 bytes.
    let Ok(data) = Txt::<Bytes>::build_from_slice(text.as_bytes()) else { return Reply::bare(Rcode::SERVFAIL) };
    let rr = Rr { owner: question.name.into(), ttl: 0, data: Cow::Owned(data.into()) };
    Reply { authoritative: true, answer: vec![rr], ..Reply::bare(Rcode::NOERROR) }
}

fn text_of<'a>(name: &Name<[u8]>, chaos: &'a Chaos) -> Option<&'a str> {
    // Lengths of labels are no letters, so whole names compare without case as texts do.
    let is = |wire: &[u8]| name.as_slice().eq_ignore_ascii_case(wire);
    if is(b"\x07version\x04bind\0") || is(b"\x07version\x06server\0") {
        chaos.version.as_deref()
    } else if is(b"\x02id\x06server\0") || is(b"\x08hostname\x04bind\0") {
        chaos.id.as_deref()
    } else {
        None
    }
}
