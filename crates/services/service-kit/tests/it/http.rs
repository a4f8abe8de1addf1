//! Routes, problems, the token and bodies, without a socket.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use service_kit::extract::BodyLimit;
use service_kit::{App, Config, Environment, Json, Path};
use tower::ServiceExt as _;

#[derive(Deserialize)]
struct Order {
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    count: u32,
}

pub(crate) fn config() -> Config {
    Config::from_environment("shop", "1.2.3", &Environment::of(&[("API_TOKEN", "t0p-s3cret")])).unwrap()
}

async fn order(Json(order): Json<Order>) -> String {
    order.lines.iter().map(|line| line.count).sum::<u32>().to_string()
}

fn app() -> App {
    App::new(
        Router::new()
            .route("/orders", post(order).get(async || "none"))
            .route("/small", post(order).layer(Extension(BodyLimit(20))))
            .route("/orders/{id}", get(async |Path(_): Path<String>| "one")),
    )
}

async fn send(app: App, request: Request) -> (StatusCode, HeaderMap, String) {
    let response = app.into_router(&config()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("Authorization", "Bearer t0p-s3cret")
}

async fn posted(path: &str, body: &str) -> (StatusCode, Value) {
    let request = request("POST", path).header("Content-Type", "application/json; charset=utf-8");
    let (status, headers, body) = send(app(), request.body(body.to_owned().into()).unwrap()).await;
    if status != StatusCode::OK {
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn the_standard_routes_need_no_token_and_say_who_answers() {
    let open = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
    let (status, _, body) = send(app(), open("/healthz")).await;
    assert_eq!((status, &body[..19]), (StatusCode::OK, r#"{"status":"healthy""#));
    assert_eq!(send(app(), open("/readyz")).await.2, r#"{"status":"ready"}"#);
    let version: Value = serde_json::from_str(&send(app(), open("/version")).await.2).unwrap();
    assert_eq!((&version["service"], &version["version"]), (&json!("shop"), &json!("1.2.3")));
    assert!(version["instance"].as_str().is_some_and(|instance| instance.len() == 36), "{version}");
}

#[tokio::test]
async fn a_service_that_cannot_work_says_why() {
    let app = app().readiness(async || Err("database_unreachable".to_owned()));
    let (status, _, body) = send(app, Request::builder().uri("/readyz").body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"reason":"database_unreachable","status":"not_ready"}"#);
}

#[tokio::test]
async fn nothing_under_api_is_answered_without_the_token_and_its_body_is_not_read() {
    for (authorization, challenge) in [
        (None, r#"Bearer realm="shop""#),
        (Some("Bearer t0p-s3creT"), r#"Bearer realm="shop", error="invalid_token""#),
        (Some("Bearer t0p"), r#"Bearer realm="shop", error="invalid_token""#),
        (Some("Basic t0p-s3cret"), r#"Bearer realm="shop""#),
        (Some("Bearer "), r#"Bearer realm="shop""#),
    ] {
        for path in ["/api/v1/orders", "/api/v1/nothing", "/api"] {
            let mut request = Request::builder().method("POST").uri(path);
            if let Some(authorization) = authorization {
                request = request.header("Authorization", authorization);
            }
            // A body that never comes: the answer must not wait for it.
            let (sender, body) = http_body_util::channel::Channel::<bytes::Bytes>::new(1);
            let (status, headers, _) = send(app(), request.body(Body::new(body)).unwrap()).await;
            drop(sender);
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{authorization:?} {path}");
            assert_eq!(headers["www-authenticate"], challenge, "{authorization:?}");
            assert_eq!(headers["content-type"], "application/problem+json");
        }
    }
    let spelled = Request::builder().method("GET").uri("/api/v1/orders").header("authorization", "bearer  t0p-s3cret");
    assert_eq!(send(app(), spelled.body(Body::empty()).unwrap()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let (status, headers, body) = send(app(), request("GET", "/api/v1/nothing").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::NOT_FOUND, &"application/problem+json".parse().unwrap())
    );
    let problem: Value = serde_json::from_str(&body).unwrap();
    let expected = json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is nothing at /api/v1/nothing"});
    assert_eq!(problem, expected);

    let (status, headers, _) = send(app(), request("GET", "/api/v1/orders/%FF").body(Body::empty()).unwrap()).await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::BAD_REQUEST, &"application/problem+json".parse().unwrap())
    );

    for path in ["/api/v1/orders", "/healthz"] {
        let (status, headers, body) = send(app(), request("DELETE", path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}: {body}");
        assert_eq!(headers["content-type"], "application/problem+json", "{path}");
        assert!(headers["allow"].to_str().unwrap().contains("GET"), "{path}: {headers:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_it_should_be_is_a_400_that_names_the_field() {
    assert_eq!(posted("/api/v1/orders", r#"{"lines":[{"count":1},{"count":2}]}"#).await, (StatusCode::OK, json!(3)));

    let (status, problem) = posted("/api/v1/orders", r#"{"lines":[{"count":1},{"count":"2"}]}"#).await;
    assert_eq!((status, &problem["field"]), (StatusCode::BAD_REQUEST, &json!("lines[1].count")), "{problem}");

    for (body, detail) in [
        (r#"{"lines":"#, "the body is not JSON: EOF"),
        ("", "the body is not JSON: EOF"),
        (r#"{"lines":[]} {}"#, "the body is not one JSON value: trailing characters"),
    ] {
        let (status, problem) = posted("/api/v1/orders", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
        assert!(problem.get("field").is_none(), "{problem}");
    }
}

#[tokio::test]
async fn a_body_above_the_limit_is_a_413_and_the_route_s_own_limit_wins() {
    let body = r#"{"lines":[]}"#;
    let padded = |size: usize| body.to_owned() + &" ".repeat(size - body.len());
    assert_eq!(posted("/api/v1/small", body).await.0, StatusCode::OK);
    let (status, problem) = posted("/api/v1/small", &padded(21)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(problem["detail"], "the body is larger than 20 bytes: send less at once");
    assert_eq!(posted("/api/v1/orders", &padded(1 << 20)).await.0, StatusCode::OK);
    assert_eq!(posted("/api/v1/orders", &padded((1 << 20) + 1)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn another_content_type_is_a_415() {
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let request = request("POST", "/api/v1/orders").header("Content-Type", content_type);
        let (status, _, body) = send(app(), request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type}");
        assert!(body.contains(content_type), "{body}");
    }
    let none = request("POST", "/api/v1/orders").body(Body::from("{}")).unwrap();
    assert_eq!(send(app(), none).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_the_caller_s_path() {
    let router = app().into_router(&config());
    for path in ["/api/v1/orders/1", "/api/v1/orders/2", "/api/v1/x/3", "/y"] {
        let response = router.clone().oneshot(request("GET", path).body(Body::empty()).unwrap()).await.unwrap();
        drop(response);
    }
    let response = router.oneshot(request("GET", "/metrics").body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = r#"http_requests_total{method="GET",route="/api/v1/orders/{id}",status="200"} 2"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains(r#"http_requests_total{method="GET",route="unmatched",status="404"} 2"#), "{text}");
}
