//! What the tests of this suite share.

use std::time::Duration;

use e2e_suite::{Client, Response, Run, eventually, eventually_events, unique};
use serde_json::{Value, json};

pub(crate) const EXECUTIONS: &str = "/api/v1/executions";

/// A client of the service under test.
pub(crate) fn service() -> Client {
    Run::current().client("workflowexecution")
}

/// An execution of this test alone.
pub(crate) struct Execution {
    client: Client,
    pub(crate) name: String,
    /// The remediation request, which is the correlation id.
    pub(crate) remediation: String,
}

impl Execution {
    /// Starts one with these steps; `more` are fields of the request besides those that every request has.
    pub(crate) fn start(steps: Value, more: Value) -> Execution {
        let client = service();
        let request = request(steps, more);
        let shown = client.post(EXECUTIONS, &request).expect_status(201).json();
        let text = |field: &str| shown[field].as_str().unwrap().to_owned();
        assert_eq!((&shown["phase"], &shown["correlation_id"]), (&json!("running"), &request["remediation_request"]));
        Execution { client, name: text("name"), remediation: text("remediation_request") }
    }

    pub(crate) fn show(&self) -> Value {
        self.client.get(&format!("{EXECUTIONS}/{}", self.name)).expect_status(200).json()
    }

    pub(crate) fn cancel(&self) -> Response {
        let body = json!({ "by": "ann", "reason": "solved by hand" });
        self.client.post(&format!("{EXECUTIONS}/{}/cancel", self.name), &body)
    }

    /// Waits for the end, which must be this phase, and shows the execution.
    pub(crate) fn expect_end(&self, phase: &str) -> Value {
        let shown = eventually(&format!("the end of {}", self.name), Duration::from_secs(5), || {
            let shown = self.show();
            if shown["ended"] == true { Ok(shown) } else { Err(shown.to_string()) }
        });
        assert_eq!(shown["phase"], phase, "{shown}");
        shown
    }

    /// Waits until a step has this status.
    pub(crate) fn expect_step(&self, index: usize, status: &str) {
        eventually(&format!("step {index} {status}"), Duration::from_secs(5), || {
            let shown = self.show();
            if shown["steps"][index]["status"] == status { Ok(()) } else { Err(shown.to_string()) }
        });
    }

    /// Waits for the audit events, which must be a selection, a start and one end of this type, and gives the end.
    pub(crate) fn expect_events(&self, end: &str) -> Value {
        let events = eventually_events(&self.remediation, 3);
        let types: Vec<&str> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
        let start = ["workflowexecution.selection.completed", "workflowexecution.execution.started"];
        assert_eq!(types, [start[0], start[1], end]);
        for event in &events {
            assert_eq!(event["event_category"], "workflowexecution", "{event}");
            assert_eq!(event["resource_type"], "WorkflowExecution", "{event}");
            assert_eq!(event["resource_id"], self.name, "{event}");
            assert_eq!(event["namespace"], "payments", "{event}");
            assert_eq!(event["event_data"]["event_type"], event["event_type"], "{event}");
            assert_eq!(event["event_data"]["workflow_id"], "restart-deployment", "{event}");
            assert_eq!(event["actor_id"], "workflowexecution", "{event}");
        }
        for event in &events[..2] {
            assert_eq!(event["event_outcome"], "success", "{event}");
        }
        events[2].clone()
    }

    /// Waits for the audit events of an end without success, exactly one, with this reason and message.
    pub(crate) fn expect_failed_event(&self, reason: &str, message: &str) {
        let event = self.expect_events("workflowexecution.workflow.failed");
        assert_eq!((&event["event_action"], &event["event_outcome"]), (&json!("failed"), &json!("failure")));
        assert_eq!(event["event_data"]["failure_reason"], reason, "{event}");
        assert_eq!(event["event_data"]["failure_message"], message, "{event}");
        assert!(event["duration_ms"].is_u64(), "{event}");
    }
}

/// A valid request with a remediation request of its own; `more` adds and replaces fields.
pub(crate) fn request(steps: Value, more: Value) -> Value {
    let mut request = json!({
        "remediation_request": unique("rr"),
        "namespace": "payments",
        "workflow": { "id": "restart-deployment", "version": "1.2.0", "steps": steps },
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// A step that succeeds at once.
pub(crate) fn noop(name: &str) -> Value {
    json!({ "name": name, "action": "noop" })
}

/// A step that takes that long.
pub(crate) fn wait(name: &str, millis: u64) -> Value {
    json!({ "name": name, "action": "wait", "with": { "ms": millis } })
}

/// The statuses of all steps.
pub(crate) fn statuses(shown: &Value) -> Vec<&str> {
    shown["steps"].as_array().unwrap().iter().map(|step| step["status"].as_str().unwrap()).collect()
}
