//! The state of the prediction log, as its owner reports it. It knows nothing of the log.

/// Each state that records can't be relied on in comes with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It is not open yet.
    Opening,
    Ok,
    /// It takes records and promises nothing: the disk has failed a write since it was mounted.
    Suspect(String),
    /// It takes no records until there is room on the disk.
    Degraded(String),
    /// It takes no records until it can be opened again.
    Unavailable(String),
}

impl LogState {
    /// The labels of the metric that shows the state.
    pub const LABELS: [&str; 5] = ["opening", "ok", "suspect", "degraded", "unavailable"];

    pub fn label(&self) -> &'static str {
        LogState::LABELS[match self {
            LogState::Opening => 0,
            LogState::Ok => 1,
            LogState::Suspect(_) => 2,
            LogState::Degraded(_) => 3,
            LogState::Unavailable(_) => 4,
        }]
    }

    /// Why no records are taken; none when they are.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            LogState::Opening => Some("not open yet"),
            LogState::Ok | LogState::Suspect(_) => None,
            LogState::Degraded(why) | LogState::Unavailable(why) => Some(why),
        }
    }
}
