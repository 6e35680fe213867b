//! Who computes a model's quantised convolutions: one of our kernels, or tract.

use picket_kernels::Kernel;

/// Who computes a model's quantised convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Tract,
    Own(Kernel),
}

/// A name that no engine has, or the name of one for other CPUs.
#[derive(Debug, thiserror::Error)]
#[error("this CPU has {}, and not {given:?}", available().join(", "))]
pub struct UnknownEngine {
    given: String,
}

impl Engine {
    /// Returns the fastest that this CPU has.
    pub fn best() -> Engine {
        Engine::Own(Kernel::best())
    }

    pub fn name(self) -> &'static str {
        match self {
            Engine::Tract => "tract",
            Engine::Own(kernel) => kernel.name(),
        }
    }

    /// Returns all that this CPU has, the slowest first.
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
