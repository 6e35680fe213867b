//! Quantised convolutions: our own kernels in place of tract's, as nodes of tract's graph. `pattern`
//! finds them and puts them in, `op` is the node, `kernel` the arithmetic, which knows no graph; `sum`
//! is a node for the mean behind them. docs/kernels.md says which path runs where and what stays with tract.

pub mod kernel;
mod op;
mod pattern;
mod sum;

pub use kernel::{Kernel, leave_vectors};
pub use op::QConv;
pub use pattern::replace;
pub use sum::{QSum, replace_sums};

/// Who computes a model's quantised convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Tract,
    Own(Kernel),
}

/// A name that no engine has, or that of one for other CPUs.
#[derive(Debug, thiserror::Error)]
#[error("this CPU has {}, and not {given:?}", available().join(", "))]
pub struct UnknownEngine {
    given: String,
}

impl Engine {
    /// The fastest that this CPU has.
    pub fn best() -> Engine {
        Engine::Own(Kernel::best())
    }

    pub fn name(self) -> &'static str {
        match self {
            Engine::Tract => "tract",
            Engine::Own(kernel) => kernel.name(),
        }
    }

    /// All that this CPU has, the slowest first.
    pub fn all() -> Vec<Engine> {
        let own = Kernel::ALL.into_iter().filter(|kernel| kernel.is_available()).map(Engine::Own);
        std::iter::once(Engine::Tract).chain(own).collect()
    }
}

impl std::str::FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(given: &str) -> Result<Engine, UnknownEngine> {
        let engine = Engine::all().into_iter().find(|engine| engine.name() == given);
        engine.ok_or_else(|| UnknownEngine { given: given.to_string() })
    }
}

fn available() -> Vec<&'static str> {
    Engine::all().into_iter().map(Engine::name).collect()
}
