//! One subsystem as Health sees it: its silence, and what is to be made of that.

use std::time::Duration;

use super::heartbeat::{Beat, Heartbeat, Judgement, describe, judge};
use super::starvation::Shortage;

/// A subsystem at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Subsystem {
    pub name: String,
    /// The time since its last sign of life.
    pub silence: Duration,
    /// The longest silence that is allowed on a machine that is short of nothing.
    pub deadline: Duration,
    pub standing: Standing,
}

/// How a subsystem stands, and in words what is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Alive,
    /// It is overdue and is waited for, since the machine is short of something.
    Starved(String),
    /// It needs a restart.
    Failed(String),
}

impl Subsystem {
    /// Judges a heartbeat's last sign of life; `shortage` is what the machine is short of.
    pub(super) fn judge(
        heartbeat: &Heartbeat,
        beat: Beat,
        shortage: Option<&Shortage>,
    ) -> Subsystem {
        let name = heartbeat.name();
        let standing = match (heartbeat.fault(), judge(&beat, shortage)) {
            (Some(fault), _) => Standing::Failed(format!("{name}: {fault}")),
            (None, Judgement::Alive) => Standing::Alive,
            (None, Judgement::Starved(shortage, limit)) => {
                let overdue = describe(name, beat, beat.deadline);
                Standing::Starved(match limit {
                    Some(limit) => {
                        let limit = limit.as_secs_f64();
                        format!("{overdue}; {shortage}, waiting until {limit} s")
                    }
                    None => format!("{overdue}; {shortage}, which no restart can end"),
                })
            }
            (None, Judgement::Stuck(limit)) => Standing::Failed(describe(name, beat, limit)),
        };
        let Beat { silence, deadline, .. } = beat;
        Subsystem { name: name.to_string(), silence, deadline, standing }
    }
}

impl Standing {
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Standing::Alive => None,
            Standing::Starved(why) | Standing::Failed(why) => Some(why),
        }
    }

    pub fn failure(&self) -> Option<&str> {
        match self {
            Standing::Alive | Standing::Starved(_) => None,
            Standing::Failed(why) => Some(why),
        }
    }
}
