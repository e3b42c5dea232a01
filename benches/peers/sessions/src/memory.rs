//! The memory of a process before and after it keeps so many sessions.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use time::OffsetDateTime;
use tower_sessions::{
    MemoryStore, SessionStore as _,
    session::{Id, Record},
};
use zerottl_core::{model::WriteMode, session_id::SessionId};
use zerottl_session::{Bytes, Hint, SessionStore, StoreConfig, Worker, WriteCondition};
use zerottl_tower_sessions::TowerSessionStore;

use crate::{
    cart::{CART, Cart, Keeper, PeerResult},
    of_zerottl,
};

/// Until all changes are copied.
const COPIED: Duration = Duration::from_secs(20);

/// Resident bytes of this process (proc(5), statm).
fn resident() -> PeerResult<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * 4096)
}

/// A record of tower-sessions.
fn record(cart: Cart) -> PeerResult<Record> {
    let data = HashMap::from([(CART.to_owned(), serde_json::to_value(cart)?)]);
    Ok(Record { id: Id::default(), data, expiry_date: OffsetDateTime::now_utc() + Duration::from_hours(1) })
}

/// A store without servers.
fn alone(count: u32) -> PeerResult<SessionStore> {
    let config = StoreConfig {
        site: "boston".to_owned(),
        servers: Vec::new(),
        copies: 0,
        write: WriteMode::Async,
        life: Duration::from_hours(1),
        lease: Duration::from_secs(3),
        timeout: Duration::from_millis(500),
        size_max: 65_536,
        sessions_max: usize::try_from(count)? * 2,
        repair_rate: 5000,
    };
    Ok(SessionStore::start(config, Worker::new("w", "", None)?, &tokio_util::sync::CancellationToken::new())?)
}

/// Measures resident bytes before and after.
pub(crate) async fn measure(keeper: Keeper, count: u32, place: Option<&Path>) -> PeerResult<(u64, u64)> {
    let zerottl = || place.map_or_else(|| alone(count), of_zerottl::store);
    let before;
    match keeper {
        Keeper::TowerMemory => {
            let store = MemoryStore::default();
            before = resident()?;
            for _ in 0..count {
                store.create(&mut record(Cart::default())?).await?;
            }
            return Ok((before, resident()?));
        }
        Keeper::TowerZerottl => {
            let store = zerottl()?;
            let store = TowerSessionStore::new(store);
            before = resident()?;
            for _ in 0..count {
                store.create(&mut record(Cart::default())?).await?;
            }
        }
        Keeper::Zerottl => {
            let store = zerottl()?;
            before = resident()?;
            for _ in 0..count {
                let id = SessionId(Id::default().0.to_be_bytes());
                let data = Bytes::from(serde_json::to_vec(&HashMap::from([(CART, Cart::default())]))?);
                store.write(id, Hint::default(), WriteCondition::Any, data).await?;
            }
            let begin = std::time::Instant::now();
            while store.page().under_replicated > 0 && begin.elapsed() < COPIED {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Keeper::None | Keeper::TowerRedis => return Err("it keeps nothing in this process".into()),
    }
    Ok((before, resident()?))
}
