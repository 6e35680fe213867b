//! The model that serves, with all that a prediction by it needs. A request keeps the one that it began
//! with to its end.

use std::sync::Arc;

use super::pipeline::Pipeline;
use picket_records::Origin;

/// The model that serves, with all that a prediction by it needs.
pub struct Serving {
    pub pipeline: Pipeline,
    /// What answers call the model.
    pub name: String,
    /// Who makes the records of its predictions.
    pub origin: Arc<Origin>,
}
