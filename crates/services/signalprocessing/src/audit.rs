//! The audit events of a processed signal. Their correlation id is the name of the remediation request, their resource the result.

use serde_json::json;
use service_kit::audit::{AuditClient, Event, Outcome};

use crate::store::Processing;

/// Records both events: what was decided and by which rules, then that the signal is done.
pub(crate) fn processed(audit: &AuditClient, processing: &Processing, duration_ms: u64) {
    let decision = &processing.decision;
    let signal = &processing.submission.signal;
    let event = |kind: &str, action: &str| {
        let correlation_id = processing.submission.remediation_request_name.as_str();
        let event = Event::new("signalprocessing", kind, action, Outcome::Success, correlation_id, processing.at)
            .resource("SignalProcessing", processing.name.as_str())
            .severity(decision.severity.value.word())
            .data(json!({
                "signal_name": signal.name,
                "fingerprint": signal.fingerprint,
                "environment": decision.environment.value,
                "severity": decision.severity.value,
                "priority": decision.priority.value,
            }));
        let namespace = &processing.context.namespace;
        if namespace.is_empty() { event } else { event.namespace(namespace.as_str()) }
    };
    audit.record(event("signalprocessing.classification.decision", "classified").data(json!({
        "sender_severity": signal.severity,
        "environment_rule": decision.environment.rule,
        "severity_rule": decision.severity.rule,
        "priority_rule": decision.priority.rule,
    })));
    audit.record(event("signalprocessing.signal.processed", "processed").duration_ms(duration_ms).data(json!({
        "phase": "Completed",
        "owner": processing.context.owner,
        "owner_source": processing.context.owner_source,
        "degraded": processing.context.degraded,
    })));
}
