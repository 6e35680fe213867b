//! Every metric, declared once, on a registry of its own. The first block is the contract's; the
//! rest is named `picket_` by the Prometheus guides.

mod health;
pub mod wear;

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::health::{Health, LogState};
use crate::metrics::wear::Wear;
use health::HealthMetrics;
use picket_base::disk;
use picket_records::{RecoveryStep, Retention};

/// `service` label of the logging families: the name that the replaced service had.
const LOGGING_SERVICE: &str = "cloud-logging-api";

/// From 50 µs (an inference on a fast core) to 1 s (a commit on a tired SD card), seconds.
const STAGE_BUCKETS: [f64; 14] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// Statuses that a client's mistake or our own limits lead to.
const REJECTED_STATUSES: [&str; 12] =
    ["400", "401", "404", "405", "408", "413", "414", "415", "422", "431", "500", "503"];

/// `listener` of the connections' families.
const LISTENERS: [&str; 3] = ["api", "probe", "control"];

/// Why a connection ended that its client would have kept.
#[derive(Clone, Copy, Debug)]
pub enum Dropped {
    /// The listener has as many as it may.
    Limit,
    /// The client's address has as many as it may.
    AddressLimit,
    /// No TLS handshake in time.
    Handshake,
    /// No request's head in time.
    Head,
    /// The client did not take its answer.
    Write,
}

impl Dropped {
    const ALL: [Dropped; 5] =
        [Dropped::Limit, Dropped::AddressLimit, Dropped::Handshake, Dropped::Head, Dropped::Write];

    fn label(self) -> &'static str {
        match self {
            Dropped::Limit => "limit",
            Dropped::AddressLimit => "address_limit",
            Dropped::Handshake => "handshake",
            Dropped::Head => "head",
            Dropped::Write => "write",
        }
    }
}

pub struct Metrics {
    registry: Registry,
    model_loaded: IntGauge,
    mlflow_accessible: IntGauge,
    log_initialized: IntGauge,
    /// Predictions answered.
    pub predictions: IntCounter,
    /// Predictions that failed through a fault of ours.
    pub errors: IntCounter,
    /// Records that the log took, from this box and from others.
    pub logged: IntCounter,
    /// Of these, with a defect.
    pub defects: IntCounter,
    /// Records that the log could not take.
    pub log_errors: IntCounter,
    rejected: IntCounterVec,
    connections: IntGaugeVec,
    dropped: IntCounterVec,
    pub decode: Histogram,
    pub queue: Histogram,
    pub inference: Histogram,
    pub commit: Histogram,
    pub queue_depth: IntGauge,
    pub queue_capacity: IntGauge,
    /// Predictions refused because the queue was full.
    pub turned_away: IntCounter,
    last_prediction: Gauge,
    pub log_records: IntGauge,
    pub log_bytes: IntGauge,
    pub log_disk_bytes: IntGauge,
    log_max_records: IntGauge,
    log_max_bytes: IntGauge,
    /// As the writer last saw it.
    pub disk_free_bytes: IntGauge,
    pub log_lost: IntGauge,
    pub log_quarantines: IntGauge,
    log_state: IntGaugeVec,
    log_recoveries: IntCounterVec,
    written_bytes: IntCounter,
    bytes_per_record: Gauge,
    bytes_per_day: Gauge,
    wear: Mutex<Wear>,
    health: HealthMetrics,
    info: GaugeVec,
}

impl Metrics {
    pub fn new(model: &str, stage: &str) -> Metrics {
        build(model, stage).expect("every name and label set here is valid and used once")
    }

    pub fn set_model_loaded(&self, version: &str, digest: &str) {
        self.model_loaded.set(1);
        self.info.with_label_values(&[version, digest]).set(1.0);
    }

    pub fn set_log_state(&self, state: &LogState) {
        self.log_initialized.set(i64::from(state.refusal().is_none()));
        for label in LogState::LABELS {
            let current = i64::from(label == state.label());
            self.log_state.with_label_values(&[label]).set(current);
        }
    }

    pub fn recovered(&self, step: &RecoveryStep) {
        self.log_recoveries.with_label_values(&[step.label()]).inc();
    }

    /// Asked of the kernel at every scrape, so that an idle daemon is told of too.
    fn update_wear(&self) {
        let Some(total) = disk::written_bytes() else { return };
        self.written_bytes.inc_by(total.saturating_sub(self.written_bytes.get()));
        let mut wear = self.wear.lock().expect("nothing that holds the wear panics");
        let rates = wear.rates(Instant::now(), total, self.logged.get());
        self.bytes_per_record.set(rates.bytes_per_record.unwrap_or(0.0));
        self.bytes_per_day.set(rates.bytes_per_day.unwrap_or(0.0));
    }

    pub fn set_mlflow_accessible(&self, accessible: bool) {
        self.mlflow_accessible.set(i64::from(accessible));
    }

    /// Counts a request that got no answer of substance. Other statuses don't occur.
    pub fn rejected(&self, status: u16) {
        let status = status.to_string();
        if REJECTED_STATUSES.contains(&status.as_str()) {
            self.rejected.with_label_values(&[&status]).inc();
        }
    }

    pub fn connected(&self, listener: &str) {
        self.connections.with_label_values(&[listener]).inc();
    }

    pub fn disconnected(&self, listener: &str) {
        self.connections.with_label_values(&[listener]).dec();
    }

    pub fn dropped(&self, listener: &str, why: Dropped) {
        self.dropped.with_label_values(&[listener, why.label()]).inc();
    }

    pub fn predicted(&self) {
        self.predictions.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.last_prediction.set(now.as_secs_f64());
    }

    /// Epoch seconds of the last prediction, if there was one since the start.
    pub fn last_prediction(&self) -> Option<f64> {
        Some(self.last_prediction.get()).filter(|seconds| *seconds > 0.0)
    }

    /// A subsystem was silent for more than half of what it may be.
    pub fn near_miss(&self, subsystem: &str) {
        self.health.near_miss(subsystem);
    }

    pub fn set_retention(&self, retention: Retention) {
        let gauge = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX);
        self.log_max_records.set(gauge(retention.max_records));
        self.log_max_bytes.set(gauge(retention.max_bytes));
    }

    /// Prometheus text format 0.0.4.
    pub fn render(&self, health: &Health) -> String {
        self.health.show(health);
        self.update_wear();
        let mut text = Vec::with_capacity(16 << 10);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

fn build(model: &str, stage: &str) -> prometheus::Result<Metrics> {
    let registry = Registry::new();
    let service = [LOGGING_SERVICE];

    let model_loaded = IntGaugeVec::new(
        Opts::new("inference_model_loaded", "Whether a model is loaded and serving."),
        &["model", "stage"],
    )?;
    registry.register(Box::new(model_loaded.clone()))?;
    let log_initialized = IntGaugeVec::new(
        Opts::new("logging_db_initialized", "Whether the prediction log is open."),
        &["service"],
    )?;
    registry.register(Box::new(log_initialized.clone()))?;
    let info = GaugeVec::new(
        Opts::new("picket_model_info", "The model in use; always 1."),
        &["version", "digest"],
    )?;
    registry.register(Box::new(info.clone()))?;
    let build_info = IntGaugeVec::new(
        Opts::new("picket_build_info", "The running build; always 1."),
        &["version", "commit"],
    )?;
    registry.register(Box::new(build_info.clone()))?;
    build_info.with_label_values(&[crate::VERSION, crate::COMMIT]).set(1);

    let counter = |name: &str, help: &str, label: &str, value: &str| {
        let family = IntCounterVec::new(Opts::new(name, help), &[label])?;
        registry.register(Box::new(family.clone()))?;
        family.get_metric_with_label_values(&[value])
    };
    let logging = |name: &str, help: &str| counter(name, help, "service", LOGGING_SERVICE);
    let gauge = |name: &str, help: &str| {
        let gauge = IntGauge::new(name, help)?;
        registry.register(Box::new(gauge.clone())).map(|()| gauge)
    };

    let rejected = IntCounterVec::new(
        Opts::new("picket_http_rejected_requests_total", "Requests answered with an error."),
        &["status"],
    )?;
    registry.register(Box::new(rejected.clone()))?;
    for status in REJECTED_STATUSES {
        rejected.with_label_values(&[status]);
    }
    let connections = IntGaugeVec::new(
        Opts::new("picket_http_connections", "Connections that are open now."),
        &["listener"],
    )?;
    registry.register(Box::new(connections.clone()))?;
    let dropped = IntCounterVec::new(
        Opts::new(
            "picket_http_dropped_connections_total",
            "Connections turned away at a limit or given up at a deadline.",
        ),
        &["listener", "why"],
    )?;
    registry.register(Box::new(dropped.clone()))?;
    for listener in LISTENERS {
        connections.with_label_values(&[listener]);
        for why in Dropped::ALL {
            dropped.with_label_values(&[listener, why.label()]);
        }
    }
    let stages = HistogramVec::new(
        HistogramOpts::new("picket_stage_duration_seconds", "Time spent in each stage.")
            .buckets(STAGE_BUCKETS.to_vec()),
        &["stage"],
    )?;
    registry.register(Box::new(stages.clone()))?;
    let last_prediction = Gauge::new(
        "picket_last_prediction_timestamp_seconds",
        "When the last prediction was answered, 0 before the first.",
    )?;
    registry.register(Box::new(last_prediction.clone()))?;
    let log_state = IntGaugeVec::new(
        Opts::new("picket_log_state", "State of the log: 1 for the current one."),
        &["state"],
    )?;
    registry.register(Box::new(log_state.clone()))?;
    for state in LogState::LABELS {
        log_state.with_label_values(&[state]).set(i64::from(state == "opening"));
    }
    let log_recoveries = IntCounterVec::new(
        Opts::new("picket_log_recoveries_total", "Steps that recovery of the log took."),
        &["step"],
    )?;
    registry.register(Box::new(log_recoveries.clone()))?;
    for step in RecoveryStep::LABELS {
        log_recoveries.with_label_values(&[step]);
    }
    let turned_away = IntCounter::new(
        "picket_predictions_turned_away_total",
        "Predictions refused because the queue was full.",
    )?;
    registry.register(Box::new(turned_away.clone()))?;
    let written_bytes = IntCounter::new(
        "picket_written_bytes_total",
        "Bytes that this process has written to block devices.",
    )?;
    registry.register(Box::new(written_bytes.clone()))?;
    let bytes_per_record = Gauge::new(
        "picket_written_bytes_per_record",
        "Bytes written to block devices for each record taken, over the last hour; 0 without any.",
    )?;
    registry.register(Box::new(bytes_per_record.clone()))?;
    let bytes_per_day = Gauge::new(
        "picket_written_bytes_per_day",
        "Bytes written to block devices in a day at the rate of the last hour.",
    )?;
    registry.register(Box::new(bytes_per_day.clone()))?;
    let process = prometheus::process_collector::ProcessCollector::for_self();
    registry.register(Box::new(process))?;

    Ok(Metrics {
        model_loaded: model_loaded.with_label_values(&[model, stage]),
        log_initialized: log_initialized.with_label_values(&service),
        mlflow_accessible: gauge(
            "inference_mlflow_accessible",
            "Whether the model registry answers; 0 where none is configured.",
        )?,
        predictions: counter(
            "inference_predictions_total",
            "Predictions answered.",
            "model",
            model,
        )?,
        errors: counter("inference_errors_total", "Predictions that failed here.", "model", model)?,
        logged: logging("logging_predictions_total", "Records taken by the prediction log.")?,
        defects: logging("logging_defects_total", "Records taken that show a defect.")?,
        log_errors: logging("logging_errors_total", "Records that the log could not take.")?,
        decode: stages.with_label_values(&["decode"]),
        queue: stages.with_label_values(&["queue"]),
        inference: stages.with_label_values(&["inference"]),
        commit: stages.with_label_values(&["commit"]),
        queue_depth: gauge("picket_queue_depth", "Images waiting for a worker.")?,
        queue_capacity: gauge("picket_queue_capacity", "Images that may wait for a worker.")?,
        turned_away,
        log_records: gauge("picket_log_records", "Records in the log.")?,
        log_bytes: gauge(
            "picket_log_budgeted_bytes",
            "Size on disk that the records will settle at; what retention by size goes by.",
        )?,
        log_disk_bytes: gauge("picket_log_disk_bytes", "Size of the log on disk now.")?,
        log_max_records: gauge("picket_log_max_records", "Records that the log may hold.")?,
        log_max_bytes: gauge("picket_log_max_bytes", "Size on disk that the log may have.")?,
        disk_free_bytes: gauge(
            "picket_log_disk_free_bytes",
            "Free space on the log's disk, as the log's writer last saw it.",
        )?,
        log_lost: gauge("picket_log_lost_records", "Numbers in the log that can't be read.")?,
        log_quarantines: gauge(
            "picket_log_quarantines",
            "Damaged stores that were set aside and are kept.",
        )?,
        log_state,
        log_recoveries,
        written_bytes,
        bytes_per_record,
        bytes_per_day,
        wear: Mutex::new(Wear::since(Instant::now(), disk::written_bytes().unwrap_or(0), 0)),
        health: HealthMetrics::new(&registry)?,
        rejected,
        connections,
        dropped,
        last_prediction,
        info,
        registry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_the_contract_is_there_from_the_first_scrape() {
        let text = Metrics::new("cifar10-model", "Production").render(&Health::new());
        for line in [
            "inference_model_loaded{model=\"cifar10-model\",stage=\"Production\"} 0",
            "inference_predictions_total{model=\"cifar10-model\"} 0",
            "inference_errors_total{model=\"cifar10-model\"} 0",
            "inference_mlflow_accessible 0",
            "logging_db_initialized{service=\"cloud-logging-api\"} 0",
            "logging_predictions_total{service=\"cloud-logging-api\"} 0",
            "logging_defects_total{service=\"cloud-logging-api\"} 0",
            "logging_errors_total{service=\"cloud-logging-api\"} 0",
            "# TYPE inference_predictions_total counter",
            "# TYPE inference_model_loaded gauge",
            "picket_stage_duration_seconds_count{stage=\"commit\"} 0",
            "picket_predictions_turned_away_total 0",
            "picket_not_ready{reason=\"starting\"} 1",
            "picket_not_ready{reason=\"overloaded\"} 0",
            "picket_registry_configured 0",
        ] {
            assert!(text.lines().any(|found| found == line), "missing: {line}\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
