//! What is counted of the daemon's own messages.

use super::queue::Lines;
use crate::metrics::Registry;

/// Shows at each scrape how many lines were lost.
pub fn count_lost(registry: &Registry, lines: Lines) {
    let lost = registry.counter(
        "picket_lost_lines_total",
        "Lines of the daemon's own messages that were lost: whoever reads them did not keep up.",
        &[],
    );
    registry.before_scrape(move || lost.inc_by(lines.lost().saturating_sub(lost.get())));
}
