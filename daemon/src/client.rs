//! The one HTTP client: how the daemon asks a server. It knows none of those that are asked.

use std::time::Duration;

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

pub use ureq::Error;
pub use ureq::http::Uri;

/// Longest wait for a connection, for sending, and for the head of an answer, each. The resolver has
/// limits of its own: one of ours would cost a thread for each question.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);

const USER_AGENT: &str = concat!("picket/", env!("CARGO_PKG_VERSION"));

/// Reads an address of the form `http://host:port/path` or `https://…`. None for anything else, such as
/// `file:` or a port that is no number.
pub fn http_uri(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    if !matches!(uri.scheme_str()?, "http" | "https") {
        return None;
    }
    // The parser takes a port that is no number, or too large, for none.
    let host = uri.host().filter(|host| !host.is_empty())?;
    let authority = uri.authority()?.as_str();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let behind = place.strip_prefix(host)?;
    let is_port = behind.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (behind.is_empty() || is_port).then_some(uri)
}

/// Asks one question at a time, on the thread of its caller. It follows no redirection, obeys no proxy of
/// the environment, and keeps no connection.
pub struct Client(ureq::Agent);

impl Client {
    /// Prepares to ask the server of this address. Only https needs this machine's certificates.
    pub fn of(uri: &Uri) -> Client {
        let config = config();
        let is_https = uri.scheme_str() == Some("https");
        Client(if is_https { tls::of_this_machine(config) } else { config }.build().into())
    }

    /// Gives the status of the answer to a GET. Its body is left unread.
    ///
    /// # Errors
    /// No answer in time, or none that is HTTP.
    pub fn status(&self, uri: &Uri) -> Result<u16, Error> {
        let request = self.0.get(uri).header("connection", "close");
        request.call().map(|answer| answer.status().as_u16())
    }
}

fn config() -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .proxy(None)
        .user_agent(USER_AGENT)
        .timeout_connect(Some(STEP_TIMEOUT))
        .timeout_send_request(Some(STEP_TIMEOUT))
        .timeout_recv_response(Some(STEP_TIMEOUT))
}

#[cfg(not(feature = "tls"))]
mod tls {
    use super::{AgentScope, ConfigBuilder};

    pub fn of_this_machine(config: ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope> {
        tracing::warn!("this build of picket has no TLS, https can't work");
        config
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    use ureq::tls::{Certificate, RootCerts, TlsConfig};

    use super::{AgentScope, ConfigBuilder};

    /// Trusts the system's authorities, or those of the file that SSL_CERT_FILE names.
    pub fn of_this_machine(config: ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope> {
        let Some(bundle) = openssl_probe::probe().cert_file else {
            tracing::warn!("no file of certificate authorities on this machine, https can't work");
            return trusting(&[], config);
        };
        let authorities: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&bundle).and_then(Iterator::collect);
        let authorities = authorities.unwrap_or_else(|error| {
            let path = bundle.display();
            tracing::warn!(%path, %error, "certificate authorities can't be read, https can't work");
            Vec::new()
        });
        trusting(&authorities, config)
    }

    pub fn trusting(
        authorities: &[CertificateDer<'_>],
        config: ConfigBuilder<AgentScope>,
    ) -> ConfigBuilder<AgentScope> {
        let authorities = authorities.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(authorities))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        config.tls_config(tls.build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_http_servers_are_taken() {
        for text in [
            "http://mlflow:5000",
            "http://h/mlflow/",
            "https://u:p@h.example/x",
            "http://[::1]:5000",
            "http://[::1]",
        ] {
            assert_eq!(
                http_uri(text).unwrap().to_string().trim_end_matches('/'),
                text.trim_end_matches('/')
            );
        }
        for other in [
            "file:///mlruns",
            "sqlite:///mlflow.db",
            "mlruns",
            "databricks",
            "http://",
            "http://h:x",
            "http://h:70000",
            "http://h:",
            "ftp://h",
        ] {
            assert_eq!(http_uri(other), None, "{other}");
        }
    }

    #[cfg(feature = "tls")]
    mod https {
        use std::io::{Read, Write};
        use std::sync::Arc;

        use tokio_rustls::rustls::crypto::ring;
        use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        use tokio_rustls::rustls::{ServerConfig, ServerConnection, Stream};

        use super::*;

        /// A server that shows the certificate of tests/data/tls, for one request.
        fn https_server() -> (u16, std::thread::JoinHandle<()>) {
            let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
            let key = PrivateKeyDer::from_pem_file(data.join("cert.key")).unwrap();
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate()], key)
                .unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut socket, _) = listener.accept().unwrap();
                let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
                let mut stream = Stream::new(&mut connection, &mut socket);
                // A client that doesn't trust the certificate sends no request.
                if stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
            });
            (port, server)
        }

        fn certificate() -> CertificateDer<'static> {
            let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
            CertificateDer::from_pem_file(data.join("cert.pem")).unwrap()
        }

        #[test]
        fn https_is_spoken_with_servers_of_a_trusted_authority_only() {
            for (authorities, expected) in [(vec![certificate()], Some(204)), (Vec::new(), None)] {
                let (port, server) = https_server();
                let client = Client(tls::trusting(&authorities, config()).build().into());
                let uri = http_uri(&format!("https://localhost:{port}/")).unwrap();
                assert_eq!(client.status(&uri).ok(), expected);
                server.join().unwrap();
            }
            let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let uri = http_uri(&format!("https://{}/", plain.local_addr().unwrap())).unwrap();
            let server = std::thread::spawn(move || drop(plain.accept().unwrap()));
            assert!(Client::of(&uri).status(&uri).is_err(), "a server without TLS is no https");
            server.join().unwrap();
        }
    }
}
