//! The routes under `/api/v1`: from a request to the storage and back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use service_kit::extract::{JsonBytes, parse_json};
use service_kit::{Clock, Problem};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::event::{Event, instant};
use crate::metrics::Metrics;
use crate::query::Query;
use crate::storage::{Key, Outcome, Storage, StoreError, Used, Write};
use crate::validate::{self, Invalid};

/// The largest body in bytes: 4 MiB, with which an event of a full batch may have 8 KiB.
pub const BODY_LIMIT: usize = 4 << 20;

/// How long a request may wait for the database. Longer than the storages' own limits, so that their reasons are what is answered.
const STORAGE_LIMIT: Duration = Duration::from_secs(15);

/// The header by which a client marks its retries (draft-ietf-httpapi-idempotency-key-header).
const KEY_HEADER: &str = "Idempotency-Key";

/// The longest idempotency key, in characters.
const KEY_MAX: usize = 255;

#[derive(Clone)]
struct Api {
    storage: Arc<dyn Storage>,
    clock: Clock,
    metrics: Metrics,
}

/// The routes, relative to `/api/v1`.
pub(crate) fn routes(storage: Arc<dyn Storage>, clock: Clock, metrics: Metrics) -> Router {
    Router::new()
        .route("/audit/events", get(find).post(store_event))
        .route("/audit/events/batch", post(store_batch))
        .route("/audit/events/{id}", get(event))
        .with_state(Api { storage, clock, metrics })
}

/// The two shapes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Event,
    Batch,
}

async fn store_event(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.write(request, Shape::Event).await
}

async fn store_batch(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    api.write(request, Shape::Batch).await
}

async fn event(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let missing = || Problem::not_found(format!("there is no event with the id {}", validate::quoted(&id)));
    let uuid = Uuid::parse_str(&id).map_err(|_| missing())?;
    let event = limited(api.storage.event(uuid)).await.map_err(|error| problem(error, Shape::Event))?;
    Ok(Json(event.ok_or_else(missing)?.to_json()).into_response())
}

async fn find(
    State(api): State<Api>,
    service_kit::Query(parameters): service_kit::Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let query = Query::parse(parameters, api.clock.now()).map_err(invalid)?;
    let (limit, offset) = (query.limit, query.offset);
    let page = limited(api.storage.find(query)).await.map_err(|error| problem(error, Shape::Event))?;
    let shown = i64::try_from(page.events.len()).unwrap_or(i64::MAX);
    let body = json!({
        "data": page.events.iter().map(Event::to_json).collect::<Vec<_>>(),
        "pagination": {
            "limit": limit,
            "offset": offset,
            "total": page.total,
            "has_more": offset.saturating_add(shown) < page.total && shown > 0,
        },
    });
    Ok(Json(body).into_response())
}

impl Api {
    async fn write(&self, request: Request, shape: Shape) -> Result<Response, Problem> {
        let result = self.try_write(request, shape).await;
        if let Err(problem) = &result {
            self.metrics.reject(match problem.status() {
                StatusCode::BAD_REQUEST => "invalid",
                StatusCode::CONFLICT => "duplicate",
                StatusCode::PAYLOAD_TOO_LARGE => "too_large",
                StatusCode::UNSUPPORTED_MEDIA_TYPE => "content_type",
                StatusCode::UNPROCESSABLE_ENTITY => "key_reused",
                StatusCode::SERVICE_UNAVAILABLE => "unavailable",
                _ => "failed",
            });
        }
        result
    }

    async fn try_write(&self, request: Request, shape: Shape) -> Result<Response, Problem> {
        let key = idempotency_key(request.headers());
        let JsonBytes(body) = JsonBytes::from_request(request, &()).await?;
        // only now: an answer to a body that is still on its way may be lost with the connection
        let key = key?;
        let fingerprint = fingerprint(shape, &body);
        // before validation: a retry must be answered alike when its timestamps have become too old meanwhile
        if let Some(key) = &key
            && let Some(used) =
                limited(self.storage.replay(key.clone())).await.map_err(|error| problem(error, shape))?
        {
            if used.fingerprint != fingerprint {
                return Err(problem(StoreError::KeyReused, shape));
            }
            self.metrics.replayed.inc();
            return Ok(created(used.response));
        }
        let value: Value = parse_json(&body)?;
        let now = self.clock.now();
        let events = match shape {
            Shape::Event => vec![validate::event(value, now).map_err(invalid)?],
            Shape::Batch => validate::batch(value, now).map_err(invalid)?,
        };
        let response = answer(&events, shape);
        let key = key.map(|key| Key { key, used: Used { fingerprint, response: response.clone() } });
        let count = events.len();
        match limited(self.storage.store(Write { events, key })).await.map_err(|error| problem(error, shape))? {
            Outcome::Stored => {
                self.metrics.stored.inc_by(count as u64);
                if shape == Shape::Batch {
                    self.metrics.batch_size.observe(count as f64);
                }
                Ok(created(response))
            }
            Outcome::Replayed(response) => {
                self.metrics.replayed.inc();
                Ok(created(response))
            }
        }
    }
}

/// Waits for the storage, but not for ever. A write that is given up here may still be stored: with an idempotency key the client can ask
/// again and learn which.
async fn limited<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(STORAGE_LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::Unavailable(format!("no answer within {} s", STORAGE_LIMIT.as_secs()))),
    }
}

/// The body of a 201, which is also what a retry is answered.
fn answer(events: &[Event], shape: Shape) -> String {
    let body = match (events, shape) {
        ([event], Shape::Event) => json!({
            "event_id": event.event_id.to_string(),
            "event_timestamp": instant(event.event_timestamp),
            "message": "audit event stored",
        }),
        _ => json!({
            "event_ids": events.iter().map(|event| event.event_id.to_string()).collect::<Vec<_>>(),
            "message": format!("{} audit events stored", events.len()),
        }),
    };
    body.to_string()
}

fn created(body: String) -> Response {
    (StatusCode::CREATED, [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// What makes a request the same as another: the route and the bytes of the body.
fn fingerprint(shape: Shape, body: &[u8]) -> String {
    let route: &[u8] = if shape == Shape::Batch { b"batch\n" } else { b"event\n" };
    let digest = Sha256::new().chain_update(route).chain_update(body).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_MAX || values.next().is_some() {
        let detail = format!("{KEY_HEADER} must be given once, with 1 to {KEY_MAX} visible ASCII characters");
        return Err(Problem::invalid(KEY_HEADER, detail));
    }
    Ok(Some(key.to_owned()))
}

fn invalid(invalid: Invalid) -> Problem {
    Problem::invalid(invalid.field.unwrap_or_default(), invalid.detail)
}

fn problem(error: StoreError, shape: Shape) -> Problem {
    let at = |index: usize| if shape == Shape::Batch { format!("event at index {index}: ") } else { String::new() };
    match error {
        StoreError::UnknownParent(index, _) => Problem::invalid("parent_event_id", format!("{}{error}", at(index))),
        StoreError::Duplicate(index, _) => Problem::conflict(format!("{}{error}", at(index))),
        StoreError::KeyReused => {
            let detail = format!("{KEY_HEADER} was used for another request: use a new key for a new request");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
        StoreError::Unavailable(_) => {
            service_kit::log!("datastorage: {error}");
            let problem = Problem::unavailable("the database is unavailable: try again with the same Idempotency-Key");
            problem.with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        StoreError::Failed(_) => Problem::internal(error),
    }
}
