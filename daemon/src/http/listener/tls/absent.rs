//! A build without TLS: asking for it is an error.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::TlsError;
use crate::http::listener::listen::Stream;

pub struct Tls(Infallible);

impl Tls {
    /// # Errors
    /// Always.
    pub fn load(_cert: &Path, _key: &Path) -> Result<Arc<Tls>, TlsError> {
        Err(TlsError::Absent)
    }

    /// # Errors
    /// Never: there is nothing to read again.
    pub fn reload(&self) -> Result<(), TlsError> {
        match self.0 {}
    }

    #[allow(clippy::unused_async)]
    pub(in crate::http) async fn accept(
        &self,
        _stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        match self.0 {}
    }
}
