//! The registry that every room declares its families on, and what a scrape gets of it. It knows
//! nothing of what is counted. Names follow the Prometheus guides, or the contract.

use std::sync::{Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, TextEncoder,
};

/// A label that is the same for all of a family.
type Label<'a> = (&'a str, &'a str);

/// The usual size of a scrape, bytes.
const SCRAPE_BYTES: usize = 16 << 10;

/// Families are there from the first scrape on: each constructor registers what it returns.
#[derive(Default)]
pub struct Registry {
    families: prometheus::Registry,
    refreshers: Mutex<Vec<Box<dyn FnMut() + Send>>>,
}

impl Registry {
    pub fn new() -> Registry {
        Registry::default()
    }

    pub fn counter(&self, name: &str, help: &str, labels: &[Label]) -> IntCounter {
        self.declare(IntCounter::with_opts(options(name, help, labels)))
    }

    pub fn gauge(&self, name: &str, help: &str, labels: &[Label]) -> IntGauge {
        self.declare(IntGauge::with_opts(options(name, help, labels)))
    }

    /// A gauge of a quantity that is no whole number.
    pub fn real_gauge(&self, name: &str, help: &str) -> Gauge {
        self.declare(Gauge::new(name, help))
    }

    /// A counter for each value of the labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.declare(IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A gauge for each value of the labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.declare(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn real_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.declare(GaugeVec::new(Opts::new(name, help), labels))
    }

    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[Label],
        buckets: &[f64],
    ) -> Histogram {
        let common_opts = options(name, help, labels);
        let options = HistogramOpts { common_opts, buckets: buckets.to_vec() };
        self.declare(Histogram::with_opts(options))
    }

    /// Has `refresh` set its metrics anew before each scrape.
    pub fn before_scrape(&self, refresh: impl FnMut() + Send + 'static) {
        let mut refreshers = self.refreshers.lock().unwrap_or_else(PoisonError::into_inner);
        refreshers.push(Box::new(refresh));
    }

    /// All families in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut refreshers = self.refreshers.lock().unwrap_or_else(PoisonError::into_inner);
        refreshers.iter_mut().for_each(|refresh| refresh());
        drop(refreshers);
        let mut text = Vec::with_capacity(SCRAPE_BYTES);
        TextEncoder::new()
            .encode(&self.families.gather(), &mut text)
            .expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }

    pub(super) fn declare<F>(&self, family: prometheus::Result<F>) -> F
    where
        F: Collector + Clone + 'static,
    {
        let family = family.expect("every name and label of the daemon's families is valid");
        self.add(Box::new(family.clone()));
        family
    }

    pub(super) fn add(&self, collector: Box<dyn Collector>) {
        self.families.register(collector).expect("every family is declared once");
    }
}

fn options(name: &str, help: &str, labels: &[Label]) -> Opts {
    labels
        .iter()
        .fold(Opts::new(name, help), |options, (label, value)| options.const_label(*label, *value))
}

/// A gauge's value; what is too large for it is shown as the largest.
pub fn gauge_value(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
