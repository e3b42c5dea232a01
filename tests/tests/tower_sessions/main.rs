//! Sessions of a Site behind tower-sessions' trait: upstream's own tests, and what they leave out.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[macro_use]
#[rustfmt::skip]
#[expect(missing_docs, clippy::pedantic, reason = "upstream's own file")]
mod common;

use std::{
    collections::HashMap,
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tests::redis::{RedisServer, store_config};
use time::OffsetDateTime;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower_sessions_core::{
    SessionStore as _,
    session::{Id, Record},
};
use zerottl_core::model::WriteMode;
use zerottl_session::{SessionStore, StoreConfig, Worker};
use zerottl_tower_sessions::TowerSessionStore;

fn servers() -> &'static [RedisServer] {
    static SERVERS: OnceLock<Vec<RedisServer>> = OnceLock::new();
    // They end with the thread that has started them, which must not be that of one test.
    SERVERS.get_or_init(|| {
        let (started, servers) = mpsc::sync_channel(1);
        thread::spawn(move || {
            started.send((0..3).map(|_| RedisServer::start().unwrap()).collect()).unwrap();
            loop {
                thread::park();
            }
        });
        servers.recv().unwrap()
    })
}

/// Starts a worker of its own with real session servers.
async fn store() -> TowerSessionStore {
    let config = StoreConfig { life: Duration::from_hours(24 * 14), ..store_config(servers(), 2, WriteMode::AckAll) };
    let store = SessionStore::start(config, Worker::new("w", "", None).unwrap(), &CancellationToken::new()).unwrap();
    let begun = Instant::now();
    while !store.page().has_lease {
        assert!(begun.elapsed() < Duration::from_secs(20), "no lease");
        sleep(Duration::from_millis(5)).await;
    }
    TowerSessionStore::new(store)
}

fn record(number: u64, left: Duration) -> Record {
    let data = HashMap::from([("n".to_owned(), json!(number))]);
    Record { id: Id::default(), data, expiry_date: OffsetDateTime::now_utc() + left }
}

/// Upstream's own tests, as they are.
mod upstream {
    use axum::Router;
    use tower_sessions::SessionManagerLayer;

    use crate::{common::build_app, store};

    async fn app(max_age: Option<Duration>, domain: Option<String>) -> Router {
        build_app(SessionManagerLayer::new(store().await).with_secure(true), max_age, domain)
    }

    route_tests!(app);
}

/// S1-X-CONC: a record that was deleted is not saved again, and its ID is not given to another.
#[tokio::test]
async fn s1_x_conc_a_save_after_a_delete_is_refused() {
    let store = store().await;
    let mut kept = record(1, Duration::from_mins(10));
    store.create(&mut kept).await.unwrap();
    store.delete(&kept.id).await.unwrap();
    let why = store.save(&kept).await.unwrap_err().to_string();
    assert!(why.contains("the session has ended"), "{why}");
    assert_eq!(store.load(&kept.id).await.unwrap(), None);
    store.delete(&kept.id).await.unwrap();
    let mut again = kept.clone();
    store.create(&mut again).await.unwrap();
    assert_ne!(again.id, kept.id);
    // Another worker knows.
    let other = self::store().await;
    assert_eq!(other.load(&kept.id).await.unwrap(), None);
    other.save(&kept).await.unwrap_err();
}

/// A record is there as it was saved until its time is over, to the nanosecond.
#[tokio::test]
async fn a_record_ends_with_its_time() {
    let store = store().await;
    let mut kept = record(1, Duration::from_millis(400));
    store.create(&mut kept).await.unwrap();
    assert_eq!(store.load(&kept.id).await.unwrap().as_ref(), Some(&kept));
    kept.data.insert("m".to_owned(), json!({ "deep": [1, null, "x"] }));
    store.save(&kept).await.unwrap();
    assert_eq!(store.load(&kept.id).await.unwrap().as_ref(), Some(&kept));
    sleep(Duration::from_millis(450)).await;
    assert_eq!(store.load(&kept.id).await.unwrap(), None);
    assert_eq!(store.load(&Id::default()).await.unwrap(), None);
}

/// Of those who create a record with one ID at once, one has it, and each has one of its own.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_created_at_once_have_ids_of_their_own() {
    let store = store().await;
    let id = Id::default();
    let created = (0..16).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut kept = Record { id, ..record(number, Duration::from_mins(10)) };
            store.create(&mut kept).await.unwrap();
            kept
        })
    });
    let mut records = Vec::new();
    for created in created.collect::<Vec<_>>() {
        records.push(created.await.unwrap());
    }
    assert_eq!(records.iter().filter(|record| record.id == id).count(), 1);
    for record in &records {
        assert_eq!(store.load(&record.id).await.unwrap().as_ref(), Some(record));
    }
}
