//! What is counted of changes of the model.

use picket_models::Why;

use crate::metrics::{CounterFamily, Gauge, Registry};

pub struct ModelMetrics {
    /// Versions that were refused or rolled back, by why.
    refused: CounterFamily,
    swaps: crate::metrics::Counter,
    rollbacks: crate::metrics::Counter,
    pub(super) probation: Gauge,
    pub(super) installed: Gauge,
    pub(super) compared: Gauge,
    pub(super) disagreed: Gauge,
}

impl ModelMetrics {
    pub fn new(registry: &Registry) -> ModelMetrics {
        let refused = registry.counters(
            "picket_model_refused_total",
            "Versions of the model that failed their gate or their probation, by why.",
            &["why"],
        );
        for why in Why::ALL {
            refused.with_label_values(&[why.name()]);
        }
        let counter = |name, help| registry.counter(name, help, &[]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        ModelMetrics {
            refused,
            swaps: counter("picket_model_swaps_total", "Changes of the model that serves."),
            rollbacks: counter(
                "picket_model_rollbacks_total",
                "Changes back to the model before, of themselves.",
            ),
            probation: gauge(
                "picket_model_probation",
                "Whether the model that serves is in its probation.",
            ),
            installed: gauge("picket_model_versions", "Installed versions of the model."),
            compared: gauge(
                "picket_model_compared_pictures",
                "Pictures that a second model has seen too, since it was set beside.",
            ),
            disagreed: gauge(
                "picket_model_disagreed_pictures",
                "Those of which it said something else.",
            ),
        }
    }

    pub(super) fn refused(&self, why: Why) {
        self.refused.with_label_values(&[why.name()]).inc();
    }

    pub(super) fn swapped(&self) {
        self.swaps.inc();
    }

    pub(super) fn rolled_back(&self) {
        self.rollbacks.inc();
    }
}
