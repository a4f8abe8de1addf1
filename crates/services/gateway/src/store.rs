//! The remediation requests, and which of them is open for which problem.
//!
//! One mutex around all of it: to look for an open request and to make one must be one step, or two signals that arrive together
//! would make two. What is done under the lock is a few map operations.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::signal::Signal;

/// Where remediation requests would be in Kubernetes.
pub(crate) const NAMESPACE: &str = "kubernaut-system";

/// One remediation request.
#[derive(Clone, Debug)]
pub(crate) struct RemediationRequest {
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    pub(crate) occurrences: u64,
    signal: Arc<Signal>,
    created: DateTime<Utc>,
    last_seen: DateTime<Utc>,
    resolved: Option<DateTime<Utc>>,
}

impl RemediationRequest {
    /// The resource as a client sees it, in the form of the Kubernetes custom resource.
    pub(crate) fn resource(&self) -> Value {
        let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        let signal = &self.signal;
        json!({
            "apiVersion": "kubernaut.ai/v1alpha1",
            "kind": "RemediationRequest",
            "metadata": { "name": self.name, "namespace": NAMESPACE, "creationTimestamp": time(self.created) },
            "spec": {
                "signalFingerprint": self.fingerprint,
                "signalName": signal.name,
                "signalType": signal.kind,
                "signalSource": signal.source,
                "severity": signal.severity,
                "cluster": signal.cluster,
                "targetResource": {
                    "kind": signal.resource_kind, "name": signal.resource_name, "namespace": signal.namespace,
                },
                "firingTime": signal.started.map(time),
                "signalLabels": signal.labels,
                "signalAnnotations": signal.annotations,
            },
            "status": {
                "signal": if self.resolved.is_some() { "resolved" } else { "firing" },
                "resolvedTime": self.resolved.map(time),
                "deduplication": {
                    "occurrenceCount": self.occurrences,
                    "firstOccurrence": time(self.created),
                    "lastOccurrence": time(self.last_seen),
                },
            },
        })
    }
}

#[derive(Default)]
struct Requests {
    by_name: HashMap<String, RemediationRequest>,
    /// Names, oldest first.
    order: VecDeque<String>,
    /// Fingerprint to name, for problems that are not resolved.
    open: HashMap<String, String>,
}

/// See the module.
pub(crate) struct Store {
    capacity: usize,
    requests: Mutex<Requests>,
}

impl Store {
    /// Keeps at most `capacity` remediation requests; beyond that it forgets the oldest.
    pub(crate) fn new(capacity: usize) -> Store {
        Store { capacity, requests: Mutex::default() }
    }

    /// The open request of the signal's problem, made now if there is none; `true` if it was. `tell` is called before anyone else
    /// can see the request, so that the audit log has the events in the order in which they happened.
    pub(crate) fn receive<T>(
        &self,
        signal: Signal,
        now: DateTime<Utc>,
        tell: impl FnOnce(&RemediationRequest, &Signal, bool) -> T,
    ) -> T {
        let fingerprint = signal.fingerprint();
        let mut guard = self.lock();
        let Requests { by_name, order, open } = &mut *guard;
        if let Some(request) = open.get(&fingerprint).and_then(|name| by_name.get_mut(name)) {
            request.occurrences += 1;
            request.last_seen = now;
            return tell(request, &signal, false);
        }
        if by_name.len() >= self.capacity
            && let Some(oldest) = order.pop_front().and_then(|name| by_name.remove(&name))
            && open.get(&oldest.fingerprint) == Some(&oldest.name)
        {
            open.remove(&oldest.fingerprint);
        }
        // The random part tells apart the requests of one problem that came back; twelve digits of it are enough for that.
        let random = Uuid::new_v4().simple().to_string();
        let name = format!("rr-{}-{}", &fingerprint[..12], &random[..12]);
        let request = RemediationRequest {
            name: name.clone(),
            fingerprint: fingerprint.clone(),
            occurrences: 1,
            signal: Arc::new(signal),
            created: now,
            last_seen: now,
            resolved: None,
        };
        let told = tell(&request, &request.signal, true);
        by_name.insert(name.clone(), request);
        order.push_back(name.clone());
        open.insert(fingerprint, name);
        told
    }

    /// The problem is over: its next signal is a new problem. `None` if nobody knew of it.
    pub(crate) fn resolve(&self, fingerprint: &str, now: DateTime<Utc>) -> Option<RemediationRequest> {
        let mut guard = self.lock();
        let name = guard.open.remove(fingerprint)?;
        let request = guard.by_name.get_mut(&name)?;
        request.resolved = Some(now);
        Some(request.clone())
    }

    pub(crate) fn get(&self, name: &str) -> Option<RemediationRequest> {
        self.lock().by_name.get(name).cloned()
    }

    /// A page of the requests, newest first, of one fingerprint if given; and how many there are in all.
    pub(crate) fn list(
        &self,
        fingerprint: Option<&str>,
        limit: usize,
        offset: usize,
    ) -> (Vec<RemediationRequest>, usize) {
        let guard = self.lock();
        let matching = || {
            let newest_first = guard.order.iter().rev().filter_map(|name| guard.by_name.get(name));
            newest_first.filter(|request| fingerprint.is_none_or(|wanted| request.fingerprint == wanted))
        };
        (matching().skip(offset).take(limit).cloned().collect(), matching().count())
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
