//! picket.toml(5): each setting of the sample configuration with its comment there, and the flag and
//! the variable that clap has for it.

use anyhow::{Context, Result, bail, ensure};
use clap::{Arg, Command};
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::{Edition, File};

const SAMPLE: &str = include_str!("../../../../systemd/picket.toml");

/// Settings that one comment explains.
struct Entry {
    section: Option<String>,
    /// `key = value`.
    lines: Vec<String>,
    comment: String,
}

impl Entry {
    fn flags(&self) -> Vec<String> {
        let prefix = self.section.as_ref().map(|section| format!("{section}-")).unwrap_or_default();
        let key = |line: &String| line.split(' ').next().unwrap_or_default().replace('_', "-");
        self.lines.iter().map(|line| format!("{prefix}{}", key(line))).collect()
    }
}

/// The sample's paragraphs; the first one is about the file itself and has no setting.
fn entries(sample: &str) -> Result<Vec<Entry>> {
    let mut section = None;
    let mut entries = Vec::new();
    for paragraph in sample.split("\n\n") {
        let mut comment = Vec::new();
        let mut lines = Vec::new();
        for line in paragraph.lines().filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = Some(name.to_string());
            } else if let Some(text) = line.strip_prefix("# ") {
                comment.push(text);
            } else if let Some(setting) = line.strip_prefix('#') {
                lines.push(setting.to_string());
            } else {
                bail!("{line:?} is neither comment nor section");
            }
        }
        if !lines.is_empty() {
            ensure!(!comment.is_empty(), "{lines:?} has no comment");
            entries.push(Entry { section: section.clone(), lines, comment: comment.join(" ") });
        }
    }
    Ok(entries)
}

fn flag<'a>(serve: &'a Command, long: &str) -> Result<&'a Arg> {
    let mut flags = serve.get_arguments();
    let flag = flags.find(|flag| flag.get_long() == Some(long));
    flag.with_context(|| format!("there is no --{long} for a setting of the sample"))
}

pub fn page(command: &Command, edition: &Edition) -> Result<File> {
    let serve = command.find_subcommand("serve").context("there is no serve command")?;
    let mut page = Roff::new();
    edition.title(&mut page, "picket.toml", "5");
    page.control("SH", ["NAME"]);
    page.text([roman("picket.toml - configuration of picket")]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([italic("/etc/picket/picket.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("Settings of the daemon in TOML. No file is read unless "),
        bold("--config"),
        roman(" or "),
        bold("PICKET_CONFIG"),
        roman(" names one; the systemd unit names this one. A flag of "),
        bold("picket serve"),
        roman(" comes first, then the environment, then the file, then the default. "),
        bold("picket config check"),
        roman(" prints what results. A key that is not known is refused."),
    ]);
    page.control("PP", []);
    page.text([roman(
        "Below, each setting has its default, or an example where the text says what holds when it \
         is unset.",
    )]);
    page.control("SH", ["SETTINGS"]);
    let mut section = None;
    for entry in entries(SAMPLE)? {
        if entry.section != section {
            page.control("SS", [format!("[{}]", entry.section.as_deref().unwrap_or("")).as_str()]);
            section = entry.section.clone();
        }
        for (at, line) in entry.lines.iter().enumerate() {
            page.control(if at == 0 { "TP" } else { "TQ" }, []);
            page.text([bold(line.as_str())]);
        }
        page.text([roman(entry.comment.as_str())]);
        for long in entry.flags() {
            let variable = flag(serve, &long)?.get_env().context("a setting has a variable")?;
            page.control("br", []);
            page.text([
                bold(format!("--{long}")),
                roman(", "),
                bold(variable.to_string_lossy().as_ref()),
            ]);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("picket-serve"), roman("(1), "), bold("picket-config-check"), roman("(1)")]);
    let mut text = Vec::new();
    page.to_writer(&mut text)?;
    Ok(File { path: "man/man5/picket.toml.5".to_string(), text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{edition, plain};

    #[test]
    fn every_setting_is_on_the_page_with_flag_and_variable() {
        let mut command = picket::cli::command();
        command.build();
        let text = plain(&page(&command, &edition()).unwrap().text);
        let serve = command.find_subcommand("serve").unwrap();
        // Those that belong to every command are no settings of the file.
        let settings = serve.get_arguments().filter(|flag| !flag.is_global_set());
        let settings: Vec<&Arg> = settings.filter(|flag| flag.get_env().is_some()).collect();
        assert!(settings.len() > 25, "{}", settings.len());
        for flag in settings {
            let variable = flag.get_env().unwrap().to_str().unwrap();
            let line = format!("\n--{}, {variable}\n", flag.get_long().unwrap());
            assert!(text.contains(&line), "the page lacks {line:?}: {text}");
        }
    }

    #[test]
    fn a_setting_without_a_comment_or_a_flag_is_refused() {
        assert!(entries("[api]\n#listen = 1\n").is_err());
        let entry = &entries("[api]\n# Queue.\n#queu = 1\n").unwrap()[0];
        let serve = picket::cli::command();
        let serve = serve.find_subcommand("serve").unwrap();
        assert_eq!(entry.flags(), ["api-queu"]);
        assert!(flag(serve, "api-queu").is_err());
        assert!(flag(serve, "api-queue").is_ok());
    }
}
