//! The routes.
//!
//! | route                                        | body                                        | answer                      |
//! |----------------------------------------------|---------------------------------------------|-----------------------------|
//! | `POST /api/v1/remediations`                  | [`Spec`]                                    | 201, 200 if it was there    |
//! | `GET /api/v1/remediations/{name}`            |                                             | 200 with phase and history  |
//! | `POST /api/v1/remediations/{name}/progress`  | [`Report`]: `phase` or `outcome`            | 200, 409 if off the edges   |
//! | `POST /api/v1/remediations/{name}/approval`  | [`DecisionRequest`]: `decision`, `by`       | 200, 409 if none is awaited |
//! | `POST /api/v1/remediations/{name}/cancel`    | [`CancelRequest`]: `by`                     | 200, 409 if it has ended    |

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use service_kit::{Json, Problem};

use crate::orchestrator::Orchestrator;
use crate::remediation::Why;
use crate::request::{CancelRequest, DecisionRequest, Report, Spec};

type Name = Result<Path<String>, PathRejection>;
type Answer = Result<axum::Json<Value>, Problem>;
type Shared = State<Arc<Orchestrator>>;

pub(crate) fn routes(orchestrator: Arc<Orchestrator>) -> Router {
    Router::new()
        .route("/remediations", post(create))
        .route("/remediations/{name}", get(show))
        .route("/remediations/{name}/progress", post(progress))
        .route("/remediations/{name}/approval", post(approval))
        .route("/remediations/{name}/cancel", post(cancel))
        .with_state(orchestrator)
}

async fn create(State(orchestrator): Shared, Json(spec): Json<Spec>) -> Result<Response, Problem> {
    spec.check()?;
    let location = format!("/api/v1/remediations/{}", spec.name);
    let (shown, new) = orchestrator.create(spec)?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], axum::Json(shown)).into_response())
}

async fn show(State(orchestrator): Shared, name: Name) -> Answer {
    orchestrator.get(&text(name)?).map(axum::Json)
}

async fn progress(State(orchestrator): Shared, name: Name, Json(report): Json<Report>) -> Answer {
    let to = report.target()?;
    let why = Why::new(if report.reason.is_empty() { "Reported".to_owned() } else { report.reason }, report.message);
    orchestrator.change(&text(name)?, |remediation, now| remediation.report(to, why, now)).map(axum::Json)
}

async fn approval(State(orchestrator): Shared, name: Name, Json(request): Json<DecisionRequest>) -> Answer {
    let decision = request.check()?;
    let DecisionRequest { by, reason, .. } = request;
    orchestrator
        .change(&text(name)?, |remediation, now| remediation.decide(decision, &by, &reason, now))
        .map(axum::Json)
}

async fn cancel(State(orchestrator): Shared, name: Name, Json(request): Json<CancelRequest>) -> Answer {
    request.check()?;
    let CancelRequest { by, reason } = request;
    let message = if reason.is_empty() { format!("cancelled by {by}") } else { format!("cancelled by {by}: {reason}") };
    let why = Why::new("Cancelled", message);
    orchestrator.change(&text(name)?, |remediation, now| remediation.cancel(why, now)).map(axum::Json)
}

fn text(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|rejection| Problem::invalid("", rejection.body_text()))
}

#[cfg(test)]
mod tests;
