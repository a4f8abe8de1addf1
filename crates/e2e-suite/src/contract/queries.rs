//! Queries: order, pages, every filter.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use super::{BATCH, ago, column, event, instant, page, query, with};
use crate::wait::query_value;
use crate::{Client, unique};

/// Newest first, by id where the time is the same; pages without gap or overlap, each with the total.
pub fn newest_first_and_pages_with_totals(client: &Client) {
    let id = unique("pages");
    let (older, newer) = (ago(TimeDelta::minutes(2)), ago(TimeDelta::minutes(1)));
    // posted out of order, and two of them at the same instant
    let batch: Vec<Value> = [("c", &newer), ("a", &older), ("b", &older), ("d", &newer), ("e", &newer)]
        .iter()
        .map(|(resource, time)| with(with(event(&id), "resource_id", *resource), "event_timestamp", time.as_str()))
        .collect();
    client.post(BATCH, &json!(batch)).expect_status(201);
    let all = page(client, &id, "");
    assert_eq!(column(&all, "resource_id"), ["e", "d", "c", "b", "a"]);
    let mut seen = Vec::new();
    for (offset, has_more) in [(0, true), (2, true), (4, false)] {
        let page = page(client, &id, &format!("&limit=2&offset={offset}"));
        assert_eq!(page["pagination"], json!({"limit": 2, "offset": offset, "total": 5, "has_more": has_more}));
        seen.extend(column(&page, "resource_id").into_iter().map(str::to_owned));
    }
    assert_eq!(seen, column(&all, "resource_id"));
    let beyond = page(client, &id, "&offset=5");
    assert_eq!((&beyond["data"], &beyond["pagination"]["total"]), (&json!([]), &json!(5)));
}

/// Each filter gives the events that have the value, and filters together those that have all values.
pub fn each_filter_narrows(client: &Client) {
    let id = unique("filters");
    let plain = event(&id);
    let batch = json!([
        plain,
        with(plain.clone(), "event_type", "orchestrator.lifecycle.started"),
        with(plain.clone(), "event_category", "orchestration"),
        with(plain.clone(), "event_outcome", "failure"),
        with(plain.clone(), "severity", "it's \"bad\" & 100%"),
        with(with(plain.clone(), "event_outcome", "failure"), "event_category", "approval"),
    ]);
    let answer = client.post(BATCH, &batch).expect_status(201).json();
    let ids: Vec<&str> = answer["event_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let severity = format!("&severity={}", query_value("it's \"bad\" & 100%"));
    for (filter, expected) in [
        ("&event_type=orchestrator.lifecycle.started", vec![1]),
        ("&event_category=orchestration", vec![2]),
        ("&event_outcome=failure", vec![3, 5]),
        (severity.as_str(), vec![4]),
        ("&event_outcome=failure&event_category=approval", vec![5]),
        ("&event_outcome=pending", vec![]),
        ("&severity=%25", vec![]),
    ] {
        let page = page(client, &id, filter);
        let mut found = column(&page, "event_id");
        found.sort_unstable();
        assert_eq!(found, expected.iter().map(|n| ids[*n]).collect::<Vec<_>>(), "filter {filter}");
        assert_eq!(page["pagination"]["total"], expected.len(), "filter {filter}");
    }
}

/// `since` and `until` take an instant, inclusive, or a span back from now such as `24h`, `30m`, `7d`.
pub fn time_filters_take_instants_and_spans(client: &Client) {
    let id = unique("times");
    let now = Utc::now();
    let times: Vec<String> =
        [2 * 24 * 60, 90, 10].iter().map(|minutes| instant(now - TimeDelta::minutes(*minutes))).collect();
    let names = ["days", "hours", "minutes"];
    let batch: Vec<Value> = names
        .iter()
        .zip(&times)
        .map(|(name, time)| with(with(event(&id), "resource_id", *name), "event_timestamp", time.as_str()))
        .collect();
    client.post(BATCH, &json!(batch)).expect_status(201);
    let exact = query_value(&times[1]);
    let offset = query_value(
        &(now - TimeDelta::minutes(90)).with_timezone(&chrono::FixedOffset::east_opt(7200).unwrap()).to_rfc3339(),
    );
    for (filter, expected) in [
        ("&since=30m".to_owned(), vec!["minutes"]),
        ("&since=24h".to_owned(), vec!["minutes", "hours"]),
        ("&since=7d".to_owned(), vec!["minutes", "hours", "days"]),
        ("&until=24h".to_owned(), vec!["days"]),
        ("&since=24h&until=30m".to_owned(), vec!["hours"]),
        (format!("&since={exact}"), vec!["minutes", "hours"]),
        (format!("&until={exact}"), vec!["hours", "days"]),
        (format!("&since={offset}&until={offset}"), vec!["hours"]),
    ] {
        assert_eq!(column(&page(client, &id, &filter), "resource_id"), expected, "filter {filter}");
    }
}

/// `detail_key` and `detail_value` compare a member of `event_data`: a string as it is, anything else as its JSON.
pub fn detail_filter_looks_into_event_data(client: &Client) {
    let id = unique("details");
    let details = [
        json!({"rule": "a"}),
        json!({"rule": "b", "a": "rule"}),
        json!({"rule": 7}),
        json!({"rule": true}),
        json!({"rule": null}),
        json!({"rule": 2.5}),
        json!({"$.rule": "a", "it's \"q\"": "yes"}),
        json!({"sub": {"rule": "a"}}),
    ];
    let batch: Vec<Value> = details.iter().map(|details| with(event(&id), "event_data", details.clone())).collect();
    client.post(BATCH, &json!(batch)).expect_status(201);
    for (key, value, expected) in [
        ("rule", "a", Some(0)),
        ("rule", "b", Some(1)),
        ("rule", "7", Some(2)),
        ("rule", "true", Some(3)),
        ("rule", "null", None),
        ("rule", "2.5", Some(5)),
        ("$.rule", "a", Some(6)),
        ("it's \"q\"", "yes", Some(6)),
        ("sub", r#"{"rule":"a"}"#, Some(7)),
        ("sub.rule", "a", None),
    ] {
        let filter = format!("&detail_key={}&detail_value={}", query_value(key), query_value(value));
        let page = page(client, &id, &filter);
        let found: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|event| &event["event_data"]).collect();
        assert_eq!(found, expected.iter().map(|n: &usize| &details[*n]).collect::<Vec<_>>(), "{key} = {value}");
    }
}

/// A parameter that is unknown or has a bad value is refused by name: a misspelt filter would otherwise find too much.
pub fn bad_query_names_the_parameter(client: &Client) {
    let id = unique("bad-query");
    for (more, parameter) in [
        ("&limit=0", "limit"),
        ("&limit=1001", "limit"),
        ("&limit=ten", "limit"),
        ("&limit=", "limit"),
        ("&offset=-1", "offset"),
        ("&since=yesterday", "since"),
        ("&since=5", "since"),
        ("&until=99999999999999999999h", "until"),
        ("&since=1h&until=2h", "until"),
        ("&event_type=a%00", "event_type"),
        ("&event_category=nonsense", "event_category"),
        ("&event_outcome=maybe", "event_outcome"),
        ("&detail_key=a", "detail_value"),
        ("&detail_value=a", "detail_key"),
        ("&outcome=failure", "outcome"),
        ("&limit=1&limit=2", "limit"),
    ] {
        let problem = query(client, &id, more).expect_problem(400);
        assert_eq!(problem["field"], parameter, "{more}: {problem}");
    }
    for more in ["&limit=1", "&limit=1000", "&offset=0"] {
        query(client, &id, more).expect_status(200);
    }
}
