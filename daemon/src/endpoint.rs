//! Where a listener listens, as the configuration spells it: an IP address with a port, or the path
//! of a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What marks a path.
const UNIX: &str = "unix:";

/// Bytes of a socket's path: the kernel takes 107 (sun_path of unix(7)), and the name under which a
/// socket is made before it gets its own is 4 longer.
const PATH_BYTES_MAX: usize = 103;

/// `0.0.0.0:8000`, `[::]:8000` or `unix:/run/picket/api.sock`. Host names are not looked up: a box
/// may start before its network does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error(
        "{0:?} is neither an address such as 0.0.0.0:8000 nor a path such as unix:/run/picket/api.sock"
    )]
    Form(String),
    #[error("the socket's path is {0:?}, an absolute one is needed")]
    Relative(String),
    #[error("the socket's path has {0} bytes, at most {PATH_BYTES_MAX} are possible")]
    TooLong(usize),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Endpoint, EndpointError> {
        let Some(path) = text.strip_prefix(UNIX) else {
            let addr = text.parse().map_err(|_| EndpointError::Form(text.to_string()))?;
            return Ok(Endpoint::Tcp(addr));
        };
        if !path.starts_with('/') {
            return Err(EndpointError::Relative(path.to_string()));
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(EndpointError::TooLong(path.len()));
        }
        Ok(Endpoint::Unix(path.into()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Endpoint, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(addr) => addr.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_paths_are_read_as_they_are_written() {
        for text in ["0.0.0.0:8000", "[::1]:0", "unix:/run/picket/api.sock"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_needed() {
        let long = format!("unix:/{}", "a".repeat(103));
        for (text, needed) in [
            ("8000", "0.0.0.0:8000"),
            ("localhost:8000", "\"localhost:8000\" is neither"),
            ("unix:api.sock", "absolute"),
            (&long, "104 bytes, at most 103"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(needed), "{error}");
        }
    }
}
