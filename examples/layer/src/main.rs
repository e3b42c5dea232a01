//! A page that only those see who are bound to this Site: operation 500 as a layer around an axum application.
//!
//! ```text
//! layer FILE SITE    by [web] of the file, as the Site with this key
//! ```

use std::{env, error::Error, net::SocketAddr, path::Path, sync::Arc};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_layer::Layer as _;
use zerottl_site::{admission::Admission, layer::OperationLayer, peers::PeerHealth};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(file), Some(key)) = (arguments.next(), arguments.next()) else {
        return Err("usage: layer FILE SITE".into());
    };
    let model = Arc::new(zerottl_config::load(Path::new(&file)).map_err(|error| error.render(false))?.model);
    let site = model.site_by_key(&key).ok_or("the file has no such Site")?;
    let web = model.web.get(site.0).ok_or("the file has no [web]")?;
    let peers = PeerHealth::start(&model, site, web, CancellationToken::new())?;
    let admission = Arc::new(Admission::new(&model, site, peers)?);
    let routes = Router::new().fallback(get(|| async { "bound\n" }));
    // Around the whole router: routes are chosen by the path without the marker.
    let bound = Router::new().fallback_service(OperationLayer::new(admission).layer(routes));
    let listener = TcpListener::bind(web.listen.first().ok_or("[web] listens nowhere")?).await?;
    axum::serve(listener, bound.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
