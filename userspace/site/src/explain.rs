//! Explanation of what would become of a request, and by which stages (`zerottl site explain`).
//!
//! The same [`Admission`] decides as when it serves; only whether there is a session, whether the Site is too busy, and which
//! Sites are down is supposed instead of known.

use std::{fmt::Write as _, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header::HOST, uri::InvalidUri};
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    admission::{Admission, AdmissionError, Connection, Verdict},
    decide::{DecisionKind, Stage},
    overload::{Ask, Guard, Overload},
    peers::PeerHealth,
    refusal::Refusal,
    session::{Session, SessionClient, Sessions},
};
use zerottl_core::model::{Model, SiteId};

/// A request that is supposed.
#[derive(Clone, Debug)]
pub struct ExplainRequest {
    /// The URL that is asked for, with scheme and host.
    pub url: String,
    /// The method.
    pub method: Method,
    /// The version.
    pub version: Version,
    /// Header fields beside `Host`.
    pub headers: HeaderMap,
    /// The client's address.
    pub client: IpAddr,
    /// The name in the TLS handshake; the URL's host unless given.
    pub server_name: Option<String>,
    /// Whether it belongs to a session.
    pub in_session: bool,
    /// Whether the Site is too busy.
    pub busy: bool,
    /// Sites that are down.
    pub down: Vec<SiteId>,
}

/// One stage that it goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage's number in Figs. 5A and 5B.
    pub stage: u16,
    /// The question or the action of the stage.
    pub text: &'static str,
    /// The answer to a question, where the next stage tells it.
    pub answer: Option<bool>,
}

/// The stages that a supposed request goes through, and its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct SiteExplanation {
    /// The Site Name of the Site that is asked.
    pub site: String,
    /// The URL that is asked for.
    pub url: String,
    /// The Group Name that the request belongs to, if anything tells.
    pub proper_group: Option<String>,
    /// The stages, in order.
    pub stages: Vec<Step>,
    /// As in the metrics, or `exempt`: a probe's path, or the load report's.
    pub outcome: &'static str,
    /// Why it is refused, if it is.
    pub refused: Option<&'static str>,
    /// The status of a response that is made here.
    pub status: Option<u16>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The target that the application is asked for, of a request that it serves.
    pub target: Option<String>,
    /// Names of the cookies that the response sets.
    pub cookies: Vec<String>,
}

struct Supposed(bool);

impl Sessions for Supposed {
    fn find(&self, _headers: &HeaderMap, _asker: &SessionClient) -> Session {
        if self.0 { Session::Active { renew: None, of: None } } else { Session::None }
    }

    fn start(&self, _asker: &SessionClient) -> Option<HeaderValue> {
        Some(HeaderValue::from_static("session=new"))
    }

    fn active(&self, _now: u64) -> u64 {
        0
    }
}

impl Overload for Supposed {
    fn is_busy(&self, _ask: Ask) -> bool {
        self.0
    }

    fn begin(&self, _client: Option<IpNet>) -> Guard {
        Guard::none()
    }

    fn report(&self, _sessions: u64) -> Value {
        json!({})
    }

    fn in_flight(&self) -> u64 {
        0
    }
}

/// Why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// It has no URL.
    #[error("`{0}` is no URL: {1}")]
    Url(String, #[source] InvalidUri),
    /// Its URL says not where.
    #[error("`{0}` has no scheme and host: give http://HOST/PATH or https://HOST/PATH")]
    NoHost(String),
    /// Its URL is for something else.
    #[error("`{0}` is neither http nor https")]
    Scheme(String),
    /// It cannot be a request.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The configuration admits nobody.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
}

/// Explains what would become of a request.
pub fn explain(model: &Model, site: SiteId, question: &ExplainRequest) -> Result<SiteExplanation, ExplainError> {
    let uri = question.url.parse::<Uri>().map_err(|error| ExplainError::Url(question.url.clone(), error))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(ExplainError::NoHost(question.url.clone()));
    };
    let secure = match scheme {
        "http" => false,
        "https" => true,
        other => return Err(ExplainError::Scheme(other.to_owned())),
    };
    let pool = &model.pools[model.sites[site.0].pool.0].sites;
    let up = pool.iter().map(|id| !question.down.contains(id)).collect();
    let (sessions, overload) = (Arc::new(Supposed(question.in_session)), Arc::new(Supposed(question.busy)));
    let admission = Admission::with(model, site, PeerHealth::fixed(up), sessions, overload)?;

    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::builder().method(&question.method).version(question.version).uri(target);
    let (mut head, ()) = request.body(())?.into_parts();
    head.headers.clone_from(&question.headers);
    let host = HeaderValue::from_str(authority.as_str()).map_err(http::Error::from)?;
    head.headers.insert(HOST, host);
    let named = question.server_name.clone().unwrap_or_else(|| authority.host().to_ascii_lowercase());
    let connection = Connection { client: question.client, secure, server_name: Some(&*named).filter(|_| secure) };
    let evaluation = admission.evaluate(&head, &connection);

    let stages: Vec<Stage> = evaluation.path.iter().collect();
    let next = stages.iter().copied().skip(1).map(Some).chain([None]);
    let steps = stages.iter().zip(next).map(|(stage, next)| Step {
        stage: stage.number(),
        text: stage.text(),
        answer: next.and_then(|next| answer(*stage, next)),
    });
    let mut explanation = SiteExplanation {
        site: admission.topology().own_name().to_owned(),
        url: question.url.clone(),
        proper_group: evaluation.proper.map(|id| model.groups[id.0].name.to_string()),
        stages: steps.collect(),
        outcome: evaluation.outcome.map_or("exempt", DecisionKind::name),
        refused: evaluation.refusal.map(Refusal::text),
        status: None,
        location: None,
        target: None,
        cookies: Vec::new(),
    };
    let cookies = |values: &mut dyn Iterator<Item = &HeaderValue>| {
        let name = |value: &HeaderValue| Some(value.to_str().ok()?.split('=').next()?.to_owned());
        values.filter_map(name).collect()
    };
    match evaluation.verdict {
        Verdict::Serve(pass) => {
            explanation.target = Some(pass.target.map_or_else(|| target.to_owned(), |target| target.to_string()));
            explanation.cookies = cookies(&mut pass.cookies.iter());
        }
        Verdict::Respond(page) => {
            explanation.status = Some(page.status().as_u16());
            let location = page.headers().get(http::header::LOCATION);
            explanation.location = location.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
            explanation.cookies = cookies(&mut page.headers().get_all(http::header::SET_COOKIE).iter());
        }
    }
    Ok(explanation)
}

/// Returns the answer to a stage's question, by the stage after it.
fn answer(stage: Stage, next: Stage) -> Option<bool> {
    Some(match stage {
        Stage::OwnName => next == Stage::Marked,
        Stage::Marked => next == Stage::Fresh,
        Stage::Fresh => next == Stage::Balanced,
        Stage::PoolName => next == Stage::ProperGroup,
        Stage::ProperGroup => next == Stage::ToSite,
        Stage::TooBusy => next != Stage::Start,
        Stage::HasInitial => next == Stage::InitialFresh,
        Stage::InitialFresh => next == Stage::Initial,
        Stage::OnlySite => next == Stage::Overflow,
        Stage::CycleEnd => next == Stage::AllBusy,
        _ => return None,
    })
}

impl SiteExplanation {
    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing into a String does not fail.
        let _ = writeln!(text, "{} at {}", self.url, self.site);
        if let Some(group) = &self.proper_group {
            let _ = writeln!(text, "it belongs to group {group}");
        }
        for Step { stage, text: what, answer } in &self.stages {
            let answer = match answer {
                Some(true) => "  yes",
                Some(false) => "  no",
                None => "",
            };
            let _ = writeln!(text, "  {stage}  {what}{answer}");
        }
        let _ = write!(text, "{}", self.outcome);
        if let Some(status) = self.status {
            let _ = write!(text, ": {status}");
        }
        if let Some(why) = self.refused {
            let _ = write!(text, ": {why}");
        }
        if let Some(location) = &self.location {
            let _ = write!(text, " {location}");
        }
        if let Some(target) = &self.target {
            let _ = write!(text, ": the application is asked for {target}");
        }
        if !self.cookies.is_empty() {
            let _ = write!(text, "\nsets {}", self.cookies.join(", "));
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::appendix_a, *};

    fn model(web: &str) -> Model {
        appendix_a(&format!("[web]\n{web}"))
    }

    fn ask(url: &str) -> ExplainRequest {
        ExplainRequest {
            url: url.into(),
            method: Method::GET,
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            client: [192, 0, 2, 99].into(),
            server_name: None,
            in_session: false,
            busy: false,
            down: vec![],
        }
    }

    /// The path through the figures, and where it leads.
    #[test]
    fn s4_5a_540_explained() {
        let model = model("");
        let boston = model.site_by_key("boston").unwrap();
        let found = explain(&model, boston, &ask("https://app.com:8443/a?b")).unwrap();
        let steps: Vec<_> = found.stages.iter().map(|step| (step.stage, step.answer)).collect();
        assert_eq!(
            steps,
            [(505, None), (510, Some(false)), (525, Some(true)), (530, Some(true)), (535, None), (540, None)]
        );
        let location = found.location.clone().unwrap();
        assert!(
            location.starts_with("https://boston.app.com:8443/a/distrib=") && location.ends_with("?b"),
            "{location}"
        );
        assert!(found.to_text().contains("  530  is this Site of the proper group?  yes\n"), "{}", found.to_text());
        assert!(found.to_text().contains("redirected: 302 https://boston.app.com:8443/a/distrib="));
        let found = explain(&model, boston, &ask(&location)).unwrap();
        assert_eq!((found.outcome, found.status, found.target.as_deref()), ("admitted", Some(303), None));
        assert_eq!(found.cookies, ["session"]);
        let served = explain(&model, boston, &ExplainRequest { method: Method::PUT, ..ask(&location) }).unwrap();
        assert_eq!((served.outcome, served.target.as_deref()), ("admitted", Some("/a?b")));
        let refused = explain(&model, boston, &ask("http://nobody.example/")).unwrap().to_text();
        assert!(refused.ends_with("refused: 421: this server does not serve that host\n"), "{refused}");
        let found = explain(&model, boston, &ExplainRequest { in_session: true, ..ask("https://app.com/a") }).unwrap();
        assert_eq!((found.outcome, found.stages.len()), ("in-session", 1));
        let found = explain(&model, boston, &ask("http://192.0.2.10/health")).unwrap();
        assert_eq!((found.outcome, found.stages.len(), found.target.as_deref()), ("exempt", 0, Some("/health")));
    }

    /// A Site that is supposed to be busy sends on to the next, or none that is up is left.
    #[test]
    fn s4_5b_565_explained() {
        let model = model("");
        let [boston, chicago] = ["boston", "chicago"].map(|key| model.site_by_key(key).unwrap());
        let marked = explain(&model, boston, &ask("http://app.com/")).unwrap().location.unwrap();
        let busy = ExplainRequest { busy: true, ..ask(&marked) };
        let location = explain(&model, boston, &busy).unwrap().location.unwrap();
        assert!(location.starts_with("http://chicago.app.com/distrib="), "{location}");
        assert!(location.ends_with("+boston.app.com+americas.app.com+1"), "{location}");
        let found = explain(&model, boston, &ExplainRequest { down: vec![chicago], ..busy }).unwrap();
        assert_eq!((found.outcome, found.status), ("busy", Some(503)));
    }

    #[test]
    fn what_is_no_url_is_said() {
        let model = model("");
        for (url, said) in
            [("a b", "is no URL"), ("/a", "no scheme and host"), ("ftp://app.com/", "neither http nor https")]
        {
            let error = explain(&model, SiteId(0), &ask(url)).unwrap_err();
            assert!(error.to_string().contains(said), "{url}: {error}");
        }
    }
}
