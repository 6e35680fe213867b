//! Writes what is made from the daemon's command line and settings, so that nothing of it is in the
//! daemon. `picket-manual DIR SECONDS` leaves in DIR the manual pages and the shells' completions that
//! belong below /usr/share, dated SECONDS after 1970; it runs where packages are made.
//! `picket-manual --settings ROOT` writes the samples and the documentation's table into the project.

mod commands;
mod samples;
mod settings;

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap_complete::Shell;
use clap_mangen::roff::Roff;
use picket_base::rfc3339::{self, Precision};

/// What stands at the head and foot of each page.
struct Edition {
    /// YYYY-MM-DD.
    date: String,
}

impl Edition {
    /// By the clock that builds which must be repeatable go by.
    fn of_source(seconds: &str) -> Result<Edition> {
        let seconds = seconds.parse().context("the date is no number of seconds")?;
        let moment = UNIX_EPOCH + Duration::from_secs(seconds);
        let text = rfc3339::format(moment, Precision::Seconds);
        let date = text.chars().take_while(|&letter| letter != 'T').collect();
        Ok(Edition { date })
    }

    fn source(&self) -> String {
        format!("picket {}", picket::VERSION)
    }

    fn title(&self, page: &mut Roff, name: &str, section: &str) {
        page.control("TH", [name, section, &self.date, &self.source(), MANUAL]);
    }
}

/// Name of the whole that the pages are part of.
const MANUAL: &str = "Picket Manual";

/// One file, by its path below the folder that it is written to.
struct File {
    path: String,
    text: Vec<u8>,
}

fn files(edition: &Edition) -> Result<Vec<File>> {
    let mut command = picket::cli::command();
    command.build();
    let mut files = commands::pages(&command, edition)?;
    files.push(settings::page(edition)?);
    for (shell, path) in [
        (Shell::Bash, "bash-completion/completions/picket"),
        (Shell::Zsh, "zsh/site-functions/_picket"),
        (Shell::Fish, "fish/vendor_completions.d/picket.fish"),
    ] {
        files.push(completion(shell, path));
    }
    Ok(files)
}

fn completion(shell: Shell, path: &str) -> File {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut picket::cli::command(), "picket", &mut text);
    File { path: path.to_string(), text }
}

fn write(dir: &Path, files: Vec<File>) -> Result<()> {
    for file in files {
        let path = dir.join(file.path);
        let folder = path.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, file.text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--settings", root] => write(Path::new(root), samples::files(Path::new(root))?),
        [dir, seconds] => write(Path::new(dir), files(&Edition::of_source(seconds)?)?),
        _ => bail!("usage: picket-manual DIR SECONDS | --settings ROOT"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Command;

    use super::*;

    pub fn edition() -> Edition {
        Edition::of_source("1000000000").unwrap()
    }

    /// The text of a page without what only the formatter reads.
    pub fn plain(page: &[u8]) -> String {
        let mut text = std::str::from_utf8(page).unwrap().to_string();
        for (roff, plain) in [("\\fB", ""), ("\\fI", ""), ("\\fR", ""), ("\\-", "-"), ("\\&", "")] {
            text = text.replace(roff, plain);
        }
        text
    }

    #[test]
    fn the_date_is_that_of_the_source() {
        assert_eq!(edition().date, "2001-09-09");
        assert!(Edition::of_source("today").is_err());
    }

    #[test]
    fn every_option_and_command_can_be_completed() {
        fn collect(command: &Command, words: &mut Vec<String>) {
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                words.extend(option.get_long().map(str::to_string));
            }
            for sub in command.get_subcommands() {
                words.push(sub.get_name().to_string());
                collect(sub, words);
            }
        }
        let mut command = picket::cli::command();
        command.build();
        let mut expected = Vec::new();
        collect(&command, &mut expected);
        assert!(expected.contains(&"verdict-uncertain-between".to_string()), "{expected:?}");
        let files = files(&edition()).unwrap();
        let completions = files.iter().filter(|file| !file.path.starts_with("man/"));
        assert_eq!(completions.clone().count(), 3);
        for file in completions {
            let text = std::str::from_utf8(&file.text).unwrap();
            for word in &expected {
                assert!(text.contains(word), "{} lacks {word}", file.path);
            }
        }
    }
}
