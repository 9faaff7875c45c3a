//! The admin API on the Unix socket.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use dunlin_api::{ErrorBody, QUERY_PATH, Query};

use crate::engine_handle::{EngineError, EngineHandle};
use crate::overlay::Overlay;

/// How long the core may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Shared {
    engine: EngineHandle,
    overlay: Overlay,
}

/// The admin API.
pub(crate) fn router(engine: EngineHandle, overlay: Overlay) -> Router {
    Router::new()
        .route(QUERY_PATH, post(query))
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                format!("only POST {QUERY_PATH} is served here"),
            )
        })
        .with_state(Shared { engine, overlay })
}

async fn query(State(shared): State<Shared>, body: Bytes) -> Response {
    let query: Query = match serde_json::from_slice(&body) {
        Ok(query) => query,
        Err(error) => {
            let hint = "is the command of the same version as the agent?";
            return refuse(
                StatusCode::BAD_REQUEST,
                format!("not a query: {error}: {hint}"),
            );
        }
    };
    match shared.engine.ask(query, ANSWER_TIMEOUT).await {
        Ok(answer) => {
            let answer = shared.overlay.complete(answer);
            match serde_json::to_vec(&answer) {
                Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            }
        }
        Err(error @ EngineError::Gone) => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        Err(error @ EngineError::Late) => refuse(StatusCode::GATEWAY_TIMEOUT, error.to_string()),
    }
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}
