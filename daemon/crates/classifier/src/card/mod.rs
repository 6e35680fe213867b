//! What a model says about itself, from every place that may say it: model.toml, the ONNX file's
//! metadata, the files of Hugging Face and timm, labels.txt. It knows no engine and runs nothing.
//!
//! - `limits`, `words` and `draft` are leaves: bounds, the words for each choice, and values with their
//!   sources.
//! - `model_toml`, `metadata`, `ultralytics`, `openvino`, `huggingface`, `timm` and `labels` read one
//!   form each.
//! - `bundle` finds and reads the files, `input` and `scores` make of all of it what a picture must
//!   become and what the scores mean, `warnings` says what its owner should know, `stamp` puts it into
//!   an ONNX file.

mod bundle;
mod draft;
mod huggingface;
mod input;
mod labels;
mod limits;
mod metadata;
mod model_toml;
mod openvino;
mod scores;
mod stamp;
mod timm;
mod ultralytics;
mod warnings;
mod words;

pub use bundle::{Bundle, GoldenPicture, MODEL, stated_name};
pub use draft::{DEFAULT, Draft, GRAPH, Line, MODEL_TOML, Stated, quoted};
pub use input::{GraphInput, settle_input};
pub use scores::settle_output;
pub use stamp::stamp;
pub use warnings::warnings;
pub use words::StatedKind;
