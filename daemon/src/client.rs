//! The one HTTP client: how the daemon asks a server. It knows none of those that are asked.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::config::ConfigBuilder;
use ureq::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_RANGE, RANGE, RETRY_AFTER,
};
use ureq::http::{HeaderMap, HeaderName, Response};
use ureq::typestate::AgentScope;
use ureq::{Body, RequestBuilder};

pub use ureq::Error;
pub use ureq::http::Uri;

/// Longest wait for a connection and for sending, each. The resolver has limits of its own: one of ours
/// would cost a thread for each question.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the head of an answer: a store behind the server may have to bring a whole file first.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// Longest silence in the middle of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

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

/// Files of https, PEM.
#[derive(Clone, Debug, Default)]
pub struct HttpsFiles {
    /// The authorities that are trusted instead of this machine's.
    pub authorities: Option<PathBuf>,
    /// The certificate by which this box shows who it is, with its key.
    pub identity: Option<PathBuf>,
}

/// Asks one question at a time, on the thread of its caller. It follows no redirection, goes through the proxy
/// that the environment names, and keeps no connection.
pub struct Client(ureq::Agent);

impl Client {
    /// Prepares to ask the server of this address. Only https needs certificates.
    pub fn of(uri: &Uri, https: &HttpsFiles) -> Client {
        let config = config();
        let is_https = uri.scheme_str() == Some("https");
        Client(if is_https { tls::by_files(https, config) } else { config }.build().into())
    }

    /// Gives the answer to a GET, whose body ends within the limit.
    ///
    /// # Errors
    /// No answer in time, none that is HTTP, or one beyond the limit.
    pub fn get(
        &self,
        uri: &Uri,
        credentials: &Credentials,
        bytes_max: u64,
    ) -> Result<Answer, Error> {
        let mut answer = self.asking(uri, credentials).call()?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(bytes_max).read_to_vec()?;
        Ok(Answer { status, body })
    }

    /// Gives the answer to a GET of a file, from a byte on if it is the same file still; its body comes as it
    /// is read.
    ///
    /// # Errors
    /// No answer in time, or none that is HTTP.
    pub fn open(
        &self,
        uri: &Uri,
        credentials: &Credentials,
        from: Option<u64>,
        etag: Option<&str>,
    ) -> Result<Opened, Error> {
        let mut request = self.asking(uri, credentials);
        if let Some(from) = from {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(etag) = etag {
                request = request.header(IF_RANGE, etag);
            }
        }
        Ok(Opened::of(request.call()?))
    }

    fn asking(
        &self,
        uri: &Uri,
        credentials: &Credentials,
    ) -> RequestBuilder<ureq::typestate::WithoutBody> {
        let request =
            self.0.get(uri).header("connection", "close").header(ACCEPT_ENCODING, "identity");
        match credentials.header() {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}

/// As whom a server is asked.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Basic { .. } => "Basic",
            Credentials::Bearer(_) => "Bearer",
        })
    }
}

impl Credentials {
    fn header(&self) -> Option<String> {
        match self {
            Credentials::None => None,
            Credentials::Basic { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Credentials::Bearer(token) => Some(format!("Bearer {token}")),
        }
    }
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// An answer whose body is read yet.
pub struct Opened {
    pub status: u16,
    pub media: Option<String>,
    pub encoding: Option<String>,
    pub length: Option<u64>,
    pub range: Option<String>,
    pub etag: Option<String>,
    pub retry_after: Option<Duration>,
    pub body: Box<dyn Read>,
}

impl Opened {
    fn of(answer: Response<Body>) -> Opened {
        let status = answer.status().as_u16();
        let headers = answer.headers();
        let (media, encoding) = (text(headers, CONTENT_TYPE), text(headers, CONTENT_ENCODING));
        let length = text(headers, CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let (range, etag) = (text(headers, CONTENT_RANGE), text(headers, ETAG));
        let seconds = text(headers, RETRY_AFTER).and_then(|text| text.parse().ok());
        Opened {
            status,
            media,
            encoding: encoding.filter(|encoding| encoding != "identity"),
            length,
            range,
            etag,
            retry_after: seconds.map(Duration::from_secs),
            body: Box::new(answer.into_body().into_reader()),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}

fn config() -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .proxy(ureq::Proxy::try_from_env())
        .user_agent(USER_AGENT)
        .timeout_connect(Some(STEP_TIMEOUT))
        .timeout_send_request(Some(STEP_TIMEOUT))
        .timeout_recv_response(Some(HEAD_TIMEOUT))
        .timeout_per_read(Some(IDLE_TIMEOUT))
}

#[cfg(not(feature = "tls"))]
mod tls {
    use super::{AgentScope, ConfigBuilder, HttpsFiles};

    pub fn by_files(
        _: &HttpsFiles,
        config: ConfigBuilder<AgentScope>,
    ) -> ConfigBuilder<AgentScope> {
        tracing::warn!("this build of picket has no TLS, https can't work");
        config
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::path::Path;
    use std::sync::Arc;

    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    use ureq::tls::{Certificate, ClientCert, PemItem, RootCerts, TlsConfig, parse_pem};

    use super::{AgentScope, ConfigBuilder, HttpsFiles};

    /// Trusts the authorities of the file, or the system's, or those of the file that SSL_CERT_FILE names.
    pub fn by_files(
        files: &HttpsFiles,
        config: ConfigBuilder<AgentScope>,
    ) -> ConfigBuilder<AgentScope> {
        let identity = files.identity.as_deref().and_then(identity);
        let bundle = files.authorities.clone().or_else(|| openssl_probe::probe().cert_file);
        let Some(bundle) = bundle else {
            tracing::warn!("no file of certificate authorities on this machine, https can't work");
            return trusting(&[], identity, config);
        };
        let authorities: Result<Vec<_>, _> =
            CertificateDer::pem_file_iter(&bundle).and_then(Iterator::collect);
        let authorities = authorities.unwrap_or_else(|error| {
            let path = bundle.display();
            tracing::warn!(%path, %error, "certificate authorities can't be read, https can't work");
            Vec::new()
        });
        trusting(&authorities, identity, config)
    }

    /// Reads the certificate of this box, and its key.
    fn identity(path: &Path) -> Option<ClientCert> {
        let (mut chain, mut key) = (Vec::new(), None);
        for item in parse_pem(&std::fs::read(path).unwrap_or_default()).flatten() {
            match item {
                PemItem::Certificate(certificate) => chain.push(certificate),
                PemItem::PrivateKey(found) => key = Some(found),
                _ => {}
            }
        }
        let identity = key.filter(|_| !chain.is_empty());
        if identity.is_none() {
            let path = path.display();
            tracing::warn!(%path, "the client's certificate and its key can't be read from there");
        }
        identity.map(|key| ClientCert::new_with_certs(&chain, key))
    }

    pub fn trusting(
        authorities: &[CertificateDer<'_>],
        identity: Option<ClientCert>,
        config: ConfigBuilder<AgentScope>,
    ) -> ConfigBuilder<AgentScope> {
        let authorities = authorities.iter().map(|der| Certificate::from_der(der).to_owned());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(authorities))
            .client_cert(identity)
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

        fn status(client: &Client, uri: &Uri) -> Option<u16> {
            client.get(uri, &Credentials::None, 1 << 10).ok().map(|answer| answer.status)
        }

        #[test]
        fn https_is_spoken_with_servers_of_a_trusted_authority_only() {
            for (authorities, expected) in [(vec![certificate()], Some(204)), (Vec::new(), None)] {
                let (port, server) = https_server();
                let client = Client(tls::trusting(&authorities, None, config()).build().into());
                let uri = http_uri(&format!("https://localhost:{port}/")).unwrap();
                assert_eq!(status(&client, &uri), expected);
                server.join().unwrap();
            }
            let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let uri = http_uri(&format!("https://{}/", plain.local_addr().unwrap())).unwrap();
            let server = std::thread::spawn(move || drop(plain.accept().unwrap()));
            assert_eq!(
                status(&Client::of(&uri, &HttpsFiles::default()), &uri),
                None,
                "a server without TLS is no https"
            );
            server.join().unwrap();
        }
    }
}
