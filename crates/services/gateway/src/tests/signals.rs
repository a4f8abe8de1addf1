//! What becomes of a signal.

use super::*;

fn pairs(events: &[(String, String)]) -> Vec<(&str, &str)> {
    events.iter().map(|(kind, correlation)| (kind.as_str(), correlation.as_str())).collect()
}

#[tokio::test]
async fn a_new_problem_is_created_with_exactly_two_audit_events_and_can_be_read() {
    let fixture = Fixture::new();
    let (status, headers, answer) =
        fixture.send("POST", "/signals/prometheus", &[], &webhook(&[alert(json!({}))])).await;
    assert_eq!(
        (status, &answer["status"], &answer["duplicate"]),
        (StatusCode::CREATED, &json!("created"), &json!(false))
    );
    assert_eq!(answer["remediationRequestNamespace"], "kubernaut-system");
    let name = answer["remediationRequestName"].as_str().unwrap();
    assert_eq!(headers["location"], format!("/api/v1/remediation-requests/{name}"));
    let events = fixture.events();
    assert_eq!(pairs(&events), [("gateway.signal.received", name), ("gateway.crd.created", name)]);
    let received = &fixture.audit.buffered()[0];
    assert_eq!(received.resource_type.as_deref(), Some("Signal"));
    assert_eq!(received.resource_id.as_deref(), answer["fingerprint"].as_str());
    assert_eq!(received.event_data["deduplication_status"], "new");

    let (status, request) = fixture.get(&format!("/remediation-requests/{name}")).await;
    assert_eq!((status, &request["spec"]["signalName"]), (StatusCode::OK, &json!("HighMemory")));
    let target = json!({ "kind": "Deployment", "name": "api", "namespace": "shop" });
    assert_eq!(request["spec"]["targetResource"], target);
    assert_eq!(fixture.get("/remediation-requests/rr-none").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_repeated_signal_is_counted_and_told() {
    let fixture = Fixture::new();
    let (_, first) = fixture.post(&[alert(json!({}))]).await;
    fixture.clock.advance(TimeDelta::minutes(7));
    let (status, second) = fixture.post(&[alert(json!({ "severity": "warning" }))]).await;
    assert_eq!(
        (status, &second["status"], &second["duplicate"]),
        (StatusCode::ACCEPTED, &json!("duplicate"), &json!(true))
    );
    assert_eq!(second["remediationRequestName"], first["remediationRequestName"]);
    let name = first["remediationRequestName"].as_str().unwrap();
    let events = fixture.events();
    assert_eq!(pairs(&events[2..]), [("gateway.signal.deduplicated", name)]);
    let (_, request) = fixture.get(&format!("/remediation-requests/{name}")).await;
    let deduplication = &request["status"]["deduplication"];
    assert_eq!(deduplication["occurrenceCount"], 2);
    assert_eq!(deduplication["lastOccurrence"], "2026-01-02T03:11:05.000Z");
}

#[tokio::test]
async fn a_problem_that_comes_back_after_it_was_resolved_is_a_new_one() {
    let fixture = Fixture::new();
    let (_, first) = fixture.post(&[alert(json!({}))]).await;
    let (status, over) = fixture.post(&[resolved(alert(json!({})))]).await;
    assert_eq!((status, &over["status"]), (StatusCode::OK, &json!("resolved")));
    assert_eq!(over["remediationRequestName"], first["remediationRequestName"]);
    let (status, second) = fixture.post(&[alert(json!({}))]).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_ne!(second["remediationRequestName"], first["remediationRequestName"]);

    let (status, unknown) = fixture.post(&[resolved(alert(json!({ "alertname": "Other" })))]).await;
    assert_eq!((status, unknown.get("remediationRequestName")), (StatusCode::OK, None));
    let list =
        fixture.get(&format!("/remediation-requests?fingerprint={}", first["fingerprint"].as_str().unwrap())).await.1;
    let signals: Vec<_> = list["data"].as_array().unwrap().iter().map(|request| &request["status"]["signal"]).collect();
    assert_eq!(signals, ["firing", "resolved"], "newest first");
}

#[tokio::test]
async fn an_unmanaged_namespace_is_rejected_without_a_trace() {
    let fixture = Fixture::new();
    let (status, answer) = fixture.post(&[alert(json!({ "namespace": "kube-system" }))]).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("rejected")));
    assert_eq!(answer["message"], "the namespace kube-system is not managed");
    assert!(fixture.events().is_empty());
    assert_eq!(fixture.get("/remediation-requests").await.1["data"], json!([]));
}

#[tokio::test]
async fn several_alerts_have_each_their_own_result() {
    let fixture = Fixture::new();
    let mut unnamed = alert(json!({}));
    unnamed["labels"].as_object_mut().unwrap().remove("alertname");
    let alerts = [
        alert(json!({})),
        alert(json!({})),
        alert(json!({ "namespace": "kube-system" })),
        unnamed,
        resolved(alert(json!({}))),
    ];
    let (status, answer) = fixture.post(&alerts).await;
    assert_eq!(status, StatusCode::MULTI_STATUS);
    let results = answer["results"].as_array().unwrap();
    let codes: Vec<_> =
        results.iter().map(|result| (&result["index"], &result["statusCode"], &result["status"])).collect();
    let expected =
        [(0, 201, "created"), (1, 202, "duplicate"), (2, 200, "rejected"), (3, 400, "invalid"), (4, 200, "resolved")];
    let expected = expected.map(|(index, code, word)| (json!(index), json!(code), json!(word)));
    assert_eq!(codes, expected.each_ref().map(|(index, code, word)| (index, code, word)));
    assert_eq!(results[3]["field"], "alerts[3].labels.alertname");
    assert_eq!(answer["summary"]["created"], 1);
}

#[tokio::test]
async fn bad_input_is_refused_with_the_field_and_leaves_no_trace() {
    let fixture = Fixture::new();
    let with = |key: &str, value: Value| {
        let mut alert = alert(json!({}));
        alert[key] = value;
        webhook(&[alert])
    };
    let mut version = webhook(&[alert(json!({}))]);
    version["version"] = "3".into();
    let many: Vec<Value> = (0..501).map(|_| alert(json!({}))).collect();
    for (body, field) in [
        (webhook(&[]), "alerts"),
        (webhook(&many), "alerts"),
        (version, "version"),
        (with("status", json!("burning")), "alerts[0].status"),
        (with("labels", json!({ "alertname": 1 })), "alerts[0].labels.alertname"),
        (with("labels", json!({})), "alerts[0].labels.alertname"),
        (with("startsAt", json!("yesterday")), "alerts[0].startsAt"),
        (with("startsAt", json!(rfc3339(start() - TimeDelta::hours(13)))), "alerts[0].startsAt"),
        (with("startsAt", json!(rfc3339(start() + TimeDelta::minutes(6)))), "alerts[0].startsAt"),
        (with("startsAt", Value::Null), "alerts[0].startsAt"),
        (webhook(&[alert(json!({ "namespace": "Shop_1" }))]), "alerts[0].labels.namespace"),
        (webhook(&[alert(json!({ "deployment": "x".repeat(254) }))]), "alerts[0].labels.deployment"),
        (webhook(&[alert(json!({ "note": "x".repeat(17 << 10) }))]), "alerts[0].labels"),
        (webhook(&[alert(json!({ "note": "a\0b" }))]), "alerts[0].labels"),
    ] {
        let (status, headers, problem) = fixture.send("POST", "/signals/prometheus", &[], &body).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    assert!(fixture.events().is_empty());
}

#[tokio::test]
async fn the_time_of_sending_replaces_the_time_of_the_start_and_must_be_fresh() {
    let fixture = Fixture::new();
    let mut old = alert(json!({}));
    old["startsAt"] = rfc3339(start() - TimeDelta::days(3)).into();
    let body = webhook(&[old]);
    let send =
        async |header: &str| fixture.send("POST", "/signals/prometheus", &[("x-timestamp", header)], &body).await;
    let seconds = start().timestamp();
    for header in [(seconds - 301).to_string(), (seconds + 301).to_string(), "soon".to_owned(), i64::MAX.to_string()] {
        let (status, _, problem) = send(&header).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("X-Timestamp")), "{header}");
    }
    assert_eq!(send(&(seconds - 300).to_string()).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_warning_event_is_a_signal_and_a_normal_one_is_not() {
    let fixture = Fixture::new();
    let (status, answer) = fixture.post_event(&event()).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(fixture.post_event(&event()).await.0, StatusCode::ACCEPTED);
    let name = answer["remediationRequestName"].as_str().unwrap();
    let (_, request) = fixture.get(&format!("/remediation-requests/{name}")).await;
    assert_eq!((&request["spec"]["signalType"], &request["spec"]["signalName"]), (&json!("event"), &json!("BackOff")));

    let with = |pointer: &str, value: Value| {
        let mut event = event();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let (status, answer) = fixture.post_event(&with("/type", json!("Normal"))).await;
    assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("rejected")));
    for (body, field) in [
        (with("/type", json!("Alarm")), "type"),
        (with("/involvedObject/name", json!("")), "involvedObject.name"),
        (with("/involvedObject/kind", json!(3)), "involvedObject.kind"),
        (with("/lastTimestamp", json!(rfc3339(start() - TimeDelta::hours(13)))), "lastTimestamp"),
    ] {
        let (status, problem) = fixture.post_event(&body).await;
        assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
    }
}

#[tokio::test]
async fn the_list_is_paged_newest_first() {
    let fixture = Fixture::new();
    for name in ["a", "b", "c"] {
        drop(fixture.post(&[alert(json!({ "alertname": name }))]).await);
    }
    let (_, page) = fixture.get("/remediation-requests?limit=2&offset=1").await;
    let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|request| &request["spec"]["signalName"]).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(page["pagination"], json!({ "limit": 2, "offset": 1, "total": 3, "has_more": false }));
    for query in ["limit=0", "limit=501", "limit=x", "offset=-1"] {
        assert_eq!(fixture.get(&format!("/remediation-requests?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}
