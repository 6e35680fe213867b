//! What a model gives for one picture, before it is made probabilities of. It knows no model.

/// One number for each output of the model, as the model gives it: logits or probabilities, which its
/// [`crate::Output`] tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores(pub Vec<f32>);
