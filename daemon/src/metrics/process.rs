//! The families that describe the process itself.

use prometheus::process_collector::ProcessCollector;

use super::registry::Registry;

/// Declares the families of the process and of the build that runs.
pub fn register_process(registry: &Registry) {
    let build = [("version", crate::VERSION), ("commit", crate::COMMIT)];
    registry.gauge("picket_build_info", "The running build; always 1.", &build).set(1);
    registry.add(Box::new(ProcessCollector::for_self()));
}
