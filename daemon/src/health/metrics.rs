//! What Health and the kernel say at the moment of a scrape: who is alive, how close it was, why the
//! daemon is not ready, whether its timestamps can be believed.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::readiness::Reason;
use super::state::Health;
use super::subsystem::Subsystem;
use crate::metrics::{CounterFamily, Gauge, GaugeFamily, RealGaugeFamily, Registry};
use picket_base::clock;

#[derive(Clone)]
pub struct HealthMetrics {
    alive: GaugeFamily,
    last_beat: RealGaugeFamily,
    near_misses: CounterFamily,
    not_ready: GaugeFamily,
    registry_configured: Gauge,
    registry_accessible: Gauge,
    clock_synchronised: Gauge,
}

impl HealthMetrics {
    /// Declares the families and has each scrape show `health` as it is then.
    pub fn new(registry: &Registry, health: Arc<Health>) -> HealthMetrics {
        let metrics = HealthMetrics {
            alive: registry.gauges(
                "picket_subsystem_alive",
                "Whether a subsystem is within its deadline and finds no fault; 0 fails /health.",
                &["subsystem"],
            ),
            last_beat: registry.real_gauges(
                "picket_subsystem_last_beat_timestamp_seconds",
                "When a subsystem last gave a sign of life.",
                &["subsystem"],
            ),
            near_misses: registry.counters(
                "picket_subsystem_near_misses_total",
                "Silences of a subsystem that were longer than half of its deadline.",
                &["subsystem"],
            ),
            not_ready: registry.gauges(
                "picket_not_ready",
                "Why /ready says 503 now: 1 for its reason, 0 for all others.",
                &["reason"],
            ),
            registry_configured: registry.gauge(
                "picket_registry_configured",
                "Whether a model registry is configured whose health is watched.",
                &[],
            ),
            registry_accessible: registry.gauge(
                "inference_mlflow_accessible",
                "Whether the model registry answers; 0 where none is configured.",
                &[],
            ),
            clock_synchronised: registry.gauge(
                "picket_clock_synchronised",
                "Whether the wall clock follows a time source.",
                &[],
            ),
        };
        let shown = metrics.clone();
        registry.before_scrape(move || shown.show(&health));
        metrics
    }

    /// Counts a silence that was longer than half of what it may be.
    pub fn near_miss(&self, subsystem: &str) {
        self.near_misses.with_label_values(&[subsystem]).inc();
    }

    /// Shows all of it as it is now; a heartbeat that has ended keeps its last values.
    fn show(&self, health: &Health) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        for Subsystem { name, silence, standing, .. } in health.subsystems() {
            let alive = i64::from(standing.failure().is_none());
            self.alive.with_label_values(&[&name]).set(alive);
            let last = now.saturating_sub(silence).as_secs_f64();
            self.last_beat.with_label_values(&[&name]).set(last);
            // There from the first scrape on: an increase from nothing is none.
            self.near_misses.with_label_values(&[&name]);
        }
        let reason = health.readiness().into_iter().find_map(|check| check.reason);
        for label in Reason::LABELS {
            let current = reason.as_ref().is_some_and(|reason| reason.as_str() == label);
            self.not_ready.with_label_values(&[label]).set(i64::from(current));
        }
        let registry = health.registry();
        self.registry_configured.set(i64::from(registry.is_some()));
        let accessible = registry.is_some_and(|registry| registry.accessible);
        self.registry_accessible.set(i64::from(accessible));
        self.clock_synchronised.set(i64::from(clock::wall_clock_is_synchronised()));
    }
}
