//! What is counted of requests and connections.

use crate::metrics::{Counter, CounterFamily, GaugeFamily, Registry};

/// The statuses that a client's mistake or the daemon's own limits lead to.
const REJECTED_STATUSES: [&str; 14] = [
    "400", "401", "403", "404", "405", "408", "413", "414", "415", "421", "422", "431", "500",
    "503",
];

/// The values of `listener` in the connections' families.
const LISTENERS: [&str; 3] = ["api", "probe", "control"];

/// Why a connection ended that its client would have kept.
#[derive(Clone, Copy, Debug)]
pub enum Dropped {
    /// The listener has as many as it may.
    Limit,
    /// The client's address has as many as it may.
    AddressLimit,
    /// Connections hold all the memory that they may.
    Memory,
    /// It made room for another.
    Displaced,
    /// Its process is another user's.
    Stranger,
    /// The TLS handshake did not end in time.
    Handshake,
    /// A request's head did not arrive in time.
    Head,
    /// The client did not take its answer.
    Write,
}

impl Dropped {
    const ALL: [Dropped; 8] = [
        Dropped::Limit,
        Dropped::AddressLimit,
        Dropped::Memory,
        Dropped::Displaced,
        Dropped::Stranger,
        Dropped::Handshake,
        Dropped::Head,
        Dropped::Write,
    ];

    fn label(self) -> &'static str {
        match self {
            Dropped::Limit => "limit",
            Dropped::AddressLimit => "address_limit",
            Dropped::Memory => "memory",
            Dropped::Displaced => "displaced",
            Dropped::Stranger => "stranger",
            Dropped::Handshake => "handshake",
            Dropped::Head => "head",
            Dropped::Write => "write",
        }
    }
}

pub struct HttpMetrics {
    rejected: CounterFamily,
    connections: GaugeFamily,
    dropped: CounterFamily,
    turned_away: CounterFamily,
}

impl HttpMetrics {
    pub fn new(registry: &Registry) -> HttpMetrics {
        let metrics = HttpMetrics {
            rejected: registry.counters(
                "picket_http_rejected_requests_total",
                "Requests answered with an error.",
                &["status"],
            ),
            connections: registry.gauges(
                "picket_http_connections",
                "Connections that are open now.",
                &["listener"],
            ),
            dropped: registry.counters(
                "picket_http_dropped_connections_total",
                "Connections turned away or closed at a limit, or given up at a deadline.",
                &["listener", "why"],
            ),
            turned_away: registry.counters(
                "picket_offloaded_turned_away_total",
                "Pages, batches and packed bodies that were refused because too many were waiting.",
                &["threads"],
            ),
        };
        for status in REJECTED_STATUSES {
            metrics.rejected.with_label_values(&[status]);
        }
        for listener in LISTENERS {
            metrics.connections.with_label_values(&[listener]);
            for why in Dropped::ALL {
                metrics.dropped.with_label_values(&[listener, why.label()]);
            }
        }
        metrics
    }

    /// Counts a request that got no answer of substance. Other statuses don't occur.
    pub fn rejected(&self, status: u16) {
        let status = status.to_string();
        if REJECTED_STATUSES.contains(&status.as_str()) {
            self.rejected.with_label_values(&[&status]).inc();
        }
    }

    /// Counts what waits for these threads and is turned away.
    pub fn turned_away(&self, threads: &str) -> Counter {
        self.turned_away.with_label_values(&[threads])
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
}
