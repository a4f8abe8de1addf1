//! What `/metrics` shows of the store itself; requests by route and status are counted by the kit.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The store's metrics. Cheap to clone; clones count together.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Events that were stored; a replayed request stores none.
    pub(crate) stored: Counter,
    /// Requests that were answered from what their idempotency key had stored before.
    pub(crate) replayed: Counter,
    /// Writes that were refused.
    pub(crate) rejected: Family<Rejection, Counter>,
    /// How many events a stored batch had.
    pub(crate) batch_size: Histogram,
}

/// Why a write was refused: one of a few words, so that the metric stays small.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> (Metrics, Registry) {
        let metrics = Metrics {
            stored: Counter::default(),
            replayed: Counter::default(),
            rejected: Family::default(),
            batch_size: Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]),
        };
        let mut registry = Registry::default();
        registry.register("datastorage_events_stored", "Audit events stored", metrics.stored.clone());
        registry.register("datastorage_writes_replayed", "Retried writes answered again", metrics.replayed.clone());
        registry.register("datastorage_writes_rejected", "Writes refused, by reason", metrics.rejected.clone());
        registry.register("datastorage_batch_events", "Events in a stored batch", metrics.batch_size.clone());
        (metrics, registry)
    }

    pub(crate) fn reject(&self, reason: &'static str) {
        self.rejected.get_or_create(&Rejection { reason }).inc();
    }
}
