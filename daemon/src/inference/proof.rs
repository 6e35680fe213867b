//! Proof of work: a worker runs the model's golden sample now and then, and stops answering when the
//! result has changed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::health::Heartbeat;
use picket_classifier::Model;

/// Checks that this thread still gets the logits that the model gave when it was loaded; if not, its
/// heartbeat fails for good.
pub(super) fn prove(model: &Model, heartbeat: &Heartbeat) {
    let fault = match catch_unwind(AssertUnwindSafe(|| model.prove())) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the golden sample panicked".to_string(),
    };
    heartbeat.fail(fault);
}
