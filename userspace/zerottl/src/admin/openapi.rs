//! The admin interface, described: made from the handlers and the types of their pages.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    cookie_secrets,
    extract::{Plain, Refusals},
    fleet, health, load, overrides, pages, reload,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "zerottl",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
        description = "The admin interface of a zerottl agent. Fields are only ever added; readers pass over those they do not know."
    ),
    paths(
        pages::dashboard,
        pages::metrics,
        pages::status,
        pages::explain,
        fleet::fleet,
        pages::history,
        pages::trace,
        openapi,
        overrides::drained,
        load::take,
        reload::reload,
        overrides::word,
        overrides::weight,
        health::health,
        cookie_secrets::make_secret,
    ),
    tags(
        (name = "read", description = "Shows something"),
        (name = "write", description = "Changes something; needs Content-Type: application/json"),
    ),
    modifiers(&Token, &Refusals),
    security((), ("token" = [])),
)]
struct Document;

/// The token that clients over TCP show where one is configured.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let words = "Asked of clients over TCP where [admin] `token_file` is configured";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This interface, described (`OpenAPI` 3.1).
#[utoipa::path(get, path = "/v1/openapi.json", tag = "read", responses((status = 200, content_type = "application/json")))]
pub(super) async fn openapi(_: Plain) -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
