//! The gateway's audit events. Their correlation id is the name of the remediation request.

use chrono::{DateTime, Utc};
use serde_json::json;
use service_kit::audit::{AuditClient, Event, Outcome};

use crate::signal::{Signal, summary};
use crate::store::{NAMESPACE, RemediationRequest};

fn event(kind: &str, action: &str, request: &RemediationRequest, signal: &Signal, now: DateTime<Utc>) -> Event {
    let event = Event::new("gateway", kind, action, Outcome::Success, request.name.as_str(), now)
        .severity(signal.severity.as_str())
        .data(summary(signal, &request.fingerprint))
        .data(json!({ "remediation_request": format!("{NAMESPACE}/{}", request.name) }));
    if signal.namespace.is_empty() { event } else { event.namespace(signal.namespace.as_str()) }
}

/// A signal that made a remediation request: two events.
pub(crate) fn created(audit: &AuditClient, request: &RemediationRequest, signal: &Signal, now: DateTime<Utc>) {
    audit.record(
        event("gateway.signal.received", "received", request, signal, now)
            .resource("Signal", request.fingerprint.as_str())
            .data(json!({ "deduplication_status": "new" })),
    );
    audit.record(
        event("gateway.crd.created", "created", request, signal, now)
            .resource("RemediationRequest", request.name.as_str()),
    );
}

/// A signal of a problem that has one already.
pub(crate) fn deduplicated(audit: &AuditClient, request: &RemediationRequest, signal: &Signal, now: DateTime<Utc>) {
    let count = request.occurrences;
    audit.record(
        event("gateway.signal.deduplicated", "deduplicated", request, signal, now)
            .resource("Signal", request.fingerprint.as_str())
            .data(json!({ "deduplication_status": "duplicate", "occurrence_count": count })),
    );
}

/// The problem is over.
pub(crate) fn resolved(audit: &AuditClient, request: &RemediationRequest, signal: &Signal, now: DateTime<Utc>) {
    audit.record(
        event("gateway.signal.resolved", "resolved", request, signal, now)
            .resource("Signal", request.fingerprint.as_str())
            .data(json!({ "occurrence_count": request.occurrences })),
    );
}
