//! All files of a version, brought into a directory.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use picket_models::VERSION_FILES_MAX;

use super::download::{Between, NotHere, Progress, download};
use super::mlflow::{Mlflow, Named, NoVersion, Remote};

/// The ONNX file that is taken where there are several.
const MODEL: &str = "model.onnx";

/// Why a version is not here.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    /// Asked again, the registry would say the same: the version is at fault.
    #[error("{0}")]
    Unfit(String),
    /// Another time it may work.
    #[error("{0}")]
    Later(String),
    #[error("the daemon ends")]
    Stopped,
}

/// Where a version is put, and what of it is there.
pub struct Arriving {
    dir: PathBuf,
    /// The version, by its identity.
    of: String,
    files: HashMap<String, Progress>,
}

impl Arriving {
    pub fn new(dir: PathBuf) -> Arriving {
        Arriving { dir, of: String::new(), files: HashMap::new() }
    }

    /// Removes what is there of another version.
    fn begin(&mut self, named: &Named) {
        if self.of != named.identity() {
            self.clear();
            self.of = named.identity();
        }
    }

    /// Removes all that is there.
    pub fn clear(&mut self) {
        // There may be nothing, and what can't be removed is overwritten.
        let _ = fs::remove_dir_all(&self.dir);
        self.files.clear();
        self.of.clear();
    }
}

/// Downloads a version, or what is missing of it. Returns what is to be installed: the directory, or the ONNX
/// file in it. `room` says why there is none for so many bytes.
///
/// # Errors
/// As `NotFetched`.
pub fn fetch(
    mlflow: &Mlflow,
    named: &Named,
    arriving: &mut Arriving,
    room: &dyn Fn(u64) -> Result<(), String>,
    between: &dyn Between,
) -> Result<PathBuf, NotFetched> {
    arriving.begin(named);
    let files = mlflow.files(named, VERSION_FILES_MAX).map_err(|error| match error {
        NoVersion::Nothing(text) => NotFetched::Unfit(text),
        NoVersion::Unanswered(text) => NotFetched::Later(text),
    })?;
    let bytes = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let model = model(&files)?;
    room(bytes).map_err(NotFetched::Later)?;
    for file in &files {
        let path = arriving.dir.join(&file.name);
        let progress = arriving.files.entry(file.name.clone()).or_default();
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(|error| NotFetched::Later(format!("cannot store it: {error}")))?;
        let credentials = &mlflow.wanted().credentials;
        let place = (&*path, progress);
        download(mlflow.client(), credentials, file, place, between).map_err(|error| {
            let text = format!("{}: {error}", file.name);
            match error {
                NotHere::Failed(_) | NotHere::Disk(_) => NotFetched::Later(text),
                NotHere::Stopped => NotFetched::Stopped,
            }
        })?;
    }
    let dir = arriving.dir.clone();
    Ok(if model == MODEL { dir } else { dir.join(model) })
}

/// Names the ONNX file among them.
fn model(files: &[Remote]) -> Result<&str, NotFetched> {
    let onnx: Vec<&str> = files
        .iter()
        .map(|file| file.name.as_str())
        .filter(|name| name.ends_with(".onnx"))
        .collect();
    match onnx[..] {
        _ if onnx.contains(&MODEL) => Ok(MODEL),
        [one] => Ok(one),
        [] => Err(NotFetched::Unfit("none of its files is ONNX".to_string())),
        _ => Err(NotFetched::Unfit(format!(
            "it has several ONNX files ({}), and none is {MODEL}",
            onnx.join(", ")
        ))),
    }
}
