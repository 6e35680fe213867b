//! What the API's routes share.

use std::sync::Arc;

use picket_base::Live;

use super::admin::Admin;
use super::auth::Token;
use super::doors::Doors;
use super::log::LogApi;
use super::models::ModelsApi;
use super::predict::PredictApi;
use super::reload::ReloadApi;

/// Whoever answers the API listener's requests.
pub struct Api {
    pub admin: Arc<Admin>,
    pub predict: PredictApi,
    pub log: LogApi,
    pub reload: ReloadApi,
    pub models: ModelsApi,
    /// Names and pages that are let in.
    pub doors: Arc<Doors>,
    /// What requests must show, if anything.
    pub token: Option<Arc<Live<Token>>>,
}
