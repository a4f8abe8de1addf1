//! What the tests of this suite share.

use e2e_suite::{Client, Response, Run, eventually_events, unique};
use serde_json::{Value, json};

/// A client of the service under test.
pub(crate) fn service() -> Client {
    Run::current().client("remediationorchestrator")
}

/// A remediation of this test alone.
pub(crate) struct Remediation {
    client: Client,
    pub(crate) name: String,
}

impl Remediation {
    /// Requests one; `more` are fields of the request besides those that every request has.
    pub(crate) fn create(more: Value) -> Remediation {
        let client = service();
        let request = request(more);
        let shown = client.post("/api/v1/remediations", &request).expect_status(201).json();
        assert_eq!((&shown["name"], &shown["phase"]), (&request["name"], &json!("pending")), "{shown}");
        Remediation { client, name: shown["name"].as_str().unwrap().to_owned() }
    }

    /// One that has begun these phases, one after the other.
    pub(crate) fn in_phase(more: Value, phases: &[&str]) -> Remediation {
        let remediation = Remediation::create(more);
        for phase in phases {
            let shown = remediation.report(json!({ "phase": phase })).expect_status(200).json();
            assert_eq!(shown["phase"], *phase, "{shown}");
        }
        remediation
    }

    pub(crate) fn report(&self, report: Value) -> Response {
        self.client.post(&format!("/api/v1/remediations/{}/progress", self.name), &report)
    }

    pub(crate) fn decide(&self, decision: &str, by: &str) -> Response {
        let body = json!({ "decision": decision, "by": by, "reason": "it is Friday" });
        self.client.post(&format!("/api/v1/remediations/{}/approval", self.name), &body)
    }

    pub(crate) fn cancel(&self) -> Response {
        let body = json!({ "by": "ann", "reason": "solved by hand" });
        self.client.post(&format!("/api/v1/remediations/{}/cancel", self.name), &body)
    }

    pub(crate) fn show(&self) -> Value {
        self.client.get(&format!("/api/v1/remediations/{}", self.name)).expect_status(200).json()
    }

    /// Waits for the audit events of the whole remediation, which must be exactly of these types (without the common prefix
    /// `orchestrator.`) in this order.
    pub(crate) fn expect_events(&self, types: &[&str]) -> Vec<Value> {
        let events = eventually_events(&self.name, types.len());
        let found: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
        let short: Vec<&str> = found.iter().map(|kind| kind.strip_prefix("orchestrator.").unwrap_or(kind)).collect();
        assert_eq!(short, types);
        for event in &events {
            assert_eq!(event["event_category"], "orchestration", "{event}");
            assert_eq!(event["resource_type"], "RemediationRequest", "{event}");
            assert_eq!(event["resource_id"], self.name, "{event}");
            assert_eq!(event["event_data"]["rr_name"], self.name, "{event}");
            assert_eq!(event["event_data"]["event_type"], event["event_type"], "{event}");
            assert_eq!(event["actor_id"], "remediationorchestrator", "{event}");
        }
        events
    }
}

/// A valid request with a name of its own; `more` adds and replaces fields.
pub(crate) fn request(more: Value) -> Value {
    let name = unique("rr");
    let mut request = json!({
        "name": name,
        "namespace": "payments",
        "signal": { "name": "HighMemoryUsage", "fingerprint": name },
        "target_resource": "payments/Deployment/api",
        "workflow_id": "restart-deployment",
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}
