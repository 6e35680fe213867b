//! The HTTP surface: which path leads where, and how errors become answers. Hands requests to the
//! rooms behind it; decides nothing about images or the log itself.

mod admin;
mod auth;
mod body;
mod log;
mod predict;

use std::convert::Infallible;
use std::sync::Arc;

use serde::Deserialize;
use warp::filters::BoxedFilter;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::{Reply, Response};
use warp::{Filter, any, path};

pub use admin::Admin;
pub use auth::{Token, TokenError, warn_if_exposed};
pub use body::Bodies;
pub use log::{LogApi, LogSetup};
pub use predict::{ModelView, PredictApi, PredictionView, TimingView, ms};

use crate::http::metrics::HttpMetrics;
use crate::http::reply::error_response;
use crate::recording::Durability;
use picket_base::Live;

/// The scheme that the API listener asks for, where it asks (RFC 6750).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"picket\"");

/// The API's description, served as it is written.
const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

/// What the API listener's routes need.
pub struct Api {
    pub admin: Arc<Admin>,
    pub predict: PredictApi,
    pub log: LogApi,
    pub bodies: Bodies,
    pub metrics: Arc<HttpMetrics>,
    /// What requests must show, if anything.
    pub token: Option<Arc<Live<Token>>>,
}

/// /health, /ready and /metrics: the probe listener's whole surface.
pub fn probe_routes(admin: Arc<Admin>) -> BoxedFilter<(Response,)> {
    let metrics = admin.metrics.clone();
    admin_routes(admin).or(not_found(metrics)).unify().boxed()
}

/// One line of the API listener's route table.
struct Route {
    path: &'static str,
    /// As `Allow` states them.
    methods: &'static str,
    /// Takes these methods, and leaves others.
    handler: fn(Arc<Api>) -> BoxedFilter<(Response,)>,
}

const POST: &str = "POST";
const GET: &str = "GET, HEAD";

/// Everything that the API listener serves; docs/openapi.yaml says the same.
const ROUTES: [Route; 8] = [
    Route { path: "predict", methods: POST, handler: predict_route },
    Route { path: "log", methods: POST, handler: log_route },
    Route { path: "predictions", methods: GET, handler: predictions_route },
    Route { path: "stats", methods: GET, handler: |api| get(api, |api, _| api.log.stats()) },
    Route { path: "health", methods: GET, handler: |api| get(api, |api, _| api.admin.health()) },
    Route { path: "ready", methods: GET, handler: |api| get(api, |api, q| api.admin.ready(q)) },
    Route {
        path: "metrics",
        methods: GET,
        handler: |api| get(api, |api, _| api.admin.render_metrics()),
    },
    Route { path: "openapi.yaml", methods: GET, handler: |api| get(api, |_, _| openapi()) },
];

pub fn api_routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let mut routes = locked(api.clone());
    for Route { path: name, methods, handler } in ROUTES {
        let served = handler(api.clone()).or(only(methods, api.metrics.clone())).unify();
        let route = path(name).and(path::end()).and(served);
        routes = routes.or(route).unify().boxed();
    }
    routes.or(not_found(api.metrics.clone())).unify().boxed()
}

fn predict_route(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::post()
        .and(with(api))
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap, stream| async move {
            let answer = predict::predict(&api, &query, &headers, stream).await;
            api.finish(answer)
        })
        .boxed()
}

fn log_route(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::post()
        .and(with(api))
        .and(query())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|api: Arc<Api>, query: String, headers: HeaderMap, stream| async move {
            let answer = log::store(&api, &query, &headers, stream).await;
            api.finish(answer)
        })
        .boxed()
}

fn predictions_route(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    get_or_head()
        .and(with(api))
        .and(query())
        .then(|api: Arc<Api>, query: String| async move {
            let answer = api.log.predictions(&query).await;
            api.finish(answer)
        })
        .boxed()
}

/// A route that needs nothing but its query.
fn get(api: Arc<Api>, answer: fn(&Api, &str) -> Response) -> BoxedFilter<(Response,)> {
    get_or_head().and(query()).map(move |query: String| answer(&api, &query)).boxed()
}

fn with(api: Arc<Api>) -> impl Filter<Extract = (Arc<Api>,), Error = Infallible> + Clone {
    any().map(move || api.clone())
}

fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    response.headers_mut().insert(CONTENT_TYPE, YAML);
    response
}

/// Answers whoever does not show the token; passes everyone else on. All paths alike: who may not
/// ask is not told what there is.
fn locked(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    warp::header::headers_cloned()
        .and_then(move |headers: HeaderMap| {
            let refused = api.token.as_ref().and_then(|token| token.get().check(&headers).err());
            let answer = refused.map(|why| {
                let answer = Err(Rejected::new(StatusCode::UNAUTHORIZED, why));
                let mut answer = api.finish(answer);
                answer.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
                answer
            });
            std::future::ready(answer.ok_or_else(warp::reject::not_found))
        })
        .boxed()
}

/// What the command line asks a running daemon, over a socket that only its user may open.
pub fn control_routes(api: Arc<Api>) -> BoxedFilter<(Response,)> {
    let with_api = with(api.clone());
    let verify =
        path!("verify").and(warp::get()).and(with_api.clone()).then(|api: Arc<Api>| async move {
            let answer = api.log.verify(&api.admin.health).await;
            api.finish(answer)
        });
    let records = path!("records").and(warp::get()).and(with_api.clone()).and(query()).then(
        |api: Arc<Api>, query: String| async move {
            let answer = api.log.records(&query).await;
            api.finish(answer)
        },
    );
    let predictions = path!("predictions").and(warp::get()).and(with_api).and(query()).then(
        |api: Arc<Api>, query: String| async move {
            let answer = api.log.predictions(&query).await;
            api.finish(answer)
        },
    );
    let not_found = not_found(api.metrics.clone());
    verify.or(records).unify().or(predictions).unify().or(not_found).unify().boxed()
}

fn admin_routes(admin: Arc<Admin>) -> BoxedFilter<(Response,)> {
    let route = |name: &'static str, answer: fn(&Admin, &str) -> Response| {
        let metrics = admin.metrics.clone();
        let admin = admin.clone();
        path(name).and(path::end()).and(
            get_or_head()
                .and(query())
                .map(move |query: String| answer(&admin, &query))
                .or(only("GET, HEAD", metrics))
                .unify(),
        )
    };
    route("health", |admin, _| admin.health())
        .or(route("ready", Admin::ready))
        .unify()
        .or(route("metrics", |admin, _| admin.render_metrics()))
        .unify()
        .boxed()
}

fn get_or_head() -> impl Filter<Extract = (), Error = warp::Rejection> + Clone {
    warp::get().or(warp::head()).unify()
}

/// The query string, empty when there is none.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(any().map(String::new)).unify()
}

fn only(allowed: &'static str, metrics: Arc<HttpMetrics>) -> BoxedFilter<(Response,)> {
    warp::method()
        .map(move |method: warp::http::Method| {
            metrics.rejected(StatusCode::METHOD_NOT_ALLOWED.as_u16());
            let text = format!("{method} is not served here, only {allowed}");
            let mut response = error_response(StatusCode::METHOD_NOT_ALLOWED, &text);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            response
        })
        .boxed()
}

fn not_found(metrics: Arc<HttpMetrics>) -> BoxedFilter<(Response,)> {
    warp::path::full()
        .map(move |path: warp::path::FullPath| {
            metrics.rejected(StatusCode::NOT_FOUND.as_u16());
            let path: String = path.as_str().chars().take(100).collect();
            error_response(StatusCode::NOT_FOUND, &format!("there is nothing at {path}"))
        })
        .boxed()
}

/// A request that gets no answer of substance: status and text.
#[derive(Debug)]
pub struct Rejected {
    status: StatusCode,
    text: String,
}

impl Rejected {
    fn new(status: StatusCode, text: impl Into<String>) -> Rejected {
        Rejected { status, text: text.into() }
    }

    /// For what may work a moment later.
    fn unavailable(text: impl Into<String>) -> Rejected {
        Rejected::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

impl Api {
    fn finish(&self, answer: Result<Response, Rejected>) -> Response {
        answer.unwrap_or_else(|Rejected { status, text }| {
            self.metrics.rejected(status.as_u16());
            error_response(status, &text)
        })
    }
}

/// Parses a query string, unknown parameters refused by name.
fn parse_query<T: serde::de::DeserializeOwned>(query: &str) -> Result<T, Rejected> {
    serde_urlencoded::from_str(query)
        .map_err(|error| Rejected::new(StatusCode::BAD_REQUEST, format!("query: {error}")))
}

/// The parameter, what it is and what it should be.
fn bad_parameter(name: &str, value: &str, needed: &str) -> Rejected {
    let value: String = value.chars().take(100).collect();
    Rejected::new(StatusCode::BAD_REQUEST, format!("query: {name} is {value}: {needed}"))
}

fn flag(name: &str, text: Option<&str>) -> Result<Option<bool>, Rejected> {
    match text {
        None | Some("") => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(other) => Err(bad_parameter(name, other, "true or false is needed")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DurabilityParameters {
    durable: Option<String>,
}

/// What `?durable=` asks for, else the route's own.
fn durability(query: &str, default: Durability) -> Result<Durability, Rejected> {
    let parameters: DurabilityParameters = parse_query(query)?;
    Ok(match flag("durable", parameters.durable.as_deref())? {
        Some(true) => Durability::Strict,
        Some(false) => Durability::Relaxed,
        None => default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Path and methods of the description: two and four spaces of indentation below `paths`.
    fn described() -> Vec<(String, Vec<String>)> {
        let (_, paths) = OPENAPI.split_once("\npaths:\n").unwrap();
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for line in paths.lines().take_while(|line| line.is_empty() || line.starts_with(' ')) {
            let key = line.trim().trim_end_matches(':');
            if line.starts_with("  /") {
                found.push((key[1..].to_string(), Vec::new()));
            } else if line.starts_with("    ") && !line.starts_with("     ") {
                found.last_mut().unwrap().1.push(key.to_uppercase());
            }
        }
        found
    }

    #[test]
    fn the_description_has_the_routes_of_the_table_and_no_others() {
        let table: Vec<(String, Vec<String>)> = ROUTES
            .iter()
            .map(|route| {
                // HEAD goes with every GET.
                let methods = route.methods.split(", ").filter(|method| *method != "HEAD");
                (route.path.to_string(), methods.map(str::to_string).collect())
            })
            .collect();
        assert_eq!(described(), table);
    }

    #[test]
    fn the_description_stays_small_and_has_this_version() {
        assert!(OPENAPI.len() < 20_000, "{} bytes", OPENAPI.len());
        assert!(OPENAPI.contains(&format!("\n  version: {}\n", crate::VERSION)));
    }
}
