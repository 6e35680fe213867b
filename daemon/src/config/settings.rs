//! Configuration: one fragment for each section, read from flags, environment and file alike, and
//! merged in that order over the defaults into a validated Config.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::recording::Durability;
use picket_classifier::ModelSource;
use picket_picture::JsonRange;
use picket_records::Retention;

/// Largest configuration file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Threads, whatever the machine reports: beyond this they only take memory.
const WORKERS_MAX: usize = 64;

/// Connections that no setting may exceed: each takes a file and some 100 kB of the kernel.
const CONNECTIONS_CEILING: usize = 16_384;

/// Body size that no setting may exceed: it must fit the memory of the smallest box.
const BODY_BYTES_CEILING: u64 = 64 << 20;

/// Longer deadlines than this would watch over nothing.
const HEALTH_SPAN_MAX: Duration = Duration::from_secs(60 * 60);

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read configuration {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("configuration {} is {bytes} bytes, at most {FILE_BYTES_MAX} are read", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("configuration {}: {detail}", path.display())]
    Syntax { path: PathBuf, detail: String },
    #[error("{key} is {value}: {limit}")]
    Value { key: &'static str, value: String, limit: String },
}

/// A duration written as in `100ms` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Span, humantime::DurationError> {
        humantime::parse_duration(text).map(Span)
    }
}

impl TryFrom<String> for Span {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Span, humantime::DurationError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        humantime::format_duration(span.0).to_string()
    }
}

/// Two confidences, low and high: `[0.4, 0.7]` in the file, `0.4,0.7` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band(pub f32, pub f32);

impl FromStr for Band {
    type Err = String;

    fn from_str(text: &str) -> Result<Band, String> {
        let number = |text: &str| text.trim().parse::<f32>().ok();
        let (low, high) = text.split_once(',').ok_or("two numbers such as 0.4,0.7 are needed")?;
        match (number(low), number(high)) {
            (Some(low), Some(high)) => Ok(Band(low, high)),
            _ => Err("two numbers such as 0.4,0.7 are needed".into()),
        }
    }
}

/// Everything that may be set, as the file spells it. Sections are tables, keys are also flags
/// (`--api-listen`) and environment variables (`PICKET_API_LISTEN`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Directory that holds the prediction log
    /// [default: $STATE_DIRECTORY, else $XDG_STATE_HOME/picket, else ~/.local/state/picket, else ./picket-state]
    #[arg(long, env = "PICKET_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name of this box in the log [default: the host name]
    #[arg(long, env = "PICKET_DEVICE_ID", value_name = "NAME")]
    pub device_id: Option<String>,
    #[command(flatten)]
    pub api: ApiSettings,
    #[command(flatten)]
    pub probe: ProbeSettings,
    #[command(flatten)]
    pub model: ModelSettings,
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    pub verdict: VerdictSettings,
    #[command(flatten)]
    pub health: HealthSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// Address of the API listener, or unix:/path [default: 0.0.0.0:8000]
    #[arg(id = "api-listen", long = "api-listen", env = "PICKET_API_LISTEN", value_name = "ADDR")]
    pub listen: Option<Endpoint>,
    /// What numbers in a JSON body mean when it doesn't say: 0..255 or 0..1 [default: 0..255]
    #[arg(
        id = "api-json-range",
        long = "api-json-range",
        env = "PICKET_API_JSON_RANGE",
        value_name = "RANGE"
    )]
    pub json_range: Option<JsonRange>,
    /// Largest request body [default: 16MiB]
    #[arg(
        id = "api-max-body",
        long = "api-max-body",
        env = "PICKET_API_MAX_BODY",
        value_name = "SIZE"
    )]
    pub max_body: Option<ByteSize>,
    /// Threads that decode and predict [default: one for each core]
    #[arg(id = "api-workers", long = "api-workers", env = "PICKET_API_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Images waiting for a worker before requests are turned away [default: 64]
    #[arg(id = "api-queue", long = "api-queue", env = "PICKET_API_QUEUE", value_name = "N")]
    pub queue: Option<usize>,
    /// How long shutting down may take [default: 10s]
    #[arg(
        id = "api-drain-timeout",
        long = "api-drain-timeout",
        env = "PICKET_API_DRAIN_TIMEOUT",
        value_name = "TIME"
    )]
    pub drain_timeout: Option<Span>,
    /// Open connections [default: 512]
    #[arg(
        id = "api-max-connections",
        long = "api-max-connections",
        env = "PICKET_API_MAX_CONNECTIONS",
        value_name = "N"
    )]
    pub max_connections: Option<usize>,
    /// Open connections from one address [default: 128]
    #[arg(
        id = "api-max-connections-per-address",
        long = "api-max-connections-per-address",
        env = "PICKET_API_MAX_CONNECTIONS_PER_ADDRESS",
        value_name = "N"
    )]
    pub max_connections_per_address: Option<usize>,
    /// File with the bearer token that requests must show; also the credential picket-api-token
    /// [default: none]
    #[arg(
        id = "api-token-file",
        long = "api-token-file",
        env = "PICKET_API_TOKEN_FILE",
        value_name = "FILE"
    )]
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificate chain; also the credential picket-api-cert [default: no TLS]
    #[arg(
        id = "api-tls-cert",
        long = "api-tls-cert",
        env = "PICKET_API_TLS_CERT",
        value_name = "FILE"
    )]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key; also the credential picket-api-key [default: no TLS]
    #[arg(
        id = "api-tls-key",
        long = "api-tls-key",
        env = "PICKET_API_TLS_KEY",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSettings {
    /// Address of the probe listener, or unix:/path [default: 0.0.0.0:8001]
    #[arg(
        id = "probe-listen",
        long = "probe-listen",
        env = "PICKET_PROBE_LISTEN",
        value_name = "ADDR"
    )]
    pub listen: Option<Endpoint>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSettings {
    /// ONNX file [default: the model in the binary]
    #[arg(id = "model-path", long = "model-path", env = "PICKET_MODEL_PATH", value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Name in answers, metrics and the log; also $MODEL_NAME [default: cifar10-model]
    #[arg(id = "model-name", long = "model-name", env = "PICKET_MODEL_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// Stage in metrics; also $MODEL_STAGE [default: Production]
    #[arg(
        id = "model-stage",
        long = "model-stage",
        env = "PICKET_MODEL_STAGE",
        value_name = "STAGE"
    )]
    pub stage: Option<String>,
    /// MLflow server to watch; also $MLFLOW_TRACKING_URI [default: none]
    #[arg(
        id = "model-registry",
        long = "model-registry",
        env = "PICKET_MODEL_REGISTRY",
        value_name = "URI"
    )]
    pub registry: Option<String>,
    /// Whether /ready fails while the registry does not answer [default: false]
    #[arg(
        id = "model-registry-required",
        long = "model-registry-required",
        env = "PICKET_MODEL_REGISTRY_REQUIRED",
        value_name = "BOOL"
    )]
    pub registry_required: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// How long a relaxed record may wait for its commit [default: 100ms]
    #[arg(
        id = "log-commit-interval",
        long = "log-commit-interval",
        env = "PICKET_LOG_COMMIT_INTERVAL",
        value_name = "TIME"
    )]
    pub commit_interval: Option<Span>,
    /// When /predict answers: strict or relaxed [default: relaxed]
    #[arg(
        id = "log-predict-durability",
        long = "log-predict-durability",
        env = "PICKET_LOG_PREDICT_DURABILITY",
        value_name = "D"
    )]
    pub predict_durability: Option<Durability>,
    /// When /log answers: strict or relaxed [default: strict]
    #[arg(
        id = "log-log-durability",
        long = "log-log-durability",
        env = "PICKET_LOG_LOG_DURABILITY",
        value_name = "D"
    )]
    pub log_durability: Option<Durability>,
    /// Records kept [default: 200000]
    #[arg(
        id = "log-max-records",
        long = "log-max-records",
        env = "PICKET_LOG_MAX_RECORDS",
        value_name = "N"
    )]
    pub max_records: Option<u64>,
    /// Size on disk [default: 100MB]
    #[arg(
        id = "log-max-bytes",
        long = "log-max-bytes",
        env = "PICKET_LOG_MAX_BYTES",
        value_name = "SIZE"
    )]
    pub max_bytes: Option<ByteSize>,
    /// Age at which records go [default: none]
    #[arg(
        id = "log-max-age",
        long = "log-max-age",
        env = "PICKET_LOG_MAX_AGE",
        value_name = "TIME"
    )]
    pub max_age: Option<Span>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct VerdictSettings {
    /// Labels that count as a defect [default: none]
    #[arg(
        id = "verdict-defect-labels",
        long = "verdict-defect-labels",
        env = "PICKET_VERDICT_DEFECT_LABELS",
        value_name = "LABELS",
        value_delimiter = ','
    )]
    pub defect_labels: Option<Vec<String>>,
    /// Confidences that count as uncertain [default: 0.4,0.7]
    #[arg(
        id = "verdict-uncertain-between",
        long = "verdict-uncertain-between",
        env = "PICKET_VERDICT_UNCERTAIN_BETWEEN",
        value_name = "LOW,HIGH"
    )]
    pub uncertain_between: Option<Band>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettings {
    /// Longest silence of a listener or of the daemon's own threads [default: 15s]
    #[arg(
        id = "health-runtime-deadline",
        long = "health-runtime-deadline",
        env = "PICKET_HEALTH_RUNTIME_DEADLINE",
        value_name = "TIME"
    )]
    pub runtime_deadline: Option<Span>,
    /// Longest time that a worker may take for one image [default: 30s]
    #[arg(
        id = "health-worker-deadline",
        long = "health-worker-deadline",
        env = "PICKET_HEALTH_WORKER_DEADLINE",
        value_name = "TIME"
    )]
    pub worker_deadline: Option<Span>,
    /// Longest time that one commit of the log may take [default: 30s]
    #[arg(
        id = "health-log-deadline",
        long = "health-log-deadline",
        env = "PICKET_HEALTH_LOG_DEADLINE",
        value_name = "TIME"
    )]
    pub log_deadline: Option<Span>,
    /// Between two runs of the golden sample on each worker [default: 30s]
    #[arg(
        id = "health-sample-interval",
        long = "health-sample-interval",
        env = "PICKET_HEALTH_SAMPLE_INTERVAL",
        value_name = "TIME"
    )]
    pub sample_interval: Option<Span>,
}

/// What the environment of the machine adds, looked up once by the caller.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub state_directory: Option<PathBuf>,
    pub xdg_state_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub model_name: Option<String>,
    pub model_stage: Option<String>,
    pub mlflow_tracking_uri: Option<String>,
    pub credentials: Credentials,
    pub hostname: String,
    pub cores: usize,
}

/// Secrets that systemd hands over as files (`LoadCredential=`), where there are any.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub api_token: Option<PathBuf>,
    pub api_cert: Option<PathBuf>,
    pub api_key: Option<PathBuf>,
}

impl Credentials {
    fn found_in(dir: Option<PathBuf>) -> Credentials {
        let file = |name: &str| dir.as_ref().map(|dir| dir.join(name)).filter(|file| file.exists());
        Credentials {
            api_token: file("picket-api-token"),
            api_cert: file("picket-api-cert"),
            api_key: file("picket-api-key"),
        }
    }
}

impl Surroundings {
    pub fn from_environment() -> Surroundings {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        // systemd joins several state directories by colons; ours is the first.
        let state_directory =
            text("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next().map(PathBuf::from));
        Surroundings {
            state_directory,
            xdg_state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
            model_name: text("MODEL_NAME"),
            model_stage: text("MODEL_STAGE"),
            mlflow_tracking_uri: text("MLFLOW_TRACKING_URI"),
            credentials: Credentials::found_in(path("CREDENTIALS_DIRECTORY")),
            hostname: crate::os::hostname(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn state_dir(&self) -> PathBuf {
        let user = self.home.as_ref().map(|home| home.join(".local/state"));
        match (&self.state_directory, self.xdg_state_home.clone().or(user)) {
            (Some(dir), _) => dir.clone(),
            (None, Some(base)) => base.join("picket"),
            (None, None) => PathBuf::from("picket-state"),
        }
    }
}

/// Complete and within all limits; serialises to a file that says the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    pub state_dir: PathBuf,
    pub device_id: String,
    pub api: ApiConfig,
    pub probe: ProbeConfig,
    pub model: ModelConfig,
    pub log: LogConfig,
    pub verdict: VerdictConfig,
    pub health: HealthConfig,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiConfig {
    pub listen: Endpoint,
    pub json_range: JsonRange,
    pub max_body: ByteSize,
    pub workers: usize,
    pub queue: usize,
    pub drain_timeout: Span,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbeConfig {
    pub listen: Endpoint,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    pub name: String,
    pub stage: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    pub registry_required: bool,
}

impl ModelConfig {
    pub fn source(&self) -> ModelSource {
        self.path.clone().map_or(ModelSource::Embedded, ModelSource::File)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogConfig {
    pub commit_interval: Span,
    pub predict_durability: Durability,
    pub log_durability: Durability,
    pub max_records: u64,
    pub max_bytes: ByteSize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
}

impl LogConfig {
    pub fn retention(&self) -> Retention {
        Retention {
            max_records: self.max_records,
            max_bytes: self.max_bytes.as_u64(),
            max_age: self.max_age.map(|age| age.0),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerdictConfig {
    pub defect_labels: Vec<String>,
    pub uncertain_between: Band,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HealthConfig {
    pub runtime_deadline: Span,
    pub worker_deadline: Span,
    pub log_deadline: Span,
    pub sample_interval: Span,
}

/// Where the configuration comes from, at start and at every reload.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Flags and environment, merged by the parser.
    pub flags: Settings,
    pub file: Option<PathBuf>,
    pub surroundings: Surroundings,
}

impl Sources {
    /// # Errors
    /// As `Config::load`.
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.flags.clone(), self.file.as_deref(), &self.surroundings)
    }
}

impl Config {
    /// Where the prediction log lives.
    pub fn log_dir(&self) -> PathBuf {
        self.state_dir.join("log")
    }

    /// Flags and environment (already merged by the parser) over the file over the defaults.
    ///
    /// # Errors
    /// An unreadable or oversized file, unknown keys by name, values out of range by key.
    pub fn load(
        flags: Settings,
        file: Option<&Path>,
        surroundings: &Surroundings,
    ) -> Result<Config, ConfigError> {
        let file = file.map(read).transpose()?.unwrap_or_default();
        resolve(flags, file, surroundings)
    }
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), bytes });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
        let source: String =
            text.lines().nth(line).unwrap_or_default().trim().chars().take(80).collect();
        let message = error.message().replace('\n', " ");
        let detail = format!("line {} ({source}): {message}", line + 1);
        ConfigError::Syntax { path: path.to_path_buf(), detail }
    })
}

fn resolve(
    flags: Settings,
    file: Settings,
    surroundings: &Surroundings,
) -> Result<Config, ConfigError> {
    let legacy = surroundings.clone();
    let config = Config {
        state_dir: flags.state_dir.or(file.state_dir).unwrap_or_else(|| surroundings.state_dir()),
        device_id: flags.device_id.or(file.device_id).unwrap_or(legacy.hostname),
        api: resolve_api(flags.api, file.api, surroundings),
        probe: ProbeConfig {
            listen: flags.probe.listen.or(file.probe.listen).unwrap_or(any_address(8001)),
        },
        model: ModelConfig {
            path: flags.model.path.or(file.model.path),
            name: flags
                .model
                .name
                .or(legacy.model_name)
                .or(file.model.name)
                .unwrap_or_else(|| "cifar10-model".into()),
            stage: flags
                .model
                .stage
                .or(legacy.model_stage)
                .or(file.model.stage)
                .unwrap_or_else(|| "Production".into()),
            registry: flags.model.registry.or(legacy.mlflow_tracking_uri).or(file.model.registry),
            registry_required: flags
                .model
                .registry_required
                .or(file.model.registry_required)
                .unwrap_or(false),
        },
        log: resolve_log(flags.log, file.log),
        verdict: VerdictConfig {
            defect_labels: flags
                .verdict
                .defect_labels
                .or(file.verdict.defect_labels)
                .unwrap_or_default(),
            uncertain_between: flags
                .verdict
                .uncertain_between
                .or(file.verdict.uncertain_between)
                .unwrap_or(Band(0.4, 0.7)),
        },
        health: resolve_health(&flags.health, &file.health),
    };
    validate(&config).map(|()| config)
}

fn any_address(port: u16) -> Endpoint {
    Endpoint::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))
}

fn resolve_api(flags: ApiSettings, file: ApiSettings, surroundings: &Surroundings) -> ApiConfig {
    let Credentials { api_token, api_cert, api_key } = surroundings.credentials.clone();
    let max_connections = flags.max_connections.or(file.max_connections).unwrap_or(512);
    ApiConfig {
        listen: flags.listen.or(file.listen).unwrap_or(any_address(8000)),
        json_range: flags.json_range.or(file.json_range).unwrap_or_default(),
        max_body: flags.max_body.or(file.max_body).unwrap_or(ByteSize::mib(16)),
        workers: flags.workers.or(file.workers).unwrap_or(surroundings.cores),
        queue: flags.queue.or(file.queue).unwrap_or(64),
        drain_timeout: flags
            .drain_timeout
            .or(file.drain_timeout)
            .unwrap_or(Span(Duration::from_secs(10))),
        max_connections,
        max_connections_per_address: flags
            .max_connections_per_address
            .or(file.max_connections_per_address)
            .unwrap_or(max_connections.min(128)),
        token_file: flags.token_file.or(file.token_file).or(api_token),
        tls_cert: flags.tls_cert.or(file.tls_cert).or(api_cert),
        tls_key: flags.tls_key.or(file.tls_key).or(api_key),
    }
}

fn resolve_log(flags: LogSettings, file: LogSettings) -> LogConfig {
    LogConfig {
        commit_interval: flags
            .commit_interval
            .or(file.commit_interval)
            .unwrap_or(Span(Duration::from_millis(100))),
        predict_durability: flags
            .predict_durability
            .or(file.predict_durability)
            .unwrap_or(Durability::Relaxed),
        log_durability: flags.log_durability.or(file.log_durability).unwrap_or(Durability::Strict),
        max_records: flags.max_records.or(file.max_records).unwrap_or(200_000),
        max_bytes: flags.max_bytes.or(file.max_bytes).unwrap_or(ByteSize::mb(100)),
        max_age: flags.max_age.or(file.max_age),
    }
}

/// The deadlines are far above what healthy work takes. A runtime and a thread that wait beat every
/// second; the largest picture accepted takes about 2 s on the slowest board. An SD
/// card stalls for tens of seconds while it erases: that is seen, and not counted.
fn resolve_health(flags: &HealthSettings, file: &HealthSettings) -> HealthConfig {
    let pick = |flag: Option<Span>, file: Option<Span>, default_secs| {
        flag.or(file).unwrap_or(Span(Duration::from_secs(default_secs)))
    };
    HealthConfig {
        runtime_deadline: pick(flags.runtime_deadline, file.runtime_deadline, 15),
        worker_deadline: pick(flags.worker_deadline, file.worker_deadline, 30),
        log_deadline: pick(flags.log_deadline, file.log_deadline, 30),
        sample_interval: pick(flags.sample_interval, file.sample_interval, 30),
    }
}

fn validate_health(health: &HealthConfig) -> Result<(), ConfigError> {
    for (key, span, least_secs) in [
        ("health.runtime_deadline", health.runtime_deadline, 3),
        ("health.worker_deadline", health.worker_deadline, 3),
        ("health.log_deadline", health.log_deadline, 3),
        ("health.sample_interval", health.sample_interval, 1),
    ] {
        let least = Duration::from_secs(least_secs);
        if !(least..=HEALTH_SPAN_MAX).contains(&span.0) {
            let limit = format!("{least_secs}s to 1h are possible");
            return Err(ConfigError::Value { key, value: span.into(), limit });
        }
    }
    Ok(())
}

fn validate(config: &Config) -> Result<(), ConfigError> {
    let refuse = |key, value: &dyn ToString, limit: &str| {
        Err(ConfigError::Value { key, value: value.to_string(), limit: limit.to_string() })
    };
    let Config { api, model, log, verdict, .. } = config;
    let Band(low, high) = verdict.uncertain_between;
    if !(0.0 <= low && low <= high && high <= 1.0) {
        let band = format!("{low}, {high}");
        return refuse("verdict.uncertain_between", &band, "0 <= low <= high <= 1 is needed");
    }
    if !(1..=WORKERS_MAX).contains(&api.workers) {
        return refuse("api.workers", &api.workers, "1 to 64 are possible");
    }
    if !(1..=4096).contains(&api.queue) {
        return refuse("api.queue", &api.queue, "1 to 4096 are possible");
    }
    if !(3072..=BODY_BYTES_CEILING).contains(&api.max_body.as_u64()) {
        return refuse("api.max_body", &api.max_body, "3072 bytes to 64 MiB are possible");
    }
    let drain = api.drain_timeout.0;
    if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&drain) {
        let drain = humantime::format_duration(drain);
        return refuse("api.drain_timeout", &drain, "1s to 5min are possible");
    }
    if !(1..=CONNECTIONS_CEILING).contains(&api.max_connections) {
        return refuse("api.max_connections", &api.max_connections, "1 to 16384 are possible");
    }
    let per_address = api.max_connections_per_address;
    if !(1..=api.max_connections).contains(&per_address) {
        let limit = format!("1 to {}, of api.max_connections, are possible", api.max_connections);
        return refuse("api.max_connections_per_address", &per_address, &limit);
    }
    match (&api.tls_cert, &api.tls_key) {
        (Some(cert), None) => {
            return refuse("api.tls_cert", &cert.display(), "api.tls_key is needed with it");
        }
        (None, Some(key)) => {
            return refuse("api.tls_key", &key.display(), "api.tls_cert is needed with it");
        }
        _ => {}
    }
    let commit = log.commit_interval.0;
    if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&commit) {
        let commit = humantime::format_duration(commit);
        return refuse("log.commit_interval", &commit, "1ms to 1min are possible");
    }
    if !(1..=5_000_000).contains(&log.max_records) {
        return refuse("log.max_records", &log.max_records, "1 to 5000000 are possible");
    }
    if log.max_bytes < ByteSize::mb(1) {
        return refuse("log.max_bytes", &log.max_bytes, "at least 1 MB is needed");
    }
    for (key, name) in [
        ("model.name", &model.name),
        ("model.stage", &model.stage),
        ("device_id", &config.device_id),
    ] {
        if name.is_empty() || name.len() > picket_records::NAME_BYTES_MAX {
            return refuse(key, &format!("{} bytes", name.len()), "1 to 128 bytes are possible");
        }
    }
    validate_health(&config.health)
}
