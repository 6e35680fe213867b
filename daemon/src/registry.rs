//! Watches whether the MLflow server answers that the configuration names. Models come from files, and
//! predictions never wait for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::client::{Client, Uri, http_uri};
use crate::health::{Health, Heartbeat, RegistryState, Work};

/// The registry is asked this often.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// A resolver whose name servers are gone may try for minutes, which no restart cures.
pub const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);

/// Asks the registry now and then.
pub struct RegistryWatch {
    question: Uri,
    required: bool,
    health: Arc<Health>,
}

impl RegistryWatch {
    /// Nothing for a URI that names no server, such as `file:` or `sqlite:`.
    pub fn new(uri: &str, required: bool, health: Arc<Health>) -> Option<RegistryWatch> {
        let Some(question) = http_uri(uri).as_ref().and_then(health_of) else {
            tracing::warn!(uri, "the model registry is no http server and is not watched");
            return None;
        };
        health.set_registry(RegistryState { required, accessible: false });
        Some(RegistryWatch { question, required, health })
    }

    /// Runs until the other end of `stopped` is gone.
    pub fn run(&self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        let client = Client::of(&self.question);
        loop {
            heartbeat.busy(Work::Registry);
            let accessible = answers(&client, &self.question);
            self.health.set_registry(RegistryState { required: self.required, accessible });
            heartbeat.beat();
            if stopped.recv_timeout(CHECK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
    }
}

/// Gives the address of MLflow's own health below a tracking URI. What the URI says of a user stays out:
/// nobody has to log in there.
fn health_of(tracking: &Uri) -> Option<Uri> {
    let authority = tracking.authority()?.as_str();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let path = format!("{}/health", tracking.path().trim_end_matches('/'));
    Uri::builder()
        .scheme(tracking.scheme()?.clone())
        .authority(place)
        .path_and_query(path)
        .build()
        .ok()
}

/// Tells whether the registry answers as a healthy one does.
fn answers(client: &Client, question: &Uri) -> bool {
    let status = client.status(question);
    if let Err(error) = &status {
        tracing::debug!(%error, "the model registry does not answer");
    }
    status.is_ok_and(|status| status == 200)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn question(tracking: &str) -> Option<Uri> {
        http_uri(tracking).as_ref().and_then(health_of)
    }

    #[test]
    fn health_is_asked_below_the_tracking_uri() {
        for (tracking, health) in [
            ("http://mlflow:5000", "http://mlflow:5000/health"),
            ("http://h/mlflow/", "http://h/mlflow/health"),
            ("https://u:p@h.example/x", "https://h.example/x/health"),
            ("http://[::1]:5000", "http://[::1]:5000/health"),
        ] {
            assert_eq!(question(tracking).unwrap().to_string(), health);
        }
        assert_eq!(question("sqlite:///mlflow.db"), None);
    }

    #[test]
    fn only_a_server_that_answers_200_is_accessible() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", true),
            ("HTTP/1.0 200 OK\r\n\r\n", true),
            ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", false),
            ("SSH-2.0-OpenSSH_9.2\r\n", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let question = question(&format!("http://127.0.0.1:{port}")).unwrap();
            assert_eq!(answers(&Client::of(&question), &question), expected, "{answer}");
            let request = server.join().unwrap().to_ascii_lowercase();
            assert!(request.starts_with("get /health http/1.1\r\n"), "{request}");
            assert!(request.contains(&format!("\r\nhost: 127.0.0.1:{port}\r\n")), "{request}");
        }
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let question = question(&format!("http://{closed}")).unwrap();
        assert!(!answers(&Client::of(&question), &question));
    }
}
