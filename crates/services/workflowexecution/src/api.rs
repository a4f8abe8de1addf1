//! The routes.
//!
//! | route                                   | body                    | answer                                     |
//! |-----------------------------------------|-------------------------|--------------------------------------------|
//! | `POST /api/v1/executions`               | [`Spec`]                | 201, 200 if it was there, 409 if busy      |
//! | `GET /api/v1/executions/{name}`         |                         | 200 with the steps' statuses and outputs   |
//! | `POST /api/v1/executions/{name}/cancel` | [`CancelRequest`]: `by` | 200, 409 if it has ended                   |

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use service_kit::{Json, Problem};
use uuid::Uuid;

use crate::request::{CancelRequest, Spec};
use crate::runner::Runner;

type Name = Result<Path<String>, PathRejection>;
type Answer = Result<axum::Json<Value>, Problem>;
type Shared = State<Arc<Runner>>;

pub(crate) fn routes(runner: Arc<Runner>) -> Router {
    Router::new()
        .route("/executions", post(create))
        .route("/executions/{name}", get(show))
        .route("/executions/{name}/cancel", post(cancel))
        .with_state(runner)
}

async fn create(State(runner): Shared, Json(mut spec): Json<Spec>) -> Result<Response, Problem> {
    let actions = spec.check()?;
    if spec.name.is_empty() {
        spec.name = format!("wfe-{}", Uuid::new_v4().simple());
    }
    let location = format!("/api/v1/executions/{}", spec.name);
    let (shown, new) = runner.create(spec, actions)?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, [(header::LOCATION, location)], axum::Json(shown)).into_response())
}

async fn show(State(runner): Shared, name: Name) -> Answer {
    runner.get(&text(name)?).map(axum::Json)
}

async fn cancel(State(runner): Shared, name: Name, Json(request): Json<CancelRequest>) -> Answer {
    let message = request.message()?;
    runner.cancel(&text(name)?, message).map(axum::Json)
}

fn text(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|rejection| Problem::invalid("", rejection.body_text()))
}

#[cfg(test)]
mod tests;
