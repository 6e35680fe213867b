//! What is declared of a setting, and the names that follow from it. Knows no setting in particular.

use std::fmt;

use clap::Arg;

/// One row of the declaration. Flag, variable, file key, sample files and documentation are made
/// from it.
#[derive(Clone, Copy)]
pub struct Setting {
    /// The table of the file; empty for the keys above all tables.
    pub section: &'static str,
    pub key: &'static str,
    /// One sentence, with its full stop.
    pub help: &'static str,
    /// The value in TOML that holds when nobody sets one.
    pub default: Option<&'static str>,
    /// What holds when nobody sets a value and there is no fixed default.
    pub unset: &'static str,
    /// What the sample files show where there is no fixed default.
    pub example: &'static str,
    pub limit: Limit,
    /// Whether a reload may change it. Everything else is built into threads, sockets and files when
    /// the daemon starts.
    pub live: bool,
    /// Former names, such as `log.log_durability`: they still work, with a warning.
    pub was: &'static [&'static str],
    /// A variable that other programs use for the same; the setting's own comes before it.
    pub also: Option<&'static str>,
    /// What the sample file of a bare device adds.
    pub device: &'static str,
    /// What the sample file of a cluster adds, and its example where the device's would not do.
    pub cluster: &'static str,
    pub cluster_example: &'static str,
    /// Gives a flag the parser of the setting's type.
    pub typed: fn(Arg) -> Arg,
}

impl Setting {
    /// What a row need not mention.
    pub const BLANK: Setting = Setting {
        section: "",
        key: "",
        help: "",
        default: None,
        unset: "none",
        example: "",
        limit: Limit::None,
        live: false,
        was: &[],
        also: None,
        device: "",
        cluster: "",
        cluster_example: "",
        typed: |arg| arg,
    };

    /// As errors and the log spell it: `api.queue`.
    pub fn name(&self) -> String {
        self.joined(".")
    }

    /// Without its dashes in front: `api-queue`.
    pub fn flag(&self) -> String {
        self.joined("-").replace('_', "-")
    }

    /// Of the environment: `PICKET_API_QUEUE`.
    pub fn variable(&self) -> String {
        format!("PICKET_{}", self.joined("_").to_uppercase())
    }

    fn joined(&self, separator: &str) -> String {
        match self.section {
            "" => self.key.to_string(),
            section => format!("{section}{separator}{}", self.key),
        }
    }

    /// The same setting by each of its former names.
    pub fn former(&self) -> impl Iterator<Item = Setting> {
        let setting = *self;
        self.was.iter().map(move |name| {
            let (section, key) = name.split_once('.').unwrap_or(("", name));
            Setting { section, key, was: &[], ..setting }
        })
    }

    /// The sentence with the limit in it and no full stop.
    pub fn summary(&self) -> String {
        let help = self.help.trim().trim_end_matches('.');
        match self.limit {
            Limit::None => help.to_string(),
            limit => format!("{help}, {limit}"),
        }
    }

    /// The default as TOML spells it, unless it is an empty list, which shows nobody how to write one.
    pub fn default_to_show(&self) -> Option<&'static str> {
        self.default.filter(|toml| *toml != "[]")
    }

    /// What holds when nobody sets a value, as a flag spells it.
    pub fn default_text(&self) -> String {
        let plain = |toml: &str| toml.replace(['"', '[', ']', ' '], "");
        self.default_to_show().map_or(self.unset.to_string(), plain)
    }
}

/// What a value may be at all; texts are spelled as a flag spells the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    None,
    Between(&'static str, &'static str),
    AtLeast(&'static str),
    /// The length of a text.
    Bytes(usize, usize),
    /// Two shares of one, the lower first.
    Shares,
}

impl Limit {
    /// As the end of an error.
    pub fn demand(self) -> String {
        match self {
            Limit::Between(..) | Limit::Bytes(..) => format!("{self} are possible"),
            Limit::None | Limit::AtLeast(_) | Limit::Shares => format!("{self} is needed"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::None => f.write_str("any value"),
            Limit::Between(low, high) => write!(f, "{low} to {high}"),
            Limit::AtLeast(low) => write!(f, "at least {low}"),
            Limit::Bytes(low, high) => write!(f, "{low} to {high} bytes"),
            Limit::Shares => f.write_str("0 <= low <= high <= 1"),
        }
    }
}

/// A former name that was used, and the name to use instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    pub was: String,
    pub now: String,
}

impl Former {
    /// The error when both names are used side by side.
    pub fn conflict(&self) -> String {
        let Former { was, now } = self;
        format!("{now} and {was}, its former name, are both given, one is needed")
    }
}

impl fmt::Display for Former {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is now called {}; the former name still works", self.was, self.now)
    }
}
