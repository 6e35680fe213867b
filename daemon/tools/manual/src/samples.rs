//! The files of the project that are made from the declaration of the settings: the sample
//! configurations of a bare device and of a cluster, and the table of docs/configuration.md.
//! `./dev settings` writes them, a test compares them.

use std::path::Path;

use anyhow::{Context, Result};
use picket::config::{SETTINGS, Setting};

use crate::File;

/// Width of the comments in a sample, columns.
const WIDTH: usize = 100;

/// What stands around the table in the documentation.
const TABLE_BEGIN: &str = "<!-- settings: made by ./dev settings -->\n";
const TABLE_END: &str = "<!-- end -->";

struct Sample {
    path: &'static str,
    head: &'static str,
    /// What the sample says of a setting beyond what holds everywhere.
    note: fn(&Setting) -> &'static str,
    /// The example that it shows.
    example: fn(&Setting) -> &'static str,
}

const SAMPLES: [Sample; 2] = [
    Sample {
        path: "systemd/picket.toml",
        head: "Every setting of Picket with its default, or with an example where the comment says \
               what holds when it is unset. A flag of `picket serve` comes first, then the \
               environment, then this file. `picket config check --config FILE` says what results; \
               docs/configuration.md explains more.",
        note: |setting| setting.device,
        example: |setting| setting.example,
    },
    Sample {
        path: "k3s/base/picket.toml",
        head: "Every setting of Picket with its default, or with an example where the comment says \
               what holds when it is unset. A flag of `picket serve` comes first, then the \
               environment (env: of the pod), then this file. `kubectl apply -k` makes a ConfigMap \
               of it and replaces the pods when it has changed; docs/configuration.md explains more.",
        note: |setting| setting.cluster,
        example: |setting| match setting.cluster_example {
            "" => setting.example,
            own => own,
        },
    },
];

/// Everything that is generated, by its path below the project's root.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let path = "docs/configuration.md";
    let docs = std::fs::read_to_string(root.join(path)).context(path)?;
    let mut files: Vec<(&str, String)> =
        SAMPLES.iter().map(|sample| (sample.path, sample.text())).collect();
    files.push((path, with_table(&docs)?));
    Ok(files
        .into_iter()
        .map(|(path, text)| File { path: path.to_string(), text: text.into_bytes() })
        .collect())
}

impl Sample {
    fn text(&self) -> String {
        let mut text = wrapped(self.head);
        let mut section = "";
        for setting in SETTINGS {
            text.push('\n');
            if setting.section != section {
                section = setting.section;
                text.push_str(&format!("[{section}]\n"));
            }
            text.push_str(&wrapped(&explained(setting, (self.note)(setting))));
            text.push_str(&format!("#{}\n", line(setting, (self.example)(setting))));
        }
        text
    }
}

/// What a setting is, what holds without it, and a note on where it is used.
pub fn explained(setting: &Setting, note: &str) -> String {
    let mut text = format!("{}.", setting.summary());
    if setting.default_to_show().is_none() {
        text.push_str(&format!(" Unset: {}.", setting.unset));
    }
    if !note.is_empty() {
        text.push_str(&format!(" {note}"));
    }
    text
}

/// The setting with its default or an example: `queue = 64`.
pub fn line(setting: &Setting, example: &str) -> String {
    let key = setting.key;
    let is_list = example.starts_with('[') && example.ends_with(']');
    let is_bare = is_list || example.parse::<u64>().is_ok();
    match setting.default_to_show() {
        Some(default) => format!("{key} = {default}"),
        None if is_bare => format!("{key} = {example}"),
        None => format!("{key} = \"{example}\""),
    }
}

/// As a comment of several lines.
fn wrapped(text: &str) -> String {
    let mut lines = String::from("#");
    let mut column = 1;
    for word in text.split(' ') {
        if column + 1 + word.len() > WIDTH {
            lines.push_str("\n#");
            column = 1;
        }
        lines.push(' ');
        lines.push_str(word);
        column += 1 + word.len();
    }
    lines + "\n"
}

fn with_table(docs: &str) -> Result<String> {
    let (before, rest) = docs.split_once(TABLE_BEGIN).context("the table's begin is not marked")?;
    let (_, after) = rest.split_once(TABLE_END).context("the table's end is not marked")?;
    let rows: String = SETTINGS.iter().map(row).collect();
    Ok(format!(
        "{before}{TABLE_BEGIN}| key in the file | flag | environment | default | reload | meaning |\n\
         |---|---|---|---|---|---|\n{rows}{TABLE_END}{after}"
    ))
}

fn row(setting: &Setting) -> String {
    let key = match setting.section {
        "" => setting.key.to_string(),
        section => format!("[{section}] {}", setting.key),
    };
    let also = setting.also.map(|variable| format!(", `{variable}`")).unwrap_or_default();
    let default = match setting.default_to_show() {
        Some(_) => format!("`{}`", setting.default_text()),
        None => setting.unset.to_string(),
    };
    let reload = if setting.live { "yes" } else { "" };
    let (flag, variable, meaning) = (setting.flag(), setting.variable(), setting.summary());
    format!("| `{key}` | `--{flag}` | `{variable}`{also} | {default} | {reload} | {meaning} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_files_are_those_of_the_declaration() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        for File { path, text } in files(&root).unwrap() {
            let committed = std::fs::read(root.join(&path)).unwrap();
            assert!(committed == text, "{path} is outdated: run ./dev settings");
        }
    }

    #[test]
    fn every_setting_without_a_default_has_an_example() {
        for setting in SETTINGS {
            let shown = line(setting, setting.example);
            assert!(!shown.ends_with("= \"\"") && !shown.ends_with("= []"), "{shown}");
        }
    }

    #[test]
    fn a_table_that_is_not_marked_is_refused() {
        assert!(with_table("# Configuration\n").is_err());
        assert!(with_table(TABLE_BEGIN).is_err());
    }
}
