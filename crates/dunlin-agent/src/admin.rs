//! The admin API on the Unix socket.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use dunlin_api::{
    DumpRequest, ErrorBody, MRT_PATH, PLAN_PATH, Plan, PlanRequest, QUERY_PATH, Query,
};
use dunlin_core::{Dumped, TableDump};
use futures::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::connections;
use crate::engine_handle::{EngineError, EngineHandle};
use crate::http::{Limits, Patience, REQUEST_LIMIT_BYTES};
use crate::overlay::Overlay;
use crate::plan::{self, Read};

/// How long the core may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// For the admin API. Written as JSON, text grows by its quotes and ends of lines: twofold if it is nothing else.
pub(crate) const LIMITS: Limits = Limits {
    body: 2 * PlanRequest::MAX_BYTES,
    ..Limits::MODEST
};

/// Plans that are read and worked out at once; others wait. Each keeps the core from other work for a moment.
const PLANS: usize = 1;

/// Dumps that are written at once; more are refused. Each holds one piece of some 128 KiB, and a connection.
const DUMPS: usize = 2;

/// How long a dump may take altogether: whoever reads more slowly is cut off.
const DUMP_TIMEOUT: Duration = Duration::from_secs(1800);

#[derive(Clone)]
struct Shared {
    engine: EngineHandle,
    overlay: Overlay,
    plans: Arc<Semaphore>,
    dumps: Arc<Semaphore>,
}

/// The admin API.
pub(crate) fn router(engine: EngineHandle, overlay: Overlay) -> Router {
    let shared = Shared {
        engine,
        overlay,
        plans: Arc::new(Semaphore::new(PLANS)),
        dumps: Arc::new(Semaphore::new(DUMPS)),
    };
    // A question is short; only plans are not.
    let small = DefaultBodyLimit::max(REQUEST_LIMIT_BYTES);
    Router::new()
        .route(QUERY_PATH, post(query).layer(small))
        .route(MRT_PATH, post(mrt).layer(small))
        .route(PLAN_PATH, post(plan))
        .layer(DefaultBodyLimit::disable())
        .fallback(|| async {
            refuse(
                StatusCode::NOT_FOUND,
                format!("only POST {QUERY_PATH}, {PLAN_PATH} and {MRT_PATH} are served here"),
            )
        })
        .with_state(shared)
}

async fn query(State(shared): State<Shared>, body: Bytes) -> Response {
    let query: Query = match read(&body) {
        Ok(query) => query,
        Err(refusal) => return refusal,
    };
    match shared.engine.ask(query, ANSWER_TIMEOUT).await {
        Ok(answer) if shared.overlay.counts => {
            let answer = shared.overlay.complete(answer);
            reply(&connections::complete(answer).await)
        }
        Ok(answer) => reply(&shared.overlay.complete(answer)),
        Err(error) => no_answer(error),
    }
}

async fn plan(State(shared): State<Shared>, body: Bytes) -> Response {
    let request: PlanRequest = match read(&body) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let limit = request.items();
    let Ok(_turn) = shared.plans.acquire().await else {
        return no_answer(EngineError::Gone);
    };
    // A large file takes a while to read, and this thread has others to serve.
    let read = tokio::task::spawn_blocking(move || plan::read(request)).await;
    let (steps, ignored) = match read {
        Ok(Ok(Read::Steps { steps, ignored })) => (steps, ignored),
        Ok(Ok(Read::Faults(faults))) => {
            return reply(&Plan {
                faults,
                ..Plan::default()
            });
        }
        Ok(Err(message)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, message),
        Err(error) => return refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    match shared.engine.plan(steps, limit, ANSWER_TIMEOUT).await {
        Ok(mut plan) => {
            for object in ignored {
                plan.objects.add(limit, object);
            }
            reply(&plan)
        }
        Err(error) => no_answer(error),
    }
}

async fn mrt(State(shared): State<Shared>, body: Bytes) -> Response {
    let request: DumpRequest = match read(&body) {
        Ok(request) => request,
        Err(refusal) => return refusal,
    };
    let Ok(turn) = Arc::clone(&shared.dumps).try_acquire_owned() else {
        let text = format!("{DUMPS} dumps are being written already: try again when one is done");
        return refuse(StatusCode::TOO_MANY_REQUESTS, text);
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let dump = TableDump::new(request.table, now.unwrap_or_default());
    // The first piece tells whether there is anything to dump.
    let (dump, first) = match shared.engine.dump(dump, ANSWER_TIMEOUT).await {
        Ok((dump, Dumped::Piece(piece))) => (dump, piece),
        Ok((_, Dumped::All)) => return refuse(StatusCode::NO_CONTENT, String::new()),
        Ok((_, Dumped::NoTables)) => {
            let text = "there are no tables yet: the node's own Node object is not known";
            return refuse(StatusCode::SERVICE_UNAVAILABLE, text.to_owned());
        }
        Err(error) => return no_answer(error),
    };
    let engine = shared.engine;
    let rest = stream::try_unfold((dump, turn), move |(dump, turn)| {
        let engine = engine.clone();
        async move {
            match engine.dump(dump, ANSWER_TIMEOUT).await? {
                (dump, Dumped::Piece(piece)) => Ok(Some((piece, (dump, turn)))),
                (_, Dumped::All) => Ok(None),
                // Who we are is not known any more: what was told is no whole dump.
                (_, Dumped::NoTables) => Err(EngineError::Gone),
            }
        }
    });
    let pieces = stream::once(async { Ok::<_, EngineError>(first) }).chain(rest);
    let body = Body::from_stream(pieces);
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], body).into_response();
    response.extensions_mut().insert(Patience(DUMP_TIMEOUT));
    response
}

/// The request, or what to answer instead.
#[allow(clippy::result_large_err, reason = "it is sent at once")]
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| {
        let hint = "is the command of the same version as the agent?";
        refuse(
            StatusCode::BAD_REQUEST,
            format!("not a query: {error}: {hint}"),
        )
    })
}

fn reply(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn no_answer(error: EngineError) -> Response {
    let status = match error {
        EngineError::Gone => StatusCode::SERVICE_UNAVAILABLE,
        EngineError::Late => StatusCode::GATEWAY_TIMEOUT,
    };
    refuse(status, error.to_string())
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}
