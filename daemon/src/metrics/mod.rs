//! The daemon's metrics: one registry, the kinds of families that go on it, and the text that a scrape
//! gets. Each room declares what it counts by itself. The only room that names prometheus.

mod process;
mod registry;
mod stage;

pub use process::register_process;
pub use prometheus::{
    Gauge as RealGauge, GaugeVec as RealGaugeFamily, Histogram, IntCounter as Counter,
    IntCounterVec as CounterFamily, IntGauge as Gauge, IntGaugeVec as GaugeFamily,
};
pub use registry::{Registry, gauge_value};
pub use stage::stage;
