//! The director's interface: status, metrics and the load report over HTTP, read-only; the same and what changes something
//! over a Unix socket, whose mode says who may.
//!
//! | path | what |
//! |---|---|
//! | `/v1/director` | [`DirectorPage`] |
//! | `/v1/director/explain?client=IP:PORT` | why a connection is where it is |
//! | `/metrics` | for Prometheus; every name begins with `zerottl_director_` |
//! | `/load` | the load report that agents poll (`load = { kind = "http", … }` of the Site) |
//! | `/v1/session/ID` | a session's data, of whichever `zerottl site` process hosts it (GET, PUT, DELETE) |
//! | `/servers/NAME/…` | `metrics`, `v1/site`, `v1/sessions` and `v1/session/ID/explain` of a `zerottl site` process |
//! | POST `/v1/director/servers/NAME/VERB` | `drain`, `maint`, `ready`, `restart`; Unix socket only |
//! | POST `/v1/director/restart` | all servers, one after the other; Unix socket only |

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{self, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue},
};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use zerottl_core::{
    admin_access::admit,
    exposition::Format,
    model::{AdminListen, Director, SESSION_SIZE_MAX},
    session_id::SessionId,
};
use zerottl_host::resources::Stumbles;
use zerottl_inputs::agent_client::{self, AgentAddress, ClientError};
use zerottl_session::relay::{RelayFault, relay};

use crate::{
    command::{Command, Verb},
    metrics,
    pages::{DirectorPage, VerbDone},
};

/// Connections at a time, at most, of each of the two places.
const CONNECTIONS_MAX: usize = 64;
/// The time that a connection has in all.
const CONNECTION_MAX: Duration = Duration::from_secs(30);
/// The time that a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(5);

/// The time that a process may take for a request of a session; it answers itself before, as a rule.
const SESSION_PATIENCE: Duration = Duration::from_secs(25);

/// Why the interface cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminPlaceError {
    /// The address.
    #[error(
        "`admin` of [director]: listening on {0}: {1}; another `zerottl site` or director of this machine may have it"
    )]
    Tcp(SocketAddr, #[source] io::Error),
    /// The socket.
    #[error("`control` of [director]: {0}: {1}")]
    Unix(PathBuf, #[source] io::Error),
    /// Somebody answers there.
    #[error("`control` of [director]: another director serves {0}; give this one another `control`")]
    Taken(PathBuf),
}

/// The interface while it is served.
pub(crate) struct AdminPlaces(PathBuf);

impl AdminPlaces {
    /// Removes the socket.
    pub(crate) fn removed(self) {
        let _ = fs::remove_file(self.0);
    }
}

type Commands = State<mpsc::Sender<Command>>;

/// Serves until `cancel`. Inside a tokio runtime.
pub(crate) fn start(
    config: &Director,
    commands: mpsc::Sender<Command>,
    cancel: CancellationToken,
) -> Result<AdminPlaces, AdminPlaceError> {
    let reads = Router::new()
        .route("/v1/director", get(page))
        .route("/v1/director/explain", get(explain))
        .route("/metrics", get(metrics_page))
        .route("/load", get(load))
        .route("/v1/session/{id}", any(of_session))
        .route("/servers/{name}/{*path}", get(of_site));
    let changes = Router::new()
        .route("/v1/director/servers/{name}/{verb}", post(act))
        .route("/v1/director/{verb}", post(act_on_all));
    if let Some(at) = config.admin {
        let listener = bound(at).map_err(|error| AdminPlaceError::Tcp(at, error))?;
        let router = reads.clone().layer(middleware::from_fn(own_host)).with_state(commands.clone());
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let until = cancel.clone();
        tokio::spawn(async move {
            let mut stumbles = Stumbles::new("taking connections of `admin`".into());
            loop {
                let (stream, local) = tokio::select! {
                    taken = listener.accept() => match taken {
                        Ok((stream, _)) => { let local = stream.local_addr().ok(); (stream, local) }
                        Err(error) => { stumbles.over(&error).await; continue }
                    },
                    () = until.cancelled() => return,
                };
                stumbles.good();
                serve(stream, router.clone(), &places, local);
            }
        });
    }
    let path = config.control.clone();
    let listener = control(&path)?;
    let router = reads.merge(changes).layer(middleware::from_fn(own_host)).with_state(commands);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::spawn(async move {
        let mut stumbles = Stumbles::new("taking connections of `control`".into());
        loop {
            let stream = tokio::select! {
                taken = listener.accept() => match taken {
                    Ok((stream, _)) => stream,
                    Err(error) => { stumbles.over(&error).await; continue }
                },
                () = cancel.cancelled() => return,
            };
            stumbles.good();
            serve(stream, router.clone(), &places, None);
        }
    });
    Ok(AdminPlaces(path))
}

/// Binds the TCP place.
fn bound(at: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Binds the Unix socket, for its owner and group alone. One that nobody answers at is a dead director's.
fn control(path: &Path) -> Result<UnixListener, AdminPlaceError> {
    let fault = |error| AdminPlaceError::Unix(path.to_owned(), error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(fault)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(AdminPlaceError::Taken(path.to_owned()));
    }
    let listener = unix_socket(path, 0o660).map_err(fault)?;
    UnixListener::from_std(listener).map_err(fault)
}

/// Listens at a path, in the place of whoever did before; it does not block.
pub(crate) fn unix_socket(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves one connection, if there is a place for it.
fn serve<S>(stream: S, router: Router, places: &Arc<Semaphore>, local: Option<SocketAddr>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
    tokio::spawn(async move {
        let router = router.layer(axum::Extension(Local(local)));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        if let Ok(Err(error)) = timeout(CONNECTION_MAX, served).await {
            debug!(%error, "a connection of the director's interface ended");
        }
        drop(place);
    });
}

/// The address that a connection came to; none for the Unix socket.
#[derive(Clone, Copy)]
struct Local(Option<SocketAddr>);

/// Keeps out web pages whose name was made to resolve to this machine (DNS rebinding), as `zerottl site`'s interface does:
/// agents ask other addresses than loopback's by the Site's name.
async fn own_host(request: Request, next: Next) -> Response {
    let local = request.extensions().get::<Local>().and_then(|local| local.0);
    let (head, body) = request.into_parts();
    if local.is_none_or(|local| local.ip().to_canonical().is_loopback())
        && let Err(refusal) = admit(&head, local, None)
    {
        return refusal.status_and_text().into_response();
    }
    let mut response = next.run(Request::from_parts(head, body)).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A refusal, as the other interfaces say it.
fn refusal(status: StatusCode, message: impl Into<String>) -> Response {
    let error = if status == StatusCode::NOT_FOUND { "not_found" } else { "invalid" };
    (status, Json(json!({ "error": error, "message": message.into() }))).into_response()
}

/// Asks the loop.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Response> {
    let (reply, answer) = oneshot::channel();
    let gone = || refusal(StatusCode::SERVICE_UNAVAILABLE, "this director is about to end");
    commands.send(command(reply)).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())
}

async fn read(commands: &mpsc::Sender<Command>) -> Result<DirectorPage, Response> {
    ask(commands, Command::Page).await
}

async fn page(State(commands): Commands) -> Result<Json<DirectorPage>, Response> {
    read(&commands).await.map(Json)
}

async fn metrics_page(State(commands): Commands, headers: HeaderMap) -> Result<Response, Response> {
    let page = read(&commands).await?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::asked_for(accept);
    let text = metrics::text(page, format)
        .map_err(|_| refusal(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be written"))?;
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn load(State(commands): Commands) -> Result<Response, Response> {
    let page = read(&commands).await?;
    let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    Ok(Json(page.load(at)).into_response())
}

/// Whose connection.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    client: String,
}

async fn explain(State(commands): Commands, asked: Query<Asked>) -> Result<Response, Response> {
    let Ok(client) = asked.client.parse::<SocketAddr>() else {
        let message = format!("`{}` is no client: give its address and port, as 192.0.2.1:40000", asked.client);
        return Err(refusal(StatusCode::BAD_REQUEST, message));
    };
    match ask(&commands, |reply| Command::Explain { client, reply }).await? {
        Some(page) => Ok(Json(page).into_response()),
        None => Err(refusal(StatusCode::NOT_FOUND, format!("no connection of {client} is remembered"))),
    }
}

async fn act(
    State(commands): Commands,
    extract::Path((name, verb)): extract::Path<(String, String)>,
) -> Result<Response, Response> {
    changed(&commands, &verb, Some(name)).await
}

async fn act_on_all(
    State(commands): Commands,
    extract::Path(verb): extract::Path<String>,
) -> Result<Response, Response> {
    changed(&commands, &verb, None).await
}

async fn changed(commands: &mpsc::Sender<Command>, verb: &str, name: Option<String>) -> Result<Response, Response> {
    let Some((_, verb)) = Verb::ALL.iter().find(|(word, _)| *word == verb) else {
        let words = Verb::ALL.map(|(word, _)| word).join(", ");
        return Err(refusal(StatusCode::NOT_FOUND, format!("`{verb}` is nothing that can be done; there are {words}")));
    };
    let asked = name.clone();
    let done = ask(commands, |reply| Command::Do { verb: *verb, name, reply }).await?;
    match (done.is_empty(), asked) {
        (true, Some(name)) => Err(refusal(StatusCode::NOT_FOUND, format!("no server or process is called `{name}`"))),
        _ => Ok(Json(VerbDone { servers: done, note: None }).into_response()),
    }
}

/// Passes a request for a session's data on to a process of `zerottl site`: whichever it is, it asks the one that hosts the
/// session, if that is another.
async fn of_session(State(commands): Commands, request: Request) -> Result<Response, Response> {
    let places = ask(&commands, Command::SitePlaces).await?;
    let (mut head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, SESSION_SIZE_MAX).collect().await.map(Collected::to_bytes) else {
        return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "no session has so many bytes"));
    };
    // The same session at the same process, as long as the processes are the same.
    let first = head.uri.path().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    head.headers.remove(CONNECTION);
    for number in 0..places.len() {
        let place = &places[(first + number) % places.len()];
        let mut again = Request::new(Full::new(body.clone()));
        (*again.method_mut(), *again.uri_mut()) = (head.method.clone(), head.uri.clone());
        *again.headers_mut() = head.headers.clone();
        match relay(&place.to_string_lossy(), again, SESSION_SIZE_MAX, SESSION_PATIENCE).await {
            Ok(answer) => return Ok(answer.map(Body::new)),
            // It may just have ended, and another one serves.
            Err(RelayFault::Unsent) => {}
            Err(RelayFault::Unanswered) => {
                return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "the process that was asked has not answered"));
            }
        }
    }
    Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "no process of kind \"site\" serves"))
}

/// Asks a `zerottl site` process, whose interface is a Unix socket.
async fn of_site(
    State(commands): Commands,
    extract::Path((name, path)): extract::Path<(String, String)>,
) -> Result<Response, Response> {
    if !is_shown(&path) {
        let message = "there are metrics, v1/site, v1/sessions and v1/session/ID/explain";
        return Err(refusal(StatusCode::NOT_FOUND, message));
    }
    let place = ask(&commands, |reply| Command::SitePlace { name: name.clone(), reply }).await?;
    let Some(place) = place else {
        return Err(refusal(StatusCode::NOT_FOUND, format!("no process of kind \"site\" is called `{name}`")));
    };
    let at = AgentAddress { place: AdminListen::Unix(place), token: None };
    match agent_client::get(at, &format!("/{path}")).await {
        Ok(body) if path == "metrics" => {
            Ok(([(CONTENT_TYPE, Format::asked_for("").content_type())], body).into_response())
        }
        Ok(body) => Ok(([(CONTENT_TYPE, "application/json")], body).into_response()),
        // Its own words, for whoever asks it.
        Err(ClientError::Status(status, words)) if path != "metrics" => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Err((status, [(CONTENT_TYPE, "application/json")], words).into_response())
        }
        Err(error) => Err(refusal(StatusCode::BAD_GATEWAY, error.to_string())),
    }
}

/// Whether a page of a `zerottl site` process is shown. A session's data is had from whichever process hosts it: [`of_session`].
fn is_shown(path: &str) -> bool {
    let session = path.strip_prefix("v1/session/").and_then(|rest| rest.strip_suffix("/explain"));
    ["metrics", "v1/site", "v1/sessions"].contains(&path) || session.is_some_and(|id| id.parse::<SessionId>().is_ok())
}
