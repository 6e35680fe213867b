//! A page for each command, section 1: what clap knows of it, with what the commands have in common
//! on the first one.

use anyhow::Result;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use picket::cli::exit;

use crate::{Edition, File, MANUAL};

const EXIT_STATUS: [(u8, &str); 6] = [
    (0, "Success."),
    (exit::OTHER, "What was asked for is not so, or failed: a log with damage, a check of doctor."),
    (exit::USAGE, "The command line is wrong."),
    (exit::DATA, "A picture or a model is not what it should be."),
    (exit::IO, "A file, the log or an address can't be used."),
    (exit::CONFIG, "The configuration is wrong; what it says stands on stderr."),
];

const FILES: [(&str, &str); 3] = [
    ("/etc/picket/picket.toml", "Configuration of the service, picket.toml(5)."),
    ("/etc/picket/credentials", "For systemd alone: token, certificate and key."),
    ("/var/lib/picket/log", "Prediction log of the service."),
];

/// The page of `command` and those of the commands below it.
pub fn pages(command: &Command, edition: &Edition) -> Result<Vec<File>> {
    let mut files = vec![page(command, edition)?];
    for sub in visible(command) {
        files.extend(pages(sub, edition)?);
    }
    Ok(files)
}

/// `help` explains itself.
fn visible(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The command as its page shows it.
fn prepared(command: &Command) -> Command {
    // As `--help` has it, instead of a line with forty options.
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_string();
    let prepared = command.clone().override_usage(usage).mut_args(|argument| {
        if argument.is_global_set() { argument.help_heading("Global options") } else { argument }
    });
    match prepared.find_subcommand("help") {
        Some(_) => prepared.mut_subcommand("help", |help| help.hide(true)),
        None => prepared,
    }
}

fn page(command: &Command, edition: &Edition) -> Result<File> {
    let man = Man::new(prepared(command))
        .title(name(command))
        .date(&edition.date)
        .source(edition.source())
        .manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if visible(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut end = Roff::new();
    if !name(command).contains('-') {
        let codes = EXIT_STATUS.map(|(code, meaning)| (code.to_string(), meaning));
        list(
            &mut end,
            "EXIT STATUS",
            codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)),
        );
        list(&mut end, "FILES", FILES.into_iter());
    }
    end.control("SH", ["SEE ALSO"]);
    match name(command).rsplit_once('-') {
        None => end.text([bold("picket.toml"), roman("(5)")]),
        Some((above, _)) => {
            end.text([bold(above), roman("(1), "), bold("picket.toml"), roman("(5)")])
        }
    };
    end.to_writer(&mut text)?;
    // clap_mangen has an empty line between two breaks, which mandoc warns of.
    let text = String::from_utf8(text)?.replace(".br\n\n.br\n", ".sp\n").into_bytes();
    Ok(File { path: format!("man/man1/{}.1", name(command)), text })
}

fn list<'a>(page: &mut Roff, heading: &str, items: impl Iterator<Item = (&'a str, &'a str)>) {
    page.control("SH", [heading]);
    for (term, meaning) in items {
        page.control("TP", []);
        page.text([bold(term)]);
        page.text([roman(meaning)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{edition, plain};

    /// Every command of the program by its names in a row, found without the generator's own walk.
    fn all(command: &Command, above: &str, found: &mut Vec<(String, Command)>) {
        let name = format!("{above}{}", command.get_name());
        let shown = |sub: &&Command| sub.get_name() != "help" && !sub.is_hide_set();
        for sub in command.get_subcommands().filter(shown) {
            all(sub, &format!("{name}-"), found);
        }
        found.push((name, command.clone()));
    }

    #[test]
    fn every_command_has_a_page_with_each_of_its_options() {
        let mut command = picket::cli::command();
        command.build();
        let mut expected = Vec::new();
        all(&command, "", &mut expected);
        assert!(expected.iter().any(|(name, _)| name == "picket-log-tail"));
        let pages = pages(&command, &edition()).unwrap();
        assert_eq!(pages.len(), expected.len());
        for (name, command) in expected {
            let path = format!("man/man1/{name}.1");
            let page = pages.iter().find(|page| page.path == path);
            let text = plain(&page.unwrap_or_else(|| panic!("there is no {path}")).text);
            let about = command.get_about().unwrap().to_string();
            assert!(text.contains(&format!("\n{name} - {about}\n")), "{name}: {text}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let shown = match argument.get_long() {
                    Some(long) => format!("--{long}"),
                    None => argument.get_value_names().unwrap()[0].to_string(),
                };
                assert!(text.contains(&shown), "{name} lacks {shown}");
                assert!(argument.get_help().is_some(), "{shown} of {name} is not explained");
                if let Some(variable) = argument.get_env() {
                    let variable = variable.to_str().unwrap();
                    assert!(text.contains(variable), "{name} lacks {variable}");
                }
            }
            let shown = |sub: &&Command| sub.get_name() != "help" && !sub.is_hide_set();
            for sub in command.get_subcommands().filter(shown) {
                let sub = format!("{name}-{}(1)", sub.get_name());
                assert!(text.contains(&sub), "{name} lacks {sub}");
            }
        }
    }
}
