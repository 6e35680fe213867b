//! Every setting of the daemon: declared once, read from flags, environment and file, completed to a
//! validated Config.

mod declare;
mod error;
mod file;
mod flags;
mod load;
mod setting;
mod settings;
mod surroundings;
mod value;

pub use error::ConfigError;
pub use flags::{arguments, former_flags, taken};
pub use load::Sources;
pub use setting::{Former, Limit, Setting};
pub use settings::{
    ApiConfig, Config, HealthConfig, ModelConfig, ModelSettings, SETTINGS, Settings,
    VerdictSettings,
};
pub use surroundings::Surroundings;
pub use value::{Band, Field, Span, Value};
