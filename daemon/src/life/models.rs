//! The models at the start: which of them serves, and what its keeper is made of.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::RunError;
use super::model::{Makings, load_pipeline, rules};
use crate::client::{Credentials, HttpsFiles};
use crate::config::{Config, ModelConfig};
use crate::health::{Health, START_STEP_MAX};
use crate::inference::{Beside, InferenceMetrics, Serving};
use crate::memory::{self, Needs, Plan};
use crate::metrics::Registry;
use crate::models::{
    Gate, Granted, Inbox, Keeper, Maker, ModelMetrics, Offer, Surroundings, Terms, Trial, Way,
    Wish, Wishes,
};
use crate::registry::{self, Named, Offers, RegistryWatch, Wanted, Which};
use picket_base::Live;
use picket_base::budget::Budget;
use picket_classifier::{Engine, Model, ModelInfo, ModelSource};
use picket_models::{
    Begun, Choice, GIVEN, Limits, Listed, Refused, Store, StoreError, TrustedKeys, Version, Why,
};

/// So much must stay free on the disk beside what the log may grow by, bytes: it takes no records without its
/// own reserve, and after a full disk only once there is more than that.
const LOG_NEEDS_BYTES: u64 = 12 << 20;

/// What serves at first, and the store where there is one.
pub struct Chosen {
    pub serving: Serving,
    /// None where it can't be opened or changed: then the base serves, and nothing is installed.
    pub store: Option<Store>,
}

/// Loads the base model, and instead of it the installed one that is to serve.
///
/// # Errors
/// The base model can't serve.
pub fn choose(config: &Config, makings: &Makings) -> Result<Chosen, RunError> {
    let base = load_pipeline(config)?;
    let version = version_of(base.model.info(), &config.model);
    let base = Arc::into_inner(base.model).expect("nobody else has it yet");
    let mut store = match open(config) {
        Ok(store) => store,
        Err(error) => {
            let error = picket_base::chain(&error);
            tracing::error!(error, "the models' store can't be opened, none can be installed");
            let serving = makings.make(base, &config.model.name)?;
            return Ok(Chosen { serving, store: None });
        }
    };
    let begun = store.begin(version, &makings.boot_id).unwrap_or_else(|error| {
        let error = picket_base::chain(&error);
        tracing::error!(error, "the models' store can't be changed");
        Begun { choice: store.state().serving().clone(), rolled_back: None }
    });
    if let Some(why) = &begun.rolled_back {
        tracing::error!(why, "the model that served last is left, going back to the one before");
    }
    let serving = installed(&mut store, &begun.choice, makings);
    let serving = serving.map_or_else(|| makings.make(base, &config.model.name), Ok)?;
    Ok(Chosen { serving, store: Some(store) })
}

/// Loads the installed version that is to serve; where that fails, those before it. None for the base.
fn installed(store: &mut Store, choice: &Choice, makings: &Makings) -> Option<Serving> {
    let mut choice = choice.clone();
    while let Some(path) = store.path(&choice) {
        let version = store.state().version(&choice)?.clone();
        let loaded = Model::load_on(&ModelSource::File(path), Engine::best());
        let made = loaded.map_err(|error| picket_base::chain(&error)).and_then(|model| {
            if model.info().digest != version.digest {
                return Err("its files are not what they were".to_string());
            }
            makings.make(model, &version.name).map_err(|error| error.to_string())
        });
        let error = match made {
            Ok(serving) => return Some(serving),
            Err(error) => error,
        };
        tracing::error!(version = version.version, error, "the installed model can't serve");
        choice = store.roll_back(Why::Model, &error).unwrap_or(Choice::Base);
    }
    None
}

/// What is known of a base model.
fn version_of(info: &ModelInfo, model: &ModelConfig) -> Version {
    Version {
        name: model.name.clone(),
        version: info.version.clone(),
        digest: info.digest.clone(),
        counter: None,
        file: String::new(),
        identity: model.path.as_ref().map(|path| path.display().to_string()),
        bytes: info.bytes as u64,
        installed: now(),
    }
}

/// Opens the store of models, and says what it has found there.
///
/// # Errors
/// As `Store::open`.
pub fn open(config: &Config) -> Result<Store, StoreError> {
    let ModelConfig { keep, max_bytes, .. } = &config.model;
    let limits = Limits { keep: *keep, max_bytes: max_bytes.as_u64() };
    let log = config.log.max_bytes.as_u64().saturating_sub(bytes_in(&config.log_dir()));
    let (store, said) = Store::open(&config.models_dir(), limits, log + LOG_NEEDS_BYTES)?;
    for line in said {
        tracing::warn!("models: {line}");
    }
    Ok(store)
}

/// The bytes that the files of a directory have; what can't be read has none.
fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let bytes = |path: &Path| match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => bytes_in(path),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(|entry| bytes(&entry.path())).sum()
}

/// What a version is asked for, by the configuration as it is at the moment of asking.
///
/// # Errors
/// Keys that can't be read.
fn gate(config: &Config, makings: &Makings) -> Result<Gate, RunError> {
    let keys = config.model.trusted_keys.as_deref().map(TrustedKeys::read).transpose()?;
    let (now, given) = (makings.config.clone(), config.clone());
    let room = move |bytes: u64, serving: &ModelInfo| {
        // Of the other one only the files' size is known yet.
        let of_serving = needs_of(&given, std::iter::once(serving));
        let both = Needs { model_bytes: bytes + of_serving.model_bytes, ..of_serving };
        let plan = plan(&given, both);
        if plan.is_too_large() { Err(format!("with both models {plan}")) } else { Ok(()) }
    };
    Ok(Gate {
        keys,
        time_max: config.model.max_time.0,
        name: config.model.name.clone(),
        rules: Box::new(move |info| {
            let rules = rules(&now.get(), info.output.clone(), info.verdict.clone());
            rules.map(drop).map_err(|error| error.to_string())
        }),
        room: Box::new(room),
        trial: Trial::default(),
    })
}

/// Plans the memory of requests beside the model that serves, and another one where there is one.
pub fn memory_of(config: &Config, serving: &ModelInfo, other: Option<&ModelInfo>) -> Plan {
    plan(config, needs_of(config, std::iter::once(serving).chain(other)))
}

fn needs_of<'a>(config: &Config, models: impl Iterator<Item = &'a ModelInfo>) -> Needs {
    let none = Needs { workers: config.api.workers, input_values: 0, model_bytes: 0, run_bytes: 0 };
    models.fold(none, |needs, model| Needs {
        input_values: needs.input_values.max(model.input.values()),
        model_bytes: needs.model_bytes + model.bytes as u64,
        run_bytes: needs.run_bytes.max(model.run_bytes as u64),
        ..needs
    })
}

fn plan(config: &Config, needs: Needs) -> Plan {
    let stated = config.memory.budget.map(|size| size.as_u64());
    memory::plan(memory::Given::here(), needs, stated)
}

/// What the keeper is given of the daemon.
pub struct Given {
    pub serving: Arc<Live<Serving>>,
    pub makings: Makings,
    pub beside: Beside,
    /// The memory of requests.
    pub budget: Budget,
    pub inference: Arc<InferenceMetrics>,
    /// Where it shows what there is.
    pub list: Arc<Live<Vec<Listed>>>,
}

/// Makes the keeper of a daemon's models, and the way to it.
///
/// # Errors
/// Keys that can't be read.
pub fn keeper(
    config: &Config,
    store: Store,
    given: Given,
    metrics: ModelMetrics,
) -> Result<(Keeper, Wishes), RunError> {
    let Given { serving, makings, beside, budget, inference, list } = given;
    let gate = gate(config, &makings)?;
    let planned = config.clone();
    let around = Surroundings {
        serving,
        make: maker(makings),
        announce: Box::new(move |serving| {
            let info = serving.pipeline.model.info();
            inference.model_loaded(&info.version, &info.digest);
        }),
        leave_room: Box::new(move |serving, beside| {
            budget.resize(memory_of(&planned, serving, beside).budget_size());
        }),
        base: config.model.source(),
        beside,
        metrics,
        list,
    };
    let (keeper, wishes) = Keeper::new(store, gate, around, terms(&config.model));
    Ok((keeper, wishes))
}

/// Makes the watch of the registry that is configured; none where there is none.
pub fn registry(
    config: &Config,
    wishes: Option<Wishes>,
    health: Arc<Health>,
    metrics: &Registry,
) -> Option<RegistryWatch> {
    let uri = config.model.registry.as_deref()?;
    let Some(wanted) = wanted(&config.model, uri) else {
        tracing::warn!(uri, "the model registry is no http server and is not watched");
        return None;
    };
    let terms = registry_terms(config);
    Some(RegistryWatch::new(wanted, terms, offers(wishes), health, metrics))
}

/// What an operator has set.
fn terms(model: &ModelConfig) -> Terms {
    Terms {
        probation: model.probation.0,
        time_max: model.max_time.0,
        inbox: model.inbox.clone().map(Inbox::new),
        shadow: model.shadow.clone(),
    }
}

/// What is asked of a registry; none where its address is no server's.
fn wanted(model: &ModelConfig, uri: &str) -> Option<Wanted> {
    let which = match &model.alias {
        Some(alias) => Which::Alias(alias.clone()),
        None => Which::Stage(model.stage.clone()),
    };
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    // The names that MLflow's own clients know.
    let credentials =
        match (variable("MLFLOW_TRACKING_USERNAME"), variable("MLFLOW_TRACKING_TOKEN")) {
            (Some(user), _) => {
                let password = variable("MLFLOW_TRACKING_PASSWORD").unwrap_or_default();
                Credentials::Basic { user, password }
            }
            (None, Some(token)) => Credentials::Bearer(token),
            (None, None) => Credentials::None,
        };
    let https = HttpsFiles {
        authorities: variable("MLFLOW_TRACKING_SERVER_CERT_PATH").map(PathBuf::from),
        identity: variable("MLFLOW_TRACKING_CLIENT_CERT_PATH").map(PathBuf::from),
    };
    Some(Wanted { https, ..Wanted::new(uri, &model.name, which, credentials)? })
}

fn registry_terms(config: &Config) -> registry::Terms {
    registry::Terms {
        required: config.model.registry_required,
        interval: config.model.registry_interval.0,
        dir: config.models_dir().join(format!("{GIVEN}registry")),
    }
}

/// The way from the registry's watch to the keeper.
fn offers(wishes: Option<Wishes>) -> Option<Box<dyn Offers>> {
    wishes.map(|wishes| Box::new(FromRegistry(wishes)) as Box<dyn Offers>)
}

struct FromRegistry(Wishes);

impl Offers for FromRegistry {
    fn is_wanted(&self, identity: &str) -> bool {
        self.0.is_wanted(identity)
    }

    fn room(&self, bytes: u64) -> Result<(), String> {
        self.0.room(bytes)
    }

    fn offer(&self, path: PathBuf, named: &Named) -> bool {
        let (way, called) = (Way::Registry, named.name.clone());
        let (identity, sha256) = (Some(named.identity()), named.sha256.clone());
        self.0.offer(Offer { path, way, called, identity, sha256 })
    }

    fn refuse(&self, named: &Named, reason: &str) {
        self.0.refuse(Refused {
            name: named.name.clone(),
            version: named.version.clone(),
            digest: None,
            identity: Some(named.identity()),
            since: now(),
            why: Why::Files,
            reason: reason.to_string(),
        });
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The models of a box whose daemon does not run, for the command line.
pub struct Workshop {
    store: Store,
    config: Config,
}

/// What keeps the command line from the models.
#[derive(Debug, thiserror::Error)]
pub enum WorkshopError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Workshop {
    /// Opens the store.
    ///
    /// # Errors
    /// As `Store::open`: in use where the daemon runs.
    pub fn open(config: &Config) -> Result<Workshop, WorkshopError> {
        Ok(Workshop { store: open(config)?, config: config.clone() })
    }

    pub fn list(&self) -> Vec<Listed> {
        self.store.state().list()
    }

    /// Grants a wish as the daemon would; what serves is loaded by its next start.
    ///
    /// # Errors
    /// The model that serves now can't be loaded, or the keys can't be read.
    pub fn grant(self, wish: Wish) -> Result<Granted, WorkshopError> {
        let Workshop { mut store, config } = self;
        let health = Health::new();
        let heartbeat = health.heartbeat("models", START_STEP_MAX);
        let makings = Makings { config: Live::new(config.clone()), boot_id: String::new() };
        let base = load_pipeline(&config)?;
        store.meet(version_of(base.model.info(), &config.model))?;
        let base = Arc::into_inner(base.model).expect("nobody else has it yet");
        let choice = store.state().serving().clone();
        let serving = match installed(&mut store, &choice, &makings) {
            Some(serving) => serving,
            None => makings.make(base, &config.model.name).map_err(RunError::from)?,
        };
        let gate = gate(&config, &makings)?;
        let around = Surroundings {
            serving: Live::new(serving),
            make: maker(makings),
            announce: Box::new(|_| {}),
            leave_room: Box::new(|_, _| {}),
            base: config.model.source(),
            beside: Beside::new(Budget::new(0)),
            metrics: ModelMetrics::new(&Registry::new()),
            list: Live::new(Vec::new()),
        };
        let (mut keeper, _) = Keeper::new(store, gate, around, terms(&config.model));
        Ok(keeper.grant(wish, &heartbeat))
    }
}

/// Makes of a version's model what serves, by the configuration as it is then.
fn maker(makings: Makings) -> Box<Maker> {
    Box::new(move |model, version| {
        makings.make(model, &version.name).map_err(|error| error.to_string())
    })
}
