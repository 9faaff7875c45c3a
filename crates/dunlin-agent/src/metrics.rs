//! `/metrics`, `/healthz` and `/readyz`. The metrics are described in `docs/metrics.md`.

use std::fmt;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dunlin_api::{Answer, Metrics, Query};
use dunlin_kube::allocate::AllocateReport;
use dunlin_kube::api::SourceHealth;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::connections::{self, Counted};
use crate::engine_handle::EngineHandle;
use crate::overlay::Overlay;
use crate::process::{self, Usage};

mod allocation;
mod bfd;
mod bmp;
mod encode;
mod proxy;
mod services;
mod source;

/// How long the core may take to answer before it counts as not answering.
const CORE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Shared {
    engine: EngineHandle,
    overlay: Overlay,
}

/// Metrics and health.
pub(crate) fn router(engine: EngineHandle, overlay: Overlay) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Shared { engine, overlay })
}

/// Whether the agent works at all: the core thread replies.
async fn healthz(State(shared): State<Shared>) -> Response {
    match shared.engine.ping(CORE_TIMEOUT).await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// Whether the node is ready to carry pods.
async fn readyz(State(shared): State<Shared>) -> Response {
    let answer = shared.engine.ask(Query::Status, CORE_TIMEOUT).await;
    let why_not = match answer.map(|answer| shared.overlay.complete(answer)) {
        Ok(Answer::Status(status)) if status.ready => {
            return (StatusCode::OK, "ready\n").into_response();
        }
        Ok(Answer::Status(status)) => format!("not ready: {}\n", status.not_ready.join("; ")),
        Ok(_) => "not ready: the core gave another answer than the one asked for\n".into(),
        Err(error) => format!("not ready: {error}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why_not).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    // Without the core there is still something to tell: that it does not answer, and what the process uses.
    let answer = shared.engine.ask(Query::Metrics, CORE_TIMEOUT).await;
    let core = match answer.map(|answer| shared.overlay.complete(answer)) {
        Ok(Answer::Metrics(metrics)) => Some(metrics),
        Ok(_) | Err(_) => None,
    };
    let counted = match shared.overlay.counts {
        true => Some(connections::named(&shared.engine).await),
        false => None,
    };
    let allocation = shared.overlay.allocation.as_ref();
    let allocation = allocation.map(|a| (a.report.borrow().clone(), a.notices.dropped()));
    let source = shared.overlay.source.as_ref();
    let source = source.map(|source| source.borrow().clone());
    match text(core, process::usage(), allocation, source, counted) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// All metrics as OpenMetrics text; `core` is absent when the core thread does not answer.
pub(crate) fn text(
    core: Option<Box<Metrics>>,
    usage: Usage,
    allocation: Option<(AllocateReport, u64)>,
    source: Option<SourceHealth>,
    counted: Option<Counted>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        core,
        usage,
        allocation,
        source,
        counted,
    }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

/// The figures of one scrape.
#[derive(Debug)]
struct Snapshot {
    core: Option<Box<Metrics>>,
    source: Option<SourceHealth>,
    usage: Usage,
    /// The part in giving out load-balancer addresses, and the Events that were dropped.
    allocation: Option<(AllocateReport, u64)>,
    /// The connections to services, where they are counted.
    counted: Option<Counted>,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = encode::Out::new(encoder);
        out.process(&self.usage)?;
        out.gauge(
            "dunlin_core_up",
            "Whether the core thread answered within two seconds",
            self.core.is_some().into(),
        )?;
        if let Some((report, dropped)) = &self.allocation {
            out.allocation(report, *dropped)?;
        }
        if let Some(source) = &self.source {
            source::encode(&mut out, source)?;
        }
        if let Some(counted) = &self.counted {
            out.connections(counted)?;
        }
        match &self.core {
            Some(metrics) => out.core(metrics),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
