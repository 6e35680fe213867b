//! What one check found.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    Warn,
    Fail,
    /// Unknown; `fact` says why.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub status: Status,
    pub fact: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What to do about it.
    pub advice: Option<&'static str>,
}

impl Finding {
    pub fn ok(check: &'static str, fact: impl Into<String>) -> Finding {
        Finding { check, status: Status::Ok, fact: fact.into(), advice: None }
    }

    pub fn unknown(check: &'static str, why: impl Into<String>) -> Finding {
        Finding { check, status: Status::Unknown, fact: why.into(), advice: None }
    }

    pub fn warn(check: &'static str, fact: impl Into<String>, advice: &'static str) -> Finding {
        Finding { check, status: Status::Warn, fact: fact.into(), advice: Some(advice) }
    }

    pub fn fail(check: &'static str, fact: impl Into<String>, advice: &'static str) -> Finding {
        Finding { check, status: Status::Fail, fact: fact.into(), advice: Some(advice) }
    }
}

/// A size in the form that a person reads: `37.2 MiB`.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}
