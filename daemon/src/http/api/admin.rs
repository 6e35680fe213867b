//! /health, /ready and /metrics: health and metrics in the words that kubelets, scripts and
//! Prometheus expect.

use std::sync::Arc;
use std::time::SystemTime;

use picket_base::printable;
use picket_base::rfc3339::{self, Precision};
use serde_json::{Value, json};
use warp::http::StatusCode;
use warp::http::header::{CONTENT_TYPE, HeaderValue};
use warp::reply::{Reply, Response};

use crate::health::{Check, Health, Reason};
use crate::http::metrics::HttpMetrics;
use crate::inference::InferenceMetrics;
use crate::metrics::Registry;
use crate::recording::LogMetrics;

/// `service` of /health: the name that the replaced service had.
const SERVICE: &str = "inference-service";

const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Whoever answers about the daemon itself.
pub struct Admin {
    pub health: Arc<Health>,
    pub metrics: Arc<HttpMetrics>,
    pub inference: Arc<InferenceMetrics>,
    pub log: Arc<LogMetrics>,
    /// Everything that /metrics shows.
    pub registry: Arc<Registry>,
}

impl Admin {
    pub(super) fn health(&self) -> Response {
        let mut body = json!({
            "service": SERVICE,
            "timestamp": now(),
            "uptime_seconds": self.health.uptime().as_secs_f64(),
        });
        match self.health.liveness() {
            Ok(()) => {
                body["status"] = "healthy".into();
                answer(StatusCode::OK, &body)
            }
            Err(stuck) => {
                body["status"] = "unhealthy".into();
                body["error"] = stuck.into();
                answer(StatusCode::INTERNAL_SERVER_ERROR, &body)
            }
        }
    }

    pub(super) fn ready(&self, query: &str) -> Response {
        let checks = self.health.readiness();
        let reason = checks.iter().find_map(|check| check.reason.clone());
        let status = match reason {
            None => StatusCode::OK,
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let verbose =
            query.split('&').any(|part| part == "verbose" || part.starts_with("verbose="));
        if verbose {
            return warp::reply::with_status(verbose_text(&checks), status).into_response();
        }
        answer(status, &self.ready_body(reason))
    }

    fn ready_body(&self, reason: Option<Reason>) -> Value {
        let Admin { health, inference, log, .. } = self;
        let mut body = json!({
            "status": if reason.is_none() { "ready" } else { "not_ready" },
            "model_loaded": health.is_model_loaded(),
            "mlflow_accessible": health.registry().map(|registry| registry.accessible),
            "db_initialized": health.log().refusal().is_none(),
            "predictions_served": inference.predictions.get(),
            "predictions_logged": log.logged.get(),
            "defects_detected": log.defects.get(),
            "errors": inference.errors.get(),
            "last_prediction": inference.last_prediction().map(|seconds| {
                rfc3339::format(rfc3339::from_epoch_seconds(seconds), Precision::Micros)
            }),
            "timestamp": now(),
        });
        if let Some(reason) = reason {
            body["reason"] = reason.as_str().into();
            if let Reason::HighErrorRate { error_rate } = reason {
                body["error_rate"] = error_rate.into();
            }
        }
        body
    }

    pub(super) fn render_metrics(&self) -> Response {
        let mut response = self.registry.render().into_response();
        response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
        response
    }
}

/// Lists the checks in the form of the Kubernetes API server.
fn verbose_text(checks: &[Check]) -> String {
    let mut text = String::new();
    for Check { name, failure, .. } in checks {
        match failure {
            None => text.push_str(&format!("[+]{name} ok\n")),
            Some(why) => text.push_str(&format!("[-]{name} failed: {}\n", printable(why))),
        }
    }
    let ready = checks.iter().all(|check| check.reason.is_none());
    text.push_str(if ready { "ready check passed\n" } else { "ready check failed\n" });
    text
}

fn answer(status: StatusCode, body: &Value) -> Response {
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}

/// Gives this moment by the wall clock, RFC 3339 in UTC.
pub(super) fn now() -> String {
    rfc3339::format(SystemTime::now(), Precision::Micros)
}
