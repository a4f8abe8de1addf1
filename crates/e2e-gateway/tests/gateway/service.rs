//! What operators ask any service.

use std::time::Duration;

use e2e_suite::{eventually, eventually_events, unique};

use super::*;

#[test]
fn it_is_ready_with_datastorage_behind_it() {
    let answer = eventually("readiness", Duration::from_secs(10), || {
        let answer = gateway().anonymous().get("/readyz");
        if answer.status == 200 { Ok(answer) } else { Err(answer.text()) }
    });
    assert_eq!(text(&answer.json(), "status"), "ready");
    let healthy = gateway().anonymous().get("/healthz").expect_status(200).json();
    assert_eq!(text(&healthy, "status"), "healthy");
}

#[test]
fn it_says_what_was_built() {
    let version = gateway().anonymous().get("/version").expect_status(200).json();
    assert_eq!(text(&version, "service"), "gateway");
    for member in ["version", "source_fingerprint", "revision", "instance"] {
        assert!(!text(&version, member).is_empty(), "{version}");
    }
}

#[test]
fn its_metrics_count_signals_and_lost_audit_events() {
    let created = post(&[alert(&unique("Metrics"))]).expect_status(201).json();
    eventually_events(text(&created, "remediationRequestName"), 2);
    let metrics = gateway().anonymous().get("/metrics").expect_status(200).text();
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    };
    assert!(value("gateway_signals_total{result=\"created\"}") >= 1);
    assert_eq!(value("audit_events_lost_total"), 0, "DataStorage took every event");
}
