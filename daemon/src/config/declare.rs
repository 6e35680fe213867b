//! What a declaration of settings becomes: rows, what a source gives, the complete Config, flags.
//! Knows no setting in particular.

/// Declares the tables of the file, those of other tables among them. A row of a table is
///
/// ```text
/// /// One sentence.
/// key: Type = default { field: value, … },
/// ```
///
/// where the default is spelled as in TOML and may be missing, and the fields are those of `Setting`.
/// Each table becomes two structs: what a source gives, where everything may be missing, and what
/// the daemon runs with.
macro_rules! settings {
    ($(
        [$section:literal] $Given:ident $Config:ident
        {$($table:ident: $TableGiven:ident $TableConfig:ident,)*}
        {$(
            $(#[doc = $help:literal])+
            $key:ident: $type:ty $(= $default:tt)? {$($field:ident: $value:expr),*},
        )*}
    )*) => {
        /// Every setting, in the order of the file.
        pub const SETTINGS: &[Setting] = &[$($(
            Setting {
                section: $section,
                key: stringify!($key),
                help: concat!($($help),+),
                $(default: Some(stringify!($default)),)?
                typed: <<$type as Field>::Value as Value>::typed,
                $($field: $value,)*
                ..Setting::BLANK
            },
        )*)*];

        $(
            /// What one source gives, as the file spells it.
            #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
            #[serde(deny_unknown_fields, default)]
            pub struct $Given {
                $($(#[doc = $help])+ pub $key: Option<<$type as Field>::Value>,)*
                $(pub $table: $TableGiven,)*
            }

            /// Complete; serialises to a file that says the same.
            #[derive(Clone, Debug, PartialEq, Serialize)]
            pub struct $Config {
                $($(#[doc = $help])+ pub $key: $type,)*
                $(pub $table: $TableConfig,)*
            }

            impl $Given {
                const SECTION: &str = $section;

                /// Takes from `next` what is missing here.
                pub fn or(self, next: $Given) -> $Given {
                    $Given {
                        $($key: self.$key.or(next.$key),)*
                        $($table: self.$table.or(next.$table),)*
                    }
                }

                /// Takes the default of whatever is missing.
                pub fn complete(self) -> $Config {
                    $Config {
                        $($key: Field::settled(self.$key, row(Self::SECTION, stringify!($key))),)*
                        $($table: self.$table.complete(),)*
                    }
                }
            }

            impl $Config {
                /// # Errors
                /// The first value beyond its limit.
                pub fn check(&self) -> Result<(), ConfigError> {
                    $(self.$key.check(row($Given::SECTION, stringify!($key)))?;)*
                    $(self.$table.check()?;)*
                    Ok(())
                }

                /// What a reload leads to: the wanted values where they may change, else the running ones.
                pub fn reloaded(&self, wanted: $Config) -> $Config {
                    $Config {
                        $($key: if row($Given::SECTION, stringify!($key)).live {
                            wanted.$key
                        } else {
                            self.$key.clone()
                        },)*
                        $($table: self.$table.reloaded(wanted.$table),)*
                    }
                }
            }

            impl clap::Args for $Given {
                fn augment_args(command: clap::Command) -> clap::Command {
                    $(let command =
                        command.args(arguments(row(Self::SECTION, stringify!($key))));)*
                    $(let command = $TableGiven::augment_args(command);)*
                    command
                }

                fn augment_args_for_update(command: clap::Command) -> clap::Command {
                    Self::augment_args(command)
                }
            }

            impl clap::FromArgMatches for $Given {
                fn from_arg_matches(matches: &clap::ArgMatches) -> Result<$Given, clap::Error> {
                    Ok($Given {
                        $($key: taken(matches, row(Self::SECTION, stringify!($key)))?,)*
                        $($table: $TableGiven::from_arg_matches(matches)?,)*
                    })
                }

                fn update_from_arg_matches(
                    &mut self,
                    matches: &clap::ArgMatches,
                ) -> Result<(), clap::Error> {
                    *self = Self::from_arg_matches(matches)?;
                    Ok(())
                }
            }
        )*

        fn row(section: &str, key: &str) -> &'static Setting {
            let mut rows = SETTINGS.iter();
            rows.find(|row| row.section == section && row.key == key)
                .expect("each field of the structs has its row")
        }
    };
}

pub(super) use settings;
