//! What a model gives for one picture. It knows no model.

/// Classes of CIFAR-10 (Krizhevsky 2009), the only label space the contract has.
pub const CLASSES: usize = 10;

/// Unnormalised scores, one for each class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logits(pub [f32; CLASSES]);
