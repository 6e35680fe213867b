//! TLS 1.2 and 1.3 by rustls, its cryptography by ring.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use picket_base::rfc3339::{self, Precision};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;
use super::validity;
use crate::http::listener::listen::Stream;
use crate::http::listener::secret::warn_if_exposed;

/// Largest certificate chain or key file that is read, bytes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// A listener's certificate and key, and where they come from.
pub struct Tls {
    cert: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads a certificate's chain and its key.
    ///
    /// # Errors
    /// Files that can't be read or hold something else, a key that is not the certificate's.
    pub fn load(cert: &Path, key: &Path) -> Result<Arc<Tls>, TlsError> {
        let current = RwLock::new(read(cert, key)?);
        Ok(Arc::new(Tls { cert: cert.into(), key: key.into(), current }))
    }

    /// Reads the files again; connections from now on use what they hold. What was in use stays
    /// in use when they are unusable.
    ///
    /// # Errors
    /// As for `load`.
    pub fn reload(&self) -> Result<(), TlsError> {
        let renewed = read(&self.cert, &self.key)?;
        *self.current.write().expect("nothing panics while it swaps a pointer") = renewed;
        Ok(())
    }

    pub(in crate::http::listener) async fn accept(
        &self,
        stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        let config = self.current.read().expect("nothing panics while it reads a pointer").clone();
        Ok(Box::new(TlsAcceptor::from(config).accept(stream).await?))
    }
}

fn read(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |what, path: &Path, detail: String| TlsError::Pem { what, path: path.into(), detail };
    let (text, _) = read_file(cert, "certificate")?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| pem("certificate", cert, error.to_string()))?;
    let Some(own) = chain.first() else {
        return Err(pem("certificate", cert, "no CERTIFICATE section".into()));
    };
    warn_of_dates(own, cert);
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
    Ok(Arc::new(config))
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
fn warn_of_dates(certificate: &CertificateDer, path: &Path) {
    let Some((from, until)) = validity::of(certificate) else { return };
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

    #[test]
    fn a_renewed_certificate_is_used_and_a_broken_one_is_not() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls");
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        let install = |name: &str| {
            std::fs::copy(data.join(format!("{name}.pem")), &cert).unwrap();
            std::fs::copy(data.join(format!("{name}.key")), &key).unwrap();
        };
        install("cert");
        let tls = Tls::load(&cert, &key).unwrap();
        let at_first = tls.current.read().unwrap().clone();
        install("renewed");
        tls.reload().unwrap();
        let renewed = tls.current.read().unwrap().clone();
        assert!(!Arc::ptr_eq(&at_first, &renewed));
        std::fs::write(&key, "").unwrap();
        tls.reload().unwrap_err();
        assert!(Arc::ptr_eq(&renewed, &tls.current.read().unwrap().clone()));
    }
}
