//! What a model says about itself, and what was measured while it was loaded.

use std::time::Duration;

use crate::file::Convolutions;
use crate::output::Output;
use crate::run::Node;
use picket_picture::Spec;

/// What a model says about itself, and what was measured while it was loaded.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// Name in the file's metadata, if it states one.
    pub name: Option<String>,
    /// Version in the file's metadata, else the digest's first 12 digits.
    pub version: String,
    /// SHA-256 of the file, lower-case hex.
    pub digest: String,
    /// What a picture must become.
    pub input: Spec,
    /// What the scores mean.
    pub output: Output,
    /// Length of the file.
    pub bytes: usize,
    /// Parse, optimise, first run and golden check together.
    pub load_time: Duration,
    /// Whether the file carried golden logits, and so was checked against them.
    pub golden_checked: bool,
    /// What computes the convolutions: a path of ours, or tract where it has them all.
    pub kernel: &'static str,
    /// The convolutions that the file has.
    pub convolutions: Convolutions,
    /// Time of one image, at load.
    pub run_time: Duration,
    /// The graph in the order in which it runs.
    pub nodes: Vec<Node>,
}

impl ModelInfo {
    /// Says what it costs that convolutions are not computed by our kernels; none where all are.
    pub fn stock_warning(&self) -> Option<String> {
        let all = self.convolutions.all();
        let stock = all - self.nodes.iter().filter(|node| node.products.is_some()).count().min(all);
        let form = match self.convolutions {
            _ if stock == 0 => return None,
            Convolutions { qdq: 1.., .. } => "QDQ, computed as floats",
            Convolutions { float: 1.., .. } => "f32",
            _ => "integers of a form that no kernel takes",
        };
        let ms = self.run_time.as_secs_f64() * 1e3;
        Some(format!(
            "{stock} of {all} convolutions are {form}, and run on the stock engine: {ms:.2} ms an \
             image here; as QLinearConv they would take a fraction of that (docs/kernels.md)"
        ))
    }
}
