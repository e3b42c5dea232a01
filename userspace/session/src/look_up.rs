//! A session that is not hosted here, as the session servers know it: for people. Changes nothing, and reads no data.

use zerottl_core::session_id::SessionId;

use crate::{
    ballot::{Answers, Survey, survey},
    fault::SessionFault,
    page::{CopyPage, SessionPage},
    reply::{Record, Reply},
    store::SessionStore,
    version::Epoch,
    worker::LeaseHolder,
};

/// No worker's token: what nobody owns is not the asker's.
const NOBODY: &str = "-";

impl SessionStore {
    /// Asks the session servers how a session stands; none if they do not know it.
    pub async fn look_up(&self, id: SessionId) -> Result<Option<SessionPage>, SessionFault> {
        let names: Vec<&str> = self.0.remotes.iter().map(|remote| &*remote.name).collect();
        judged(id, &self.0.inspect_all(id).await, &names)
    }
}

/// Makes a page of the answers of all servers.
fn judged(id: SessionId, answers: &Answers, names: &[&str]) -> Result<Option<SessionPage>, SessionFault> {
    let records: Vec<(&str, &Record)> = answers
        .iter()
        .zip(names)
        .filter_map(|(reply, name)| if let Some(Reply::Record(record)) = reply { Some((*name, record)) } else { None })
        .collect();
    let newest = records.iter().map(|(_, record)| (record.copy.written, record.copy.number)).max().unwrap_or_default();
    let top = records.iter().map(|(_, record)| *record).max_by_key(|record| record.epoch);
    let page = |state: &str| SessionPage {
        session: id.to_string(),
        state: state.to_owned(),
        worker: top.map(|record| record.owner.clone()).unwrap_or_default(),
        epoch: top.map_or(0, |record| record.epoch.0),
        number: newest.1,
        copies: records
            .iter()
            .filter(|(_, record)| record.copy.written > Epoch::default())
            .map(|(name, record)| CopyPage {
                server: (*name).to_owned(),
                has_newest: (record.copy.written, record.copy.number) == newest,
            })
            .collect(),
        ..SessionPage::default()
    };
    match survey(answers, NOBODY, "") {
        Ok(Survey::Free { above, .. }) if above == Epoch::default() => Ok(None),
        Ok(_) => Ok(Some(page("free"))),
        Err(SessionFault::Elsewhere { worker }) => {
            let holder = LeaseHolder::read(&worker);
            let (worker, reach) = holder.map_or((worker, None), |holder| (holder.token, Some(holder.reach)));
            Ok(Some(SessionPage { worker, reach: reach.filter(|reach| !reach.is_empty()), ..page("elsewhere") }))
        }
        Err(SessionFault::Ended) => Ok(Some(SessionPage { worker: String::new(), ..page("ended") })),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::CopyState;

    #[expect(clippy::unnecessary_wraps, reason = "as an answer is")]
    fn record(owner: &str, lease: &str, epoch: u64, number: u64) -> Option<Reply> {
        let written = if number == 0 { Epoch::default() } else { Epoch(epoch) };
        let copy = CopyState { number, written, ..CopyState::default() };
        Some(Reply::Record(Record { epoch: Epoch(epoch), owner: owner.into(), lease: lease.into(), copy }))
    }

    fn looked_up(answers: &[Option<Reply>]) -> Result<Option<(String, String, u64, String)>, SessionFault> {
        let page = judged(SessionId([1; 16]), &answers.to_vec(), &["r1", "r2", "r3"])?;
        Ok(page.map(|page| {
            let copies =
                page.copies.iter().map(|copy| format!("{}{}", copy.server, if copy.has_newest { "" } else { " old" }));
            (page.state, page.worker, page.number, copies.collect::<Vec<_>>().join(", "))
        }))
    }

    #[test]
    fn servers_say_whose_a_session_is() {
        let lease = r#"{"token":"b.2","reach":"http://10.8.0.11:8054"}"#;
        let nothing = || record("", "", 0, 0);
        let found = |state: &str, worker: &str, number, copies: &str| {
            Ok(Some((state.to_owned(), worker.to_owned(), number, copies.to_owned())))
        };
        for (answers, expected) in [
            ([nothing(), nothing(), nothing()], Ok(None)),
            (
                [record("b.2", lease, 9, 4), record("b.2", lease, 9, 3), nothing()],
                found("elsewhere", "b.2", 4, "r1, r2 old"),
            ),
            ([record("b.2", "", 9, 4), None, record("b.2", "", 9, 4)], found("free", "b.2", 4, "r1, r3")),
            // Given up in order.
            ([record("", "", 9, 4), record("", "", 9, 0), record("", "", 9, 4)], found("free", "", 4, "r1, r3")),
            ([record("b.2", lease, 9, 4), Some(Reply::Ended), None], found("ended", "", 4, "r1")),
            (
                [record("b.2", lease, 9, 4), None, Some(Reply::Newcomer)],
                Err(SessionFault::NoQuorum { answered: 1, servers: 3, quorum: 2 }),
            ),
        ] {
            assert_eq!(looked_up(&answers), expected, "{answers:?}");
        }
    }
}
