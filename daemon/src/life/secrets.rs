//! What the API listener shows and asks for: certificate and token, whose files a reload reads again.

use std::sync::Arc;

use super::certificate::Certificate;
use super::error::RunError;
use crate::config::ApiConfig;
use crate::http::api::Token;
use crate::http::listener::Tls;
use crate::metrics::Registry;
use picket_base::Live;

pub struct Secrets {
    pub token: Option<Arc<Live<Token>>>,
    pub certificate: Option<Arc<Certificate>>,
}

impl Secrets {
    /// # Errors
    /// A file that can't be used.
    pub fn load(api: &ApiConfig, registry: &Registry) -> Result<Secrets, RunError> {
        let token = api.token_file.as_deref().map(Token::load).transpose()?;
        let tls = match (&api.tls_cert, &api.tls_key) {
            (Some(cert), Some(key)) => Some(Tls::load(cert, key)?),
            _ => None,
        };
        let certificate = tls.map(|tls| Arc::new(Certificate::new(tls, registry)));
        Ok(Secrets { token: token.map(Live::new), certificate })
    }

    /// Reads the files again. Where one can't be used, what was read before stays.
    pub fn renew(&self, api: &ApiConfig) {
        if let (Some(live), Some(path)) = (&self.token, &api.token_file) {
            match Token::load(path) {
                Ok(token) => live.set(token),
                Err(error) => {
                    let error = picket_base::chain(&error);
                    tracing::error!(error, "token not read again, the old one stays");
                }
            }
        }
        if let Some(certificate) = &self.certificate {
            certificate.renew();
        }
    }
}
