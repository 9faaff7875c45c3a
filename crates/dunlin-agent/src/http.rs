//! Serving HTTP with everything bounded: connections at once, the time each may take, header and body sizes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

/// What one server may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections served at once; further ones wait in the listener's backlog.
    pub(crate) connections: usize,
    /// How long a client may take to send its request's head.
    pub(crate) head: Duration,
    /// How long a connection may take altogether.
    pub(crate) total: Duration,
}

impl Limits {
    /// For servers that few ask, seldom.
    pub(crate) const MODEST: Limits = Limits {
        connections: 32,
        head: Duration::from_secs(5),
        total: Duration::from_secs(30),
    };
}

/// The largest request head and body, octets.
pub(crate) const REQUEST_LIMIT_BYTES: usize = 64 << 10;

/// Serves `router` on `listener`, one request a connection, until dropped.
pub(crate) async fn serve(mut listener: impl Listener, router: Router, limits: Limits) {
    let router = router.layer(axum::extract::DefaultBodyLimit::max(REQUEST_LIMIT_BYTES));
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (io, _) = listener.accept().await;
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(limits.head)
                .keep_alive(false)
                .max_buf_size(REQUEST_LIMIT_BYTES)
                .serve_connection(TokioIo::new(io), service);
            match tokio::time::timeout(limits.total, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection ended early"),
                Err(_) => tracing::debug!("an HTTP connection took too long and was closed"),
            }
            drop(slot);
        });
    }
}
