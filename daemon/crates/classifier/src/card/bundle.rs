//! The files that a model is made of: which they are, each read within its limit, and the digest of all
//! of them. What an ONNX file itself says is not its business.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::draft::{Draft, MODEL_TOML, Stated, quoted};
use super::limits::{CARD_BYTES_MAX, PICTURE_BYTES_MAX, PICTURES_BYTES_MAX};
use super::metadata::{self, Metadata};
use super::model_toml::{self, Golden, ModelToml};
use super::stamp::card_in;
use super::{huggingface, labels, timm};
use crate::error::{MODEL_BYTES_MAX, ModelError};

/// The ONNX file of a bundle. Its digest counts under this name whatever it is called.
pub const MODEL: &str = "model.onnx";

const LABELS: &str = "labels.txt";
const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// A picture and the scores that the trainer got for it.
#[derive(Debug)]
pub struct GoldenPicture {
    /// Its name in the bundle.
    pub name: String,
    pub bytes: Vec<u8>,
    pub logits: Vec<f32>,
    /// Largest accepted difference from them, if the trainer states one.
    pub tolerance: Option<f32>,
}

/// The files that a model is made of, read.
pub struct Bundle {
    pub onnx: Cow<'static, [u8]>,
    /// Where files beside it are; none for the model in the binary.
    pub dir: Option<PathBuf>,
    /// What the files beside it say.
    pub beside: Draft,
    pub goldens: Vec<GoldenPicture>,
    /// Whether model.toml is beside several ONNX files, so that it may be meant for another.
    pub shares_model_toml: bool,
    /// SHA-256 of each file that counts, by name.
    digests: BTreeMap<String, String>,
    /// The files whose sums model.toml states, and has right.
    summed: Vec<String>,
}

impl Bundle {
    /// Takes an ONNX file alone.
    pub fn bare(onnx: impl Into<Cow<'static, [u8]>>) -> Bundle {
        let onnx = onnx.into();
        let digests = BTreeMap::from([(MODEL.to_string(), digest(&onnx))]);
        let (dir, beside) = (None, Draft::default());
        Bundle {
            onnx,
            dir,
            beside,
            goldens: Vec::new(),
            shares_model_toml: false,
            digests,
            summed: Vec::new(),
        }
    }

    /// Reads a file and what is beside it, or a directory with a model.onnx.
    ///
    /// # Errors
    /// `Unreadable` and `TooLarge` for the ONNX file, `Card` for what is beside it.
    pub fn open(path: &Path) -> Result<Bundle, ModelError> {
        let file = if path.is_dir() { path.join(MODEL) } else { path.to_path_buf() };
        if path.is_dir() && !file.exists() {
            let detail = format!("it is a directory without {MODEL}");
            return Err(ModelError::Card { path: path.to_path_buf(), detail });
        }
        let mut bundle = Bundle::bare(read_model(&file)?);
        let dir = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        bundle
            .read_beside(&file, &dir)
            .map_err(|detail| ModelError::Card { path: file, detail })?;
        bundle.dir = Some(dir);
        Ok(bundle)
    }

    /// Returns the SHA-256 of the ONNX file where it is alone, and else of a list of all files that count: a
    /// line `name NUL digest` for each, by name. `external` are those that hold its constants.
    ///
    /// # Errors
    /// A file of constants that can't be read.
    pub fn digest(&self, external: &[String]) -> Result<String, String> {
        let mut all = self.digests.clone();
        if let Some(dir) = &self.dir {
            for name in external {
                all.insert(name.clone(), digest_of(&inside(dir, name)?, name)?);
            }
        }
        if let (1, Some(alone)) = (all.len(), all.get(MODEL)) {
            return Ok(alone.clone());
        }
        let line = |(name, digest): (&String, &String)| format!("{name}\0{digest}\n");
        Ok(digest(all.iter().map(line).collect::<String>().as_bytes()))
    }

    /// Returns the names of the files that count, but for those of constants.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// Returns the SHA-256 of the ONNX file.
    pub fn onnx_sha256(&self) -> &str {
        &self.digests[MODEL]
    }

    /// Whether model.toml states a file's sum.
    pub fn is_summed(&self, name: &str) -> bool {
        self.summed.iter().any(|summed| summed == name)
    }

    /// Returns what the files beside say together with the ONNX file's own metadata.
    ///
    /// # Errors
    /// As `metadata::read`; values in which they differ.
    pub fn gather<'a>(
        &self,
        properties: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Metadata, String> {
        let Metadata { draft, golden } = metadata::read(properties)?;
        let mut all = self.beside.clone();
        all.join(draft)?;
        Ok(Metadata { draft: all, golden })
    }

    fn read_beside(&mut self, file: &Path, dir: &Path) -> Result<(), String> {
        let toml = match self.text(dir, MODEL_TOML)? {
            None => ModelToml::default(),
            Some(text) => {
                self.shares_model_toml = onnx_files(dir) > 1;
                model_toml::parse(&text, MODEL_TOML)?
            }
        };
        self.check_files(file, dir, &toml.files)?;
        self.summed = toml.files.into_keys().collect();
        self.beside = toml.draft;
        if let Some(name) = toml.labels_file {
            let path = inside(dir, &name)?;
            let text = text(&path, &name)?.ok_or_else(|| missing(&name))?;
            self.take_labels(&name, &text)?;
        }
        if let Some(text) = self.text(dir, LABELS)? {
            self.take_labels(LABELS, &text)?;
        }
        self.read_json(dir)?;
        self.read_goldens(dir, toml.goldens)
    }

    fn take_labels(&mut self, name: &str, text: &str) -> Result<(), String> {
        self.digests.insert(name.to_string(), digest(text.as_bytes()));
        let labels = Some(Stated { value: labels::lines(text, name)?, source: name.to_string() });
        self.beside.join(Draft { labels, ..Draft::default() })
    }

    fn read_json(&mut self, dir: &Path) -> Result<(), String> {
        if let Some(text) = self.text(dir, PREPROCESSOR)? {
            let config = json(&text, PREPROCESSOR)?;
            let draft = if config.get("pretrained_cfg").is_some() {
                timm::read(&config, PREPROCESSOR)?
            } else {
                huggingface::preprocessor(&config, PREPROCESSOR)?
            };
            self.beside.join(draft)?;
        }
        if let Some(text) = self.text(dir, CONFIG)? {
            let config = json(&text, CONFIG)?;
            let mut draft = huggingface::config(&config, CONFIG)?;
            draft.join(timm::read(&config, CONFIG)?)?;
            if draft == Draft::default() {
                // Some other program's file.
                self.digests.remove(CONFIG);
            }
            self.beside.join(draft)?;
        }
        Ok(())
    }

    fn read_goldens(&mut self, dir: &Path, goldens: Vec<Golden>) -> Result<(), String> {
        let mut left = PICTURES_BYTES_MAX;
        for Golden { image, logits, tolerance } in goldens {
            let path = inside(dir, &image)?;
            let bytes = bytes(&path, &image, PICTURE_BYTES_MAX.min(left))?;
            let bytes = bytes.ok_or_else(|| missing(&image))?;
            left -= bytes.len() as u64;
            self.digests.insert(image.clone(), digest(&bytes));
            self.goldens.push(GoldenPicture { name: image, bytes, logits, tolerance });
        }
        Ok(())
    }

    /// Reads a file that counts if it is there.
    fn text(&mut self, dir: &Path, name: &str) -> Result<Option<String>, String> {
        let text = text(&dir.join(name), name)?;
        if let Some(text) = &text {
            self.digests.insert(name.to_string(), digest(text.as_bytes()));
        }
        Ok(text)
    }

    fn check_files(
        &self,
        file: &Path,
        dir: &Path,
        stated: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        for (name, expected) in stated {
            let found = if file.file_name() == Some(name.as_ref()) {
                self.digests[MODEL].clone()
            } else {
                digest_of(&inside(dir, name)?, name)?
            };
            if found != *expected {
                let name = quoted(name);
                return Err(format!(
                    "the SHA-256 of {name} is {found}, but {MODEL_TOML} [files] {name} is {expected}"
                ));
            }
        }
        Ok(())
    }
}

/// Returns the name that the model.toml of a file or bundle states, or the card in the file itself, as far
/// as they can be read: what is wrong with them comes to light when the model is loaded.
pub fn stated_name(path: &Path) -> Option<String> {
    let dir = if path.is_dir() { path } else { path.parent()? };
    let beside = text(&dir.join(MODEL_TOML), MODEL_TOML).ok().flatten();
    let within = || card_in(&if path.is_dir() { path.join(MODEL) } else { path.to_path_buf() });
    let name = |card: String| model_toml::parse(&card, MODEL_TOML).ok()?.draft.name;
    let name = beside.and_then(name).or_else(|| within().and_then(name))?;
    Some(name.value)
}

fn missing(name: &str) -> String {
    format!("{MODEL_TOML} names {}, which is not there", quoted(name))
}

/// Returns where a file of the bundle is. A link may not lead out of it.
fn inside(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let resolve = |path: &Path| path.canonicalize().map_err(|error| format!("{name}: {error}"));
    let path = dir.join(name);
    if !path.exists() {
        return Err(missing(name));
    }
    if !resolve(&path)?.starts_with(resolve(dir)?) {
        return Err(format!("{} leads out of the bundle", quoted(name)));
    }
    Ok(path)
}

/// Opens a regular file, none where nothing is; opening a pipe would wait for its writer.
fn open(path: &Path, name: &str) -> Result<Option<(File, u64)>, String> {
    let wrong = |error: std::io::Error| format!("{name}: {error}");
    let metadata = match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(wrong)?,
    };
    if !metadata.is_file() {
        return Err(format!("{name} is no regular file"));
    }
    Ok(Some((File::open(path).map_err(wrong)?, metadata.len())))
}

fn bytes(path: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>, String> {
    let Some((file, _)) = open(path, name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} is over {limit} bytes, the limit"));
    }
    Ok(Some(bytes))
}

fn text(path: &Path, name: &str) -> Result<Option<String>, String> {
    let Some(bytes) = bytes(path, name, CARD_BYTES_MAX)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    Ok(Some(text))
}

fn json(text: &str, name: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    serde_json::from_str(text).map_err(|error| format!("{name} is not JSON: {error}"))
}

fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn digest_of(path: &Path, name: &str) -> Result<String, String> {
    let Some((file, bytes)) = open(path, name)? else { return Err(missing(name)) };
    if bytes > MODEL_BYTES_MAX {
        return Err(format!("{name} is {bytes} bytes, at most {MODEL_BYTES_MAX} are accepted"));
    }
    let (mut hasher, mut block) = (Sha256::new(), vec![0; 1 << 16]);
    let mut file = file.take(MODEL_BYTES_MAX);
    loop {
        match file.read(&mut block).map_err(|error| format!("{name}: {error}"))? {
            0 => return Ok(hex(hasher.finalize().as_slice())),
            read => hasher.update(&block[..read]),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts the ONNX files of a directory; unreadable ones have none.
fn onnx_files(dir: &Path) -> usize {
    let Ok(entries) = dir.read_dir() else { return 0 };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "onnx")).count()
}

fn read_model(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source| ModelError::Unreadable { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    if bytes > MODEL_BYTES_MAX {
        return Err(ModelError::TooLarge { bytes });
    }
    // A pipe has no length, and a file may grow.
    let mut onnx = Vec::new();
    file.take(MODEL_BYTES_MAX + 1).read_to_end(&mut onnx).map_err(unreadable)?;
    if onnx.len() as u64 > MODEL_BYTES_MAX {
        return Err(ModelError::TooLarge { bytes: onnx.len() as u64 });
    }
    Ok(onnx)
}
