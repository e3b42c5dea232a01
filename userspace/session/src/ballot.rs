//! The meaning of the answers of all session servers together: whether a session may be claimed, whether a claim holds, and where
//! its last state is. Pure.

use crate::{
    fault::SessionFault,
    lease::quorum,
    reply::{CopyState, Record, Reply},
    version::Epoch,
};

/// The answers of all servers, in their order; none from those that do not answer, or do not count.
pub(crate) type Answers = Vec<Option<Reply>>;

/// Whether a session may be claimed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Survey {
    /// By an epoch above this one; the best copy is at the server that is named, if there is any.
    Free { above: Epoch, best: Option<usize> },
    /// The asker owns it already, under this epoch, at a quorum; nobody has a higher one.
    Own { epoch: Epoch, best: Option<usize> },
}

/// A claim that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The servers that may have the last state, by what is recorded; none if nothing is.
    pub(crate) set: Option<String>,
    /// The server with the last state, and what it has; none if there is no state at all.
    pub(crate) last: Option<(usize, CopyState)>,
    /// The data of that server, if it came with the claim.
    pub(crate) data: Option<Vec<u8>>,
    /// The server whose data has to be read besides, because another's came.
    pub(crate) read_from: Option<usize>,
}

fn answered(answers: &Answers) -> impl Iterator<Item = (usize, &Reply)> {
    let counts = |reply: &&Reply| !matches!(reply, Reply::Newcomer | Reply::Incarnation(_));
    answers
        .iter()
        .enumerate()
        .filter_map(|(at, reply)| reply.as_ref().map(|reply| (at, reply)))
        .filter(move |(_, reply)| counts(reply))
}

/// The records of those that count, with the servers that have them.
fn records(answers: &Answers) -> impl Iterator<Item = (usize, &Record)> {
    answered(answers)
        .filter_map(|(at, reply)| if let Reply::Record(record) = reply { Some((at, record)) } else { None })
}

fn has_ended(answers: &Answers) -> bool {
    answered(answers).any(|(_, reply)| *reply == Reply::Ended)
}

fn enough(answers: &Answers) -> Result<(), SessionFault> {
    let (servers, count) = (answers.len(), answered(answers).count());
    let quorum = quorum(servers);
    if count < quorum { Err(SessionFault::NoQuorum { answered: count, servers, quorum }) } else { Ok(()) }
}

/// The later of two copies: by the epoch under which it was written, then by its number.
fn later(a: &CopyState, b: &CopyState) -> std::cmp::Ordering {
    (a.written, a.number).cmp(&(b.written, b.number))
}

/// Judges records: may `me` claim the session? The owner of `dead` is known to have ended, whatever its lease says.
pub(crate) fn survey(answers: &Answers, me: &str, dead: &str) -> Result<Survey, SessionFault> {
    if has_ended(answers) {
        return Err(SessionFault::Ended);
    }
    enough(answers)?;
    let records: Vec<(usize, &Record)> = records(answers).collect();
    let top = records.iter().map(|(_, record)| record.epoch).max().unwrap_or_default();
    // The owner of the highest epoch first: one before it may be alive as well.
    let mut others: Vec<&Record> = records.iter().map(|(_, record)| *record).collect();
    others.sort_by_key(|record| std::cmp::Reverse(record.epoch));
    let living = others.iter().find(|record| record.owner != me && record.owner != dead && !record.lease.is_empty());
    let mine = records.iter().filter(|(_, record)| record.owner == me && record.epoch == top).count();
    let written = records.iter().filter(|(_, record)| record.copy.written > Epoch::default());
    // The first of those that are the same.
    let best = written.rev().max_by(|(_, a), (_, b)| later(&a.copy, &b.copy)).map(|(at, _)| *at);
    if top > Epoch::default() && mine >= quorum(answers.len()) {
        return Ok(Survey::Own { epoch: top, best });
    }
    if let Some(owner) = living {
        return Err(SessionFault::Elsewhere { worker: owner.lease.clone() });
    }
    Ok(Survey::Free { above: top, best })
}

/// A session of the asker's own as servers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The epoch of the asker's ownership.
    pub(crate) epoch: Epoch,
    /// The number of its last state.
    pub(crate) number: u64,
    /// The servers that have that.
    pub(crate) holders: Vec<usize>,
    /// The servers that may have it, by what is recorded; none if nothing is.
    pub(crate) set: Option<String>,
}

/// Says how a session of `me` stands, as far as is known; none if it is not its own by the highest epoch, has ended, or has no state.
pub(crate) fn standing(answers: &Answers, me: &str) -> Option<Standing> {
    if has_ended(answers) {
        return None;
    }
    let records: Vec<(usize, &Record)> = records(answers).collect();
    let (_, top) = records.iter().max_by_key(|(_, record)| record.epoch).filter(|(_, record)| record.owner == me)?;
    let written = records.iter().filter(|(_, record)| record.copy.written > Epoch::default());
    let (_, last) = written.max_by(|(_, a), (_, b)| later(&a.copy, &b.copy))?;
    let is_last = |record: &Record| later(&record.copy, &last.copy).is_eq();
    let placed = records.iter().filter(|(_, record)| !record.copy.set.is_empty());
    Some(Standing {
        epoch: top.epoch,
        number: last.copy.number,
        holders: records.iter().filter(|(_, record)| is_last(record)).map(|(at, _)| *at).collect(),
        set: placed.max_by_key(|(_, record)| record.copy.placed).map(|(_, record)| record.copy.set.clone()),
    })
}

/// Whether a session that a worker hosts is its own, after a server has refused a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// It is, or may be: a claim above this epoch shows.
    Owner { above: Epoch },
    /// It is another's, or has ended.
    Lost,
    /// Too few servers answer.
    Unknown,
}

/// Judges whether a session is still `me`'s, who hosts it under an epoch, and may have ended it. Another's claim at a minority
/// does not make it another's, and silence of the others neither.
pub(crate) fn ownership(answers: &Answers, me: &str, epoch: Epoch, is_over: bool) -> Ownership {
    if enough(answers).is_err() {
        return Ownership::Unknown;
    }
    if !is_over && has_ended(answers) {
        return Ownership::Lost;
    }
    let records = || records(answers).map(|(_, record)| record);
    let others = records().filter(|record| record.epoch > epoch && record.owner != me && !record.owner.is_empty());
    let is_possible = others.count() <= answers.len() - quorum(answers.len());
    // Whoever has written under a higher epoch has been its host.
    if !is_possible || records().any(|record| record.copy.written > epoch) {
        return Ownership::Lost;
    }
    Ownership::Owner { above: records().map(|record| record.epoch).max().unwrap_or_default().max(epoch) }
}

/// Returns the highest epoch of those servers that do not know that a session has ended; none if all do that answer.
pub(crate) fn unaware(answers: &Answers) -> Option<Epoch> {
    records(answers).map(|(_, record)| record.epoch).max()
}

/// Whether a server has `me` as the session's owner.
pub(crate) fn is_owner_anywhere(answers: &Answers, me: &str) -> bool {
    records(answers).any(|(_, record)| record.owner == me)
}

/// Judges a claim: does it hold, and where is the last state? `is_member` says whether a server is in a set. Where the set
/// counts (`strict`), a state is the last only if a server of the set has it.
pub(crate) fn claimed(
    mut answers: Answers,
    strict: bool,
    default_set: &[usize],
    is_member: impl Fn(&str, usize) -> bool,
) -> Result<Claim, ClaimFault> {
    for (_, reply) in answered(&answers) {
        match reply {
            Reply::Ended => return Err(ClaimFault::Fault(SessionFault::Ended)),
            Reply::Higher(epoch) => return Err(ClaimFault::Outbid(*epoch)),
            Reply::Owned { lease } => {
                return Err(ClaimFault::Fault(SessionFault::Elsewhere { worker: lease.clone() }));
            }
            _ => {}
        }
    }
    enough(&answers).map_err(ClaimFault::Fault)?;
    let copies: Vec<(usize, CopyState)> = answered(&answers)
        .filter_map(|(at, reply)| if let Reply::Claimed { copy, .. } = reply { Some((at, copy.clone())) } else { None })
        .collect();
    let placed = copies.iter().filter(|(_, copy)| !copy.set.is_empty()).max_by_key(|(_, copy)| copy.placed);
    let set = placed.map(|(_, copy)| copy.set.clone());
    let member = |at: usize| set.as_ref().map_or_else(|| default_set.contains(&at), |set| is_member(set, at));
    let written = |copy: &CopyState| copy.written > Epoch::default();
    // None of those that have to have it answers; or they have nothing, and others had something: it is lost, or about to come
    // back, and an old state is no state.
    let has_member = copies.iter().any(|(at, _)| member(*at));
    let lacks = !copies.iter().any(|(at, copy)| member(*at) && written(copy));
    if strict && !default_set.is_empty() && (!has_member || lacks && copies.iter().any(|(_, copy)| written(copy))) {
        return Err(ClaimFault::Fault(SessionFault::NoCopy));
    }
    let usable = copies.into_iter().filter(|(at, copy)| written(copy) && (!strict || member(*at)));
    // Of those that are the same, the one whose data has come.
    let came = |at: &usize| matches!(answers.get(*at), Some(Some(Reply::Claimed { data: Some(_), .. })));
    let last = usable.max_by(|(at, a), (bt, b)| later(a, b).then_with(|| came(at).cmp(&came(bt))));
    let (mut data, mut read_from) = (None, None);
    if let Some((at, _)) = &last {
        match answers.get_mut(*at) {
            Some(Some(Reply::Claimed { data: Some(came), .. })) => data = Some(std::mem::take(came)),
            _ => read_from = Some(*at),
        }
    }
    Ok(Claim { set, last, data, read_from })
}

/// Why a claim does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimFault {
    /// Another epoch is higher.
    Outbid(Epoch),
    /// Anything else.
    Fault(SessionFault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "an answer that came")]
    fn record(epoch: u64, owner: &str, lease: &str, number: u64, written: u64) -> Option<Reply> {
        let copy = CopyState { number, written: Epoch(written), ..CopyState::default() };
        Some(Reply::Record(Record { epoch: Epoch(epoch), owner: owner.into(), lease: lease.into(), copy }))
    }

    #[expect(clippy::unnecessary_wraps, reason = "an answer that came")]
    fn taken(number: u64, written: u64, data: Option<&str>) -> Option<Reply> {
        let copy = CopyState { number, written: Epoch(written), ..CopyState::default() };
        Some(Reply::Claimed { copy, data: data.map(|data| data.as_bytes().to_vec()) })
    }

    /// S1-7: the session of a dead worker is free, and its last state is where the highest epoch and number are.
    #[test]
    fn s1_7_a_dead_workers_session_is_free() {
        let answers = vec![record(5, "a", "", 9, 5), record(5, "a", "", 8, 5), record(4, "b", "", 20, 4)];
        assert_eq!(survey(&answers, "c", ""), Ok(Survey::Free { above: Epoch(5), best: Some(0) }));
        let fresh = vec![record(0, "", "", 0, 0), record(0, "", "", 0, 0), None];
        assert_eq!(survey(&fresh, "c", ""), Ok(Survey::Free { above: Epoch(0), best: None }));
    }

    /// S0-X-FENCE: a session whose owner lives is not free, and the owner of the highest epoch is the one to ask.
    #[test]
    fn s0_x_fence_a_living_workers_session_is_not_free() {
        let elsewhere = |worker: &str| Err(SessionFault::Elsewhere { worker: worker.into() });
        let answers = vec![record(5, "a", "", 9, 5), record(5, "a", "at a", 9, 5), record(4, "b", "at b", 20, 4)];
        assert_eq!(survey(&answers, "c", ""), elsewhere("at a"));
        assert_eq!(survey(&answers, "c", "a"), elsewhere("at b"), "a is known to be dead");
        // An epoch that was claimed at one server only does not make an owner.
        let partly = vec![record(6, "c", "at c", 9, 5), record(5, "a", "at a", 9, 5), record(5, "a", "at a", 9, 5)];
        assert_eq!(survey(&partly, "c", ""), elsewhere("at a"));
        assert_eq!(survey(&partly, "a", "c"), Ok(Survey::Free { above: Epoch(6), best: Some(0) }));
        let own = vec![record(5, "a", "at a", 9, 5), record(5, "a", "at a", 9, 5), record(3, "b", "at b", 9, 5)];
        assert_eq!(survey(&own, "a", ""), Ok(Survey::Own { epoch: Epoch(5), best: Some(0) }));
    }

    /// S0-X-FENCE: a session is another's if a quorum may have said so, or if another has written; a claim at a minority and a
    /// server that is silent do not make it so.
    #[test]
    fn s0_x_fence_a_minority_takes_no_session_away() {
        let (mine, other) = (record(5, "a", "at a", 9, 5), record(6, "b", "at b", 8, 4));
        let judged =
            |answers: [&Option<Reply>; 3]| ownership(&answers.map(Clone::clone).to_vec(), "a", Epoch(5), false);
        let owner = |above| Ownership::Owner { above: Epoch(above) };
        assert_eq!(judged([&mine, &mine, &mine]), owner(5));
        assert_eq!(judged([&other, &mine, &mine]), owner(6));
        assert_eq!(judged([&other, &None, &mine]), owner(6), "the silent one may have it as a's");
        assert_eq!(judged([&other, &None, &None]), Ownership::Unknown);
        assert_eq!(judged([&other, &other, &mine]), Ownership::Lost);
        assert_eq!(judged([&record(6, "b", "", 10, 6), &None, &mine]), Ownership::Lost, "b has written");
        assert_eq!(judged([&record(6, "", "", 8, 4), &record(6, "", "", 8, 4), &mine]), owner(6), "given up");
        assert_eq!(judged([&Some(Reply::Ended), &mine, &mine]), Ownership::Lost);
        let ended = vec![Some(Reply::Ended), mine.clone(), mine];
        assert_eq!(ownership(&ended, "a", Epoch(5), true), owner(5));
    }

    /// S1-X-CONC: one server that knows that a session has ended is enough; fewer than a quorum say nothing.
    #[test]
    fn s1_x_conc_an_end_is_final_and_a_minority_says_nothing() {
        let answers = vec![record(5, "a", "", 9, 5), Some(Reply::Ended), None];
        assert_eq!(survey(&answers, "c", ""), Err(SessionFault::Ended));
        assert_eq!(unaware(&answers), Some(Epoch(5)), "one is to be told");
        assert_eq!(unaware(&vec![Some(Reply::Ended), Some(Reply::Ended), None]), None);
        let fault = SessionFault::NoQuorum { answered: 1, servers: 3, quorum: 2 };
        for other in [None, Some(Reply::Newcomer), Some(Reply::Incarnation("x".into()))] {
            let answers = vec![record(5, "a", "", 9, 5), other, None];
            assert_eq!(survey(&answers, "c", ""), Err(fault.clone()));
        }
    }

    /// S1-9: who has the last state of a session of one's own.
    #[test]
    fn s1_9_a_session_of_ones_own_stands_where_its_last_state_is() {
        let answers = vec![record(7, "a", "at a", 9, 5), record(7, "a", "at a", 8, 5), record(7, "a", "at a", 9, 5)];
        let expect = Standing { epoch: Epoch(7), number: 9, holders: vec![0, 2], set: None };
        assert_eq!(standing(&answers, "a"), Some(expect));
        assert_eq!(standing(&answers, "b"), None, "another's");
        let newer = vec![record(7, "a", "at a", 9, 5), Some(Reply::Newcomer), record(7, "a", "at a", 2, 7)];
        let expect = Standing { epoch: Epoch(7), number: 2, holders: vec![2], set: None };
        assert_eq!(standing(&newer, "a"), Some(expect), "the epoch counts more than the number");
        let taken = vec![record(7, "a", "at a", 9, 5), record(8, "b", "at b", 9, 5), None];
        assert_eq!(standing(&taken, "a"), None, "another's by now");
        assert_eq!(standing(&vec![record(7, "a", "at a", 0, 0), None, None], "a"), None, "it has no state");
        assert_eq!(standing(&vec![record(7, "a", "at a", 9, 5), Some(Reply::Ended), None], "a"), None);
    }

    /// S1-16: a claim that holds has the last state, and reads it once.
    #[test]
    fn s1_16_a_claim_has_the_last_state() {
        let member = |set: &str, at: usize| set.split(',').any(|one| one == at.to_string());
        let answers = vec![taken(9, 5, Some("nine")), taken(8, 5, None), None];
        let claim = claimed(answers, false, &[0, 1], member).unwrap();
        assert_eq!((claim.data.as_deref(), claim.read_from), (Some(&b"nine"[..]), None));
        // A write came between survey and claim: what came with the claim is not the last.
        let answers = vec![taken(9, 5, Some("nine")), taken(10, 5, None), None];
        let claim = claimed(answers, false, &[0, 1], member).unwrap();
        assert_eq!((claim.data, claim.read_from), (None, Some(1)));
        // Two have the same: the one that came is not read again.
        for at in [0, 1] {
            let data = |own| (own == at).then_some("nine");
            let answers = vec![taken(9, 5, data(0)), taken(9, 5, data(1)), None];
            let claim = claimed(answers, false, &[0, 1], member).unwrap();
            assert_eq!((claim.data.as_deref(), claim.read_from), (Some(&b"nine"[..]), None));
        }
        let none = claimed(vec![taken(0, 0, None), taken(0, 0, None), None], false, &[0, 1], member).unwrap();
        assert_eq!((none.last, none.read_from), (None, None));
    }

    /// S1-X-BOTH: where all copies acknowledge, one outside the set that was recorded last is not believed.
    #[test]
    fn s1_x_both_an_old_copy_is_not_the_last_state() {
        let member = |set: &str, at: usize| set.split(',').any(|one| one == at.to_string());
        let with_set = |reply: Option<Reply>, name: &str| match reply {
            Some(Reply::Claimed { mut copy, data }) => {
                (copy.set, copy.placed) = (name.into(), Epoch(6));
                Some(Reply::Claimed { copy, data })
            }
            other => other,
        };
        // 0 was left out of the set 1,2 and came back; 1 is down, 2 has the state.
        let answers = vec![taken(30, 5, Some("old")), None, with_set(taken(12, 6, None), "1,2")];
        let claim = claimed(answers, true, &[0, 1], member).unwrap();
        assert_eq!((claim.last.map(|(at, _)| at), claim.read_from), (Some(2), Some(2)));
        // Nobody of the set answers, but one knows of it: no state is better than an old one.
        let answers =
            vec![taken(30, 5, Some("old")), None, None, with_set(taken(0, 0, None), "1,2"), taken(0, 0, None)];
        let fault = claimed(answers, true, &[0, 1], member).unwrap_err();
        assert_eq!(fault, ClaimFault::Fault(SessionFault::NoCopy));
        // The one of the set that answers has lost it: nothing is not what was acknowledged.
        let answers = vec![taken(30, 5, Some("old")), None, with_set(taken(0, 0, None), "1,2")];
        assert_eq!(claimed(answers, true, &[0, 1], member).unwrap_err(), fault);
        let outbid = claimed(vec![taken(1, 1, None), Some(Reply::Higher(Epoch(9))), None], false, &[0], member);
        assert_eq!(outbid.unwrap_err(), ClaimFault::Outbid(Epoch(9)));
    }
}
