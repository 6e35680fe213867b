//! Why a model is not served, or gives no answer.

use std::path::PathBuf;

/// Largest model file that is read, bytes: 200 times the embedded model, and still within the
/// memory of a 512 MB board while it is parsed.
pub const MODEL_BYTES_MAX: u64 = 64 << 20;

/// Why a model is not served, or gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("cannot read model {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("model is {bytes} bytes, at most {MODEL_BYTES_MAX} are accepted")]
    TooLarge { bytes: u64 },
    #[error("model {digest} is not a usable ONNX file: {detail}")]
    Invalid { digest: String, detail: String },
    #[error("model {}: {detail}", path.display())]
    Card { path: PathBuf, detail: String },
    #[error("model {digest} does not fit: {detail}")]
    Unfit { digest: String, detail: String },
    #[error(
        "model {digest} failed its golden check{}: logit {class} is {found:.3}, its card says \
         {expected:.3}",
        picture.as_ref().map(|name| format!(" of {name:?}")).unwrap_or_default()
    )]
    Golden {
        digest: String,
        /// The golden picture's name, where it is a file.
        picture: Option<String>,
        class: usize,
        found: f32,
        expected: f32,
    },
    #[error(
        "the golden sample's logits differ by {difference} from those at load: memory or model is \
         damaged"
    )]
    Damaged { difference: f32 },
    #[error("loading model {digest} takes more memory than this process is given")]
    OutOfMemory { digest: String },
    /// It failed its trial in another process, which said why.
    #[error("{0}")]
    Refused(String),
    #[error("inference failed: {0}")]
    Run(String),
}

/// What is wrong with a file, as a sentence without its subject's name. What an engine says of it is
/// another error, and its insides are shown to nobody.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FileFault(pub String);

/// What is wrong with what is said of a model, as a sentence without its subject's name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CardError(pub String);
