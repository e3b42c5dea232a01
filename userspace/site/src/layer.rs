//! Operation 500 as a tower layer, around any service that takes HTTP requests (S4-B-FORM).
//!
//! ```no_run
//! use std::{path::Path, sync::Arc};
//! use axum::Router;
//! use tokio_util::sync::CancellationToken;
//! use tower_layer::Layer;
//! use zerottl_config as config;
//! use zerottl_site::{admission::Admission, layer::OperationLayer, peers::PeerHealth};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Arc::new(config::load(Path::new("zerottl.toml"))?.model);
//! let boston = model.site_by_key("boston").ok_or("no such Site")?;
//! let peers = PeerHealth::start(&model, boston, &model.web[boston.0], CancellationToken::new())?;
//! let admission = Arc::new(Admission::new(&model, boston, peers)?);
//! let routes = Router::<()>::new();
//! let app = Router::<()>::new().fallback_service(OperationLayer::new(admission).layer(routes));
//! # Ok(())
//! # }
//! ```
//!
//! A request that has a session reaches the service as it came. The others do when they are admitted; whatever else becomes
//! of them is answered here. The service sees URLs without markers: so axum's `Router::layer`, which comes after a route
//! is chosen, is too late. `userspace/zerottl/examples/counter.rs` is a whole application.
//!
//! How a request came is read from its extensions: [`Peer`], or axum's `ConnectInfo` of a socket
//! address. Without either the client is unknown (`::`), which no client net matches.

use std::{
    convert::Infallible,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::SET_COOKIE};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    admission::{Admission, Connection, Pass, Verdict},
    cookies,
    decide::DecisionKind,
    overload::Guard,
    refusal::Refusal,
    respond,
    trail::Trail,
};

/// Where a request came from: in the extensions of every request that a server hands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The client's end of the connection.
    pub client: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
    /// Whether it came over TLS.
    pub tls: bool,
    /// The TLS server name (SNI), lower case, where there was one.
    pub server_name: Option<Arc<str>>,
}

/// Puts operation 500 before services.
#[derive(Clone, Debug)]
pub struct OperationLayer {
    admission: Arc<Admission>,
}

impl OperationLayer {
    /// One admission for all of them.
    #[must_use]
    pub fn new(admission: Arc<Admission>) -> Self {
        Self { admission }
    }
}

impl<S> Layer<S> for OperationLayer {
    type Service = Operation<S>;

    fn layer(&self, inner: S) -> Operation<S> {
        Operation { admission: Arc::clone(&self.admission), inner }
    }
}

/// A service behind operation 500.
#[derive(Clone, Debug)]
pub struct Operation<S> {
    admission: Arc<Admission>,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Operation<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Guarded<R>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        // Before any is read: what stands behind sees what was decided by.
        cookies::join(&mut head.headers);
        let peer = head.extensions.get::<Peer>();
        let client = peer.map(|peer| peer.client);
        let client = client.or_else(|| head.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
        let connection = Connection {
            client: client.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |client| client.ip().to_canonical()),
            secure: peer.is_some_and(|peer| peer.tls),
            server_name: peer.and_then(|peer| peer.server_name.as_deref()),
        };
        let evaluation = self.admission.evaluate(&head, &connection);
        if let Some(trail) = head.extensions.get::<Trail>() {
            let outcome = evaluation.outcome.map_or("passed-by", DecisionKind::name);
            trail.decided(evaluation.client, outcome, evaluation.outcome == Some(DecisionKind::InSession));
        }
        match evaluation.verdict {
            Verdict::Respond(page) => Answering::here(page),
            Verdict::Serve(Pass { target, cookies, session, guard }) => {
                if let Some(session) = session {
                    head.extensions.insert(session);
                }
                if let Some(target) = target {
                    let mut parts = std::mem::take(&mut head.uri).into_parts();
                    parts.path_and_query = Some(target);
                    let Ok(uri) = Uri::from_parts(parts) else {
                        return Answering::here(respond::refuse(Refusal::BadTarget));
                    };
                    head.uri = uri;
                }
                let inner = self.inner.call(Request::from_parts(head, body));
                Answering { state: State::There { inner, cookies, guard: Some(guard) } }
            }
        }
    }
}

pin_project! {
    /// The response to come.
    pub struct Answering<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Here { page: Option<respond::Page> },
        There { #[pin] inner: F, cookies: Vec<HeaderValue>, guard: Option<Guard> },
    }
}

impl<F> Answering<F> {
    /// Answers with a page, instead of the service.
    #[must_use]
    pub fn here(page: respond::Page) -> Self {
        Self { state: State::Here { page: Some(page) } }
    }
}

impl<F> fmt::Debug for Answering<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answering").finish_non_exhaustive()
    }
}

impl<F, R, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Guarded<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Here { page } => {
                let page = page.take().expect("a future is not polled after it has ended");
                Poll::Ready(Ok(page.map(|body| Guarded { body: Either::Own { body }, guard: None })))
            }
            StateProjection::There { inner, cookies, guard } => {
                let mut response = ready!(inner.poll(context))?;
                if !cookies.is_empty() {
                    respond::private(response.headers_mut());
                }
                for cookie in cookies.drain(..) {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                let mut guard = guard.take();
                if let Some(guard) = &mut guard {
                    guard.responded();
                }
                Poll::Ready(Ok(response.map(|body| Guarded { body: Either::Inner { body }, guard })))
            }
        }
    }
}

pin_project! {
    /// A response's body. While it is there, the request counts as under way.
    pub struct Guarded<R> {
        #[pin]
        body: Either<R>,
        guard: Option<Guard>,
    }
}

pin_project! {
    #[project = EitherProjection]
    enum Either<R> {
        Own { body: Full<Bytes> },
        Inner { #[pin] body: R },
    }
}

impl<R> fmt::Debug for Guarded<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl<R: Body<Data = Bytes>> Body for Guarded<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, R::Error>>> {
        let this = self.project();
        let frame = match this.body.project() {
            EitherProjection::Own { body } => {
                ready!(Pin::new(body).poll_frame(context)).map(|frame| frame.map_err(never))
            }
            EitherProjection::Inner { body } => ready!(body.poll_frame(context)),
        };
        if frame.is_none() {
            *this.guard = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Either::Own { body } => body.is_end_stream(),
            Either::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Either::Own { body } => body.size_hint(),
            Either::Inner { body } => body.size_hint(),
        }
    }
}

fn never<E>(error: Infallible) -> E {
    match error {}
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AnyBody;
    use http::header::{CACHE_CONTROL, COOKIE, HOST};
    use http_body_util::Empty;
    use tower_service::Service as _;

    use super::{
        super::{fixture::appendix_a, peers::PeerHealth},
        *,
    };

    /// Shows the cookies that the service was asked by in a field of a response that anybody may store.
    #[tokio::test]
    async fn cookies_reach_the_service_as_one_and_a_response_with_ours_is_private() {
        let model = appendix_a("[web]\nclean_url = false\n");
        let site = model.site_by_key("boston").unwrap();
        let admission = Admission::new(&model, site, PeerHealth::fixed([true, true, true].into())).unwrap();
        let routes = axum::Router::<()>::new().fallback(|request: Request<AnyBody>| async move {
            let fields: Vec<_> =
                request.headers().get_all(COOKIE).iter().map(|value| value.to_str().unwrap()).collect();
            ([("x-seen", fields.join(" | ")), ("cache-control", "public, max-age=60".to_owned())], "page")
        });
        let mut service = OperationLayer::new(Arc::new(admission)).layer(routes);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let mut ask = async |target: &str, cookies: &[&str]| {
            let mut request = Request::get(target).header(HOST, "boston.app.com");
            for cookie in cookies {
                request = request.header(COOKIE, *cookie);
            }
            let response = service.call(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
            let text = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            (text("x-seen"), text(CACHE_CONTROL.as_str()), text("set-cookie"))
        };
        let (seen, cache, set) = ask(&format!("/a/distrib={now}"), &["a=1", "b=2"]).await;
        assert_eq!((&*seen, &*cache), ("a=1; b=2", "private, max-age=60"));
        // One that comes back is exchanged; the one after it is nothing new.
        let first = set.split(';').next().unwrap().to_owned();
        let (_, cache, set) = ask("/a", &["a=1", &first]).await;
        assert_eq!(cache, "private, max-age=60");
        let lasting = set.split(';').next().unwrap().to_owned();
        let (seen, cache, set) = ask("/a", &["a=1", &lasting, "b=2"]).await;
        assert_eq!((seen, &*cache, &*set), (format!("a=1; {lasting}; b=2"), "public, max-age=60", ""));
    }
}
