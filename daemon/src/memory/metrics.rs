//! The budget of memory as a scrape shows it.

use picket_base::budget::{Budget, Class};

use crate::metrics::{Registry, gauge_value};

/// Declares what is shown of a budget; it is read anew before each scrape.
pub fn register_budget(registry: &Registry, budget: Budget) {
    let whole = registry.gauge(
        "picket_memory_budget_bytes",
        "Memory that requests may take together.",
        &[],
    );
    let taken = registry.gauges(
        "picket_memory_taken_bytes",
        "Memory of the budget that is taken now.",
        &["class"],
    );
    let refused = registry.counters(
        "picket_memory_refusals_total",
        "Refusals because a class of the budget had no memory left.",
        &["class"],
    );
    let families = Class::ALL.map(|class| {
        let labels = [class.name()];
        (class, taken.with_label_values(&labels), refused.with_label_values(&labels))
    });
    registry.before_scrape(move || {
        whole.set(gauge_value(budget.bytes() as u64));
        for (class, taken, refused) in &families {
            taken.set(gauge_value(budget.taken(*class) as u64));
            refused.inc_by(budget.refused(*class).saturating_sub(refused.get()));
        }
    });
}
