//! How an MLflow server is asked, and what its answers mean. It must not know what becomes of a version.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::wanted::{Wanted, Which};
use crate::client::{Answer, Client, Uri};

/// The longest answer of the API that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What stands as it is in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Files that MLflow adds for itself, and no model needs.
const OF_MLFLOW: [&str; 8] = [
    "MLmodel",
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "input_example.json",
    "serving_input_example.json",
    "registered_model_meta",
    "metadata",
];

/// Directories inside each other that are looked into.
const DEPTH_MAX: usize = 3;

/// A version that a registry names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub name: String,
    pub version: String,
    created: u64,
    source: String,
    /// The SHA-256 of its ONNX file, if a tag states one.
    pub sha256: Option<String>,
}

impl Named {
    /// Returns what it is known by: a number alone may be given again.
    pub fn identity(&self) -> String {
        format!("{} {} {} {}", self.name, self.version, self.created, self.source)
    }
}

/// A file of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its name in the version.
    pub name: String,
    pub bytes: u64,
    pub uri: Uri,
}

/// Why there is no version.
#[derive(Debug, thiserror::Error)]
pub enum NoVersion {
    /// The registry has answered, and has none for this box.
    #[error("{0}")]
    Nothing(String),
    /// It has not answered as a registry does.
    #[error("{0}")]
    Unanswered(String),
}

/// An MLflow server.
pub struct Mlflow {
    client: Client,
    wanted: Wanted,
}

#[derive(Deserialize)]
struct Alias {
    model_version: Option<Version>,
}

#[derive(Deserialize)]
struct Latest {
    #[serde(default)]
    model_versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    name: String,
    version: String,
    #[serde(default)]
    creation_timestamp: u64,
    #[serde(default)]
    source: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    artifact_uri: String,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
    #[serde(default)]
    file_size: u64,
}

#[derive(Deserialize)]
struct Fault {
    error_code: String,
    #[serde(default)]
    message: String,
}

impl Mlflow {
    pub fn new(wanted: Wanted) -> Mlflow {
        Mlflow { client: Client::of(&wanted.server, &wanted.https), wanted }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Asks which version this box is to have. One request.
    ///
    /// # Errors
    /// None, or no answer.
    pub fn named(&self) -> Result<Named, NoVersion> {
        let name = &self.wanted.name;
        let version = match &self.wanted.which {
            Which::Alias(alias) => {
                let query = [("name", name.as_str()), ("alias", alias)];
                let Alias { model_version } = self.ask("registered-models/alias", &query)?;
                model_version.ok_or_else(|| {
                    NoVersion::Nothing(format!("model {name:?} has no alias {alias:?}"))
                })?
            }
            Which::Stage(stage) => {
                let query = [("name", name.as_str()), ("stages", stage)];
                let Latest { model_versions } =
                    self.ask("registered-models/get-latest-versions", &query)?;
                model_versions.into_iter().next().ok_or_else(|| {
                    NoVersion::Nothing(format!("model {name:?} has no version in stage {stage:?}"))
                })?
            }
        };
        let Version { name, version, creation_timestamp, source, status, tags } = version;
        if !matches!(status.as_str(), "READY" | "") {
            return Err(NoVersion::Nothing(format!(
                "version {version} of {name:?} is {status}, READY is needed"
            )));
        }
        let tag = tags.into_iter().find(|tag| tag.key == "sha256");
        let sha256 = tag.map(|tag| tag.value.to_ascii_lowercase());
        Ok(Named { name, version, created: creation_timestamp, source, sha256 })
    }

    /// Lists a version's files, those of MLflow's own left out.
    ///
    /// # Errors
    /// No files, or no answer.
    pub fn files(&self, named: &Named, most: usize) -> Result<Vec<Remote>, NoVersion> {
        let query = [("name", named.name.as_str()), ("version", &named.version)];
        let Place { artifact_uri } = self.ask("model-versions/get-download-uri", &query)?;
        let Some(root) = artifact_uri.strip_prefix("mlflow-artifacts:") else {
            return Err(NoVersion::Nothing(format!(
                "its files are at {artifact_uri:?}: the server must hand them out itself \
                 (mlflow server --serve-artifacts)"
            )));
        };
        // With two slashes a host follows, which is this server's.
        let root = match root.strip_prefix("//") {
            Some(rest) => rest.split_once('/').map_or("", |(_, root)| root),
            None => root.trim_start_matches('/'),
        };
        let mut files = Vec::new();
        self.list(root, "", 0, &mut files)?;
        if let (true, Some((dir, name))) = (files.is_empty(), root.rsplit_once('/')) {
            // The source may be a file itself, which only the directory around it lists.
            self.list(dir, "", DEPTH_MAX, &mut files)?;
            files.retain(|file| file.name == name && name.ends_with(".onnx"));
        }
        if files.is_empty() || files.len() > most {
            let (found, version) = (files.len(), &named.version);
            return Err(NoVersion::Nothing(format!(
                "version {version} of {:?} has {found} files, 1 to {most} are needed",
                named.name
            )));
        }
        Ok(files)
    }

    fn list(
        &self,
        root: &str,
        within: &str,
        depth: usize,
        files: &mut Vec<Remote>,
    ) -> Result<(), NoVersion> {
        let path = [root, within].join("/");
        let path = path.trim_end_matches('/');
        let listing: Listing = self.get("mlflow-artifacts/artifacts", &[("path", path)])?;
        for Listed { path, is_dir, file_size } in listing.files {
            let last = path.rsplit('/').next().unwrap_or_default();
            let name =
                if within.is_empty() { last.to_string() } else { format!("{within}/{last}") };
            if within.is_empty() && OF_MLFLOW.contains(&last) {
                continue;
            }
            if is_dir && depth < DEPTH_MAX {
                self.list(root, &name, depth + 1, files)?;
            } else if !is_dir {
                let place = format!("{root}/{name}");
                let place = utf8_percent_encode(&place, PATH);
                let uri = self.uri(&format!("api/2.0/mlflow-artifacts/artifacts/{place}"));
                files.push(Remote { name, bytes: file_size, uri });
            }
        }
        Ok(())
    }

    fn ask<T: DeserializeOwned>(&self, what: &str, query: &[(&str, &str)]) -> Result<T, NoVersion> {
        self.get(&format!("mlflow/{what}"), query)
    }

    fn get<T: DeserializeOwned>(&self, what: &str, query: &[(&str, &str)]) -> Result<T, NoVersion> {
        let pair = |(key, value): &(&str, &str)| {
            format!("{key}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
        };
        let query: Vec<String> = query.iter().map(pair).collect();
        let uri = self.uri(&format!("api/2.0/{what}?{}", query.join("&")));
        let answer = self
            .client
            .get(&uri, &self.wanted.credentials, ANSWER_BYTES_MAX)
            .map_err(|error| NoVersion::Unanswered(format!("{uri}: {error}")))?;
        understood(&uri, &answer)
    }

    fn uri(&self, rest: &str) -> Uri {
        let server = &self.wanted.server;
        format!("{server}{rest}").parse().unwrap_or_else(|_| server.clone())
    }
}

/// Reads an answer of the API, or says what is wrong and what helps.
fn understood<T: DeserializeOwned>(uri: &Uri, answer: &Answer) -> Result<T, NoVersion> {
    let text = String::from_utf8_lossy(&answer.body);
    let unanswered = |text: String| NoVersion::Unanswered(format!("{uri}: {text}"));
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map_err(|_| unanswered("the answer is not that of an MLflow server".to_string())),
        400 | 404 => match serde_json::from_slice::<Fault>(&answer.body) {
            Ok(Fault { error_code, message }) => {
                Err(NoVersion::Nothing(format!("{error_code}: {message}")))
            }
            Err(_) => Err(unanswered(format!("status {}, no MLflow server", answer.status))),
        },
        401 => Err(unanswered(
            "status 401: credentials are needed, or are wrong (MLFLOW_TRACKING_USERNAME and \
             _PASSWORD, or MLFLOW_TRACKING_TOKEN)"
                .to_string(),
        )),
        403 if text.contains("Invalid Host header") => Err(unanswered(
            "status 403: the server does not know itself by this name: start it with \
             --allowed-hosts"
                .to_string(),
        )),
        403 => Err(unanswered("status 403: these credentials may not read the model".to_string())),
        status @ 500.. => {
            Err(unanswered(format!("status {status}: the server's own store failed")))
        }
        status => Err(unanswered(format!("status {status}"))),
    }
}
