//! Whether a version may serve on this box: asked while another one serves. What is refused is noted with
//! the version, and not asked again unless a person brings it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use picket_classifier::{Contents, Engine, Model, ModelInfo, ModelSource};
use picket_models::{
    Choice, Refused, SIGNATURE, SourceFile, Store, StoreError, TrustedKeys, Version, Why,
};

use super::offer::{Offer, Way};
use super::trial::{self, Trial};
use crate::health::{Heartbeat, Work};

/// So many runs of the golden sample are timed; the middle one counts.
const RUNS: usize = 5;

/// The longest signature that is read, bytes.
const SIGNATURE_BYTES_MAX: u64 = 16 << 10;

/// Says what of the verdicts' configuration a model can't follow.
pub type RulesCheck = dyn Fn(&ModelInfo) -> Result<(), String> + Send;

/// Says why there is no memory for a model with a file of so many bytes beside requests and the model that
/// serves.
pub type RoomCheck = dyn Fn(u64, &ModelInfo) -> Result<(), String> + Send;

/// What a version is asked for.
pub struct Gate {
    /// Whose signatures count; without keys anybody's model is taken.
    pub keys: Option<TrustedKeys>,
    /// What a picture may take.
    pub time_max: Duration,
    /// The name of a model that has none of its own.
    pub name: String,
    pub rules: Box<RulesCheck>,
    pub room: Box<RoomCheck>,
    /// The trial that is on.
    pub trial: Trial,
}

/// A version that may serve, installed.
pub struct Admitted {
    pub choice: Choice,
    pub version: Version,
    pub model: Model,
    /// What a picture takes here.
    pub time: Duration,
    /// What was measured, beside the model that serves, for a person.
    pub told: Vec<String>,
}

/// Why a version is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It failed, now or before.
    #[error("{} {}: {}", _0.name, _0.version, _0.reason)]
    Refused(Box<Refused>),
    #[error("{0} serves already")]
    Serves(String),
    #[error("{0} is installed already")]
    Installed(String),
    #[error("the daemon ends")]
    Ended,
    /// It is no fault of the version.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A version on its way through the gate.
struct Candidate<'a> {
    offer: &'a Offer,
    contents: Option<&'a Contents>,
}

impl Candidate<'_> {
    fn refused(&self, why: Why, reason: impl ToString) -> NotAdmitted {
        NotAdmitted::Refused(Box::new(self.refusal(why, reason)))
    }

    fn refusal(&self, why: Why, reason: impl ToString) -> Refused {
        let (name, version) = match self.contents {
            Some(contents) => (contents.name.clone(), contents.version.clone()),
            None => (None, String::new()),
        };
        Refused {
            name: name.unwrap_or_else(|| self.offer.called.clone()),
            version,
            digest: self.contents.map(|contents| contents.digest.clone()),
            identity: self.offer.identity.clone(),
            since: now(),
            why,
            reason: reason.to_string(),
        }
    }
}

impl Gate {
    /// Looks at a version, and installs it if it may serve.
    ///
    /// # Errors
    /// Why it may not, noted in the store; what is wrong with the store itself.
    pub fn admit(
        &self,
        store: &mut Store,
        offer: &Offer,
        serving: &ModelInfo,
        heartbeat: &Heartbeat,
    ) -> Result<Admitted, NotAdmitted> {
        let admitted = self.look(store, offer, serving, heartbeat);
        store.end_trial()?;
        if let Err(NotAdmitted::Refused(refused)) = &admitted {
            let digest = refused.digest.as_deref();
            if store.state().refusal(digest, refused.identity.as_deref()) != Some(refused) {
                store.refuse((**refused).clone())?;
            }
        }
        admitted
    }

    fn look(
        &self,
        store: &mut Store,
        offer: &Offer,
        serving: &ModelInfo,
        heartbeat: &Heartbeat,
    ) -> Result<Admitted, NotAdmitted> {
        let unknown = Candidate { offer, contents: None };
        self.offered_before(store, &unknown)?;
        heartbeat.busy(Work::LoadModel);
        let tried = trial::attempt(&offer.path, &self.trial);
        if self.trial.has_ended() {
            return Err(NotAdmitted::Ended);
        }
        let contents = tried
            .map_err(|failed| unknown.refused(failed.why, picket_base::chain(&failed.error)))?;
        let candidate = Candidate { offer, contents: Some(&contents) };
        self.known(store, &candidate, &contents)?;
        let version = self.version(&contents, offer);
        if let Some(fault) = store.state().counter_fault(&version) {
            return Err(candidate.refused(Why::Counter, fault));
        }
        self.signed(&candidate, &contents)?;
        let staged = store.stage(&files(&contents)).map_err(|error| match error {
            StoreError::Room { .. } | StoreError::Files { .. } => {
                candidate.refused(Why::Room, error)
            }
            other => other.into(),
        })?;
        let version = Version { bytes: staged.bytes(), ..version };
        let file = fs::metadata(staged.dir().join(&contents.file)).map_or(0, |file| file.len());
        (self.room)(file, serving).map_err(|text| candidate.refused(Why::Memory, text))?;
        heartbeat.busy(Work::LoadModel);
        let source = ModelSource::File(staged.dir().join(&contents.file));
        let model = Model::load_on(&source, Engine::best())
            .map_err(|error| candidate.refused(Why::Model, picket_base::chain(&error)))?;
        if model.info().digest != contents.digest {
            let text = "its files changed while they were copied, or the disk gives others back";
            return Err(candidate.refused(Why::Files, text));
        }
        (self.rules)(model.info()).map_err(|text| candidate.refused(Why::Rules, text))?;
        let time = self.timed(&candidate, &model)?;
        let told = told(&version, &model, time, serving);
        let choice = store.install(staged, version.clone())?;
        heartbeat.beat();
        Ok(Admitted { choice, version, model, time, told })
    }

    /// Ends where a version was refused that is offered by itself, as a registry and an inbox do. One that ends
    /// the daemon while it is tried is refused next time.
    fn offered_before(
        &self,
        store: &mut Store,
        candidate: &Candidate<'_>,
    ) -> Result<(), NotAdmitted> {
        let Offer { way, identity: Some(identity), .. } = candidate.offer else { return Ok(()) };
        match store.state().refusal(None, Some(identity)) {
            Some(refused) if *way != Way::Operator => {
                Err(NotAdmitted::Refused(Box::new(refused.clone())))
            }
            _ => Ok(store.begin_trial(candidate.refusal(Why::Crash, ""))?),
        }
    }

    /// Ends where nothing new is offered.
    fn known(
        &self,
        store: &Store,
        candidate: &Candidate<'_>,
        contents: &Contents,
    ) -> Result<(), NotAdmitted> {
        let state = store.state();
        let digest = &contents.digest;
        if state.version(state.serving()).is_some_and(|version| version.digest == *digest) {
            return Err(NotAdmitted::Serves(format!("version {}", contents.version)));
        }
        let Offer { way, identity, .. } = candidate.offer;
        if *way == Way::Operator {
            return Ok(());
        }
        match state.refusal(Some(digest), identity.as_deref()) {
            Some(refused) => Err(NotAdmitted::Refused(Box::new(refused.clone()))),
            // What lies there is old news, whatever has served since.
            None if *way == Way::Inbox && state.installed(digest).is_some() => {
                Err(NotAdmitted::Installed(format!("version {}", contents.version)))
            }
            None => Ok(()),
        }
    }

    fn version(&self, contents: &Contents, offer: &Offer) -> Version {
        Version {
            name: contents.name.clone().unwrap_or_else(|| self.name.clone()),
            version: contents.version.clone(),
            digest: contents.digest.clone(),
            counter: contents.counter,
            file: contents.file.clone(),
            identity: offer.identity.clone(),
            bytes: 0,
            installed: now(),
        }
    }

    /// Checks sums and signature.
    fn signed(&self, candidate: &Candidate<'_>, contents: &Contents) -> Result<(), NotAdmitted> {
        if let Some(stated) = &candidate.offer.sha256
            && *stated != contents.onnx_sha256
        {
            let text = format!(
                "the registry states SHA-256 {stated}, the file that came has {}",
                contents.onnx_sha256
            );
            return Err(candidate.refused(Why::Files, text));
        }
        let Some(keys) = &self.keys else { return Ok(()) };
        let refused = |text: String| candidate.refused(Why::Signature, text);
        let Some((_, toml)) = contents.files.iter().find(|(name, _)| name == MODEL_TOML) else {
            return Err(refused(format!("it has no {MODEL_TOML} that could be signed")));
        };
        let text = fs::read(toml).map_err(|error| refused(format!("{MODEL_TOML}: {error}")))?;
        let signature =
            signature(toml).map_err(|error| refused(format!("{SIGNATURE}: {error}")))?;
        keys.check(&text, signature.as_deref()).map_err(|error| refused(error.to_string()))?;
        match &contents.without_sum[..] {
            [] => Ok(()),
            [first, ..] => Err(refused(format!(
                "{first:?} is in no [files] of {MODEL_TOML}: the signature does not cover it"
            ))),
        }
    }

    fn timed(&self, candidate: &Candidate<'_>, model: &Model) -> Result<Duration, NotAdmitted> {
        let mut times = [Duration::ZERO; RUNS];
        for time in &mut times {
            let started = Instant::now();
            model
                .prove()
                .map_err(|error| candidate.refused(Why::Golden, picket_base::chain(&error)))?;
            *time = started.elapsed();
        }
        times.sort();
        let time = times[RUNS / 2];
        if time > self.time_max {
            let text = format!(
                "a picture takes {:.1} ms here, [model] max_time allows {:.1} ms",
                ms(time),
                ms(self.time_max)
            );
            return Err(candidate.refused(Why::Time, text));
        }
        Ok(time)
    }
}

const MODEL_TOML: &str = "model.toml";

fn files(contents: &Contents) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> = contents
        .files
        .iter()
        .map(|(name, path)| SourceFile { name: name.clone(), path: path.clone() })
        .collect();
    let toml = files.iter().find(|file| file.name == MODEL_TOML);
    let signature = toml.map(|file| file.path.with_file_name(SIGNATURE));
    if let Some(path) = signature.filter(|path| path.is_file()) {
        files.push(SourceFile { name: SIGNATURE.to_string(), path });
    }
    files
}

/// Reads the signature beside a model.toml; none where there is none.
fn signature(toml: &Path) -> std::io::Result<Option<String>> {
    let path = toml.with_file_name(SIGNATURE);
    match fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(metadata) if metadata.is_file() && metadata.len() <= SIGNATURE_BYTES_MAX => {
            fs::read_to_string(&path).map(Some)
        }
        Ok(_) => Err(std::io::Error::other("no file of a signature's size")),
    }
}

fn told(version: &Version, model: &Model, time: Duration, serving: &ModelInfo) -> Vec<String> {
    vec![
        format!("{} {} ({})", version.name, version.version, &version.digest[..12]),
        format!(
            "a picture takes {:.2} ms here, with the model that serves {:.2} ms",
            ms(time),
            ms(serving.run_time)
        ),
        format!(
            "its file has {} bytes, that of the model that serves {}",
            model.info().bytes,
            serving.bytes
        ),
    ]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
