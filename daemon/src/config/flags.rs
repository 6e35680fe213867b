//! Settings on the command line and in the environment, by their present and their former names.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;

use super::setting::{Former, Setting};
use super::value::Value;

/// The flags of one setting, each with its variable; those with a former name are hidden.
pub fn arguments(setting: &Setting) -> Vec<Arg> {
    let named = |setting: &Setting| {
        let flag = Arg::new(setting.flag()).long(setting.flag()).env(setting.variable());
        (setting.typed)(flag).help(help(setting))
    };
    let former = setting.former().map(|former| named(&former).hide(true));
    std::iter::once(named(setting)).chain(former).collect()
}

fn help(setting: &Setting) -> String {
    let also = setting.also.map(|variable| format!("; also ${variable}")).unwrap_or_default();
    format!("{}{also} [default: {}]", setting.summary(), setting.default_text())
}

/// What the command line says, else the environment.
///
/// # Errors
/// Two names of one setting, side by side.
pub fn taken<T: Value>(matches: &ArgMatches, setting: &Setting) -> Result<Option<T>, clap::Error> {
    for source in [ValueSource::CommandLine, ValueSource::EnvVariable] {
        let names = std::iter::once(*setting).chain(setting.former());
        let mut given = names.filter(|name| matches.value_source(&name.flag()) == Some(source));
        match (given.next(), given.next()) {
            (Some(now), Some(was)) => {
                let text = former(&was, &now, source).conflict();
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, text));
            }
            (Some(name), None) => return Ok(T::given(matches, &name.flag())),
            (None, _) => {}
        }
    }
    let also = setting.also.and_then(|variable| std::env::var(variable).ok());
    let text = also.filter(|text| !text.is_empty());
    Ok(text.and_then(|text| {
        let text: StrDeserializer<'_, serde::de::value::Error> = text.as_str().into_deserializer();
        T::deserialize(text).ok()
    }))
}

/// The former names of `settings` that the command line or the environment uses, each once.
pub fn former_flags<'a>(
    matches: &ArgMatches,
    settings: impl Iterator<Item = &'a Setting> + Clone,
) -> Vec<Former> {
    let used = |was: &Setting| {
        let known = matches.try_contains_id(&was.flag()).unwrap_or(false);
        if known { matches.value_source(&was.flag()) } else { None }
    };
    let mut found: Vec<Former> = settings
        .clone()
        .flat_map(|now| now.former().map(move |was| (now, was)))
        .filter_map(|(now, was)| used(&was).map(|source| former(&was, now, source)))
        .collect();
    if let Some((_, below)) = matches.subcommand() {
        // A flag that every command has is known to the program, too.
        let below = former_flags(below, settings);
        found
            .extend(below.into_iter().filter(|former| !found.contains(former)).collect::<Vec<_>>());
    }
    found
}

fn former(was: &Setting, now: &Setting, source: ValueSource) -> Former {
    let name = |setting: &Setting| match source {
        ValueSource::EnvVariable => setting.variable(),
        _ => format!("--{}", setting.flag()),
    };
    Former { was: name(was), now: name(now) }
}
