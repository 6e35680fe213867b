//! Every setting of the daemon, each declared exactly once. What flags, environment, file, sample
//! files (`./dev settings`), manual and documentation say of a setting comes from its row here.

use std::path::PathBuf;

use bytesize::ByteSize;
use picket_picture::JsonRange;
use picket_records::NAME_BYTES_MAX;
use serde::{Deserialize, Serialize};

use super::declare::settings;
use super::error::ConfigError;
use super::flags::{arguments, taken};
use super::setting::Limit::{AtLeast, Between, Bytes, Shares};
use super::setting::Setting;
use super::value::{Band, Field, Span, Value};
use crate::endpoint::Endpoint;
use crate::origin::{Authority, Origin};
use crate::recording::Durability;

settings! {

[""] Settings Config {
    api: ApiSettings ApiConfig,
    probe: ProbeSettings ProbeConfig,
    model: ModelSettings ModelConfig,
    log: LogSettings LogConfig,
    reported: ReportedSettings ReportedConfig,
    verdict: VerdictSettings VerdictConfig,
    health: HealthSettings HealthConfig,
    memory: MemorySettings MemoryConfig,
} {
    /// Directory that holds the prediction log, in log/.
    state_dir: PathBuf {
        unset: "$STATE_DIRECTORY, else $XDG_STATE_HOME/picket, else ~/.local/state/picket, else \
                ./picket-state",
        example: "/var/lib/picket",
        device: "The unit sets $STATE_DIRECTORY to /var/lib/picket.",
        cluster: "The image sets $STATE_DIRECTORY to /var/lib/picket, where the volume is mounted."
    },
    /// Name of this box in the log.
    device_id: String {
        unset: "the host name",
        example: "line-4",
        limit: Bytes(1, NAME_BYTES_MAX),
        cluster: "A pod's host name is the pod's; the pod sets PICKET_DEVICE_ID to its node's."
    },
}

["api"] ApiSettings ApiConfig {} {
    /// Address of the API listener, or unix:/path.
    listen: Endpoint {
        unset: "[::]:8000, which includes IPv4; 0.0.0.0:8000 where there is no IPv6",
        example: "[::]:8000",
        device: "Not used while picket.socket is active. Another port than 8000 needs SocketBindAllow= \
                 in the unit.",
        cluster: "Services and NetworkPolicy go by the pod's port names: change both."
    },
    /// What JSON numbers mean when the body doesn't say: 0..255 or 0..1.
    json_range: JsonRange = "0..255" { live: true },
    // It must fit the memory of the smallest box.
    /// Largest request body.
    max_body: ByteSize = "16MiB" { limit: Between("3072B", "64MiB") },
    // What a device saves up in an outage comes at once.
    /// Records in one batch of /log.
    batch_max: usize = 20_000 { limit: Between("1", "100000") },
    // Beyond the limit, threads only take memory, whatever the machine reports.
    /// Threads that decode and predict.
    workers: usize {
        unset: "one for each core",
        example: "4",
        limit: Between("1", "64"),
        cluster: "With a limit of CPU, it is one for each whole core of the limit."
    },
    /// Images that wait for a worker before requests are turned away.
    queue: usize = 64 { limit: Between("1", "4096") },
    /// How long shutting down may take.
    drain_timeout: Span = "10s" {
        limit: Between("1s", "5min"),
        device: "It must be below the unit's TimeoutStopSec.",
        cluster: "It must be below the pod's terminationGracePeriodSeconds, less its preStop."
    },
    // Each takes a file and some 100 kB of the kernel.
    /// Open connections.
    max_connections: usize = 512 { limit: Between("1", "16384") },
    /// Open connections from one address, at most max_connections; it gets seven eighths of them at most.
    max_connections_per_address: usize = 128 {},
    // Whoever keeps connections must be the first to close one, or it sends a request into a closed one:
    // nginx and the balancers of clouds keep theirs for 60 s, Traefik and Go for 90 s.
    /// How long any listener keeps an idle connection.
    idle_timeout: Span = "2min" { limit: Between("1s", "1h") },
    /// File with the bearer token that requests must show.
    token_file: Option<PathBuf> {
        unset: "the credential picket-api-token, else none",
        example: "/run/credentials/picket.service/made-token",
        device: "Without one everybody who reaches the port may write to the log. The Debian package \
                 has made one in /etc/picket/credentials/token: with this line, after a restart, each \
                 request must show it as Authorization: Bearer.",
        cluster: "Without one everybody whom the NetworkPolicy lets in may write to the log. The \
                  component token sets it.",
        cluster_example: "/etc/picket-token/token"
    },
    /// Whether it is meant that everybody who reaches the API may use it, without a token.
    open: bool = false {},
    /// Names, with or without a port, by which the API may be asked; any other Host gets 421.
    hosts: Option<Vec<Authority>> {
        unset: "any",
        example: "[\"line-4.local\", \"192.168.1.7:8000\"]"
    },
    /// Origins of web pages that may use the API as its own host's pages may.
    allow_origins: Option<Vec<Origin>> { example: "[\"https://app.example\"]" },
    /// PEM file with the certificate chain; tls_key is needed with it.
    tls_cert: Option<PathBuf> {
        unset: "the credential picket-api-cert, else no TLS",
        example: "/etc/picket/api-cert.pem",
        cluster: "The file comes from a Secret's volume."
    },
    /// PEM file with its private key.
    tls_key: Option<PathBuf> {
        unset: "the credential picket-api-key, else no TLS",
        example: "/etc/picket/api-key.pem",
        cluster: "The file comes from a Secret's volume."
    },
}

["probe"] ProbeSettings ProbeConfig {} {
    /// Address of the listener for /health, /ready and /metrics only, or unix:/path.
    listen: Endpoint {
        unset: "[::]:8001, which includes IPv4; 0.0.0.0:8001 where there is no IPv6",
        example: "[::]:8001",
        device: "Not used while picket-probe.socket is active. Another port than 8001 needs \
                 SocketBindAllow= in the unit.",
        cluster: "The kubelet asks the pod's address: not loopback."
    },
}

["model"] ModelSettings ModelConfig {} {
    /// ONNX file, up to 64 MiB, or a bundle's directory with model.onnx and model.toml.
    path: Option<PathBuf> {
        unset: "the model in the binary",
        example: "/var/lib/picket/models/welds.onnx"
    },
    /// Name in answers, metrics and the log.
    name: String = "cifar10-model" { limit: Bytes(1, NAME_BYTES_MAX), also: Some("MODEL_NAME") },
    /// Stage in metrics.
    stage: String = "Production" { limit: Bytes(1, NAME_BYTES_MAX), also: Some("MODEL_STAGE") },
    /// Alias of the version that this box is to have; it goes before the one in the stage.
    alias: Option<String> { limit: Bytes(1, NAME_BYTES_MAX), example: "champion" },
    /// MLflow server that says which version of the model this box is to have, and hands it out.
    registry: Option<String> {
        example: "http://mlflow.example:5000",
        also: Some("MLFLOW_TRACKING_URI"),
        device: "Outside private networks it needs IPAddressAllow= in the unit.",
        cluster: "It needs an egress rule in the NetworkPolicy, and one for the cluster's DNS when \
                  it is a name."
    },
    /// Whether /ready fails while the registry does not answer.
    registry_required: bool = false {},
    /// How often the registry is asked.
    registry_interval: Span = "1min" { limit: Between("1s", "1day") },
    /// File of minisign public keys, a line each: models that none of them has signed are refused.
    trusted_keys: Option<PathBuf> { example: "/etc/picket/model-keys.pub" },
    /// How long a new model is watched beside the one before it, and left if it is worse; 0s for not at all.
    probation: Span = "1h" { limit: Between("0s", "30days") },
    /// Installed versions that are kept beside the one that serves and the one before it.
    keep: usize = 3 { limit: Between("0", "100") },
    /// Size of all installed versions together.
    max_bytes: ByteSize = "500MB" { limit: AtLeast("1MB") },
    /// Longest time for a picture that a new model may take on this box.
    max_time: Span = "1s" { limit: Between("10us", "1min") },
    /// Directory into which new models are dropped: a file or a bundle's directory, renamed into it.
    inbox: Option<PathBuf> { example: "/var/lib/picket/inbox" },
    /// Version, or the beginning of a digest, of an installed model that runs beside the one that serves, on
    /// what the processor has to spare: how often the two disagree is counted.
    shadow: Option<String> { limit: Bytes(1, NAME_BYTES_MAX), example: "2.2.0" },
}

["log"] LogSettings LogConfig {} {
    /// Longest wait of a relaxed record for its commit.
    commit_interval: Span = "100ms" { limit: Between("1ms", "1min"), live: true },
    /// When /predict answers: relaxed, once the record is queued; strict, once it is on the medium.
    predict_durability: Durability = "relaxed" { live: true },
    /// When /log answers, which takes what other devices report: relaxed or strict.
    reported_durability: Durability = "strict" { live: true, was: &["log.log_durability"] },
    /// Records kept.
    max_records: u64 = 200000 { limit: Between("1", "5000000"), live: true },
    /// Size of the log on disk.
    max_bytes: ByteSize = "100MB" { limit: AtLeast("1MB"), live: true },
    /// Age at which records go, once the clock is synchronised.
    max_age: Option<Span> { example: "30d", live: true },
    /// Whether a log that is removed or replaced while the daemon runs is made anew.
    recreate: bool = false {},
}

// What others report never takes the room of what this box has seen.
["reported"] ReportedSettings ReportedConfig {} {
    /// Records kept of those that others report.
    max_records: Option<u64> {
        unset: "log.max_records",
        example: "200000",
        limit: Between("1", "5000000"),
        live: true
    },
    /// Their size on disk.
    max_bytes: Option<ByteSize> {
        unset: "log.max_bytes",
        example: "100MB",
        limit: AtLeast("1MB"),
        live: true
    },
    /// Records per second of one sender.
    max_rate: Option<u64> { example: "1000", limit: AtLeast("1"), unset: "any" },
}

["verdict"] VerdictSettings VerdictConfig {} {
    /// Labels that count as a defect.
    defect_labels: Option<Vec<String>> {
        unset: "the model's, else none",
        example: "[\"truck\"]",
        live: true
    },
    /// Confidences that count as uncertain, both ends included.
    uncertain_between: Option<Band> {
        unset: "the model's, else 0.4,0.7",
        example: "[0.4, 0.7]",
        limit: Shares,
        live: true
    },
}

// Within it the daemon refuses; beyond it the kernel kills.
["memory"] MemorySettings MemoryConfig {} {
    /// Memory that requests may take together: connections, bodies, pictures at work, answers, queued records.
    budget: Option<ByteSize> {
        unset: "the limit of the control group less what the daemon needs, or half of the machine's memory",
        example: "160MiB",
        limit: AtLeast("8MiB"),
        device: "Follows from the unit's MemoryMax.",
        cluster: "Follows from the pod's limit of memory."
    },
}

// The deadlines are far above what healthy work takes. A runtime and a thread that wait beat every
// second; the largest picture accepted takes about 2 s on the slowest board. An SD card stalls for
// tens of seconds while it erases: that is seen, and not counted. Longer deadlines than an hour
// would watch over nothing.
["health"] HealthSettings HealthConfig {} {
    /// Longest silence of a listener or of the daemon's own threads.
    runtime_deadline: Span = "15s" { limit: Between("3s", "1h") },
    /// Longest time that a worker may take for one image.
    worker_deadline: Span = "30s" { limit: Between("3s", "1h") },
    /// Longest time that one commit of the log may take, not counting what a device holds in the kernel.
    log_deadline: Span = "30s" { limit: Between("3s", "1h") },
    /// Time between two runs of the golden sample on each worker.
    sample_interval: Span = "30s" { limit: Between("1s", "1h") },
}

}
