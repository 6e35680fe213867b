//! What the machine and its service manager say where nobody sets a value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::settings::{ApiSettings, ProbeSettings, Settings};
use crate::endpoint::Endpoint;

/// Where the listeners are when nobody says where.
const API_PORT: u16 = 8000;
const PROBE_PORT: u16 = 8001;

/// What the environment of the machine adds, looked up once by the caller.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub state_directory: Option<PathBuf>,
    pub xdg_state_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub credentials: Credentials,
    pub hostname: String,
    pub cores: usize,
    /// Whether the machine can listen by IPv6.
    pub ipv6: bool,
}

/// Secrets that systemd hands over as files (`LoadCredential=`), where there are any.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    pub api_token: Option<PathBuf>,
    pub api_cert: Option<PathBuf>,
    pub api_key: Option<PathBuf>,
}

impl Credentials {
    fn found_in(dir: Option<PathBuf>) -> Credentials {
        let file = |name: &str| dir.as_ref().map(|dir| dir.join(name)).filter(|file| file.exists());
        Credentials {
            api_token: file("picket-api-token"),
            api_cert: file("picket-api-cert"),
            api_key: file("picket-api-key"),
        }
    }
}

impl Surroundings {
    pub fn from_environment() -> Surroundings {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        // systemd joins several state directories by colons; ours is the first.
        let state_directory =
            text("STATE_DIRECTORY").and_then(|dirs| dirs.split(':').next().map(PathBuf::from));
        Surroundings {
            state_directory,
            xdg_state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
            credentials: Credentials::found_in(path("CREDENTIALS_DIRECTORY")),
            hostname: crate::os::hostname(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            ipv6: crate::os::has_ipv6(),
        }
    }

    /// As if they were a source of their own, the last one before the defaults.
    pub fn settings(&self) -> Settings {
        let Credentials { api_token, api_cert, api_key } = self.credentials.clone();
        Settings {
            state_dir: Some(self.state_dir()),
            device_id: Some(self.hostname.clone()),
            api: ApiSettings {
                listen: Some(self.all_addresses(API_PORT)),
                workers: Some(self.cores),
                token_file: api_token,
                tls_cert: api_cert,
                tls_key: api_key,
                ..ApiSettings::default()
            },
            probe: ProbeSettings { listen: Some(self.all_addresses(PROBE_PORT)) },
            ..Settings::default()
        }
    }

    /// Every address of the machine.
    fn all_addresses(&self, port: u16) -> Endpoint {
        let ip = if self.ipv6 {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        };
        Endpoint::Tcp(SocketAddr::new(ip, port))
    }

    fn state_dir(&self) -> PathBuf {
        let user = self.home.as_ref().map(|home| home.join(".local/state"));
        match (&self.state_directory, self.xdg_state_home.clone().or(user)) {
            (Some(dir), _) => dir.clone(),
            (None, Some(base)) => base.join("picket"),
            (None, None) => PathBuf::from("picket-state"),
        }
    }
}
