//! Extractors whose rejections are problems.
//!
//! axum's own answer in plain text, and 422 where the contract says 400.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use crate::Problem;

/// The largest request body in bytes, as an extension: `.layer(Extension(BodyLimit(n)))` on a route overrides the service's.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

impl BodyLimit {
    /// 1 MiB.
    pub const DEFAULT: BodyLimit = BodyLimit(1 << 20);
}

/// How much of a body that is refused is still read, and for how long, before the answer: a client that is still writing when
/// the connection closes may lose the answer to a reset (RFC 9112, section 9.6).
const LINGER: (usize, Duration) = (16 << 20, Duration::from_secs(2));

/// A JSON request body: 415 for another content type, 413 above the [`BodyLimit`], 400 for anything that is not a `T`.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Problem> {
        let JsonBytes(body) = JsonBytes::from_request(request, state).await?;
        parse_json(&body).map(Json)
    }
}

/// The bytes of a request body with JSON in it, for a handler that looks at the text before it parses it (with [`parse_json`]).
pub struct JsonBytes(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<JsonBytes, Problem> {
        if let Err(problem) = require_json(request.headers().get(header::CONTENT_TYPE)) {
            linger(request.into_body()).await;
            return Err(problem);
        }
        let limit = body_limit(request.extensions());
        read_body(request.into_body(), limit).await.map(JsonBytes)
    }
}

/// The query of the address as a `T`; anything else is a 400.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Query<T>, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Query(query)),
            Err(rejection) => Err(Problem::invalid("", format!("query: {}", rejection.body_text()))),
        }
    }
}

/// The parameters of the path as a `T`; what is not one (or not UTF-8) is a 400.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Path(path)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// Parses JSON.
///
/// # Errors
///
/// A 400 that says where the text breaks, or which field is not what it should be.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        match error.inner().classify() {
            serde_json::error::Category::Data => Problem::invalid(path, error.inner().to_string()),
            _ => Problem::invalid("", format!("the body is not JSON: {}", error.inner())),
        }
    })?;
    json.end().map_err(|error| Problem::invalid("", format!("the body is not one JSON value: {error}")))?;
    Ok(value)
}

fn body_limit(extensions: &axum::http::Extensions) -> BodyLimit {
    extensions.get().copied().unwrap_or(BodyLimit::DEFAULT)
}

fn require_json(content_type: Option<&axum::http::HeaderValue>) -> Result<(), Problem> {
    let essence = content_type.and_then(|value| value.to_str().ok()).unwrap_or("none");
    let essence = essence.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("the content type is {essence}: send the body as application/json");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

async fn read_body(mut body: Body, BodyLimit(limit): BodyLimit) -> Result<Bytes, Problem> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        // A body that ends early has nobody left who reads the answer; any status will do.
        let frame = frame.map_err(|error| Problem::invalid("", format!("cannot read the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > limit {
            linger(body).await;
            let detail = format!("the body is larger than {limit} bytes: send less at once");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.into())
}

/// Reads what a client still sends of a body that nobody wants, within [`LINGER`].
pub(crate) async fn linger(body: Body) {
    drop(tokio::time::timeout(LINGER.1, discard(body)).await);
}

async fn discard(mut body: Body) {
    let mut left = LINGER.0;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.into_data().map_or(0, |data| data.len()));
        if left == 0 {
            return;
        }
    }
}
