//! Parameters and bodies of requests: those that are known, or 400.
//!
//! A parameter that is passed over in silence is a slip that nobody sees (`?clinet=…`, a `weight` left out), so nothing is.

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::{
    Modify,
    openapi::{Ref, RefOr, ResponseBuilder},
};

use super::error_body::ErrorBody;
use zerottl_core::admin_access::unexpected_query;

/// Parameters as `T` has them; its unknown ones are to be denied by serde.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedQuery<T>(pub T);

/// No parameters.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

/// A JSON body; what it lacks or has too much is a [`ErrorBody`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckedBody<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for CheckedQuery<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(why) => Err(invalid(why.body_text())),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Plain {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match unexpected_query(&parts.uri) {
            None => Ok(Self),
            Some(why) => Err(invalid(why)),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for CheckedBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(said)) => Ok(Self(said)),
            // Too long, or cut off: the server's own words and status.
            Err(JsonRejection::BytesRejection(why)) => Err(why.into_response()),
            Err(why) => Err(invalid(why.body_text())),
        }
    }
}

/// A [`ErrorBody`] of the request's.
pub(super) fn invalid(message: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(ErrorBody { error: "invalid".into(), message })).into_response()
}

/// Reads a field that may be null and must be there.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    reader: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(reader)
}

/// Tells of the 400 that every request may get.
pub(super) struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                let words = "A parameter or a field that is not known, is missing or is malformed";
                let content =
                    utoipa::openapi::ContentBuilder::new().schema(Some(Ref::from_schema_name("Fault"))).build();
                let response = ResponseBuilder::new().description(words).content("application/json", content).build();
                operation.responses.responses.entry("400".into()).or_insert(RefOr::T(response));
            }
        }
    }
}
