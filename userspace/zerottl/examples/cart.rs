//! A shopping cart in the Site's sessions: an application that is a worker of its own, behind operation 500, with the sessions'
//! layer around its routes.
//!
//! ```text
//! cart --as boston --config zerottl.toml     where [web] says that the Site listens; needs [web.session]
//!
//! GET  /        the cart
//! POST /add     puts the body into it
//! POST /logout  ends the session for good
//! ```
//!
//! Other workers of the Site reach it at `web.admin`, which has to be an address that they alone reach.

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Extension, Json, Router,
    routing::{get, post},
};
use clap::Parser;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer as _;
use zerottl_config as config;
use zerottl_proxy::sessions::{self, HostedEpochs, WorkerPlace};
use zerottl_session::{SessionData, SessionLayer, api};
use zerottl_site::{admission::Admission, layer::OperationLayer, peers::PeerHealth, session::SessionRef};

/// A shopping cart in the Site's sessions
#[derive(Debug, Parser)]
struct Arguments {
    /// The Site that this is, by its key in the configuration
    #[arg(long = "as", value_name = "SITE")]
    site: String,
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let model = Arc::new(config::load(&arguments.config).map_err(|error| error.render(false))?.model);
    let site = model.known_site(&arguments.site)?;
    let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
    let (at, admin) = (web.listen.first().ok_or("[web] listens nowhere")?, web.admin.ok_or("[web] has no `admin`")?);
    let cancel = CancellationToken::new();
    let place = WorkerPlace { name: arguments.site, reach: format!("http://{admin}"), folder: None };
    let store = sessions::start(&web.session, &model.sites[site.0].name.to_string(), &place, &cancel)?;
    let store = store.ok_or("[web.session] has neither `servers` nor a `journal`")?;

    let peers = PeerHealth::start(&model, site, web, cancel)?;
    let admission = Arc::new(Admission::hosting(&model, site, peers, HostedEpochs::of(Some(&store)))?);
    let routes = Router::new().route("/", get(cart)).route("/add", post(add)).route("/logout", post(logout));
    let routes = routes.layer(SessionLayer::new(store.clone(), SessionRef::find));
    let shop = Router::new().fallback_service(OperationLayer::new(admission).layer(routes));

    let admin = axum::serve(TcpListener::bind(admin).await?, api::routes::<()>(store));
    tokio::spawn(async move { admin.await });
    axum::serve(TcpListener::bind(at).await?, shop.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

async fn cart(session: Option<Extension<SessionData>>) -> Json<Value> {
    let kept = session.and_then(|session| session.get("cart").ok().flatten());
    Json(kept.unwrap_or_else(|| Value::Array(Vec::new())))
}

async fn add(Extension(session): Extension<SessionData>, item: String) -> Json<usize> {
    // One step: no other request gets between.
    Json(session.update(|data| {
        let cart = data.entry("cart".to_owned()).or_insert_with(|| Value::Array(Vec::new()));
        cart.as_array_mut().map_or(0, |cart| {
            cart.push(item.into());
            cart.len()
        })
    }))
}

async fn logout(Extension(session): Extension<SessionData>) -> &'static str {
    session.end();
    "bye\n"
}
