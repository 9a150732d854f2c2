//! Metrics and health over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::serve::Shared;

/// What Prometheus asks for by name and version.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

const BUILD_INFO: &str = "evanesce_build_info";
const READY: &str = "evanesce_ready";
const UPTIME_SECONDS: &str = "evanesce_uptime_seconds";

/// Explains the metrics that every process has. The recorder is in place by now.
fn describe() {
    metrics::describe_gauge!(BUILD_INFO, "Always 1: which release this is and what it does, in labels.");
    metrics::describe_gauge!(READY, "Whether this process should get work, 0 or 1; as /health/ready says.");
    metrics::describe_gauge!(UPTIME_SECONDS, "Seconds since this process began to serve its admin side.");
}

/// What the HTTP side answers from.
#[derive(Clone)]
struct Face {
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
}

/// The HTTP side's routes.
pub(crate) fn router(shared: Arc<Shared>, metrics: PrometheusHandle) -> Router {
    describe();
    Router::new()
        .route("/metrics", get(scrape))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .with_state(Face { shared, metrics })
}

async fn scrape(State(face): State<Face>) -> Response {
    let status = face.shared.role.status();
    metrics::gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "role" => status.role).set(1.0);
    metrics::gauge!(READY).set(if face.shared.not_ready(&status).is_empty() { 1.0 } else { 0.0 });
    metrics::gauge!(UPTIME_SECONDS).set(face.shared.started.elapsed().as_secs_f64());
    face.shared.role.publish_metrics();
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], face.metrics.render()).into_response()
}

async fn live() -> Response {
    answer(StatusCode::OK, &json!({ "live": true }))
}

async fn ready(State(face): State<Face>) -> Response {
    let status = face.shared.role.status();
    let reasons = face.shared.not_ready(&status);
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": reasons.is_empty(),
        "role": status.role,
        "name": status.name,
        "state": status.state.to_string(),
        "reasons": reasons,
        "warnings": status.warnings,
    });
    answer(code, &body)
}

fn answer(code: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (code, headers, format!("{body}\n")).into_response()
}
