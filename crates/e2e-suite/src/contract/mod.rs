//! What every consumer may rely on in DataStorage, as tests that any suite takes over with [`datastorage_contract!`].
//!
//! Each function is one promise. It takes a client with DataStorage's token and panics when the promise is broken. All of them may run
//! at the same time against one DataStorage that others write to as well: each uses correlation ids of its own and asserts
//! nothing about events of others. DataStorage's own tests call the same functions once for each database.
//!
//! [`datastorage_contract!`]: crate::datastorage_contract

pub mod access;
pub mod batches;
pub mod events;
pub mod queries;
pub mod retries;
pub mod service;
pub mod validation;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::wait::query_value;
use crate::{Client, Response};

/// The route of single events and of queries.
const EVENTS: &str = "/api/v1/audit/events";

/// The route of batches.
const BATCH: &str = "/api/v1/audit/events/batch";

/// Makes DataStorage's contract part of a suite: a module `datastorage_contract` with one `#[test]` a promise.
///
/// ```no_run
/// e2e_suite::datastorage_contract!();
/// ```
///
/// The longer form names the module and says where DataStorage is. The expression gives a [`Client`](crate::Client) or what
/// dereferences to one, or none to leave the tests out: `datastorage_contract!(mod on_sqlite, Some(super::client()));`
#[macro_export]
macro_rules! datastorage_contract {
    () => {
        $crate::datastorage_contract! { mod datastorage_contract, Some($crate::Run::current().client("datastorage")) }
    };
    (mod $module:ident, $client:expr) => {
        mod $module {
            $crate::datastorage_contract! { @tests $client =>
                access::token_is_asked_for_before_the_body
                access::wrong_token_is_refused_before_the_body
                access::oversized_body_is_refused
                batches::batch_is_stored_and_answers_ids_in_order
                batches::batch_with_one_invalid_event_stores_nothing
                batches::batch_takes_one_to_five_hundred_events
                batches::batch_that_is_no_array_is_refused
                batches::batch_with_a_taken_id_stores_nothing
                batches::parent_may_come_earlier_in_the_batch
                events::event_reads_back_as_posted
                events::event_reads_back_by_id
                events::correlation_id_of_nobody_has_no_events
                events::concurrent_writers_lose_nothing
                queries::newest_first_and_pages_with_totals
                queries::each_filter_narrows
                queries::time_filters_take_instants_and_spans
                queries::detail_filter_looks_into_event_data
                queries::bad_query_names_the_parameter
                retries::retried_event_is_stored_once
                retries::retried_batch_is_stored_once
                retries::reused_key_with_another_body_is_refused
                service::health_readiness_and_version_need_no_token
                service::metrics_count_stored_events
                service::unknown_route_and_method_are_problems
                validation::missing_field_is_named
                validation::field_of_wrong_kind_or_value_is_named
                validation::lengths_are_counted_in_characters
                validation::timestamp_window_holds_both_ways
                validation::parent_must_exist
                validation::body_must_be_json
            }
        }
    };
    (@tests $client:expr => $($file:ident::$promise:ident)*) => {
        $(
            #[test]
            fn $promise() {
                if let Some(client) = $client {
                    $crate::contract::$file::$promise(&client);
                }
            }
        )*
    };
}

/// A valid event of now with every field that is required and no other.
fn event(correlation_id: &str) -> Value {
    json!({
        "version": "1.0",
        "event_type": "gateway.signal.received",
        "event_timestamp": instant(Utc::now()),
        "event_category": "gateway",
        "event_action": "received",
        "event_outcome": "success",
        "correlation_id": correlation_id,
        "event_data": { "signal": "HighMemory" },
    })
}

/// The event with one field set to something else.
fn with(mut event: Value, field: &str, value: impl Into<Value>) -> Value {
    event[field] = value.into();
    event
}

fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn ago(span: TimeDelta) -> String {
    instant(Utc::now() - span)
}

/// The answer to a query by correlation id and, after an ampersand, more parameters that are encoded already.
fn page(client: &Client, correlation_id: &str, more: &str) -> Value {
    query(client, correlation_id, more).expect_status(200).json()
}

fn query(client: &Client, correlation_id: &str, more: &str) -> Response {
    client.get(&format!("{EVENTS}?correlation_id={}{more}", query_value(correlation_id)))
}

/// How many events of the correlation id there are.
fn total(client: &Client, correlation_id: &str) -> u64 {
    let page = page(client, correlation_id, "&limit=1");
    page["pagination"]["total"].as_u64().unwrap_or_else(|| panic!("no `pagination.total` in {page}"))
}

/// One member of each event of a page, in the page's order.
fn column<'a>(page: &'a Value, member: &str) -> Vec<&'a str> {
    let events = page["data"].as_array().unwrap_or_else(|| panic!("no `data` in {page}"));
    events.iter().map(|event| event[member].as_str().unwrap_or("")).collect()
}

#[cfg(test)]
mod tests {
    /// A promise that the macro forgot would be kept by nobody.
    #[test]
    fn the_macro_names_every_promise() {
        let list = include_str!("mod.rs");
        for (file, source) in [
            ("access", include_str!("access.rs")),
            ("batches", include_str!("batches.rs")),
            ("events", include_str!("events.rs")),
            ("queries", include_str!("queries.rs")),
            ("retries", include_str!("retries.rs")),
            ("service", include_str!("service.rs")),
            ("validation", include_str!("validation.rs")),
        ] {
            for line in source.lines().filter_map(|line| line.strip_prefix("pub fn ")) {
                let name = line.split('(').next().unwrap();
                assert!(list.contains(&format!("{file}::{name}\n")), "`datastorage_contract!` lacks {file}::{name}");
            }
        }
    }
}
