//! Sessions of a Site behind the trait of [tower-sessions](https://docs.rs/tower-sessions/0.15) for stores: an application that
//! uses that crate keeps its sessions in the memory of its worker, with copies at session servers or in a journal.
//!
//! ```no_run
//! use tower_sessions_core::SessionStore as _;
//! use zerottl_session::SessionStore;
//! use zerottl_tower_sessions::TowerSessionStore;
//!
//! fn for_tower_sessions(store: SessionStore) -> TowerSessionStore {
//!     // SessionManagerLayer::new(…) of tower-sessions takes it.
//!     TowerSessionStore::new(store)
//! }
//! ```
//!
//! What is promised of a single state holds here too: what `write` acknowledges, takeovers, expiry. **The trait cannot promise
//! more**, for it has no compare-and-swap (tower-sessions issues 35 to 37):
//!
//! - **Requests of a session that are made at once lose updates.** Each reads the whole record and writes the whole record; the last
//!   one wins (S1-X-CONC does not hold). An application that needs more uses [`zerottl_session::SessionLayer`], or keeps what is
//!   changed at once elsewhere.
//! - **A logout is final here, unlike in other stores**: a record that was deleted is not saved again, by a request that was
//!   under way when it was deleted either. Saving it is an error, which tower-sessions answers by 500.
//! - `cycle_id` deletes the old record at once and makes the new one with the response: whatever ends the process between them
//!   ends the session.
//! - A record's time is the application's (`Expiry`), but for that it lives no longer than the store's sessions do after they
//!   were last used: give the store at least the longest of them.
//! - It is not the session of operation 500: tower-sessions has a cookie of its own, which carries no epoch. A worker that was
//!   stalled while another took a session over notices by its lease alone.

#![forbid(unsafe_code)]

use std::{collections::HashMap, fmt};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions_core::{
    SessionStore as TowerStore,
    session::{Id, Record},
    session_store::{Error, Result},
};
use zerottl_core::session_id::SessionId;
use zerottl_session::{Hint, SessionFault, SessionStore, WriteCondition};

/// IDs that are tried for a new record, at most: of 128 random bits none is there twice.
const ATTEMPTS: u32 = 8;

/// The Site's sessions as a store of tower-sessions. Clones are the same.
#[derive(Clone)]
pub struct TowerSessionStore(SessionStore);

impl fmt::Debug for TowerSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TowerSessionStore").field(&self.0).finish()
    }
}

/// A record as it is kept; its ID is the session's.
#[derive(Deserialize, Serialize)]
struct Kept {
    /// Seconds and nanoseconds of Unix time.
    ends: (i64, u32),
    data: HashMap<String, Value>,
}

impl TowerSessionStore {
    /// Makes one of a store.
    #[must_use]
    pub fn new(store: SessionStore) -> Self {
        Self(store)
    }

    async fn write(&self, record: &Record, condition: WriteCondition) -> Result<Option<SessionFault>> {
        let ends = (record.expiry_date.unix_timestamp(), record.expiry_date.nanosecond());
        let bytes = serde_json::to_vec(&Kept { ends, data: record.data.clone() });
        let bytes = zerottl_session::Bytes::from(bytes.map_err(|error| Error::Encode(error.to_string()))?);
        let (store, id) = (&self.0, session_id(record.id));
        let written = store.with_takeover(id, || store.write(id, Hint::default(), condition, bytes.clone())).await;
        match written {
            Ok(_) => Ok(None),
            Err(fault @ (SessionFault::Changed | SessionFault::Ended)) => Ok(Some(fault)),
            Err(fault) => Err(Error::Backend(fault.to_string())),
        }
    }
}

fn session_id(id: Id) -> SessionId {
    SessionId(id.0.to_be_bytes())
}

#[async_trait]
impl TowerStore for TowerSessionStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        for _ in 0..ATTEMPTS {
            // One that is there, or was there and has ended, is somebody else's.
            if self.write(record, WriteCondition::Empty).await?.is_none() {
                return Ok(());
            }
            record.id = Id::default();
        }
        Err(Error::Backend("no free ID was found".to_owned()))
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let fault = self.write(record, WriteCondition::Any).await?;
        fault.map_or(Ok(()), |fault| Err(Error::Backend(fault.to_string())))
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let (store, session) = (&self.0, session_id(*id));
        let state = match store.with_takeover(session, || store.read(session, Hint::default())).await {
            Ok(Some(state)) => state,
            Ok(None) | Err(SessionFault::Ended) => return Ok(None),
            Err(fault) => return Err(Error::Backend(fault.to_string())),
        };
        let decode = |why: &dyn ToString| Error::Decode(why.to_string());
        let kept: Kept = serde_json::from_slice(&state.data).map_err(|error| decode(&error))?;
        let ends =
            OffsetDateTime::from_unix_timestamp(kept.ends.0).and_then(|ends| ends.replace_nanosecond(kept.ends.1));
        let record = Record { id: *id, data: kept.data, expiry_date: ends.map_err(|error| decode(&error))? };
        Ok(Some(record).filter(|record| record.expiry_date > OffsetDateTime::now_utc()))
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let (store, session) = (&self.0, session_id(*id));
        let ended = store.with_takeover(session, || store.end(session, Hint::default())).await;
        ended.map_err(|fault| Error::Backend(fault.to_string()))
    }
}
