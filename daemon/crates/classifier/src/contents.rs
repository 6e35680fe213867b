//! What a model consists of, found without an engine: its files, and what it says of itself that matters
//! before it is loaded.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::card::{Bundle, MODEL, MODEL_TOML};
use crate::error::ModelError;
use crate::{external, file, graph};

/// The files of a model, and who it says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The ONNX file's name among them.
    pub file: String,
    /// Those that the digest covers: name in the bundle, and where it is now.
    pub files: Vec<(String, PathBuf)>,
    pub name: Option<String>,
    /// The version that it states, else the digest's first 12 digits.
    pub version: String,
    /// SHA-256 of all of it, as the loaded model has it.
    pub digest: String,
    /// SHA-256 of the ONNX file alone.
    pub onnx_sha256: String,
    /// The number that only grows.
    pub counter: Option<u64>,
    /// Files that count, and whose sums its model.toml does not state.
    pub without_sum: Vec<String>,
}

/// Reads what a file or a bundle's directory consists of.
///
/// # Errors
/// Unreadable, no ONNX file, or a card that is refused.
pub fn contents(path: &Path) -> Result<Contents, ModelError> {
    let bundle = Bundle::open(path)?;
    let unfit = |detail: String| ModelError::Card { path: path.to_path_buf(), detail };
    let (_, model) = graph::read(&bundle).map_err(|error| unfit(error.to_string()))?;
    let external = external::names(&model);
    let said = bundle.gather(file::properties(&model)).map_err(unfit)?.draft;
    let digest = bundle.digest(&external).map_err(unfit)?;
    let dir = bundle.dir.clone().unwrap_or_default();
    let onnx = if path.is_dir() { path.join(MODEL) } else { path.to_path_buf() };
    let file = onnx.file_name().unwrap_or(MODEL.as_ref()).to_string_lossy().into_owned();
    let beside = bundle.names().filter(|name| *name != MODEL).map(str::to_string);
    let mut names: Vec<String> = beside.chain(external).collect();
    names.sort();
    names.dedup();
    let mut files = vec![(file.clone(), onnx)];
    files.extend(names.into_iter().map(|name| (name.clone(), dir.join(name))));
    let unsummed = |name: &&String| *name != MODEL_TOML && !bundle.is_summed(name);
    Ok(Contents {
        without_sum: files.iter().map(|(name, _)| name).filter(unsummed).cloned().collect(),
        file,
        files,
        name: said.name.map(|stated| stated.value),
        version: said.version.map_or_else(|| digest[..12].to_string(), |stated| stated.value),
        counter: said.counter.map(|stated| stated.value),
        onnx_sha256: bundle.onnx_sha256().to_string(),
        digest,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::embedded;
    use crate::model::{Model, ModelSource};

    #[test]
    fn a_bundle_is_its_files_and_its_digest_is_that_of_the_loaded_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.onnx");
        fs::write(&path, embedded::MODEL).unwrap();
        fs::write(dir.path().join("README"), "not of the model").unwrap();
        let alone = contents(&path).unwrap();
        assert_eq!(alone.files, [("net.onnx".to_string(), path.clone())]);
        assert_eq!(
            (alone.file.as_str(), &alone.without_sum[..]),
            ("net.onnx", &alone.files_names()[..])
        );
        let toml = "[model]\nversion = \"2.1.0\"\ncounter = 3\n[files]\n\"net.onnx\" = ";
        fs::write(dir.path().join(MODEL_TOML), format!("{toml}\"{}\"\n", alone.digest)).unwrap();
        let found = contents(&path).unwrap();
        assert_eq!(found.files_names(), ["net.onnx", MODEL_TOML]);
        assert_eq!((found.version.as_str(), found.counter), ("2.1.0", Some(3)));
        assert_eq!(found.without_sum, [] as [&str; 0]);
        let model = Model::load(&ModelSource::File(path)).unwrap();
        assert_eq!(model.info().digest, found.digest);
    }

    impl Contents {
        fn files_names(&self) -> Vec<String> {
            self.files.iter().map(|(name, _)| name.clone()).collect()
        }
    }
}
