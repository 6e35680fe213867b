//! A reload: which keys of the configuration differ, which of them stay as they are until a restart,
//! and who gets those that don't.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::config::{Config, SETTINGS};
use crate::http::api::Lowering;
use crate::inference::{Rules, Serving};
use crate::recording::{Durability, LogWriter};
use picket_base::Live;
use picket_records::{LogReader, Removal};

/// Everything that a reload may change; others read it from here.
pub struct LiveSettings {
    pub serving: Arc<Live<Serving>>,
    /// The configuration for whoever makes something of it later.
    pub config: Arc<Live<Config>>,
    pub predict_durability: Arc<Live<Durability>>,
    pub reported_durability: Arc<Live<Durability>>,
    pub writer: LogWriter,
    pub reader: LogReader,
}

/// What a reload led to.
pub struct Reloaded {
    /// What the daemon runs with from now on.
    pub config: Config,
    /// What changed, what waits and what was refused, for a person.
    pub told: Vec<String>,
}

impl LiveSettings {
    /// Takes over what can change and refuses the rest by name. Lowered limits of the log that would take
    /// much from it wait, unless somebody has agreed.
    pub fn take_over(
        &self,
        running: &Config,
        mut wanted: Config,
        (serving, rules): (&Serving, Rules),
        lowering: Lowering,
    ) -> Reloaded {
        let mut told = Vec::new();
        if let (Lowering::Waits, Some(why)) = (lowering, self.loss(running, &wanted)) {
            let asked = wanted.clone();
            wanted.widen(running);
            let waiting: Vec<String> =
                changes(&wanted, &asked).iter().map(ToString::to_string).collect();
            let waiting = waiting.join(", ");
            told.push(format!(
                "lowered limits of the log wait, for they {why} ({waiting}): restart, or picket config \
                 reload --yes"
            ));
        }
        let (live, fixed): (Vec<Change>, Vec<Change>) =
            changes(running, &wanted).into_iter().partition(Change::is_live);
        told.extend(fixed.into_iter().map(|Change { key, running, wanted }| {
            format!("{key} can't change while running, still {running}, not {wanted}")
        }));
        for line in &told {
            tracing::warn!("{line}");
        }
        let config = running.reloaded(wanted);
        self.config.set(config.clone());
        serving.pipeline.rules.set(rules);
        self.predict_durability.set(config.log.predict_durability);
        self.reported_durability.set(config.log.reported_durability);
        self.writer.tune(config.log.commit_interval.0, config.retention());
        let taken: Vec<String> = live.iter().map(ToString::to_string).collect();
        tracing::info!(changed = taken.join(", "), "configuration reloaded");
        told.extend(taken);
        Reloaded { config, told }
    }

    /// What lowered limits would take from the log, if that is more than a tenth of it, or can't be told.
    fn loss(&self, running: &Config, wanted: &Config) -> Option<String> {
        let (now, asked) = (running.retention(), wanted.retention());
        if asked.wider(now) == asked {
            return None;
        }
        let removal = |limits| self.reader.removal(limits);
        match removal(&asked).and_then(|asked| Ok((asked, removal(&now)?))) {
            Ok((asked, now)) => {
                // What the running limits take anyway is not lost to the new ones.
                let lost = Removal { records: asked.records.saturating_sub(now.records), ..asked };
                lost.is_large().then(|| lost.to_string())
            }
            Err(error) => Some(format!("can't be weighed, {}", picket_base::chain(&error))),
        }
    }
}

/// A key whose value has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    key: String,
    /// The value that the daemon runs with, and the one that the configuration has now.
    running: String,
    wanted: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.key, self.running, self.wanted)
    }
}

impl Change {
    fn is_live(&self) -> bool {
        SETTINGS.iter().any(|setting| setting.live && setting.name() == self.key)
    }
}

/// The keys in which two configurations differ, sorted.
fn changes(running: &Config, wanted: &Config) -> Vec<Change> {
    let (running, wanted) = (keys(running), keys(wanted));
    let all = running.keys().chain(wanted.keys().filter(|key| !running.contains_key(*key)));
    let text = |values: &BTreeMap<String, String>, key| {
        values.get(key).cloned().unwrap_or_else(|| "none".to_string())
    };
    let mut changes: Vec<Change> = all
        .map(|key| Change {
            key: key.clone(),
            running: text(&running, key),
            wanted: text(&wanted, key),
        })
        .filter(|change| change.running != change.wanted)
        .collect();
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

/// Every key with its value, both as `picket config check` spells them; absent ones left out.
fn keys(config: &Config) -> BTreeMap<String, String> {
    let tree = serde_json::to_value(config).expect("a Config has no value that JSON lacks");
    let mut keys = BTreeMap::new();
    let Value::Object(top) = tree else { return keys };
    for (name, value) in top {
        match value {
            Value::Object(section) => {
                let set = section.iter().filter(|(_, value)| !value.is_null());
                keys.extend(set.map(|(key, value)| (format!("{name}.{key}"), text(value))));
            }
            value => {
                keys.insert(name, text(&value));
            }
        }
    }
    keys
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Settings, Surroundings};

    fn config(file: &str) -> Config {
        let settings: Settings = toml::from_str(file).unwrap();
        let surroundings =
            Surroundings { hostname: "box".into(), cores: 2, ..Surroundings::default() };
        Config::load(settings, None, &surroundings).unwrap().0
    }

    #[test]
    fn every_differing_key_is_named_and_only_live_ones_are_taken() {
        let running = config("");
        let wanted = config(
            "device_id = 'line-4'\n[api]\nlisten = '0.0.0.0:9000'\njson_range = '0..1'\n\
             [model]\npath = '/m.onnx'\n[log]\nmax_age = '30d'\nmax_records = 5\n\
             [verdict]\ndefect_labels = ['truck']\n",
        );
        let found = changes(&running, &wanted);
        let keys: Vec<(&str, bool)> =
            found.iter().map(|change| (change.key.as_str(), change.is_live())).collect();
        assert_eq!(
            keys,
            [
                ("api.json_range", true),
                ("api.listen", false),
                ("device_id", false),
                ("log.max_age", true),
                ("log.max_records", true),
                ("model.path", false),
                ("verdict.defect_labels", true),
            ]
        );
        let path = &found[5];
        assert_eq!((path.running.as_str(), path.wanted.as_str()), ("none", "/m.onnx"));
        let merged = running.reloaded(wanted.clone());
        let left: Vec<String> = changes(&merged, &wanted).into_iter().map(|c| c.key).collect();
        assert_eq!(left, ["api.listen", "device_id", "model.path"]);
        assert_eq!(changes(&running, &running), []);
    }
}
