//! Decisions as responses.
//!
//! None of them may be stored: each holds for one moment and one client (C10). What comes from a request is put into a
//! page escaped, and into a header as it was, which the HTTP library has checked.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY,
        CONTENT_TYPE, LOCATION, ORIGIN, REFERRER_POLICY, RETRY_AFTER, SET_COOKIE, VARY,
    },
};
use http_body_util::Full;

use super::refusal::Refusal;
use zerottl_core::model::RedirectForm;

/// A response made here.
pub type Page = Response<Full<Bytes>>;

/// Nothing but the pages' own style.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
/// Around the link of a redirect's page.
const MOVED: (&str, &str) = ("<!doctype html><title>Moved</title><a href=\"", "\">Moved</a>\n");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const STYLE: &str = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;color:#1b1f24;\
                     background:#fff}h1{font-size:1.5rem}a{color:#0b57d0}.bar{height:.5rem;border-radius:.25rem;background:#d7dce2;\
                     overflow:hidden}.bar i{display:block;height:100%;background:#0b57d0;transform-origin:left;\
                     animation:run linear both}@keyframes run{from{transform:scaleX(0)}to{transform:scaleX(1)}}\
                     @media(prefers-color-scheme:dark){body{color:#e6e9ed;background:#14171a}a{color:#8ab4f8}\
                     .bar{background:#33383e}.bar i{background:#8ab4f8}}";

/// The status that sends a request elsewhere: 302 makes a GET of any method, 307 keeps it (C10).
#[must_use]
pub fn redirect_status(method: &Method) -> StatusCode {
    if is_read(method) { StatusCode::FOUND } else { StatusCode::TEMPORARY_REDIRECT }
}

/// Whether a method is GET or HEAD.
#[must_use]
pub fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Sends a client to a URL (stages 540, 545 and 595).
#[must_use]
pub fn redirect(location: String, method: &Method, form: RedirectForm, cookies: Vec<HeaderValue>) -> Page {
    if form == RedirectForm::Meta && *method == Method::GET {
        let link = escaped(&location);
        let text = format!("<p>Going to <a href=\"{link}\">{link}</a>.</p>");
        let head = format!("<meta http-equiv=\"refresh\" content=\"0;url={link}\">");
        return page(StatusCode::OK, "One moment", &head, &text, cookies);
    }
    // Few see this page, and all clients wait for it: it is as small as RFC 9110 section 15.4.3 wants it.
    let mut html = String::with_capacity(location.len() + MOVED.0.len() + MOVED.1.len());
    html.push_str(MOVED.0);
    escape(&mut html, &location);
    html.push_str(MOVED.1);
    let Ok(location) = HeaderValue::try_from(location) else { return refuse(Refusal::BadTarget) };
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = redirect_status(method);
    let headers = response.headers_mut();
    headers.insert(LOCATION, location);
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CACHE_CONTROL, NO_STORE);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// To the same page without a marker, now that the client has shown that it keeps cookies.
#[must_use]
pub fn see_other(location: String, cookies: Vec<HeaderValue>) -> Page {
    let mut response = redirect(location, &Method::GET, RedirectForm::Status, cookies);
    if response.status().is_redirection() {
        *response.status_mut() = StatusCode::SEE_OTHER;
    }
    response
}

/// Lets a page of another origin follow a redirect: what it leads to says whether that page may read it. Without this no
/// browser goes on with a request that a script has made (Fetch, "HTTP-redirect fetch").
#[must_use]
pub fn to_other_origins(asked: &HeaderMap, mut page: Page) -> Page {
    if let Some(origin) = asked.get(ORIGIN).filter(|_| page.status().is_redirection()) {
        let headers = page.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(VARY, HeaderValue::from_static("Origin"));
    }
    page
}

/// Keeps shared caches from storing a response that sets a cookie of ours (RFC 9111 section 3: a field alone does not).
/// nginx and `HAProxy` leave that to the operator; the latter's `cookie … nocache` does the same as this.
pub fn private(headers: &mut HeaderMap) {
    let mut kept = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        let Ok(text) = value.to_str() else { continue };
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let name = directive.split('=').next().unwrap_or_default().trim_end().to_ascii_lowercase();
            match &*name {
                "no-store" => return,
                // `private="field"` and its like hold for that field alone.
                "private" if !directive.contains('=') => return,
                "public" | "s-maxage" | "stale-while-revalidate" | "proxy-revalidate" => {}
                _ => kept.push(directive),
            }
        }
    }
    kept.insert(0, "private");
    let value = HeaderValue::try_from(kept.join(", ")).unwrap_or(NO_STORE);
    headers.insert(CACHE_CONTROL, value);
    // What caches of one's own go by before Cache-Control (RFC 9213; Surrogate-Control, Edge Architecture).
    for name in ["cdn-cache-control", "surrogate-control"] {
        headers.remove(name);
    }
}

/// "All Sites Busy" (stage 570, C9): in how many seconds to return, and where to.
#[must_use]
pub fn busy(status: u16, wait: u64, back: Option<&str>) -> Page {
    let mut head = String::new();
    let mut text = String::from("<p>All sites are busy at the moment. ");
    if let Some(back) = back.map(escaped) {
        let _ = write!(head, "<meta http-equiv=\"refresh\" content=\"{wait};url={back}\">");
        let _ = write!(
            text,
            "Your place is kept: this page goes on by itself in {wait}&nbsp;seconds.</p><p class=\"bar\" role=\"presentation\">\
             <i style=\"animation-duration:{wait}s\"></i></p><p><a href=\"{back}\">Try again</a></p>"
        );
    } else {
        let _ = write!(text, "Please try again in {wait}&nbsp;seconds.</p>");
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = page(status, "All sites are busy", &head, &text, Vec::new());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait));
    response
}

/// Refuses a request.
#[must_use]
pub fn refuse(refusal: Refusal) -> Page {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    page(status, status.canonical_reason().unwrap_or("Refused"), "", &format!("<p>{}.</p>", refusal.text()), Vec::new())
}

fn page(status: StatusCode, title: &str, head: &str, text: &str, cookies: Vec<HeaderValue>) -> Page {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title>{head}<style>{STYLE}</style></head><body><h1>{title}</h1>{text}\
         </body></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(CONTENT_TYPE, HTML);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    // A marker is nobody else's business.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// Text as it may stand in an attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    escape(&mut out, text);
    out
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|b| matches!(b, b'&' | b'<' | b'>' | b'"' | b'\'')) {
        let (before, from) = rest.split_at(at);
        let (special, after) = from.split_at(1);
        out.push_str(before);
        out.push_str(match special {
            "&" => "&amp;",
            "<" => "&lt;",
            ">" => "&gt;",
            "\"" => "&quot;",
            _ => "&#39;",
        });
        rest = after;
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn text(page: Page) -> String {
        let body = futures_util::FutureExt::now_or_never(page.into_body().collect()).unwrap().unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    /// S4-5A-540: 302 for GET and HEAD, 307 for others, or a META refresh; never stored (C10).
    #[test]
    fn s4_5a_540_redirects() {
        for (method, form, status) in [
            (Method::GET, RedirectForm::Status, 302),
            (Method::HEAD, RedirectForm::Status, 302),
            (Method::POST, RedirectForm::Status, 307),
            (Method::DELETE, RedirectForm::Meta, 307),
            (Method::GET, RedirectForm::Meta, 200),
        ] {
            let page = redirect(
                "https://boston.app.com/a?b=\"&c".into(),
                &method,
                form,
                vec![HeaderValue::from_static("a=b")],
            );
            assert_eq!(page.status(), status, "{method}");
            assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(page.headers()[SET_COOKIE], "a=b");
            assert_eq!(page.headers().contains_key(LOCATION), status != 200);
            let refresh = "<meta http-equiv=\"refresh\" content=\"0;url=https://boston.app.com/a?b=&quot;&amp;c\">";
            let shown = text(page);
            assert_eq!(shown.contains(refresh), status == 200, "{method}");
            assert!(shown.contains("<a href=\"https://boston.app.com/a?b=&quot;&amp;c\">"), "{shown}");
        }
        assert_eq!(escaped("<ä>'x'\"&"), "&lt;ä&gt;&#39;x&#39;&quot;&amp;");
        assert_eq!(redirect("https://a/\r\nx: y".into(), &Method::GET, RedirectForm::Status, vec![]).status(), 400);
    }

    /// S4-5B-570: the busy page is 503, or 200 for strict compatibility (C9), and says when to return.
    #[test]
    fn s4_5b_570_the_busy_page() {
        let page = busy(503, 10, Some("http://boston.app.com/a/distrib=1!k?\"><script>"));
        assert_eq!(
            (page.status(), &page.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(10))
        );
        assert_eq!(page.headers()[CACHE_CONTROL], "no-store");
        let shown = text(page);
        assert!(
            shown.contains("content=\"10;url=http://boston.app.com/a/distrib=1!k?&quot;&gt;&lt;script&gt;\""),
            "{shown}"
        );
        assert!(!shown.contains("<script"), "{shown}");
        let page = busy(200, 10, None);
        assert_eq!(page.status(), 200);
        assert!(!text(page).contains("http-equiv"));
    }

    /// A response with a cookie of ours is one client's alone.
    #[test]
    fn what_sets_a_cookie_is_private() {
        let check = |before: &[&str], wanted: &str| {
            let mut headers = HeaderMap::new();
            for value in before {
                headers.append(CACHE_CONTROL, HeaderValue::from_str(value).unwrap());
            }
            headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=9"));
            private(&mut headers);
            let all: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(all.join(" | "), wanted, "{before:?}");
            let is_changed = all != before;
            assert_eq!(headers.contains_key("cdn-cache-control"), !is_changed, "{before:?}");
        };
        check(&[], "private");
        check(&["public, max-age=600"], "private, max-age=600");
        check(&["Public", "S-MaxAge=600 , max-age=60"], "private, max-age=60");
        check(&["no-cache"], "private, no-cache");
        check(&["private=\"x\", max-age=1"], "private, private=\"x\", max-age=1");
        check(&["no-store"], "no-store");
        check(&["max-age=60, private"], "max-age=60, private");
    }

    /// C13: refused, and told why.
    #[test]
    fn c13_refusals() {
        for refusal in Refusal::ALL {
            let page = refuse(refusal);
            assert_eq!(page.status(), refusal.status());
            assert!(text(page).contains(refusal.text()));
        }
    }
}
