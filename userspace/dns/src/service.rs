//! The answer to a message, whatever socket it came by.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use domain::base::iana::OptRcode;

use super::{
    counters::DnsCounters,
    forward::{
        self,
        lanes::{Lane, LanePermit, Lanes},
    },
    respond::{self, CountedAnswer, Silence, answer, complete},
    transfer,
    transport::{Asker, Transport},
    view::View,
    zone::Zones,
};
use zerottl_core::{
    limit::RateVerdict,
    model::{ForwardId, ZoneId},
};

/// The data to answer from: all of one configuration, so that no answer mixes two.
#[derive(Debug)]
pub struct Served {
    /// Static data.
    pub zones: Zones,
    /// The plan.
    pub view: Arc<View>,
}

/// The answering of messages, which every socket shares.
#[derive(Debug)]
pub struct DnsService {
    in_force: ArcSwap<InForce>,
    /// Counters of all sockets together.
    pub counters: DnsCounters,
}

/// A configuration, and the lanes to its upstreams.
#[derive(Debug)]
struct InForce {
    served: Arc<Served>,
    lanes: Lanes,
}

/// The outcome of a message that gets an answer.
#[derive(Debug)]
pub(super) enum Outcome {
    /// This is its answer.
    Ready(Vec<u8>),
    /// [`DnsService::transfer`] makes it, of many messages.
    Transfer(Arc<Served>, ZoneId),
    /// [`DnsService::forward`] makes it, and waits for upstreams.
    Forward(Job),
}

/// A query to be forwarded.
#[derive(Debug)]
pub(super) struct Job {
    served: Arc<Served>,
    id: ForwardId,
    lane: Arc<Lane>,
    message: Box<[u8]>,
    asker: Asker,
    /// Given back when the job is dropped.
    _permit: LanePermit,
}

impl DnsService {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(zones: Zones, view: Arc<View>) -> Self {
        Self::of(Arc::new(Served { zones, view }))
    }

    /// Creates one that answers from a configuration; nothing is counted yet.
    #[must_use]
    pub fn of(served: Arc<Served>) -> Self {
        let lanes = Lanes::new(&served.view.model, &Lanes::default());
        Self { in_force: ArcSwap::from_pointee(InForce { served, lanes }), counters: DnsCounters::default() }
    }

    /// Answers from another configuration from now on. What is known of upstreams that it has as well stays.
    pub fn serve(&self, served: Arc<Served>) {
        let lanes = Lanes::new(&served.view.model, &self.in_force.load().lanes);
        self.in_force.store(Arc::new(InForce { served, lanes }));
    }

    /// Returns the data that is answered from.
    #[must_use]
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.in_force.load().served)
    }

    /// Shows the forward names and their upstreams, as they are now.
    pub fn lanes<T>(&self, show: impl FnOnce(&Lanes) -> T) -> T {
        show(&self.in_force.load().lanes)
    }

    /// Answers one message and counts it, unless upstreams have to be asked.
    pub(super) fn answer(&self, message: &[u8], asker: Asker) -> Option<Outcome> {
        let counters = &self.counters;
        match asker.transport {
            Transport::Udp => counters.udp_queries.fetch_add(1, Relaxed),
            Transport::Tcp => counters.tcp_queries.fetch_add(1, Relaxed),
        };
        let now = now();
        let in_force = self.in_force.load();
        let served = &in_force.served;
        let answer = match answer(message, asker, now, &served.zones, &served.view) {
            Ok(respond::Disposition::Ready(answer)) => Ok(answer),
            Ok(respond::Disposition::Transfer(zone)) => return Some(Outcome::Transfer(Arc::clone(served), zone)),
            Ok(respond::Disposition::Forward(id)) => {
                // Over the limit a client is told so at once; it may ask another server.
                let Some(permit) = in_force.lanes.permit(id) else {
                    let answer = complete(message, asker, now, &served.view, &forward::failed());
                    return self.counted(answer).map(Outcome::Ready);
                };
                let (served, lane, message) = (Arc::clone(served), Arc::clone(in_force.lanes.lane(id)), message.into());
                return Some(Outcome::Forward(Job { served, id, lane, message, asker, _permit: permit }));
            }
            Err(silence) => Err(silence),
        };
        self.counted(answer).map(Outcome::Ready)
    }

    /// Answers what is to be forwarded, and counts it; within [`forward::TIME_MAX`].
    pub(super) async fn forward(&self, job: Job) -> Option<Vec<u8>> {
        let forward = &job.served.view.model.forwards[job.id.0];
        let said = forward::ask(forward, &job.lane.upstreams, &job.message, job.asker.transport).await;
        let reply = if let Some(said) = &said {
            said.reply()
        } else {
            job.lane.fail();
            forward::failed()
        };
        self.counted(complete(&job.message, job.asker, now(), &job.served.view, &reply))
    }

    /// The messages that a zone is sent in, counted as one answer.
    pub(super) fn transfer<'a>(
        &'a self,
        served: &'a Served,
        zone: ZoneId,
        message: &'a [u8],
        asker: Asker,
    ) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.counters.answered(OptRcode::NOERROR);
        let now = now();
        let messages = transfer::replies(served.zones.zone(zone), served.view.signed(zone).map(|signed| &**signed))
            .map(move |reply| complete(message, asker, now, &served.view, &reply).map(|answer| answer.message));
        // It is none for what is no query only, which did not come here.
        messages.map_while(Result::ok)
    }

    fn counted(&self, answer: Result<CountedAnswer, Silence>) -> Option<Vec<u8>> {
        let counters = &self.counters;
        let CountedAnswer { message, rcode, truncated, rate } = match answer {
            Ok(answer) => answer,
            Err(silence) => {
                let counter = match silence {
                    Silence::NoQuery => &counters.dropped,
                    Silence::Limited => &counters.limited,
                };
                counter.fetch_add(1, Relaxed);
                return None;
            }
        };
        counters.slipped.fetch_add(u64::from(rate == RateVerdict::Slip), Relaxed);
        counters.over_limit.fetch_add(u64::from(rate == RateVerdict::DryRun), Relaxed);
        counters.signed_bytes.fetch_add(u64::from(rate == RateVerdict::Bytes), Relaxed);
        counters.answered(rcode);
        counters.truncated.fetch_add(u64::from(truncated), Relaxed);
        Some(message)
    }
}

/// Seconds since 1970 modulo 2^32, as cookies have them. A clock that was never set only makes cookies that are renewed
/// once it is.
#[must_use]
pub fn now() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
