//! What a model says about itself, and what was measured while it was loaded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::card::Line;
use crate::file::Convolutions;
use crate::output::Output;
use crate::run::Node;
use picket_picture::Spec;

/// What a model says about itself, and what was measured while it was loaded.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name that it states, if any.
    pub name: Option<String>,
    /// The version that it states, else the digest's first 12 digits.
    pub version: String,
    /// SHA-256 of the file, or of the list of files that it is made of, lower-case hex.
    pub digest: String,
    /// What a picture must become.
    pub input: Spec,
    /// What the scores mean.
    pub output: Output,
    /// The verdicts that it asks for where the configuration does not.
    pub verdict: VerdictDefaults,
    /// Each value of its card with its source.
    pub card: Vec<Line>,
    /// Length of the ONNX file.
    pub bytes: usize,
    /// Parse, optimise, first run and golden check together.
    pub load_time: Duration,
    /// Whether it states golden logits, and so was checked against them.
    pub golden_checked: bool,
    /// How many golden pictures it was checked with.
    pub golden_pictures: usize,
    /// What its owner should know of what it says, and does not.
    pub card_warnings: Vec<String>,
    /// What computes the convolutions: a path of ours, or tract where it has them all.
    pub kernel: &'static str,
    /// The convolutions that the file has.
    pub convolutions: Convolutions,
    /// How many of them the stock engine computes.
    pub stock: usize,
    /// Time of one image, at load.
    pub run_time: Duration,
    /// What the buffers of one run take where it is computed in integers, bytes.
    pub run_bytes: usize,
    /// The graph in the order in which it runs.
    pub nodes: Vec<Node>,
}

/// The verdicts that a model asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VerdictDefaults {
    /// Labels that count as a defect.
    pub defect_labels: Vec<String>,
    /// Confidences from the first to the second are uncertain, both included.
    pub uncertain_between: Option<(f32, f32)>,
    /// Probabilities from which on a label is a defect, whichever class won.
    pub thresholds: BTreeMap<String, f32>,
}

impl ModelInfo {
    /// Says what it costs that convolutions are not computed by our kernels; none where all are.
    pub fn stock_warning(&self) -> Option<String> {
        let (all, stock) = (self.convolutions.all(), self.stock);
        let form = match self.convolutions {
            _ if stock == 0 => return None,
            Convolutions { qdq: 1.., .. } => "QDQ, computed as floats",
            Convolutions { float: 1.., .. } => "f32",
            _ => "integers of a form that no kernel takes",
        };
        let ms = self.run_time.as_secs_f64() * 1e3;
        Some(format!(
            "{stock} of {all} convolutions are {form}, and run on the stock engine: {ms:.2} ms an \
             image here; quantised they would take a fraction of that (docs/kernels.md)"
        ))
    }
}
