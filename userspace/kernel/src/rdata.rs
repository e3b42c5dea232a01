//! RDATA as the kernel sends it. A zone's SOA is compressed against the zone's apex, which the question holds, and against
//! itself, so that a negative answer stays within 2.5 times its query (invariant 8).

use domain::base::rdata::ComposeRecordData;
use xdp_ebpf::{
    layout::{FIXUP_APEX, FIXUP_NONE, Fixup, RDATA_ROOM, Rdata},
    sum::Sum,
};

use zerottl_core::{
    model::{Model, Name},
    plan::Binding,
};
use zerottl_dns::{
    svcb,
    zone::{Data, Zone},
};

/// Prepares a zone's SOA.
#[must_use]
pub fn soa(zone: &Zone) -> Rdata {
    let mut rdata = Vec::new();
    let set = zone.soa();
    let Some(Data::Soa(soa)) = set.data.first() else { return prepared(&rdata) };
    let (apex, mname) = (zone.apex(), soa.mname());
    let first = push_name(&mut rdata, mname, apex, None);
    let second = push_name(&mut rdata, soa.rname(), apex, Some(mname));
    let timers = [soa.refresh(), soa.retry(), soa.expire(), soa.minimum()].map(|seconds| seconds.as_secs());
    for number in [soa.serial().into_int()].into_iter().chain(timers) {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    Rdata { ttl: set.ttl.to_be(), fixups: [first, second], ..prepared(&rdata) }
}

/// Prepares an HTTPS record.
#[must_use]
pub fn https(binding: Binding, model: &Model) -> Rdata {
    let mut rdata = Vec::new();
    // A vector takes all there is.
    let Ok(()) = svcb::https(binding, model).compose_rdata(&mut rdata);
    prepared(&rdata)
}

fn prepared(rdata: &[u8]) -> Rdata {
    let mut bytes = [0; RDATA_ROOM];
    bytes[..rdata.len()].copy_from_slice(rdata);
    let none = Fixup { at: FIXUP_NONE, target: 0 };
    Rdata { len: rdata.len() as u16, sum: Sum::of_bytes(rdata).fold(), ttl: 0, fixups: [none; 2], bytes }
}

/// Appends a name, as labels up to what it shares with the apex or with MNAME, then room for a pointer to that.
fn push_name(rdata: &mut Vec<u8>, name: &Name, apex: &Name, mname: Option<&Name>) -> Fixup {
    if name.ends_with(apex) && apex.len() > 1 {
        return push_shared(rdata, name, name.len() - apex.len(), FIXUP_APEX);
    }
    // MNAME stands whole at the start of RDATA when it lies outside the zone, which it does if RNAME shares an end with
    // it that is not the apex.
    let outside = mname.filter(|mname| !(mname.ends_with(apex) && apex.len() > 1));
    for (mname_at, suffix) in outside.into_iter().flat_map(suffixes) {
        if suffix.len() > 2
            && name.as_slice().ends_with(suffix)
            && starts_label(name, name.as_slice().len() - suffix.len())
        {
            return push_shared(rdata, name, name.as_slice().len() - suffix.len(), mname_at);
        }
    }
    rdata.extend_from_slice(name.as_slice());
    Fixup { at: FIXUP_NONE, target: 0 }
}

fn push_shared(rdata: &mut Vec<u8>, name: &Name, own: usize, target: u16) -> Fixup {
    rdata.extend_from_slice(&name.as_slice()[..own]);
    let at = rdata.len() as u16;
    rdata.extend_from_slice(&[0, 0]);
    Fixup { at, target }
}

/// A name's ends, each at its offset, longest first, without the root.
fn suffixes(name: &Name) -> impl Iterator<Item = (u16, &[u8])> {
    let wire = name.as_slice();
    let mut at = 0;
    std::iter::from_fn(move || {
        let label = usize::from(*wire.get(at)?);
        if label == 0 {
            return None;
        }
        let suffix = (at as u16, &wire[at..]);
        at += label + 1;
        Some(suffix)
    })
}

fn starts_label(name: &Name, at: usize) -> bool {
    suffixes(name).any(|(offset, _)| usize::from(offset) == at)
}
