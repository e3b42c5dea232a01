//! The application with tower-sessions.

use std::time::Duration;

use axum::{Router, http::StatusCode, routing::get};
use time::Duration as Span;
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        interfaces::ClientLike as _,
        prelude::{Config, Pool},
    },
};
use zerottl_session::SessionStore;
use zerottl_tower_sessions::TowerSessionStore;

use crate::cart::{CART, Cart, PeerResult};

/// Connections to the Redis, as many as in the example of tower-sessions-redis-store.
const CONNECTIONS: usize = 6;
/// How long a session lives that is not used: as long as zerottl's.
const LIFE: Duration = Duration::from_mins(30);

/// The application, for one of the two versions of tower-sessions.
macro_rules! application {
    ($version:ident, $store:expr) => {{
        use $version::{Expiry, Session, SessionManagerLayer};
        async fn visit(session: Session) -> Result<String, StatusCode> {
            let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
            let mut cart = session.get::<Cart>(CART).await.map_err(failed)?.unwrap_or_default();
            let response = cart.count();
            session.insert(CART, &cart).await.map_err(failed)?;
            Ok(response)
        }
        let expiry = Expiry::OnInactivity(Span::try_from(LIFE).unwrap_or(Span::MINUTE));
        let layer = SessionManagerLayer::new($store).with_secure(false).with_expiry(expiry);
        Router::new().route("/", get(visit)).layer(layer)
    }};
}

/// Keeps sessions in the memory of this process.
pub(crate) fn in_memory() -> Router {
    application!(tower_sessions, tower_sessions::MemoryStore::default())
}

/// Keeps sessions in a Redis.
pub(crate) async fn in_redis(url: &str) -> PeerResult<Router> {
    let pool = Pool::new(Config::from_url(url)?, None, None, None, CONNECTIONS)?;
    pool.connect();
    pool.wait_for_connect().await?;
    Ok(application!(tower_sessions_of_redis, RedisStore::new(pool)))
}

/// Keeps sessions in zerottl's store.
pub(crate) fn in_zerottl(store: SessionStore) -> Router {
    application!(tower_sessions, TowerSessionStore::new(store))
}
