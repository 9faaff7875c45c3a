//! Serving HTTP with everything bounded: connections at once, the time each may take, header and body sizes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// What one server may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections served at once; further ones wait in the listener's backlog.
    pub(crate) connections: usize,
    /// How long a client may take to send its request's head.
    pub(crate) head: Duration,
    /// How long a connection may take altogether.
    pub(crate) total: Duration,
    /// The largest request body, octets; longer ones are refused.
    pub(crate) body: usize,
}

impl Limits {
    /// For servers that few ask, seldom.
    pub(crate) const MODEST: Limits = Limits {
        connections: 32,
        head: Duration::from_secs(5),
        total: Duration::from_secs(30),
        body: REQUEST_LIMIT_BYTES,
    };
}

/// Carried by a response that may take longer than [`Limits::total`]: so long in all from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(pub(crate) Duration);

/// The largest request head, and body where nothing else is said, octets.
pub(crate) const REQUEST_LIMIT_BYTES: usize = 64 << 10;

/// Serves `router` on `listener`, one request a connection, until dropped.
pub(crate) async fn serve(mut listener: impl Listener, router: Router, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut open = Open::default();
    loop {
        let (io, _) = listener.accept().await;
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => slot,
            Err(_) => {
                // Slow clients must not keep others from asking.
                open.hang_up_on_slowest();
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    return;
                };
                slot
            }
        };
        let asked = Arc::new(AtomicBool::new(false));
        let connection = converse(io, router.clone(), limits, Arc::clone(&asked), slot);
        open.add(tokio::spawn(connection).abort_handle(), asked);
    }
}

/// The open connections, oldest first, each with whether its request is complete. As many as there are slots.
#[derive(Default)]
struct Open(VecDeque<(AbortHandle, Arc<AtomicBool>)>);

impl Open {
    fn add(&mut self, connection: AbortHandle, asked: Arc<AtomicBool>) {
        self.0.retain(|(connection, _)| !connection.is_finished());
        self.0.push_back((connection, asked));
    }

    /// Ends the connection that has taken longest to say what it wants, if any still has not.
    fn hang_up_on_slowest(&mut self) {
        let is_slow = |(connection, asked): &(AbortHandle, Arc<AtomicBool>)| {
            !connection.is_finished() && !asked.load(Ordering::Relaxed)
        };
        if let Some(at) = self.0.iter().position(is_slow)
            && let Some((connection, _)) = self.0.remove(at)
        {
            tracing::debug!("too many HTTP connections: the slowest is closed");
            connection.abort();
        }
    }
}

async fn converse<I>(
    io: I,
    router: Router,
    limits: Limits,
    asked: Arc<AtomicBool>,
    _slot: OwnedSemaphorePermit,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let more = Arc::new(OnceLock::new());
    let service = service_fn(|request: Request<Incoming>| {
        let (router, asked) = (router.clone(), Arc::clone(&asked));
        let more = Arc::clone(&more);
        async move {
            let request = match whole(request, limits.body).await {
                Ok(request) => request,
                Err(refusal) => return Ok(refusal),
            };
            asked.store(true, Ordering::Relaxed);
            let answered: Result<Response, Infallible> = router.call(request).await;
            if let Ok(response) = &answered
                && let Some(patience) = response.extensions().get::<Patience>()
            {
                let _ = more.set(*patience);
            }
            answered
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(false)
        .max_buf_size(REQUEST_LIMIT_BYTES)
        .serve_connection(TokioIo::new(io), service);
    tokio::pin!(connection);
    let mut ended = tokio::time::timeout(limits.total, connection.as_mut()).await;
    if let (Err(_), Some(Patience(more))) = (&ended, more.get()) {
        ended = tokio::time::timeout(*more, connection).await;
    }
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
        Err(_) => tracing::debug!("an HTTP connection took too long and was closed"),
    }
}

/// The request with its whole body, or what to answer instead.
async fn whole(request: Request<Incoming>, limit: usize) -> Result<Request<Full<Bytes>>, Response> {
    let (head, body) = request.into_parts();
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(Request::from_parts(head, Full::new(body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Err((
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has at most {limit} octets\n"),
        )
            .into_response()),
        Err(error) => {
            Err((StatusCode::BAD_REQUEST, format!("broken body: {error}\n")).into_response())
        }
    }
}
