//! The routes: signals in, remediation requests out.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use service_kit::audit::AuditClient;
use service_kit::prometheus_client::metrics::{counter::Counter, family::Family};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{Clock, Json, Path, Problem, Query};

use crate::alertmanager::Webhook;
use crate::audit;
use crate::kubernetes::Event;
use crate::signal::{Signal, sent};
use crate::store::{NAMESPACE, Store};

/// The most remediation requests that are remembered. Signals have at most 16 KiB of texts, so this is 160 MiB at worst.
const CAPACITY: usize = 10_000;

/// The most remediation requests on one page, and how many there are when the caller does not say.
const PAGE: (usize, usize) = (500, 100);

/// What the handlers share.
pub(crate) struct Gateway {
    store: Store,
    audit: AuditClient,
    clock: Clock,
    unmanaged: Vec<String>,
    signals: Family<Vec<(&'static str, &'static str)>, Counter>,
}

impl Gateway {
    /// A gateway that has seen nothing yet. `unmanaged` lists namespaces, separated by commas.
    pub(crate) fn new(audit: AuditClient, clock: Clock, unmanaged: &str, registry: &mut Registry) -> Gateway {
        let signals = Family::default();
        registry.register("gateway_signals", "Signals by what became of them", signals.clone());
        let unmanaged =
            unmanaged.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
        Gateway { store: Store::new(CAPACITY), audit, clock, unmanaged, signals }
    }

    /// What becomes of a signal that has been read.
    fn take(&self, signal: Signal, now: DateTime<Utc>) -> Fate {
        let fate = if self.unmanaged.contains(&signal.namespace) {
            Fate::rejected(format!("the namespace {} is not managed", signal.namespace))
        } else if signal.resolved {
            self.resolve(&signal, now)
        } else {
            self.store.receive(signal, now, |request, signal, new| {
                if new {
                    audit::created(&self.audit, request, signal, now);
                } else {
                    audit::deduplicated(&self.audit, request, signal, now);
                }
                let (status, word, message) = if new {
                    (StatusCode::CREATED, "created", "a remediation request was made".to_owned())
                } else {
                    let message = format!("this is occurrence {} of a known problem", request.occurrences);
                    (StatusCode::ACCEPTED, "duplicate", message)
                };
                Fate::new(status, word, message).of(&request.fingerprint).request(&request.name)
            })
        };
        self.signals.get_or_create(&vec![("result", fate.word)]).inc();
        fate
    }

    fn resolve(&self, signal: &Signal, now: DateTime<Utc>) -> Fate {
        let fingerprint = signal.fingerprint();
        match self.store.resolve(&fingerprint, now) {
            Some(request) => {
                audit::resolved(&self.audit, &request, signal, now);
                let message = "the problem is over: its next signal makes a new remediation request".to_owned();
                Fate::new(StatusCode::OK, "resolved", message).of(&fingerprint).request(&request.name)
            }
            None => Fate::new(StatusCode::OK, "resolved", "no open problem was known".to_owned()).of(&fingerprint),
        }
    }

    fn invalid(&self, problem: &Problem) -> Fate {
        self.signals.get_or_create(&vec![("result", "invalid")]).inc();
        let mut fate = Fate::new(problem.status(), "invalid", problem.detail().to_owned());
        if let Some(field) = problem.field() {
            fate.members.insert("field".to_owned(), field.into());
        }
        fate
    }
}

/// What became of one signal.
struct Fate {
    status: StatusCode,
    word: &'static str,
    members: Map<String, Value>,
}

impl Fate {
    fn new(status: StatusCode, word: &'static str, message: String) -> Fate {
        let members =
            [("status", word.into()), ("message", message.into()), ("duplicate", (word == "duplicate").into())];
        Fate {
            status,
            word,
            members: members.map(|(key, value): (&str, Value)| (key.to_owned(), value)).into_iter().collect(),
        }
    }

    fn rejected(message: String) -> Fate {
        Fate::new(StatusCode::OK, "rejected", message)
    }

    fn of(mut self, fingerprint: &str) -> Fate {
        self.members.insert("fingerprint".to_owned(), fingerprint.into());
        self
    }

    fn request(mut self, name: &str) -> Fate {
        self.members.insert("remediationRequestName".to_owned(), name.into());
        self.members.insert("remediationRequestNamespace".to_owned(), NAMESPACE.into());
        self
    }

    fn into_response(self) -> Response {
        let location = match (self.status, self.members.get("remediationRequestName")) {
            (StatusCode::CREATED, Some(Value::String(name))) => Some(format!("/api/v1/remediation-requests/{name}")),
            _ => None,
        };
        let answer = (self.status, axum::Json(self.members));
        match location {
            Some(location) => ([(header::LOCATION, location)], answer).into_response(),
            None => answer.into_response(),
        }
    }
}

/// The routes below `/api/v1`.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/signals/prometheus", post(prometheus))
        .route("/signals/kubernetes-event", post(kubernetes_event))
        .route("/remediation-requests", get(list))
        .route("/remediation-requests/{name}", get(one))
        .with_state(gateway)
}

/// A single alert is answered with its own status; several with 207 and the result of each, since they may differ.
async fn prometheus(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Json(webhook): Json<Webhook>,
) -> Result<Response, Problem> {
    let now = gateway.clock.now();
    let sent = sent(headers.get("x-timestamp").map(|value| value.as_bytes()), now)?;
    let mut signals = Vec::new();
    for (index, alert) in webhook.alerts()?.into_iter().enumerate() {
        let at = format!("alerts[{index}].");
        signals.push(alert.signal(&at).and_then(|signal| signal.check(&at, sent, now).map(|()| signal)));
    }
    if signals.len() == 1
        && let Some(signal) = signals.pop()
    {
        return match signal {
            Ok(signal) => Ok(gateway.take(signal, now).into_response()),
            Err(problem) => {
                gateway.invalid(&problem);
                Err(problem)
            }
        };
    }
    let mut counts = Map::new();
    let mut results = Vec::new();
    for (index, signal) in signals.into_iter().enumerate() {
        let fate = match signal {
            Ok(signal) => gateway.take(signal, now),
            Err(problem) => gateway.invalid(&problem),
        };
        let count = counts.get(fate.word).and_then(Value::as_u64).unwrap_or_default();
        counts.insert(fate.word.to_owned(), (count + 1).into());
        let mut result = fate.members;
        result.insert("index".to_owned(), index.into());
        result.insert("statusCode".to_owned(), fate.status.as_u16().into());
        results.push(result);
    }
    Ok((StatusCode::MULTI_STATUS, axum::Json(json!({ "results": results, "summary": counts }))).into_response())
}

async fn kubernetes_event(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    Json(event): Json<Event>,
) -> Result<Response, Problem> {
    let now = gateway.clock.now();
    let sent = sent(headers.get("x-timestamp").map(|value| value.as_bytes()), now)?;
    let signal = event.signal().and_then(|signal| match signal {
        Some(signal) => signal.check("", sent, now).map(|()| Some(signal)),
        None => Ok(None),
    });
    match signal {
        Ok(Some(signal)) => Ok(gateway.take(signal, now).into_response()),
        Ok(None) => {
            gateway.signals.get_or_create(&vec![("result", "rejected")]).inc();
            Ok(Fate::rejected("events of type Normal are no problems".to_owned()).into_response())
        }
        Err(problem) => {
            gateway.invalid(&problem);
            Err(problem)
        }
    }
}

#[derive(Deserialize)]
struct Page {
    fingerprint: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn list(State(gateway): State<Arc<Gateway>>, Query(page): Query<Page>) -> Result<Response, Problem> {
    let limit = page.limit.unwrap_or(PAGE.1);
    if !(1..=PAGE.0).contains(&limit) {
        return Err(Problem::invalid("limit", format!("limit is {limit}, allowed is 1 to {}", PAGE.0)));
    }
    let offset = page.offset.unwrap_or_default();
    let (requests, total) = gateway.store.list(page.fingerprint.as_deref(), limit, offset);
    let has_more = offset.saturating_add(requests.len()) < total;
    let data: Vec<Value> = requests.iter().map(|request| request.resource()).collect();
    let pagination = json!({ "limit": limit, "offset": offset, "total": total, "has_more": has_more });
    Ok(axum::Json(json!({ "data": data, "pagination": pagination })).into_response())
}

async fn one(State(gateway): State<Arc<Gateway>>, Path(name): Path<String>) -> Result<Response, Problem> {
    match gateway.store.get(&name) {
        Some(request) => Ok(axum::Json(request.resource()).into_response()),
        None => Err(Problem::not_found(format!("there is no remediation request {name:?}"))),
    }
}
