//! How much the daemon says on stderr, and in which form. These flags are no settings of the file:
//! the daemon may have to say something before it has read one.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{self, Field, Former, SETTINGS, Setting, Value};
use crate::diagnostics::{MessageFormat, MessageLevel};

const LEVEL: Setting = Setting {
    section: "message",
    key: "level",
    help: "Which messages are written to stderr.",
    default: Some("\"info\""),
    was: &["log.level"],
    typed: |flag| MessageLevel::typed(flag).global(true),
    ..Setting::BLANK
};

const FORMAT: Setting = Setting {
    section: "message",
    key: "format",
    help: "In which form `serve` writes them.",
    default: Some("\"auto\""),
    was: &["log.format"],
    typed: |flag| MessageFormat::typed(flag).global(true),
    ..Setting::BLANK
};

impl Value for MessageLevel {
    fn typed(flag: Arg) -> Arg {
        flag.value_name("LEVEL").value_parser(clap::value_parser!(MessageLevel))
    }
}

impl Value for MessageFormat {
    fn typed(flag: Arg) -> Arg {
        flag.value_name("FORMAT").value_parser(clap::value_parser!(MessageFormat))
    }
}

pub struct Messages {
    pub level: MessageLevel,
    pub format: MessageFormat,
}

impl Args for Messages {
    fn augment_args(command: Command) -> Command {
        command.args(config::arguments(&LEVEL)).args(config::arguments(&FORMAT))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Messages::augment_args(command)
    }
}

impl FromArgMatches for Messages {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Messages, clap::Error> {
        Ok(Messages {
            level: Field::settled(config::taken(matches, &LEVEL)?, &LEVEL),
            format: Field::settled(config::taken(matches, &FORMAT)?, &FORMAT),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Messages::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The former names of all flags that the command line or the environment uses.
pub fn former_flags(matches: &ArgMatches) -> Vec<Former> {
    config::former_flags(matches, SETTINGS.iter().chain([&LEVEL, &FORMAT]))
}
