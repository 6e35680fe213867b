//! What the API's routes share.

use std::sync::Arc;

use picket_base::Live;

use super::admin::Admin;
use super::auth::Token;
use super::log::LogApi;
use super::predict::PredictApi;

/// Whoever answers the API listener's requests.
pub struct Api {
    pub admin: Arc<Admin>,
    pub predict: PredictApi,
    pub log: LogApi,
    /// What requests must show, if anything.
    pub token: Option<Arc<Live<Token>>>,
}
