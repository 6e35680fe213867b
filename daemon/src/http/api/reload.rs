//! POST /reload and GET /removal on the control socket: the configuration read again on request, and what
//! limits would take from the log. Whoever reloads is behind a channel.

use std::time::Duration;

use picket_records::{Limits, LogReader, Retention};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use warp::http::StatusCode;
use warp::reply::{Reply, Response};

use super::query;
use super::rejected::Rejected;

/// A reload may read a large log and a slow disk.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// Whether a reload takes limits that remove much of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lowering {
    /// They wait for a restart.
    Waits,
    /// Somebody has said yes.
    Agreed,
}

/// A wish that the configuration be read again, and whom to tell what came of it: lines for a person, or
/// why nothing changed.
pub struct ReloadWish {
    pub lowering: Lowering,
    pub told: oneshot::Sender<Result<Vec<String>, String>>,
}

/// Whoever answers for the configuration of the running daemon.
pub struct ReloadApi {
    /// Hands a wish over; false if too many wait.
    pub wish: Box<dyn Fn(ReloadWish) -> bool + Send + Sync>,
    pub reader: LogReader,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadParameters {
    yes: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    max_records: u64,
    max_bytes: u64,
    max_age_secs: Option<u64>,
    reported_max_records: u64,
    reported_max_bytes: u64,
}

impl ReloadApi {
    pub(super) async fn reload(&self, query: &str) -> Result<Response, Rejected> {
        let ReloadParameters { yes } = query::parse(query)?;
        let agreed = query::flag("yes", yes.as_deref())?.unwrap_or(false);
        let lowering = if agreed { Lowering::Agreed } else { Lowering::Waits };
        let (told, outcome) = oneshot::channel();
        if !(self.wish)(ReloadWish { lowering, told }) {
            return Err(Rejected::unavailable("reloads are waiting already"));
        }
        match tokio::time::timeout(RELOAD_WAIT_MAX, outcome).await {
            Ok(Ok(Ok(lines))) => Ok(warp::reply::json(&json!({ "lines": lines })).into_response()),
            Ok(Ok(Err(why))) => Err(Rejected::new(StatusCode::UNPROCESSABLE_ENTITY, why)),
            _ => {
                Err(Rejected::unavailable("no word of the reload came; the daemon's messages tell"))
            }
        }
    }

    pub(super) async fn removal(&self, query: &str) -> Result<Response, Rejected> {
        let asked: Asked = query::parse(query)?;
        let max_age = asked.max_age_secs.map(Duration::from_secs);
        let limits = |max_records, max_bytes| Limits { max_records, max_bytes, max_age };
        let own = limits(asked.max_records, asked.max_bytes);
        let reported = limits(asked.reported_max_records, asked.reported_max_bytes);
        let reader = self.reader.clone();
        let retention = Retention { own, reported };
        let read = tokio::task::spawn_blocking(move || reader.removal(&retention)).await;
        match read {
            Ok(Ok(removal)) => Ok(warp::reply::json(&removal).into_response()),
            Ok(Err(error)) => Err(Rejected::unavailable(picket_base::chain(&error))),
            Err(error) => Err(Rejected::unavailable(error.to_string())),
        }
    }
}
