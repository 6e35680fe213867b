//! What a record's sender is promised of the medium. Any room may use it; it knows none of them.

/// When a record is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The answer is given when the record is on the medium.
    Strict,
    /// The answer is given at once; the record is committed within the commit interval.
    Relaxed,
}

impl std::str::FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        match text {
            "strict" => Ok(Durability::Strict),
            "relaxed" => Ok(Durability::Relaxed),
            other => Err(format!("\"{other}\" is not one of strict, relaxed")),
        }
    }
}

/// What the sender of a record wants to hear of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It waits for nothing: the record is committed within the interval.
    Unneeded,
    /// It wants to hear that the record is on the medium, if the disk allows such a promise; the
    /// record is taken in any case.
    Preferred,
    /// It wants to hear that the record is on the medium; without that promise the record is refused.
    Required,
}
