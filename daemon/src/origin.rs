//! Hosts and web origins, as configuration and requests spell them: what two of them have to have in
//! common to be the same.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `box.local`, `192.168.1.7:8000` or `[fd00::7]:8000`: a host in lower case, and its port where one is
/// stated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no host such as box.local, 192.168.1.7:8000 or [fd00::7]:8000")]
pub struct NoHost(String);

/// `https://app.example`: what a browser calls the site of a page. A default port is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin {
    scheme: String,
    at: Authority,
}

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no origin such as https://app.example or http://localhost:3000, without a path")]
pub struct NoOrigin(String);

impl Authority {
    /// Whether a request to `asked` is meant for the host of this name: where no port is stated here, any
    /// port will do.
    pub fn covers(&self, asked: &Authority) -> bool {
        let is_default = |port| asked.port.is_none() && matches!(port, 80 | 443);
        self.host == asked.host
            && self.port.is_none_or(|port| asked.port == Some(port) || is_default(port))
    }
}

impl FromStr for Authority {
    type Err = NoHost;

    fn from_str(text: &str) -> Result<Authority, NoHost> {
        let refused = || NoHost(text.chars().take(100).collect());
        let (host, behind) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, behind)) => {
                // Some clients also send the zone, which names an interface of their own (RFC 6874).
                let address = address.split_once('%').map_or(address, |(address, _)| address);
                let address: Ipv6Addr = address.parse().map_err(|_| refused())?;
                (format!("[{address}]"), behind)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                let (name, behind) = text.split_at(end);
                // A dot at the end says that the name is whole already.
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
                if name.is_empty() || !name.chars().all(is_name) {
                    return Err(refused());
                }
                (name.to_ascii_lowercase(), behind)
            }
        };
        let port = match behind.strip_prefix(':') {
            None if behind.is_empty() => None,
            None => return Err(refused()),
            // RFC 3986 lets the number be missing.
            Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(port.parse().map_err(|_| refused())?)
            }
            Some(_) => return Err(refused()),
        };
        Ok(Authority { host, port })
    }
}

impl Origin {
    /// Whether a page of this origin came from the host that it now asks. The scheme does not count: a
    /// proxy in front may speak TLS where the daemon does not.
    pub fn is_of(&self, asked: &Authority) -> bool {
        let port = |at: &Authority| at.port.or(default_port(&self.scheme));
        self.at.host == asked.host && port(&self.at) == port(asked)
    }
}

/// The port that a scheme has where none is stated.
fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl FromStr for Origin {
    type Err = NoOrigin;

    fn from_str(text: &str) -> Result<Origin, NoOrigin> {
        let refused = || NoOrigin(text.chars().take(100).collect());
        let (scheme, at) = text.split_once("://").ok_or_else(refused)?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return Err(refused());
        }
        let scheme = scheme.to_ascii_lowercase();
        let mut at: Authority = at.parse().map_err(|_| refused())?;
        at.port = at.port.filter(|port| Some(*port) != default_port(&scheme));
        Ok(Origin { scheme, at })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.at)
    }
}

/// Both are read from text and written as text.
macro_rules! as_text {
    ($($type:ty, $error:ty;)*) => {$(
        impl TryFrom<String> for $type {
            type Error = $error;

            fn try_from(text: String) -> Result<$type, $error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )*};
}

as_text! {
    Authority, NoHost;
    Origin, NoOrigin;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Authority {
        text.parse().unwrap()
    }

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for (text, shown) in [
            ("Box.Local", "box.local"),
            ("192.168.1.7:8000", "192.168.1.7:8000"),
            ("[0:0::1]:80", "[::1]:80"),
            ("box:", "box"),
            ("Box.Local.:8000", "box.local:8000"),
            ("[fe80::1%25eth0]:8000", "[fe80::1]:8000"),
            ("[fe80::1%eth0]", "[fe80::1]"),
        ] {
            assert_eq!(host(text).to_string(), shown);
        }
        for text in [
            "", ".", ":80", ".:80", "a b", "a/b", "u@h", "a,b", "[::1", "[x]", "::1", "h:70000",
            "h:+1", "[::1]x",
        ] {
            assert!(text.parse::<Authority>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_without_a_port_covers_every_port() {
        for (named, asked, covered) in [
            ("box", "BOX:8000", true),
            ("box:8000", "box:8000", true),
            ("box:80", "box", true),
            ("box:8000", "box", false),
            ("box:8000", "box:8001", false),
            ("box", "box.evil.example", false),
            ("box.local", "box.local.:8000", true),
            ("box.local.", "box.local", true),
            ("[::1]", "[0::1]:8000", true),
        ] {
            assert_eq!(host(named).covers(&host(asked)), covered, "{named} {asked}");
        }
    }

    #[test]
    fn an_origin_is_of_the_host_that_it_names() {
        for (page, asked, own) in [
            ("http://box:8000", "box:8000", true),
            ("https://box", "box", true),
            ("https://box", "box:443", true),
            ("http://box", "box:443", false),
            ("http://box.local.:8000", "box.local:8000", true),
            ("http://box:8000", "box", false),
            ("http://box.evil.example:8000", "box:8000", false),
            ("http://[::1]:8000", "[::1]:8000", true),
        ] {
            assert_eq!(origin(page).is_of(&host(asked)), own, "{page} {asked}");
        }
        assert_eq!(origin("HTTPS://App.example:443"), origin("https://app.example"));
        for text in ["null", "*", "app.example", "https://", "https://a/", "https://a/b", "://a"] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
