//! A foreign model is tried in a process of its own before this one loads it: an engine that asks for
//! gigabytes, never ends or aborts takes that process down, and nothing else.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_classifier::{Contents, Engine, Model, ModelError, ModelSource, contents};
use picket_models::Why;
use serde::{Deserialize, Serialize};

use crate::os;

/// What loading may take of the processor, seconds. The largest nets measured take one on x86-64; the
/// slowest boards are ten times slower.
const SECONDS_MAX: u64 = 30;

/// And of time, seconds: the processor may be busy with pictures.
const TIME_MAX_SECS: u32 = 120;

/// What it may take of memory: this part of what the daemon may have, for the model lives beside its
/// pictures and its log.
const SHARE: (u64, u64) = (3, 4);

/// Enough address space for the embedded model, its program and its libraries several times over, bytes.
const BYTES_MIN: u64 = 128 << 20;

/// More helps no model of the accepted size, bytes.
const BYTES_MAX: u64 = 1 << 30;

/// The longest explanation that is read, bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// The longest list of files that is read, bytes.
const CONTENTS_BYTES_MAX: u64 = 1 << 20;

/// What the trial's process is called with, before the model's path.
pub const ARGUMENTS: [&str; 2] = ["model", "trial"];

/// What a trial leads to, as its process says it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Passed(Contents),
    /// The text that explains it goes to the standard error.
    Failed(Why),
}

/// Why a model failed its trial.
#[derive(Debug)]
pub struct Failed {
    pub why: Why,
    pub error: ModelError,
}

/// The trial that is on at the moment, for whoever must end it.
#[derive(Clone, Default)]
pub struct Trial(Arc<Mutex<Desk>>);

#[derive(Default)]
struct Desk {
    child: Option<Child>,
    has_ended: bool,
}

impl Trial {
    /// Ends the one that is on, and whatever would come after it.
    pub fn end(&self) {
        let mut desk = self.desk();
        desk.has_ended = true;
        // One that is over can't be ended.
        let _ = desk.child.as_mut().map(Child::kill);
    }

    pub fn has_ended(&self) -> bool {
        self.desk().has_ended
    }

    fn put(&self, child: Child) {
        let mut desk = self.desk();
        desk.child = Some(child);
        if desk.has_ended {
            let _ = desk.child.as_mut().map(Child::kill);
        }
    }

    fn take(&self) -> Option<Child> {
        self.desk().child.take()
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads the model that a configuration asks for, a foreign one after its trial.
///
/// # Errors
/// Why it can't serve.
pub fn load_model(source: &ModelSource, engine: Engine) -> Result<Model, ModelError> {
    // A pipe gives its bytes once, and a file that is not there says so below.
    if let ModelSource::File(path) = source
        && (path.is_file() || path.is_dir())
    {
        attempt(path, &Trial::default()).map_err(|failed| failed.error)?;
    }
    Model::load_on(source, engine)
}

/// The trial itself, in its process: loads the model within the limits and says what it consists of. Where it
/// can't serve, an error explains that.
pub fn within_limits(path: &Path) -> (Outcome, Result<(), ModelError>) {
    // What a panic says is of the engine's insides; the error says what there is to say.
    std::panic::set_hook(Box::new(|_| {}));
    os::go_first_where_memory_is_short();
    let tried = os::bound_this_process(bytes_given(), SECONDS_MAX, TIME_MAX_SECS)
        .map_err(|error| unable(&error.to_string()))
        .and_then(|()| Model::load(&ModelSource::File(path.to_path_buf())).map(drop))
        .and_then(|()| contents(path));
    let error = match tried {
        Ok(contents) => return (Outcome::Passed(contents), Ok(())),
        Err(ModelError::OutOfMemory { .. }) => out_of_memory(path),
        Err(other) => other,
    };
    let why = if matches!(error, ModelError::Golden { .. }) { Why::Golden } else { Why::Model };
    (Outcome::Failed(why), Err(error))
}

/// Tries a model in a process of its own. Returns what it consists of.
///
/// # Errors
/// Why it can't serve.
pub fn attempt(path: &Path, trial: &Trial) -> Result<Contents, Failed> {
    let failed = |why, error| Failed { why, error };
    let broken = |text: &str| failed(Why::Model, unable(text));
    let mut child = Command::new("/proc/self/exe")
        .args(ARGUMENTS)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| broken(&error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    trial.put(child);
    let said = read(stdout, CONTENTS_BYTES_MAX);
    let text = read(stderr, TEXT_BYTES_MAX);
    let mut child = trial.take().expect("it was put there, and one trial is on at a time");
    let status = child.wait().map_err(|error| broken(&error.to_string()))?;
    match (status.code(), serde_json::from_str(&said)) {
        (Some(0), Ok(Outcome::Passed(contents))) => Ok(contents),
        (Some(_), outcome) => {
            let why = if let Ok(Outcome::Failed(why)) = outcome { why } else { Why::Model };
            let text = text.lines().next_back().unwrap_or_default();
            let text = text.strip_prefix("picket: ").unwrap_or(text).to_string();
            Err(failed(why, ModelError::Refused(text)))
        }
        (None, _) if status.signal().is_some_and(os::is_out_of_seconds) => {
            let text = format!(
                "model {} takes more than {SECONDS_MAX} s of the processor to load, the limit",
                path.display()
            );
            Err(failed(Why::Time, ModelError::Refused(text)))
        }
        (None, _) => Err(failed(Why::Memory, out_of_memory(path))),
    }
}

fn read(stream: Option<impl Read>, most: u64) -> String {
    let mut text = Vec::new();
    // What can't be read was not said.
    let _ = stream.map(|stream| stream.take(most).read_to_end(&mut text));
    String::from_utf8_lossy(&text).into_owned()
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

fn unable(reason: &str) -> ModelError {
    ModelError::Refused(format!("the model can't be tried: {reason}"))
}
