//! The one table of routes for all listeners, and the way from a request to its row. Knows nothing of
//! what stands behind a route.

use std::pin::Pin;
use std::sync::Arc;

use picket_base::Live;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::{Reply, Response};

use super::admin::Admin;
use super::auth::Token;
use super::doors::Doors;
use super::pattern::{self, Segments};
use super::rejected::Rejected;
use super::request::{Asker, Request};
use super::state::Api;
use crate::http::listener::{BodyStream, Head, Routes};
use crate::models::Wish;

/// The scheme that the API listener asks for, where it asks (RFC 6750).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"picket\"");

/// The API's description, served as it is written.
const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

/// Characters of a path that are repeated to its sender.
const TOLD_CHARS_MAX: usize = 100;

/// Who serves a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    Api,
    Probe,
    /// The socket that only this daemon's user may open: what the command line asks.
    Control,
}

impl Surface {
    fn asker(self) -> Asker {
        match self {
            Surface::Api | Surface::Probe => Asker::Client,
            Surface::Control => Asker::Operator,
        }
    }
}

/// One line of the table.
struct Route {
    /// `{name}` in it takes any one segment.
    path: &'static str,
    /// Who takes GET takes HEAD too.
    method: Method,
    on: &'static [Surface],
    handler: Handler,
}

/// What answers, by what it needs.
enum Handler {
    /// This needs no more than the probes' listener has.
    Admin(fn(&Admin, &Request) -> Response),
    Api(fn(Arc<Api>, Request) -> Answering),
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<Response, Rejected>> + Send>>;

const API: &[Surface] = &[Surface::Api];
const PROBES: &[Surface] = &[Surface::Api, Surface::Probe];
const CONTROL: &[Surface] = &[Surface::Control];
const READERS: &[Surface] = &[Surface::Api, Surface::Control];

/// Everything that the listeners serve; docs/openapi.yaml says the same of the API's.
static ROUTES: [Route; 18] = [
    post(
        "/predict",
        API,
        Handler::Api(|api, request| Box::pin(async move { api.predict.answer(request).await })),
    ),
    post(
        "/log",
        API,
        Handler::Api(|api, request| Box::pin(async move { api.log.store(request).await })),
    ),
    get(
        "/predictions",
        READERS,
        Handler::Api(|api, request| Box::pin(async move { api.log.predictions(request).await })),
    ),
    get(
        "/predictions/{id}",
        API,
        Handler::Api(|api, request| Box::pin(async move { api.log.record(request).await })),
    ),
    get(
        "/stats",
        API,
        Handler::Api(|api, request| Box::pin(async move { api.log.stats(request).await })),
    ),
    get("/health", PROBES, Handler::Admin(|admin, _| admin.health())),
    get("/ready", PROBES, Handler::Admin(|admin, request| admin.ready(request.query()))),
    get("/metrics", PROBES, Handler::Admin(|admin, _| admin.render_metrics())),
    get("/openapi.yaml", API, Handler::Admin(|_, _| openapi())),
    get(
        "/verify",
        CONTROL,
        Handler::Api(|api, request| Box::pin(async move { api.log.verify(request).await })),
    ),
    get(
        "/records",
        CONTROL,
        Handler::Api(|api, request| Box::pin(async move { api.log.records(request).await })),
    ),
    post(
        "/reload",
        CONTROL,
        Handler::Api(|api, request| {
            Box::pin(async move { api.reload.reload(request.query()).await })
        }),
    ),
    get("/models", CONTROL, Handler::Api(|api, _| Box::pin(async move { Ok(api.models.list()) }))),
    post(
        "/models/install",
        CONTROL,
        Handler::Api(|api, request| {
            Box::pin(async move { api.models.install(request.query()).await })
        }),
    ),
    post(
        "/models/rollback",
        CONTROL,
        Handler::Api(|api, _| Box::pin(async move { api.models.wish(Wish::RollBack).await })),
    ),
    post(
        "/models/pin",
        CONTROL,
        Handler::Api(|api, request| Box::pin(async move { api.models.pin(request.query()).await })),
    ),
    post(
        "/models/unpin",
        CONTROL,
        Handler::Api(|api, _| Box::pin(async move { api.models.wish(Wish::Unpin).await })),
    ),
    get(
        "/removal",
        CONTROL,
        Handler::Api(|api, request| {
            Box::pin(async move { api.reload.removal(request.query()).await })
        }),
    ),
];

const fn get(path: &'static str, on: &'static [Surface], handler: Handler) -> Route {
    Route { path, method: Method::GET, on, handler }
}

const fn post(path: &'static str, on: &'static [Surface], handler: Handler) -> Route {
    Route { path, method: Method::POST, on, handler }
}

/// Serves everything that clients may ask.
pub fn api_routes(api: Arc<Api>) -> Routes {
    let (token, doors) = (api.token.clone(), api.doors.clone());
    let signing = doors.clone();
    let router = Router { token, doors, ..Router::of(Surface::Api, api.admin.clone(), Some(api)) };
    router.routes().signed(move |headers| signing.signature(headers))
}

/// Serves /health, /ready and /metrics: all of the probe listener's surface.
pub fn probe_routes(admin: Arc<Admin>) -> Routes {
    Router::of(Surface::Probe, admin, None).routes()
}

/// Serves what the command line asks a running daemon.
pub fn control_routes(api: Arc<Api>) -> Routes {
    Router::of(Surface::Control, api.admin.clone(), Some(api)).routes()
}

/// One listener's view of the table.
#[derive(Clone)]
struct Router {
    table: &'static [Route],
    surface: Surface,
    token: Option<Arc<Live<Token>>>,
    doors: Arc<Doors>,
    admin: Arc<Admin>,
    api: Option<Arc<Api>>,
}

impl Router {
    fn of(surface: Surface, admin: Arc<Admin>, api: Option<Arc<Api>>) -> Router {
        Router { table: &ROUTES, surface, token: None, doors: Arc::default(), admin, api }
    }

    fn routes(self) -> Routes {
        let router = Arc::new(self);
        Routes::new(move |head, body| {
            let router = router.clone();
            async move { router.answer(head, body).await }
        })
    }

    /// Answers a request, and counts it if there was nothing of substance to answer.
    async fn answer(&self, head: Arc<Head>, body: BodyStream) -> Response {
        self.respond(head, body).await.unwrap_or_else(|rejected| {
            self.admin.metrics.rejected(rejected.status.as_u16());
            rejected.into_response()
        })
    }

    async fn respond(&self, head: Arc<Head>, body: BodyStream) -> Result<Response, Rejected> {
        let asked = self.doors.addressed(&head)?;
        // A browser asks without the token whether it may send one.
        if let Some(answer) = self.doors.preflight(&head, &self.methods()) {
            return Ok(answer);
        }
        self.admit(&head.headers)?;
        let (route, segments) = self.find(&head)?;
        plainly_transferred(&head.headers)?;
        if route.changes() {
            self.doors.own_site(&head, asked.as_ref())?;
        }
        let request = Request::new(head, self.surface.asker(), segments, body);
        match (&route.handler, &self.api) {
            (Handler::Admin(answer), _) => Ok(answer(&self.admin, &request)),
            (Handler::Api(answer), Some(api)) => answer(api.clone(), request).await,
            (Handler::Api(_), None) => unreachable!("the probes' routes need no API"),
        }
    }

    /// Refuses whoever does not show the token. All paths alike: who may not ask is not told what
    /// there is.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Rejected> {
        let Some(token) = &self.token else { return Ok(()) };
        token.get().check(headers).map_err(|why| {
            Rejected::new(StatusCode::UNAUTHORIZED, why).with_header(WWW_AUTHENTICATE, CHALLENGE)
        })
    }

    /// Lists every method that this listener serves somewhere: a preflight is not told more.
    fn methods(&self) -> String {
        let mut methods = vec!["HEAD"];
        for route in self.table.iter().filter(|route| route.on.contains(&self.surface)) {
            if !methods.contains(&route.method.as_str()) {
                methods.push(route.method.as_str());
            }
        }
        methods.join(", ")
    }

    /// Finds the row of a request, and what its path has for the named segments.
    fn find(&self, head: &Head) -> Result<(&'static Route, Segments), Rejected> {
        let (method, path) = (&head.method, head.uri.path());
        let mut allowed = Vec::new();
        for route in self.table.iter().filter(|route| route.on.contains(&self.surface)) {
            let Some(segments) = pattern::segments(route.path, path) else { continue };
            if route.takes(method) {
                return Ok((route, segments));
            }
            allowed.push(route.allow());
        }
        if allowed.is_empty() {
            let path: String = path.chars().take(TOLD_CHARS_MAX).collect();
            let text = format!("there is nothing at {path}");
            return Err(Rejected::new(StatusCode::NOT_FOUND, text));
        }
        let allowed = allowed.join(", ");
        let text = format!("{method} is not served here, only {allowed}");
        let allow = HeaderValue::from_str(&allowed).expect("a method's name is a header's value");
        Err(Rejected::new(StatusCode::METHOD_NOT_ALLOWED, text).with_header(ALLOW, allow))
    }
}

impl Route {
    fn takes(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }

    /// Whether it may change something, or cost work, for which other sites' pages have no say. That
    /// follows from its method, so that no row can forget it.
    fn changes(&self) -> bool {
        !self.method.is_safe()
    }

    /// Gives the methods as `Allow` states them.
    fn allow(&self) -> &str {
        if self.method == Method::GET { "GET, HEAD" } else { self.method.as_str() }
    }
}

/// Refuses a body that is transferred in anything but chunks. What is beneath them would be taken for the
/// body itself: packed bytes for pixels.
fn plainly_transferred(headers: &HeaderMap) -> Result<(), Rejected> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let all = values.join(", ");
    if all.is_empty() || all.trim().eq_ignore_ascii_case("chunked") {
        return Ok(());
    }
    let all: String = all.chars().take(TOLD_CHARS_MAX).collect();
    let text = format!("Transfer-Encoding is {all}, only chunked is taken here");
    Err(Rejected::new(StatusCode::NOT_IMPLEMENTED, text))
}

fn openapi() -> Response {
    let mut response = OPENAPI.into_response();
    response.headers_mut().insert(CONTENT_TYPE, YAML);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::task::{Context, Poll};

    use bytes::Bytes;

    use crate::health::Health;
    use crate::http::HttpMetrics;
    use crate::inference::InferenceMetrics;
    use crate::metrics::Registry;
    use crate::peer::Peer;
    use crate::recording::LogMetrics;

    /// Answers with what the path has for its named segments.
    fn told(request: &Request) -> Response {
        format!("{} {}", request.segment("name"), request.segment("version")).into_response()
    }

    static MODELS: [Route; 4] = [
        post(
            "/v2/models/{name}/versions/{version}/infer",
            PROBES,
            Handler::Admin(|_, request| told(request)),
        ),
        get(
            "/v2/models/{name}/versions/{version}",
            PROBES,
            Handler::Admin(|_, request| told(request)),
        ),
        Route {
            path: "/v2/models/{name}/versions/{version}",
            method: Method::DELETE,
            on: PROBES,
            handler: Handler::Admin(|_, _| "deleted".into_response()),
        },
        get("/v2", API, Handler::Admin(|_, _| "server".into_response())),
    ];

    struct Nothing;

    impl warp::Stream for Nothing {
        type Item = Result<Bytes, warp::Error>;

        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(None)
        }
    }

    fn router(table: &'static [Route], surface: Surface) -> Router {
        let registry = Arc::new(Registry::new());
        let admin = Arc::new(Admin {
            health: Health::new(),
            metrics: Arc::new(HttpMetrics::new(&registry)),
            inference: Arc::new(InferenceMetrics::new(&registry, "m", "s")),
            log: Arc::new(LogMetrics::new(&registry)),
            registry,
        });
        Router { table, ..Router::of(surface, admin, None) }
    }

    /// Status, `Allow` and body.
    fn ask(router: &Router, method: &str, path: &str) -> (u16, String, String) {
        let request = warp::http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "box")
            .body(())
            .unwrap();
        let (head, ()) = request.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer = runtime
            .block_on(router.answer(Arc::new(Head::new(head, Peer::Local)), Box::pin(Nothing)));
        let allow = answer.headers().get(ALLOW).map_or("", |allow| allow.to_str().unwrap());
        let (status, allow) = (answer.status().as_u16(), allow.to_string());
        let body = http_body_util::BodyExt::collect(answer.into_body());
        let body = runtime.block_on(body).unwrap().to_bytes();
        (status, allow, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_route_gets_what_its_path_has_for_the_named_segments() {
        let router = router(&MODELS, Surface::Probe);
        let served = |method, path| {
            let (status, allow, body) = ask(&router, method, path);
            assert_eq!((status, allow.as_str()), (200, ""), "{method} {path}: {body}");
            body
        };
        assert_eq!(served("POST", "/v2/models/caf%C3%A9/versions/7/infer?x=1"), "café 7");
        assert_eq!(served("GET", "/v2/models/a%2Fb/versions/8/"), "a/b 8");
        assert_eq!(served("HEAD", "/v2/models/a/versions/8"), "a 8");
        assert_eq!(served("DELETE", "/v2/models/a/versions/8"), "deleted");
    }

    #[test]
    fn another_method_is_told_which_ones_are_served() {
        let router = router(&MODELS, Surface::Probe);
        for (method, path, allowed) in [
            ("GET", "/v2/models/a/versions/7/infer", "POST"),
            ("HEAD", "/v2/models/a/versions/7/infer", "POST"),
            ("POST", "/v2/models/a/versions/7", "GET, HEAD, DELETE"),
        ] {
            let text = format!("{{\"error\":\"{method} is not served here, only {allowed}\"}}");
            assert_eq!(ask(&router, method, path), (405, allowed.to_string(), text));
        }
        let counted = router.admin.registry.render();
        assert!(counted.contains("picket_http_rejected_requests_total{status=\"405\"} 3"));
    }

    #[test]
    fn a_path_of_another_listener_is_not_there() {
        let long = format!("/{}", "x".repeat(200));
        let nothing_at = |path: &str| format!("{{\"error\":\"there is nothing at {path}\"}}");
        for (surface, path, told) in [
            (Surface::Probe, "/v2", "/v2"),
            (Surface::Api, "/v2/models/a", "/v2/models/a"),
            (Surface::Api, &long, &long[..100]),
        ] {
            let answer = ask(&router(&MODELS, surface), "GET", path);
            assert_eq!(answer, (404, String::new(), nothing_at(told)));
        }
        assert_eq!(ask(&router(&MODELS, Surface::Api), "GET", "/v2").0, 200);
        for (surface, path) in [
            (Surface::Probe, "/predict"),
            (Surface::Probe, "/openapi.yaml"),
            (Surface::Control, "/health"),
            (Surface::Api, "/verify"),
        ] {
            assert_eq!(ask(&router(&ROUTES, surface), "GET", path).0, 404, "{path}");
        }
    }

    /// Rows that change something get the check for cross-site requests by their method alone.
    #[test]
    fn whatever_is_not_only_read_is_kept_from_other_sites() {
        for route in ROUTES.iter().chain(&MODELS) {
            let reads = route.method == Method::GET;
            assert_eq!(route.changes(), !reads, "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn what_the_probes_listener_serves_needs_no_api() {
        let of_probes = ROUTES.iter().filter(|route| route.on.contains(&Surface::Probe));
        for Route { path, handler, .. } in of_probes {
            assert!(matches!(handler, Handler::Admin(_)), "{path}");
        }
    }

    /// Gives path and methods of the description: two and four spaces of indentation below `paths`.
    fn described() -> Vec<(String, Vec<String>)> {
        let (_, paths) = OPENAPI.split_once("\npaths:\n").unwrap();
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for line in paths.lines().take_while(|line| line.is_empty() || line.starts_with(' ')) {
            let key = line.trim().trim_end_matches(':');
            if line.starts_with("  /") {
                found.push((key.to_string(), Vec::new()));
            } else if line.starts_with("    ") && !line.starts_with("     ") {
                found.last_mut().unwrap().1.push(key.to_uppercase());
            }
        }
        found
    }

    #[test]
    fn the_description_has_the_routes_of_the_table_and_no_others() {
        let mut table: Vec<(String, Vec<String>)> = Vec::new();
        for route in ROUTES.iter().filter(|route| route.on.contains(&Surface::Api)) {
            let method = route.method.to_string();
            match table.last_mut().filter(|(path, _)| path == route.path) {
                Some((_, methods)) => methods.push(method),
                None => table.push((route.path.to_string(), vec![method])),
            }
        }
        assert_eq!(described(), table);
    }

    #[test]
    fn the_description_stays_small_and_has_this_version() {
        assert!(OPENAPI.len() < 20_000, "{} bytes", OPENAPI.len());
        assert!(OPENAPI.contains(&format!("\n  version: {}\n", crate::VERSION)));
    }
}
