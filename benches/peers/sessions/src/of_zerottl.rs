//! The application behind operation 500, with zerottl's layer for sessions.

use std::{path::Path, sync::Arc};

use axum::{Extension, Router, http::StatusCode, routing::get};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer as _;
use zerottl_config as config;
use zerottl_core::model::Model;
use zerottl_proxy::sessions::{self, HostedEpochs, WorkerPlace};
use zerottl_session::{SessionData, SessionLayer, SessionStore, api};
use zerottl_site::{admission::Admission, layer::OperationLayer, peers::PeerHealth, session::SessionRef};

use crate::cart::{CART, Cart, PeerResult};

/// The Site that this is.
const SITE: &str = "boston";

fn model(file: &Path) -> PeerResult<Arc<Model>> {
    Ok(Arc::new(config::load(file).map_err(|error| error.render(false))?.model))
}

fn started(model: &Model, folder: Option<&Path>) -> PeerResult<SessionStore> {
    let site = model.known_site(SITE)?;
    let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
    let place = WorkerPlace { name: SITE.to_owned(), reach: String::new(), folder: folder.map(Path::to_owned) };
    let name = model.sites[site.0].name.to_string();
    let store = sessions::start(&web.session, &name, &place, &CancellationToken::new())?;
    Ok(store.ok_or("[web.session] has neither `servers` nor a `journal`")?)
}

/// Starts the sessions of a configuration.
pub(crate) fn store(file: &Path) -> PeerResult<SessionStore> {
    started(&*model(file)?, None)
}

/// Makes the application of a configuration, and the pages that say what it knows. `folder` is one that all workers of this
/// machine have in common.
pub(crate) fn application(file: &Path, folder: Option<&Path>) -> PeerResult<(Router, Router)> {
    let model = model(file)?;
    let store = started(&model, folder)?;
    let site = model.known_site(SITE)?;
    let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
    let peers = PeerHealth::start(&model, site, web, CancellationToken::new())?;
    let admission = Arc::new(Admission::hosting(&model, site, peers, HostedEpochs::of(Some(&store)))?);
    let routes = Router::new().route("/", get(visit)).layer(SessionLayer::new(store.clone(), SessionRef::find));
    Ok((Router::new().fallback_service(OperationLayer::new(admission).layer(routes)), api::routes(store)))
}

async fn visit(Extension(session): Extension<SessionData>) -> Result<String, StatusCode> {
    let failed = |_| StatusCode::SERVICE_UNAVAILABLE;
    let mut cart = session.get::<Cart>(CART).map_err(failed)?.unwrap_or_default();
    let response = cart.count();
    session.insert(CART, &cart).map_err(failed)?;
    Ok(response)
}
