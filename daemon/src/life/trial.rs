//! A foreign model is tried in a process of its own before this one loads it: an engine that asks for
//! gigabytes, never ends or aborts takes that process down, and nothing else.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use picket_classifier::{Engine, Model, ModelError, ModelSource};

use crate::os;

/// What loading may take of the processor, seconds. The largest nets measured take one on x86-64; the
/// slowest boards are ten times slower.
const SECONDS_MAX: u64 = 30;

/// What it may take of memory: this part of what the daemon may have, for the model lives beside its
/// pictures and its log.
const SHARE: (u64, u64) = (3, 4);

/// Enough address space for the embedded model, its program and its libraries several times over, bytes.
const BYTES_MIN: u64 = 128 << 20;

/// More helps no model of the accepted size, bytes.
const BYTES_MAX: u64 = 1 << 30;

/// The longest explanation that is read, bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// What the trial's process is called with, before the model's path.
pub const ARGUMENTS: [&str; 2] = ["model", "trial"];

/// Loads the model that a configuration asks for, a foreign one after its trial.
///
/// # Errors
/// Why it can't serve.
pub fn load_model(source: &ModelSource, engine: Engine) -> Result<Model, ModelError> {
    // A pipe gives its bytes once, and a file that is not there says so below.
    if let ModelSource::File(path) = source
        && (path.is_file() || path.is_dir())
    {
        attempt(path)?;
    }
    Model::load_on(source, engine)
}

/// The trial itself, in its process: loads the model within the limits and says why not.
///
/// # Errors
/// Why it can't serve.
pub fn within_limits(path: &Path) -> Result<(), ModelError> {
    // What a panic says is of the engine's insides; the error says what there is to say.
    std::panic::set_hook(Box::new(|_| {}));
    os::bound_this_process(bytes_given(), SECONDS_MAX)
        .map_err(|error| failed(&error.to_string()))?;
    match Model::load(&ModelSource::File(path.to_path_buf())) {
        Err(ModelError::OutOfMemory { .. }) => Err(out_of_memory(path)),
        loaded => loaded.map(drop),
    }
}

fn attempt(path: &Path) -> Result<(), ModelError> {
    let mut child = Command::new("/proc/self/exe")
        .args(ARGUMENTS)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error.to_string()))?;
    let mut text = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(TEXT_BYTES_MAX).read_to_string(&mut text);
    }
    let status = child.wait().map_err(|error| failed(&error.to_string()))?;
    match status.code() {
        Some(0) => Ok(()),
        Some(_) => {
            let text = text.lines().next_back().unwrap_or_default();
            Err(ModelError::Refused(text.strip_prefix("picket: ").unwrap_or(text).to_string()))
        }
        None if status.signal() == Some(os::OUT_OF_SECONDS) => Err(ModelError::Refused(format!(
            "model {} takes more than {SECONDS_MAX} s of the processor to load, the limit",
            path.display()
        ))),
        None => Err(out_of_memory(path)),
    }
}

fn out_of_memory(path: &Path) -> ModelError {
    ModelError::Refused(format!(
        "model {} takes more than {} MiB of memory to load, the limit here",
        path.display(),
        bytes_given() >> 20
    ))
}

fn bytes_given() -> u64 {
    let given = os::memory_given().map_or(BYTES_MAX, |bytes| bytes / SHARE.1 * SHARE.0);
    given.clamp(BYTES_MIN, BYTES_MAX)
}

fn failed(reason: &str) -> ModelError {
    ModelError::Refused(format!("the model can't be tried: {reason}"))
}
