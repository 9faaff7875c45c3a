//! Health-check node ports: where load balancers outside the cluster ask whether this node has ready endpoints of a Service
//! with `externalTrafficPolicy: Local`. They are answered as kube-proxy answers them.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use dunlin_core::HealthPort;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::engine_handle::EngineState;
use crate::http;

/// After a port could not be taken; doubled up to the maximum.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How many local endpoints a load balancer can weigh nodes by.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// One port that is served, and its figures for whoever asks there.
struct Served {
    figures: watch::Sender<HealthPort>,
    server: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves the ports that the core wants served, until the core is gone.
pub(crate) async fn keep(mut state: watch::Receiver<EngineState>) {
    let mut served: BTreeMap<u16, Served> = BTreeMap::new();
    loop {
        let wanted = state.borrow_and_update().health_ports.clone();
        served.retain(|port, _| wanted.contains_key(port));
        for (port, figures) in wanted.iter() {
            match served.get(port) {
                Some(served) => {
                    served.figures.send_if_modified(|told| {
                        let changed = told != figures;
                        told.clone_from(figures);
                        changed
                    });
                }
                None => {
                    let (sender, receiver) = watch::channel(figures.clone());
                    let server = tokio::spawn(serve(*port, receiver));
                    let one = Served {
                        figures: sender,
                        server,
                    };
                    served.insert(*port, one);
                }
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// Serves one port; tries again where somebody else has it.
async fn serve(port: u16, figures: watch::Receiver<HealthPort>) {
    let at = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let mut pause = RETRY;
    let listener = loop {
        match bind(at).await {
            Ok(listener) => break listener,
            Err(error) => {
                let service = figures.borrow().service.clone();
                tracing::warn!(%service, port, %error, "cannot serve the Service's healthCheckNodePort: who else has the port?");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    };
    let router = Router::new().fallback(move || {
        let figures = figures.borrow().clone();
        async move { answer(&figures) }
    });
    http::serve(listener, router, http::Limits::MODEST).await;
}

/// Both families where the kernel has both.
async fn bind(at: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(at).await {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        bound => bound,
    }
}

/// The status, headers and body of kube-proxy.
fn answer(figures: &HealthPort) -> impl IntoResponse + use<> {
    let healthy = figures.local_endpoints > 0 && figures.delivered;
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    headers.insert(WEIGHT, HeaderValue::from(figures.local_endpoints));
    let (namespace, name) = figures.service.split_once('/').unwrap_or_default();
    let body = json!({
        "service": { "namespace": namespace, "name": name },
        "localEndpoints": figures.local_endpoints,
        "serviceProxyHealthy": figures.delivered,
    });
    (status, headers, body.to_string())
}

#[cfg(test)]
mod tests;
