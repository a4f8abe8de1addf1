//! The routes: signals in, results out.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use service_kit::audit::AuditClient;
use service_kit::prometheus_client::metrics::{counter::Counter, family::Family};
use service_kit::prometheus_client::registry::Registry;
use service_kit::{Clock, Json, Path, Problem};

use crate::audit;
use crate::enrich::enrich;
use crate::input::Submission;
use crate::rules::{Facts, Priority, Rules};
use crate::store::{Processing, Put, Store};

/// The most results that are remembered. A submission has at most 16 KiB of texts, so this is some 300 MiB at worst.
const CAPACITY: usize = 10_000;

/// What the handlers share.
pub(crate) struct Processor {
    rules: Rules,
    store: Store,
    audit: AuditClient,
    clock: Clock,
    processed: Family<Vec<(&'static str, &'static str)>, Counter>,
}

impl Processor {
    /// A processor that has seen nothing yet.
    pub(crate) fn new(rules: Rules, audit: AuditClient, clock: Clock, registry: &mut Registry) -> Processor {
        let processed = Family::default();
        registry.register("signalprocessing_signals", "Processed signals by priority", processed.clone());
        Processor { rules, store: Store::new(CAPACITY), audit, clock, processed }
    }

    fn process(&self, submission: Submission) -> Processing {
        let context = enrich(&submission);
        let decision = self.rules.decide(Facts {
            namespace: &context.namespace,
            kind: &submission.signal.target_resource.kind,
            signal: &submission.signal.name,
            severity: &submission.signal.severity,
            labels: &context.labels,
        });
        let name = Processing::name_of(&submission.remediation_request_name);
        Processing { name, submission, context, decision, at: self.clock.now() }
    }
}

/// The routes below `/api/v1`.
pub(crate) fn routes(processor: Arc<Processor>) -> Router {
    Router::new().route("/signals", post(submit)).route("/signals/{name}", get(one)).with_state(processor)
}

/// Processing takes microseconds, so the answer has the result already: 201 for a new one, 200 if the same was sent before.
async fn submit(
    State(processor): State<Arc<Processor>>,
    Json(submission): Json<Submission>,
) -> Result<Response, Problem> {
    submission.check()?;
    let started = Instant::now();
    match processor.store.put(processor.process(submission)) {
        Put::New(processing) => {
            let duration = started.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
            audit::processed(&processor.audit, &processing, duration);
            let priority = match processing.decision.priority.value {
                Priority::P0 => "P0",
                Priority::P1 => "P1",
                Priority::P2 => "P2",
                Priority::P3 => "P3",
            };
            processor.processed.get_or_create(&vec![("priority", priority)]).inc();
            let location = [(header::LOCATION, format!("/api/v1/signals/{}", processing.name))];
            Ok((StatusCode::CREATED, location, axum::Json(processing.resource())).into_response())
        }
        Put::Same(processing) => Ok(axum::Json(processing.resource()).into_response()),
        Put::Other => Err(Problem::conflict("the remediation request was processed already, with another signal")),
    }
}

async fn one(State(processor): State<Arc<Processor>>, Path(name): Path<String>) -> Result<Response, Problem> {
    match processor.store.get(&name) {
        Some(processing) => Ok(axum::Json(processing.resource()).into_response()),
        None => Err(Problem::not_found(format!("there is no processed signal {name:?}"))),
    }
}
