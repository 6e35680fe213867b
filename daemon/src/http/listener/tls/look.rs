//! What a look at the certificate's files came to.

use super::error::TlsError;

#[derive(Debug)]
pub enum Look {
    /// Nothing that has not been told.
    Same,
    /// Connections from now on use what the files hold now.
    Renewed,
    /// The files have changed, and what was in use stays in use.
    Unusable(TlsError),
}
