//! The routes that every service has, and what stands before all routes: the token, the body limit, the request count.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::{counter::Counter, family::Family};
use prometheus_client::registry::Registry;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::extract::BodyLimit;
use crate::{Clock, Config, Problem};

/// How long a readiness check may take. Whoever probes has a limit too and should learn the reason rather than nothing.
const READINESS_LIMIT: Duration = Duration::from_secs(2);

/// Asks whether the service can do its work; the error is the reason why not.
pub(crate) type Readiness = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

struct Shared {
    config: Config,
    readiness: Readiness,
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    shutting_down: Arc<AtomicBool>,
}

/// The whole router of a service: its API under `/api/v1` behind the token, and the standard routes.
pub(crate) fn whole(
    config: &Config,
    api: Router,
    readiness: Readiness,
    mut registry: Registry,
    limit: BodyLimit,
    shutting_down: Arc<AtomicBool>,
) -> Router {
    let requests = Family::default();
    registry.register("http_requests", "Answered requests by route and status", requests.clone());
    let shared =
        Arc::new(Shared { config: config.clone(), readiness, registry: Mutex::new(registry), requests, shutting_down });
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(&shared))
        .nest("/api/v1", api)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(Extension(limit))
        .layer(from_fn_with_state(Arc::clone(&shared), authenticate))
        .layer(from_fn_with_state(shared, count))
}

async fn healthz() -> Response {
    let now = Clock::system().now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    axum::Json(json!({ "status": "healthy", "timestamp": now })).into_response()
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let checked = if shared.shutting_down.load(Ordering::Relaxed) {
        Err("shutting_down".to_owned())
    } else {
        tokio::time::timeout(READINESS_LIMIT, (shared.readiness)())
            .await
            .unwrap_or_else(|_| Err(format!("the readiness check took longer than {} s", READINESS_LIMIT.as_secs())))
    };
    match checked {
        Ok(()) => axum::Json(json!({ "status": "ready" })).into_response(),
        Err(reason) => {
            let body = axum::Json(json!({ "status": "not_ready", "reason": reason }));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn version(State(shared): State<Arc<Shared>>) -> Response {
    axum::Json(&shared.config.identity).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let mut text = String::new();
    encode(&mut text, &shared.registry.lock().unwrap_or_else(PoisonError::into_inner)).map_err(Problem::internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response())
}

async fn not_found(request: Request) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} is not possible at {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Refuses what lies under `/api` without the token, before the body is read and before it is said whether the route exists.
///
/// The API is nested under the literal `/api/v1`, and routes match the path as it was sent, so the prefix cannot be spelled
/// differently on the way to a route.
async fn authenticate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with("/api") {
        return next.run(request).await;
    }
    let realm = shared.config.identity.service;
    let (detail, challenge) = match bearer(request.headers()) {
        None => ("there is no bearer token: send `Authorization: Bearer TOKEN`", format!("Bearer realm=\"{realm}\"")),
        Some(token) if bool::from(token.ct_eq(shared.config.api_token.expose().as_bytes())) => {
            return next.run(request).await;
        }
        Some(_) => (
            "the bearer token is not the one of this service",
            format!("Bearer realm=\"{realm}\", error=\"invalid_token\""),
        ),
    };
    // The answer goes out before the body is read; the body is still taken in, or the client may lose the answer to a reset.
    drop(tokio::spawn(crate::extract::linger(request.into_body())));
    let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
    match HeaderValue::try_from(challenge) {
        Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge).into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}

/// Counts answers by the route's pattern, not its path: a path is the caller's choice and would grow the metrics without bound.
async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = match request.method() {
        known @ (&Method::GET | &Method::POST | &Method::PUT | &Method::DELETE | &Method::PATCH | &Method::HEAD) => {
            known.to_string()
        }
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    shared.requests.get_or_create(&RequestLabels { method, route, status: response.status().as_u16() }).inc();
    response
}
