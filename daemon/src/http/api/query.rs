//! Query strings: parameters by name, and words for what is wrong with them.

use serde::Deserialize;
use warp::http::StatusCode;

use super::rejected::Rejected;
use crate::recording::Durability;

/// Parses a query string. Unknown parameters are refused by name.
pub(super) fn parse<T: serde::de::DeserializeOwned>(query: &str) -> Result<T, Rejected> {
    serde_urlencoded::from_str(query)
        .map_err(|error| Rejected::new(StatusCode::BAD_REQUEST, format!("query: {error}")))
}

/// Refuses a parameter, with what it is and what it should be.
pub(super) fn bad_parameter(name: &str, value: &str, needed: &str) -> Rejected {
    let value: String = value.chars().take(100).collect();
    Rejected::new(StatusCode::BAD_REQUEST, format!("query: {name} is {value}: {needed}"))
}

/// Reads a parameter that is true or false; one that is empty counts as absent.
pub(super) fn flag(name: &str, text: Option<&str>) -> Result<Option<bool>, Rejected> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    // Python's own words begin with a capital.
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(Some(true)),
        "false" | "0" => Ok(Some(false)),
        _ => Err(bad_parameter(name, text, "true or false is needed")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DurabilityParameters {
    durable: Option<String>,
}

/// Gives what `?durable=` asks for, else the route's own.
pub(super) fn durability(query: &str, default: Durability) -> Result<Durability, Rejected> {
    let parameters: DurabilityParameters = parse(query)?;
    durable(parameters.durable.as_deref(), default)
}

/// Gives what the value of `?durable=` asks for, else the route's own.
pub(super) fn durable(text: Option<&str>, default: Durability) -> Result<Durability, Rejected> {
    Ok(match flag("durable", text)? {
        Some(true) => Durability::Strict,
        Some(false) => Durability::Relaxed,
        None => default,
    })
}
