//! A page with state: how often a session has looked, and the note that it left. The state is in this process and nowhere
//! else, so a session is worth something only as long as its client keeps coming back to this Site.
//!
//! ```text
//! counter --as boston --config zerottl.toml      operation 500 as a layer around the application, in one process
//! counter --as boston --plain 127.0.0.1:8080     no operation 500: one of the `backends` of `zerottl site`
//! ```
//!
//! With the layer, [`Visits`] says what a session is: a request that brings the cookie of a visit known here passes by
//! operation 500, and an admitted one begins a visit.

use std::{
    collections::{HashMap, VecDeque},
    error::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use zerottl_config as config;
use zerottl_core::model::SameSite;
use zerottl_site::{
    admission::Admission,
    cookies::{self, Cookie},
    layer::OperationLayer,
    overload::OverloadLimits,
    peers::PeerHealth,
    session::{Session, SessionClient, Sessions},
};

/// A page with state, to see sessions by
#[derive(Debug, Parser)]
struct Arguments {
    /// The Site that this is, by its key in the configuration
    #[arg(long = "as", value_name = "SITE")]
    site: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// Run operation 500 by this file, where it says that the Site listens
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here, behind `zerottl site`
    #[arg(long, value_name = "ADDRESS:PORT")]
    plain: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let visits = Arc::new(Visits::default());
    let app = App { site: arguments.site.into(), visits: Arc::clone(&visits), begins: arguments.place.plain.is_some() };
    let site = Arc::clone(&app.site);
    let routes = Router::new()
        .route("/health", get("ok\n"))
        .route("/note", post(note))
        .fallback(get(page))
        .layer(DefaultBodyLimit::max(NOTE_MAX))
        .with_state(app);
    let (routes, places) = match (&arguments.place.config, arguments.place.plain) {
        (Some(file), _) => behind_operation_500(routes, file, &site, visits)?,
        (None, plain) => (routes, Vec::from_iter(plain)),
    };
    let mut servers = JoinSet::new();
    for place in places {
        let service = routes.clone().into_make_service_with_connect_info::<SocketAddr>();
        let server = axum::serve(TcpListener::bind(place).await?, service);
        servers.spawn(async move { server.await });
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}

/// The application, where only admitted requests and those of a session reach it; and where the Site listens.
fn behind_operation_500(
    routes: Router,
    file: &Path,
    site: &str,
    visits: Arc<Visits>,
) -> Result<(Router, Vec<SocketAddr>), Box<dyn Error>> {
    let model = Arc::new(config::load(file).map_err(|error| error.render(false))?.model);
    let site = model.known_site(site)?;
    let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
    let peers = PeerHealth::start(&model, site, web, CancellationToken::new())?;
    let admission = Admission::with(&model, site, peers, visits, Arc::new(OverloadLimits::new(&web.busy)))?;
    // Around the whole router: routes are chosen by the path without the marker.
    let operation = OperationLayer::new(Arc::new(admission)).layer(routes);
    Ok((Router::new().fallback_service(operation), web.listen.clone()))
}

/// Visits that are remembered, at most; the oldest is forgotten.
const VISITS_MAX: usize = 10_000;
/// Bytes of a note.
const NOTE_MAX: usize = 1024;
/// The cookie with a visit's ID.
const COOKIE: &str = "VISIT";
/// How long a browser keeps it, seconds.
const COOKIE_AGE: u64 = 1800;

/// The state of one session.
#[derive(Clone, Debug)]
struct Visit {
    looks: u64,
    began: u64,
    note: String,
}

/// The sessions of this process, by their IDs.
#[derive(Debug, Default)]
struct Visits(Mutex<(HashMap<String, Visit>, VecDeque<String>)>);

impl Visits {
    fn known(&self) -> MutexGuard<'_, (HashMap<String, Visit>, VecDeque<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the visit that a request belongs to.
    fn change(&self, headers: &HeaderMap, change: impl FnOnce(&mut Visit)) -> Option<Visit> {
        let (visits, _) = &mut *self.known();
        let mut ids = cookies::values(headers, COOKIE).filter_map(|id| str::from_utf8(id).ok());
        let visit = visits.get_mut(ids.find(|id| visits.contains_key(*id))?)?;
        change(visit);
        Some(visit.clone())
    }

    /// Remembers a visit; the cookie that belongs to it.
    fn begin(&self, visit: Visit, secure: bool) -> Option<HeaderValue> {
        let id = format!("{:032x}", rand::random::<u128>());
        let (visits, order) = &mut *self.known();
        if order.len() >= VISITS_MAX
            && let Some(oldest) = order.pop_front()
        {
            visits.remove(&oldest);
        }
        visits.insert(id.clone(), visit);
        order.push_back(id.clone());
        Cookie { name: COOKIE, value: &id, domain: None, max_age: COOKIE_AGE, secure, same_site: SameSite::Lax }
            .header()
    }
}

/// Answers the layer's questions.
impl Sessions for Visits {
    fn find(&self, headers: &HeaderMap, _asker: &SessionClient) -> Session {
        match self.change(headers, |_| {}) {
            Some(_) => Session::Active { renew: None, of: None },
            None => Session::None,
        }
    }

    /// The request that it begins with is under way, and its first look.
    fn start(&self, asker: &SessionClient) -> Option<HeaderValue> {
        self.begin(Visit { looks: 1, began: asker.now, note: String::new() }, asker.secure)
    }

    fn active(&self, _now: u64) -> u64 {
        self.known().0.len() as u64
    }
}

#[derive(Clone)]
struct App {
    site: Arc<str>,
    visits: Arc<Visits>,
    /// Whether visits are begun here, and not by the layer.
    begins: bool,
}

impl App {
    /// One more look, by the visit that the request belongs to or that begins with it.
    fn look(&self, headers: &HeaderMap, uri: &Uri, change: impl Fn(&mut Visit)) -> Response {
        let look = |visit: &mut Visit| {
            visit.looks += 1;
            change(visit);
        };
        let (visit, cookie) = if let Some(visit) = self.visits.change(headers, look) {
            (visit, None)
        } else {
            let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let mut visit = Visit { looks: 0, began, note: String::new() };
            look(&mut visit);
            let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
            let cookie = if self.begins { self.visits.begin(visit.clone(), secure) } else { None };
            (visit, cookie)
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("no Host");
        let asked = format!("{host}{}", uri.path());
        let is_read_by_people =
            headers.get(header::ACCEPT).is_some_and(|types| types.as_bytes().starts_with(b"text/html"));
        let mut response = if is_read_by_people {
            Html(html(&self.site, &asked, &visit)).into_response()
        } else {
            format!("{}: look {} of a session since {} UTC\n", self.site, visit.looks, time(visit.began))
                .into_response()
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
        response
    }
}

async fn page(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    app.look(&headers, &uri, |_| {})
}

/// The form's field comes as `text/plain`: `note=…`.
async fn note(State(app): State<App>, headers: HeaderMap, uri: Uri, body: String) -> Response {
    let text = body.trim().strip_prefix("note=").unwrap_or_default();
    app.look(&headers, &uri, |visit| text.clone_into(&mut visit.note))
}

fn time(unix: u64) -> String {
    format!("{:02}:{:02}:{:02}", unix / 3600 % 24, unix / 60 % 60, unix % 60)
}

fn html(site: &str, asked: &str, Visit { looks, began, note }: &Visit) -> String {
    let time = time(*began);
    // A colour for each Site.
    let hue = site.bytes().fold(7_u32, |hue, byte| (hue * 23 + u32::from(byte)) % 360);
    let (site, asked, note) = (escaped(site), escaped(asked), escaped(note));
    format!(
        "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>{site}</title>
<!-- None, so that no browser asks for one, at a time of its own choice. -->
<link rel=\"icon\" href=\"data:,\">
<style>{STYLE}</style>
</head>
<body style=\"--hue: {hue}\">
<main>
<p id=\"asked\">{asked}</p>
<h1 id=\"site\">{site}</h1>
<dl>
<div><dt>Looks in this session</dt><dd id=\"looks\">{looks}</dd></div>
<div><dt>Session since</dt><dd><span id=\"began\">{time}</span> UTC</dd></div>
</dl>
<form method=\"post\" action=\"/note\" enctype=\"text/plain\">
<label for=\"note\">Your note, kept at this Site</label>
<div><input id=\"note\" name=\"note\" maxlength=\"200\" value=\"{note}\" autocomplete=\"off\"> <button>Keep</button></div>
</form>
<p><a href=\"/\">Look again</a></p>
</main>
</body>
</html>
"
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1f24; --soft: #5b6570; --line: #d7dce2; --back: #f3f5f7 }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1f23; --ink: #e6e9ed; --soft: #9aa4af; --line: #33393f; --back: #121517 } }
* { box-sizing: border-box }
body { margin: 0; padding: 8vh 1rem; background: var(--back); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 30rem; margin: auto; padding: 1.5rem 2rem; background: var(--paper); border: 1px solid var(--line);
  border-top: .5rem solid hsl(var(--hue) 60% 48%); border-radius: .5rem }
h1 { margin: 0 0 1rem; font-size: 2.5rem; line-height: 1.2; text-transform: capitalize }
#asked { margin: 0; color: var(--soft); font: .9rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
dl { margin: 0 0 1.5rem }
dl div { display: flex; justify-content: space-between; padding: .4rem 0; border-bottom: 1px solid var(--line) }
dt, label { color: var(--soft) }
dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600 }
form div { display: flex; gap: .5rem }
input { flex: 1; min-width: 0 }
input, button { padding: .4rem .6rem; border: 1px solid var(--line); border-radius: .25rem; background: var(--back); color: inherit; font: inherit }
a { color: hsl(var(--hue) 70% 38%); font-weight: 600 }
@media (prefers-color-scheme: dark) { a { color: hsl(var(--hue) 75% 72%) } }
";

/// Text as it may stand in HTML and in its attributes.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
