//! TLS 1.2 and 1.3 by rustls, its cryptography by ring.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use picket_base::rfc3339::{self, Precision};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use super::identity::Identity;
use super::look::Look;
use super::validity;
use crate::http::listener::listen::Stream;
use crate::http::listener::secret::warn_if_exposed;

/// Largest certificate chain or key file that is read, bytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A listener's certificate and key, and where they come from.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

struct State {
    pair: Pair,
    /// The files when they were last read.
    seen: Identity,
    /// Whether they could be used then.
    usable: bool,
}

/// What connections are served with.
#[derive(Clone)]
struct Pair {
    config: Arc<ServerConfig>,
    not_after: Option<SystemTime>,
}

impl Tls {
    /// Reads a certificate's chain and its key.
    ///
    /// # Errors
    /// Files that can't be read or hold something else, a key that is not the certificate's.
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<Tls>, TlsError> {
        let seen = Identity::of(cert, key);
        let state = Mutex::new(State { pair: read(cert, key)?, seen, usable: true });
        Ok(Arc::new(Tls { cert: cert.into(), key: key.into(), state }))
    }

    /// Reads the files again; connections from now on use what they hold. What was in use stays
    /// in use when they are unusable.
    ///
    /// # Errors
    /// As for `load`.
    pub fn reload(&self) -> Result<(), TlsError> {
        let seen = Identity::of(&self.cert, &self.key);
        // Handshakes go on meanwhile.
        let renewed = read(&self.cert, &self.key);
        let mut state = self.lock();
        state.seen = seen;
        state.usable = renewed.is_ok();
        state.pair = renewed?;
        Ok(())
    }

    /// Reads the files again if they are others than those last read, or were of no use.
    pub fn look(&self) -> Look {
        let seen = Identity::of(&self.cert, &self.key);
        let (is_same, was_usable) = {
            let state = self.lock();
            (state.seen == seen, state.usable)
        };
        if is_same && was_usable {
            return Look::Same;
        }
        match self.reload() {
            Ok(()) => Look::Renewed,
            Err(_) if is_same => Look::Same,
            Err(error) => Look::Unusable(error),
        }
    }

    /// Gives the end of the certificate's validity, where it states one.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.lock().pair.not_after
    }

    pub(in crate::http::listener) async fn accept(
        &self,
        stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        let config = self.lock().pair.config.clone();
        Ok(Box::new(TlsAcceptor::from(config).accept(stream).await?))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it swaps a pointer")
    }
}

fn read(cert: &Path, key: &Path) -> Result<Pair, TlsError> {
    let pem = |what, path: &Path, detail: String| TlsError::Pem { what, path: path.into(), detail };
    let (text, _) = read_file(cert, "certificate")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| pem("certificate", cert, error.to_string()))?;
    let Some(own) = chain.first() else {
        return Err(pem("certificate", cert, "no CERTIFICATE section".into()));
    };
    let validity = validity::of(own);
    warn_of_dates(validity, cert);
    let (text, mode) = read_file(key, "key")?;
    let private = PrivateKeyDer::from_pem_slice(&text)
        .map_err(|error| pem("private key", key, error.to_string()))?;
    warn_if_exposed(key, mode, "key");
    let pair = |error: tokio_rustls::rustls::Error| TlsError::Pair {
        cert: cert.into(),
        key: key.into(),
        detail: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Pair { config: Arc::new(config), not_after: validity.map(|(_, until)| until) })
}

/// Gives a file's content and its permissions.
fn read_file(path: &Path, what: &'static str) -> Result<(Vec<u8>, u32), TlsError> {
    let unreadable = |source| TlsError::Unreadable { what, path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > FILE_BYTES_MAX {
        let detail = format!("it has {} bytes, at most {FILE_BYTES_MAX} are read", metadata.len());
        return Err(TlsError::Pem { what, path: path.into(), detail });
    }
    let text = std::fs::read(path).map_err(unreadable)?;
    Ok((text, metadata.permissions().mode()))
}

/// Only a warning: it is the client who judges, and this box's clock may be wrong.
fn warn_of_dates(validity: Option<(SystemTime, SystemTime)>, path: &Path) {
    let Some((from, until)) = validity else { return };
    let path = path.display();
    let now = SystemTime::now();
    if until < now {
        let until = rfc3339::format(until, Precision::Seconds);
        tracing::warn!(%path, %until, "the certificate has expired");
    } else if from > now {
        let from = rfc3339::format(from, Precision::Seconds);
        tracing::warn!(%path, %from, "the certificate is not valid yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
    }

    fn config(tls: &Tls) -> Arc<ServerConfig> {
        tls.lock().pair.config.clone()
    }

    #[test]
    fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let install = |name: &str| {
            std::fs::copy(data(&format!("{name}.pem")), &cert).unwrap();
            std::fs::copy(data(&format!("{name}.key")), &key).unwrap();
        };
        install("cert");
        let tls = Tls::load(&cert, &key).unwrap();
        let at_first = config(&tls);
        assert!(matches!(tls.look(), Look::Same));
        install("renewed");
        tls.reload().unwrap();
        let renewed = config(&tls);
        assert!(!Arc::ptr_eq(&at_first, &renewed));
        std::fs::write(&key, "").unwrap();
        tls.reload().unwrap_err();
        assert!(Arc::ptr_eq(&renewed, &config(&tls)));
    }

    /// As a kubelet swaps a Secret: the files' own names never change.
    #[test]
    fn a_swapped_link_is_seen_and_an_unusable_pair_is_told_once_and_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let version = |name: &str, cert: &str, key: &str| {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::copy(data(cert), path(name).join("tls.crt")).unwrap();
            std::fs::copy(data(key), path(name).join("tls.key")).unwrap();
        };
        let swap = |name: &str| {
            std::os::unix::fs::symlink(name, path("..tmp")).unwrap();
            std::fs::rename(path("..tmp"), path("..data")).unwrap();
        };
        version("..1", "cert.pem", "cert.key");
        version("..2", "renewed.pem", "cert.key");
        swap("..1");
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), path(name)).unwrap();
        }
        let tls = Tls::load(&path("tls.crt"), &path("tls.key")).unwrap();
        let (at_first, until) = (config(&tls), tls.not_after());
        swap("..2");
        assert!(matches!(tls.look(), Look::Unusable(TlsError::Pair { .. })));
        assert!(matches!(tls.look(), Look::Same), "it has been told");
        assert!(Arc::ptr_eq(&at_first, &config(&tls)));
        assert_eq!(tls.not_after(), until);
        version("..3", "renewed.pem", "renewed.key");
        swap("..3");
        assert!(matches!(tls.look(), Look::Renewed));
        assert!(matches!(tls.look(), Look::Same));
        assert!(!Arc::ptr_eq(&at_first, &config(&tls)));
    }
}
