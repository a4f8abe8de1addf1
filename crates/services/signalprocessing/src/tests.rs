//! The rule table, and what callers and the audit log see, without a socket.

use serde_json::{Value, json};

use super::*;

mod api;
mod rules;

/// What the image ships.
const SHIPPED: &str = include_str!("../rules.toml");

fn submission() -> Value {
    json!({
        "remediationRequestName": "rr-1",
        "signal": {
            "name": "HighMemory",
            "severity": "critical",
            "targetResource": { "kind": "Pod", "name": "api-7d9f8b6c5d-x2k4z", "namespace": "shop-prod" },
            "labels": { "app": "shop" },
        },
    })
}
