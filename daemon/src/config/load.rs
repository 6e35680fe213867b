//! From the sources to a Config within all limits: flags, environment, file, surroundings, defaults,
//! in this order.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use picket_classifier::{ModelSource, stated_name};
use picket_records::{Limits, Retention};

use super::error::ConfigError;
use super::file;
use super::setting::Former;
use super::settings::{ApiConfig, Config, LogConfig, ModelConfig, Settings};
use super::surroundings::Surroundings;
use crate::endpoint::Endpoint;

/// Where the configuration comes from, at start and at every reload.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Flags and environment, merged by the parser.
    pub flags: Settings,
    pub file: Option<PathBuf>,
    pub surroundings: Surroundings,
}

impl Sources {
    /// Reads the file again; warns of the former names in it.
    ///
    /// # Errors
    /// As `Config::load`.
    pub fn load(&self) -> Result<Config, ConfigError> {
        let file = self.file.as_deref();
        let (config, former) = Config::load(self.flags.clone(), file, &self.surroundings)?;
        for former in former {
            tracing::warn!("{former}");
        }
        Ok(config)
    }
}

impl Config {
    /// The configuration, and the former names that the file uses.
    ///
    /// # Errors
    /// An unreadable or oversized file, unknown keys by name, values out of range by key.
    pub fn load(
        flags: Settings,
        file: Option<&Path>,
        surroundings: &Surroundings,
    ) -> Result<(Config, Vec<Former>), ConfigError> {
        let (file, former) = file.map(file::read).transpose()?.unwrap_or_default();
        let given = flags.or(file);
        let stated_model = given.model.name.clone();
        let stated_per_address = given.api.max_connections_per_address;
        let mut config = given.or(surroundings.settings()).complete();
        if stated_per_address.is_none() {
            let default = config.api.max_connections_per_address;
            config.api.max_connections_per_address = default.min(config.api.max_connections);
        }
        let bundle = config.model.path.as_ref().filter(|_| stated_model.is_none());
        if let Some(name) = bundle.and_then(|path| stated_name(path)) {
            config.model.name = name;
        }
        config.check()?;
        config.api.check_together()?;
        Ok((config, former))
    }

    /// Of each limit keeps the one of the two that takes less from the log.
    pub fn widen(&mut self, other: &Config) {
        let theirs = other.retention().reported;
        self.log.max_records = self.log.max_records.max(other.log.max_records);
        self.log.max_bytes = self.log.max_bytes.max(other.log.max_bytes);
        let ages = self.log.max_age.zip(other.log.max_age);
        self.log.max_age = ages.map(|(age, other)| if age > other { age } else { other });
        let reported = self.retention().reported;
        if theirs.max_records > reported.max_records {
            self.reported.max_records = Some(theirs.max_records);
        }
        if theirs.max_bytes > reported.max_bytes {
            self.reported.max_bytes = Some(ByteSize(theirs.max_bytes));
        }
    }

    /// How much the log keeps of what this box has seen, and of what others have reported.
    pub fn retention(&self) -> Retention {
        let LogConfig { max_records, max_bytes, max_age, .. } = self.log;
        let (max_bytes, max_age) = (max_bytes.as_u64(), max_age.map(|age| age.0));
        let own = Limits { max_records, max_bytes, max_age };
        let reported = Limits {
            max_records: self.reported.max_records.unwrap_or(max_records),
            max_bytes: self.reported.max_bytes.map_or(max_bytes, |bytes| bytes.as_u64()),
            max_age,
        };
        Retention { own, reported }
    }

    /// Where installed models live.
    pub fn models_dir(&self) -> PathBuf {
        self.state_dir.join("models")
    }

    /// Where the prediction log lives.
    pub fn log_dir(&self) -> PathBuf {
        self.state_dir.join("log")
    }
}

impl ApiConfig {
    /// Whether everybody who reaches it may use it, without anybody having said that this is meant.
    pub fn is_open_unasked(&self) -> bool {
        let is_local = match &self.listen {
            Endpoint::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Endpoint::Unix(_) => true,
        };
        self.token_file.is_none() && !self.open && !is_local
    }

    /// What no setting shows alone.
    fn check_together(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, limit: String| {
            Err(ConfigError::Value { key: format!("api.{key}"), value, limit })
        };
        let (all, per_address) = (self.max_connections, self.max_connections_per_address);
        if !(1..=all).contains(&per_address) {
            let limit = format!("1 to {all}, of api.max_connections, are possible");
            return refuse("max_connections_per_address", per_address.to_string(), limit);
        }
        if self.hosts.as_ref().is_some_and(Vec::is_empty) {
            let limit = "at least one is needed, or none at all for any".to_string();
            return refuse("hosts", "an empty list".to_string(), limit);
        }
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), None) => {
                let limit = "api.tls_key is needed with it".to_string();
                refuse("tls_cert", cert.display().to_string(), limit)
            }
            (None, Some(key)) => {
                let limit = "api.tls_cert is needed with it".to_string();
                refuse("tls_key", key.display().to_string(), limit)
            }
            _ => Ok(()),
        }
    }
}

impl ModelConfig {
    pub fn source(&self) -> ModelSource {
        self.path.clone().map_or(ModelSource::Embedded, ModelSource::File)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str) -> Result<(Config, Vec<Former>), ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("picket.toml");
        std::fs::write(&path, file).unwrap();
        let surroundings =
            Surroundings { hostname: "box".into(), cores: 2, ..Surroundings::default() };
        Config::load(Settings::default(), Some(&path), &surroundings)
    }

    #[test]
    fn a_value_beyond_its_limit_is_refused_with_key_value_and_limit() {
        for (file, text) in [
            ("device_id = ''", "device_id is 0 bytes: 1 to 128 bytes are possible"),
            ("[api]\nworkers = 65", "api.workers is 65: 1 to 64 are possible"),
            ("[api]\nmax_body = '1KB'", "api.max_body is 1000 B: 3072B to 64MiB are possible"),
            ("[api]\ndrain_timeout = '1h'", "api.drain_timeout is 1h: 1s to 5min are possible"),
            (
                "[api]\nmax_connections = 9\nmax_connections_per_address = 10",
                "api.max_connections_per_address is 10: 1 to 9, of api.max_connections, are possible",
            ),
            ("[api]\ntls_key = '/k'", "api.tls_key is /k: api.tls_cert is needed with it"),
            (
                "[api]\nhosts = []",
                "api.hosts is an empty list: at least one is needed, or none at all for any",
            ),
            ("[log]\nmax_records = 0", "log.max_records is 0: 1 to 5000000 are possible"),
            ("[log]\nmax_bytes = 9", "log.max_bytes is 9 B: at least 1MB is needed"),
            ("[health]\nlog_deadline = '2s'", "health.log_deadline is 2s: 3s to 1h are possible"),
        ] {
            assert_eq!(load(file).unwrap_err().to_string(), text, "{file}");
        }
    }

    #[test]
    fn defaults_hold_and_an_address_has_no_more_connections_than_all() {
        let (config, former) = load("[api]\nmax_connections = 5\n").unwrap();
        assert_eq!((config.api.max_connections_per_address, former.len()), (5, 0));
        assert_eq!((config.device_id.as_str(), config.api.workers), ("box", 2));
        assert_eq!(load("# nothing\n").unwrap().0.api.max_connections_per_address, 128);
    }

    #[test]
    fn a_file_without_content_is_refused_and_comments_are_content() {
        for empty in ["", " \n\t\r\n", "\0\0\0\0", "\n\0 \u{feff}"] {
            let error = load(empty).unwrap_err();
            assert!(matches!(error, ConfigError::Empty { .. }), "{empty:?}: {error}");
        }
        load("# every setting has its default").unwrap();
        assert!(matches!(load("[api]\n\0\0").unwrap_err(), ConfigError::Syntax { .. }));
    }

    #[test]
    fn both_listeners_take_ipv6_where_it_exists_unless_told_otherwise() {
        let listeners = |ipv6, flags: Settings| {
            let surroundings =
                Surroundings { hostname: "box".into(), cores: 1, ipv6, ..Surroundings::default() };
            let config = Config::load(flags, None, &surroundings).unwrap().0;
            (config.api.listen.to_string(), config.probe.listen.to_string())
        };
        let pair = |api: &str, probe: &str| (api.to_string(), probe.to_string());
        assert_eq!(listeners(true, Settings::default()), pair("[::]:8000", "[::]:8001"));
        assert_eq!(listeners(false, Settings::default()), pair("0.0.0.0:8000", "0.0.0.0:8001"));
        let mut told = Settings::default();
        told.api.listen = Some("[::]:80".parse().unwrap());
        assert_eq!(listeners(false, told), pair("[::]:80", "0.0.0.0:8001"));
    }

    #[test]
    fn a_former_name_in_the_file_works_and_is_reported_and_two_names_are_refused() {
        let (config, former) = load("[log]\nlog_durability = 'relaxed'\n").unwrap();
        assert_eq!(config.log.reported_durability, crate::recording::Durability::Relaxed);
        let former: Vec<String> = former.iter().map(Former::to_string).collect();
        let warning = "log.log_durability is now called log.reported_durability; \
                       the former name still works";
        assert_eq!(former, [warning]);
        let both = "[log]\nlog_durability = 'relaxed'\nreported_durability = 'strict'\n";
        let error = load(both).unwrap_err().to_string();
        let names =
            "log.reported_durability and log.log_durability, its former name, are both given";
        assert!(error.contains(names), "{error}");
        let wrong = load("[log]\nmax_records = 1\nlog_durability = 'often'\n").unwrap_err();
        assert!(wrong.to_string().contains("line 3 (log_durability = 'often')"), "{wrong}");
    }
}
