//! The types that settings have: how flags spell them, how they become a default, what keeps them
//! within a limit. Knows no setting in particular.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Arg, ArgAction, ArgMatches};
use picket_picture::JsonRange;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::de::ValueDeserializer;

use super::error::ConfigError;
use super::setting::{Limit, Setting};
use crate::endpoint::Endpoint;
use crate::recording::Durability;

/// A duration written as in `100ms` or `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Span, humantime::DurationError> {
        humantime::parse_duration(text).map(Span)
    }
}

impl TryFrom<String> for Span {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Span, humantime::DurationError> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

/// Two confidences, low and high: `[0.4, 0.7]` in the file, `0.4,0.7` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band(pub f32, pub f32);

impl FromStr for Band {
    type Err = String;

    fn from_str(text: &str) -> Result<Band, String> {
        let number = |text: &str| text.trim().parse::<f32>().ok();
        let (low, high) = text.split_once(',').ok_or("two numbers such as 0.4,0.7 are needed")?;
        match (number(low), number(high)) {
            (Some(low), Some(high)) => Ok(Band(low, high)),
            _ => Err("two numbers such as 0.4,0.7 are needed".into()),
        }
    }
}

/// A type of settings' values.
pub trait Value: Clone + DeserializeOwned + Send + Sync + 'static {
    /// Gives a flag its parser, and what `--help` shows in the value's place.
    fn typed(arg: Arg) -> Arg;

    /// What a flag or its variable says.
    fn given(matches: &ArgMatches, flag: &str) -> Option<Self> {
        matches.get_one(flag).cloned()
    }

    /// The value as an error shows it, when it is beyond the limit.
    fn beyond(&self, _: Limit) -> Option<String> {
        None
    }
}

/// A type of the Config's fields: a value that is always there, or one that may be missing.
pub trait Field: Sized {
    type Value: Value;

    /// The value that was given, else the default.
    fn settled(given: Option<Self::Value>, setting: &Setting) -> Self;

    fn value(&self) -> Option<&Self::Value>;

    /// # Errors
    /// A value beyond the setting's limit, with the limit.
    fn check(&self, setting: &Setting) -> Result<(), ConfigError> {
        let beyond = self.value().and_then(|value| value.beyond(setting.limit));
        beyond.map_or(Ok(()), |value| {
            Err(ConfigError::Value { key: setting.name(), value, limit: setting.limit.demand() })
        })
    }
}

impl<T: Value> Field for T {
    type Value = T;

    fn settled(given: Option<T>, setting: &Setting) -> T {
        given
            .or_else(|| default(setting))
            .expect("what must have a value has a default, or the surroundings give it one")
    }

    fn value(&self) -> Option<&T> {
        Some(self)
    }
}

impl<T: Value> Field for Option<T> {
    type Value = T;

    fn settled(given: Option<T>, setting: &Setting) -> Option<T> {
        given.or_else(|| default(setting))
    }

    fn value(&self) -> Option<&T> {
        self.as_ref()
    }
}

fn default<T: Value>(setting: &Setting) -> Option<T> {
    setting.default.map(|toml| {
        let read = ValueDeserializer::parse(toml).and_then(T::deserialize);
        read.expect("a default is written like any value of the file")
    })
}

/// A value that can be compared with its limit; the limit's texts are read as its own type.
fn beyond<T: FromStr + PartialOrd + ToString>(value: &T, limit: Limit) -> Option<String> {
    let read = |text: &str| text.parse::<T>().ok().expect("a limit is written like a value");
    let within = match limit {
        Limit::Between(low, high) => (read(low)..=read(high)).contains(value),
        Limit::AtLeast(low) => *value >= read(low),
        Limit::None | Limit::Bytes(..) | Limit::Shares => true,
    };
    (!within).then(|| value.to_string())
}

/// Implements Value by what `--help` shows, and what else a type has of its own.
macro_rules! values {
    ($($type:ty, $name:literal $(, $beyond:expr)?;)*) => {$(
        impl Value for $type {
            fn typed(arg: Arg) -> Arg {
                arg.value_name($name).value_parser(clap::value_parser!($type))
            }

            $(fn beyond(&self, limit: Limit) -> Option<String> {
                $beyond(self, limit)
            })?
        }
    )*};
}

values! {
    PathBuf, "PATH";
    Endpoint, "ADDR";
    JsonRange, "RANGE";
    Durability, "DURABILITY";
    bool, "BOOL";
    usize, "N", beyond;
    u64, "N", beyond;
    ByteSize, "SIZE", beyond;
    Span, "TIME", beyond;
    String, "TEXT", |text: &String, limit| match limit {
        Limit::Bytes(low, high) if !(low..=high).contains(&text.len()) => {
            Some(format!("{} bytes", text.len()))
        }
        Limit::Bytes(..) if text.chars().any(char::is_control) => {
            Some(format!("{text:?} with a control character"))
        }
        _ => None,
    };
    Band, "LOW,HIGH", |&Band(low, high): &Band, _| {
        let within = 0.0 <= low && low <= high && high <= 1.0;
        (!within).then(|| format!("{low}, {high}"))
    };
}

/// A list: commas between its members, or the flag more than once.
impl<T> Value for Vec<T>
where
    T: FromStr<Err: std::error::Error + Send + Sync>
        + Clone
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    fn typed(arg: Arg) -> Arg {
        let parser = |text: &str| text.parse::<T>();
        arg.value_name("LIST").value_delimiter(',').action(ArgAction::Append).value_parser(parser)
    }

    fn given(matches: &ArgMatches, flag: &str) -> Option<Vec<T>> {
        matches.get_many(flag).map(|members| members.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_band_is_two_shares_with_the_lower_one_first() {
        for (band, shown) in [
            (Band(0.7, 0.4), Some("0.7, 0.4")),
            (Band(-0.1, 0.4), Some("-0.1, 0.4")),
            (Band(0.4, f32::NAN), Some("0.4, NaN")),
            (Band(0.0, 1.0), None),
            (Band(0.5, 0.5), None),
        ] {
            assert_eq!(band.beyond(Limit::Shares).as_deref(), shown);
        }
        assert_eq!(Limit::Shares.demand(), "0 <= low <= high <= 1 is needed");
    }
}
