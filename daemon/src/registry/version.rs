//! All files of a version, brought into a directory.

use std::fs;
use std::path::{Path, PathBuf};

use picket_models::VERSION_FILES_MAX;

use super::download::{Between, NotHere, download};
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

/// Downloads a version into `dir`. Returns what is to be installed: the directory, or the ONNX file in it.
///
/// # Errors
/// As `NotFetched`.
pub fn fetch(
    mlflow: &Mlflow,
    named: &Named,
    bytes_max: u64,
    dir: &Path,
    between: &dyn Between,
) -> Result<PathBuf, NotFetched> {
    let files = mlflow.files(named, VERSION_FILES_MAX).map_err(|error| match error {
        NoVersion::Nothing(text) => NotFetched::Unfit(text),
        NoVersion::Unanswered(text) => NotFetched::Later(text),
    })?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    if bytes > bytes_max {
        return Err(NotFetched::Unfit(format!(
            "its files have {bytes} bytes, [model] max_bytes = {bytes_max}"
        )));
    }
    let model = model(&files)?;
    for file in &files {
        let path = dir.join(&file.name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.map_err(|error| NotFetched::Later(format!("cannot store it: {error}")))?;
        let credentials = &mlflow.wanted().credentials;
        download(mlflow.client(), credentials, file, &path, between).map_err(|error| {
            let text = format!("{}: {error}", file.name);
            match error {
                NotHere::Wrong(_) => NotFetched::Unfit(text),
                NotHere::Cut(_) | NotHere::Disk(_) => NotFetched::Later(text),
                NotHere::Stopped => NotFetched::Stopped,
            }
        })?;
    }
    Ok(if model == MODEL { dir.to_path_buf() } else { dir.join(model) })
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
