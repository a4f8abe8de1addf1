//! The results, by name.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::enrich::Context;
use crate::input::Submission;
use crate::rules::Decision;

/// A processed signal.
#[derive(Debug)]
pub(crate) struct Processing {
    pub(crate) name: String,
    pub(crate) submission: Submission,
    pub(crate) context: Context,
    pub(crate) decision: Decision,
    pub(crate) at: DateTime<Utc>,
}

impl Processing {
    /// The name of the result of a remediation request. One has exactly one, hence no random part.
    pub(crate) fn name_of(remediation_request: &str) -> String {
        format!("sp-{remediation_request}")
    }

    /// The resource as a client sees it.
    pub(crate) fn resource(&self) -> Value {
        json!({
            "name": self.name,
            "remediationRequestName": self.submission.remediation_request_name,
            "signal": self.submission.signal,
            "status": {
                "phase": "Completed",
                "completedTime": self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
                "context": self.context,
                "decision": self.decision,
            },
        })
    }
}

/// What became of a new result.
pub(crate) enum Put {
    /// It was stored.
    New(Arc<Processing>),
    /// There is one for the very same submission.
    Same(Arc<Processing>),
    /// There is one for another submission.
    Other,
}

#[derive(Default)]
struct Results {
    by_name: HashMap<String, Arc<Processing>>,
    /// Names, oldest first.
    order: VecDeque<String>,
}

/// Keeps the newest results.
pub(crate) struct Store {
    capacity: usize,
    results: Mutex<Results>,
}

impl Store {
    /// Keeps at most `capacity` results; beyond that it forgets the oldest.
    pub(crate) fn new(capacity: usize) -> Store {
        Store { capacity, results: Mutex::default() }
    }

    /// Stores a result, unless its remediation request has one.
    pub(crate) fn put(&self, processing: Processing) -> Put {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = results.by_name.get(&processing.name) {
            let same = known.submission == processing.submission;
            return if same { Put::Same(Arc::clone(known)) } else { Put::Other };
        }
        if results.by_name.len() >= self.capacity
            && let Some(oldest) = results.order.pop_front()
        {
            results.by_name.remove(&oldest);
        }
        let processing = Arc::new(processing);
        results.order.push_back(processing.name.clone());
        results.by_name.insert(processing.name.clone(), Arc::clone(&processing));
        Put::New(processing)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Processing>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }
}
