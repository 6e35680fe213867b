//! Writes the manual pages and the shells' completions from the command line that the daemon has:
//! `picket-manual DIR SECONDS` leaves in DIR what belongs below /usr/share, dated
//! SECONDS after 1970. Runs where packages are made, so that nothing of it is in the daemon.

mod commands;
mod settings;

use std::path::PathBuf;
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

/// One file, by its path below /usr/share.
struct File {
    path: String,
    text: Vec<u8>,
}

fn files(edition: &Edition) -> Result<Vec<File>> {
    let mut command = picket::cli::command();
    command.build();
    let mut files = commands::pages(&command, edition)?;
    files.push(settings::page(&command, edition)?);
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

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(seconds), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        bail!("usage: picket-manual DIR SECONDS");
    };
    for file in files(&Edition::of_source(&seconds)?)? {
        let path = PathBuf::from(&dir).join(file.path);
        let folder = path.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, file.text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
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
