//! What is counted of the log: records taken, lost and kept, room, recoveries, its state.

use crate::health::LogState;
use crate::metrics::{
    Counter, CounterFamily, Gauge, GaugeFamily, Histogram, Registry, gauge_value, stage,
};
use picket_base::clock::Stamp;
use picket_records::{Found, LogReader, PredictionLog, Retention, Stream};

/// The `service` label of the `logging_` families: the name of the service that this one replaced.
const SERVICE: (&str, &str) = ("service", "cloud-logging-api");

pub struct LogMetrics {
    /// Records that the log took, from this box and from others.
    pub logged: Counter,
    /// Records that the log took and that show a defect.
    pub defects: Counter,
    /// Records that the log could not take.
    pub errors: Counter,
    pub(super) commit: Histogram,
    /// The free space as the log's owner last saw it.
    pub(super) disk_free_bytes: Gauge,
    initialized: Gauge,
    state: GaugeFamily,
    recoveries: CounterFamily,
    records: Gauge,
    bytes: Gauge,
    disk_bytes: Gauge,
    records_max: Gauge,
    bytes_max: Gauge,
    reported: Gauge,
    reported_records_max: Gauge,
    reported_bytes_max: Gauge,
    lost: Gauge,
    repaired: Counter,
    quarantines: Gauge,
}

impl LogMetrics {
    pub fn new(registry: &Registry) -> LogMetrics {
        let logging = |name, help| registry.counter(name, help, &[SERVICE]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        let metrics = LogMetrics {
            logged: logging("logging_predictions_total", "Records taken by the prediction log."),
            defects: logging("logging_defects_total", "Records taken that show a defect."),
            errors: logging("logging_errors_total", "Records that the log could not take."),
            commit: stage(registry, "commit"),
            disk_free_bytes: gauge(
                "picket_log_disk_free_bytes",
                "Free space on the log's disk, as the log's writer last saw it.",
            ),
            initialized: registry.gauge(
                "logging_db_initialized",
                "Whether the prediction log is open.",
                &[SERVICE],
            ),
            state: registry.gauges(
                "picket_log_state",
                "State of the log: 1 for the current one.",
                &["state"],
            ),
            recoveries: registry.counters(
                "picket_log_recoveries_total",
                "What was out of the ordinary when the log was opened.",
                &["step"],
            ),
            records: gauge("picket_log_records", "Records in the log."),
            reported: gauge("picket_log_reported_records", "Those of them that others reported."),
            bytes: gauge("picket_log_budgeted_bytes", "Bytes of the records in sealed files."),
            disk_bytes: gauge("picket_log_disk_bytes", "Size of the log on disk now."),
            records_max: gauge("picket_log_max_records", "Own records that the log may hold."),
            bytes_max: gauge("picket_log_max_bytes", "Size on disk that own records may have."),
            reported_records_max: gauge(
                "picket_log_reported_max_records",
                "Reported records that the log may hold.",
            ),
            reported_bytes_max: gauge(
                "picket_log_reported_max_bytes",
                "Size on disk that reported records may have.",
            ),
            lost: gauge("picket_log_lost_records", "Records in the log that can't be read."),
            repaired: registry.counter(
                "picket_log_repaired_records_total",
                "Damaged records that were written anew from where they could be read.",
                &[],
            ),
            quarantines: gauge(
                "picket_log_quarantines",
                "Damaged stores that version 0.1 set aside and that are kept.",
            ),
        };
        metrics.show_state(&LogState::Opening);
        for label in Found::LABELS {
            metrics.recoveries.with_label_values(&[label]);
        }
        metrics
    }

    pub(super) fn show_state(&self, state: &LogState) {
        self.initialized.set(i64::from(state.refusal().is_none()));
        for label in LogState::LABELS {
            let current = i64::from(label == state.label());
            self.state.with_label_values(&[label]).set(current);
        }
    }

    pub(super) fn show_retention(&self, retention: Retention) {
        let Retention { own, reported } = retention;
        self.records_max.set(gauge_value(own.max_records));
        self.bytes_max.set(gauge_value(own.max_bytes));
        self.reported_records_max.set(gauge_value(reported.max_records));
        self.reported_bytes_max.set(gauge_value(reported.max_bytes));
    }

    pub(super) fn show_size(&self, log: &PredictionLog) {
        let [(own, own_bytes), (reported, reported_bytes)] =
            [Stream::Own, Stream::Reported].map(|stream| log.size(stream));
        self.records.set(gauge_value(own + reported));
        self.reported.set(gauge_value(reported));
        self.bytes.set(gauge_value(own_bytes + reported_bytes));
        self.disk_bytes.set(gauge_value(log.disk_bytes()));
        self.lost.set(gauge_value(log.lost()));
    }

    /// Shows what was found when the log was opened.
    pub(super) fn show_opened(&self, log: &PredictionLog) {
        for label in log.found().iter().filter_map(Found::label) {
            self.recoveries.with_label_values(&[label]).inc();
        }
        self.quarantines.set(gauge_value(log.quarantines() as u64));
        self.show_size(log);
    }

    pub(super) fn repaired(&self, records: u64) {
        self.repaired.inc_by(records);
    }
}

/// Shows at each scrape where the log stands, so that whoever scrapes can tell later what was there, and what
/// retention has taken.
pub fn watch_standing(registry: &Registry, reader: LogReader) {
    let gauge = |name, help| registry.gauge(name, help, &[]);
    let next = gauge("picket_log_next_id", "Number that the next record will have.");
    let first = gauge("picket_log_first_id", "Number of the oldest record that is kept.");
    let age = registry.real_gauge(
        "picket_log_oldest_record_age_seconds",
        "Age of the oldest record that is kept, 0 where there is none.",
    );
    let head = registry.gauges(
        "picket_log_head",
        "First 48 bits of the link of a stream's newest record, as log verify --witness takes them.",
        &["stream"],
    );
    let retired = registry.counters(
        "picket_log_retired_records_total",
        "Records that retention has removed over the life of the log, by the limit that they exceeded.",
        &["why"],
    );
    registry.before_scrape(move || {
        for (why, records) in reader.retired() {
            let shown = retired.with_label_values(&[why]);
            shown.inc_by(records.saturating_sub(shown.get()));
        }
        let Ok(standing) = reader.standing() else { return };
        next.set(gauge_value(standing.next_id));
        first.set(gauge_value(standing.first_id));
        let now = Stamp::now().wall_us as f64 / 1e6;
        age.set(standing.oldest.map_or(0.0, |oldest| (now - oldest).max(0.0)));
        for (stream, bits) in standing.heads {
            head.with_label_values(&[stream]).set(gauge_value(bits));
        }
    });
}
