//! A build without TLS: asking for it is an error.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::error::TlsError;
use super::look::Look;
use crate::http::listener::listen::Stream;

/// Never exists.
pub struct Tls(Infallible);

impl Tls {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn load(_cert: &Path, _key: &Path) -> Result<Arc<Tls>, TlsError> {
        Err(TlsError::Absent)
    }

    /// Reads nothing again.
    ///
    /// # Errors
    /// Never: there is nothing to read again.
    pub fn reload(&self) -> Result<(), TlsError> {
        match self.0 {}
    }

    pub fn look(&self) -> Look {
        match self.0 {}
    }

    pub fn not_after(&self) -> Option<SystemTime> {
        match self.0 {}
    }

    #[allow(clippy::unused_async)]
    pub(in crate::http::listener) async fn accept(
        &self,
        _stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        match self.0 {}
    }
}
