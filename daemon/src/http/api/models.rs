//! GET /models, POST /models/install, rollback, pin and unpin on the control socket. Whoever changes the model
//! is behind a channel.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_base::Live;
use picket_models::Listed;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::query;
use super::rejected::Rejected;
use crate::models::{Denied, Wish, Wishes};

/// A version is tried twice, each time within half a minute of the processor, and copied to a slow card.
const WISH_WAIT_MAX: Duration = Duration::from_secs(300);

/// Whoever answers for the models of the running daemon.
pub struct ModelsApi {
    /// None where the store of models can't be opened.
    pub wishes: Option<Wishes>,
    pub list: Arc<Live<Vec<Listed>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Install {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    version: String,
}

impl ModelsApi {
    pub(super) fn list(&self) -> Response {
        warp::reply::json(&*self.list.get()).into_response()
    }

    pub(super) async fn install(&self, query: &str) -> Result<Response, Rejected> {
        let Install { path } = query::parse(query)?;
        self.wish(Wish::Install(path)).await
    }

    pub(super) async fn pin(&self, query: &str) -> Result<Response, Rejected> {
        let Pin { version } = query::parse(query)?;
        self.wish(Wish::Pin(version)).await
    }

    pub(super) async fn wish(&self, wish: Wish) -> Result<Response, Rejected> {
        let Some(wishes) = &self.wishes else {
            return Err(Rejected::unavailable(
                "the models' store can't be opened, see the messages",
            ));
        };
        let (told, granted) = oneshot::channel();
        if !wishes.wish(wish, told) {
            return Err(Rejected::unavailable("changes of the model are waiting already"));
        }
        match tokio::time::timeout(WISH_WAIT_MAX, granted).await {
            Ok(Ok(Ok(lines))) => Ok(warp::reply::json(&json!({ "lines": lines })).into_response()),
            Ok(Ok(Err(Denied::Refused(why)))) => {
                Err(Rejected::new(StatusCode::UNPROCESSABLE_ENTITY, why))
            }
            Ok(Ok(Err(Denied::Failed(why)))) => Err(Rejected::unavailable(why)),
            _ => Err(Rejected::unavailable("no word of it came; the daemon's messages tell")),
        }
    }
}
