//! What Health and the kernel say at the moment of a scrape: who is alive, how close it was, why the
//! daemon is not ready, whether its timestamps can be believed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::health::{Health, Reason, Subsystem};
use picket_base::clock;

pub(super) struct HealthMetrics {
    alive: IntGaugeVec,
    last_beat: GaugeVec,
    near_misses: IntCounterVec,
    not_ready: IntGaugeVec,
    registry_configured: IntGauge,
    clock_synchronised: IntGauge,
}

impl HealthMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<HealthMetrics> {
        let gauges = |name: &str, help: &str, label: &str| {
            let family = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(family.clone())).map(|()| family)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let last_beat = GaugeVec::new(
            Opts::new(
                "picket_subsystem_last_beat_timestamp_seconds",
                "When a subsystem last gave a sign of life.",
            ),
            &["subsystem"],
        )?;
        registry.register(Box::new(last_beat.clone()))?;
        let near_misses = IntCounterVec::new(
            Opts::new(
                "picket_subsystem_near_misses_total",
                "Silences of a subsystem that were longer than half of its deadline.",
            ),
            &["subsystem"],
        )?;
        registry.register(Box::new(near_misses.clone()))?;
        let not_ready = gauges(
            "picket_not_ready",
            "Why /ready says 503 now: 1 for its reason, 0 for all others.",
            "reason",
        )?;
        for reason in Reason::LABELS {
            not_ready.with_label_values(&[reason]);
        }
        Ok(HealthMetrics {
            alive: gauges(
                "picket_subsystem_alive",
                "Whether a subsystem is within its deadline and finds no fault; 0 fails /health.",
                "subsystem",
            )?,
            last_beat,
            near_misses,
            not_ready,
            registry_configured: gauge(
                "picket_registry_configured",
                "Whether a model registry is configured whose health is watched.",
            )?,
            clock_synchronised: gauge(
                "picket_clock_synchronised",
                "Whether the wall clock follows a time source.",
            )?,
        })
    }

    pub(super) fn near_miss(&self, subsystem: &str) {
        self.near_misses.with_label_values(&[subsystem]).inc();
    }

    /// Shows all of it as it is now; a heartbeat that has ended keeps its last values.
    pub(super) fn show(&self, health: &Health) {
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
        self.registry_configured.set(i64::from(health.registry().is_some()));
        self.clock_synchronised.set(i64::from(clock::wall_clock_is_synchronised()));
    }
}
