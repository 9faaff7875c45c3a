//! Services: what is known of them, what is announced, and how long that took.

use std::fmt;

use dunlin_api::{Histogram, Metrics};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::encode::Out;

impl Out<'_> {
    pub(super) fn services(&mut self, metrics: &Metrics) -> fmt::Result {
        let counts = &metrics.status.services;
        self.gauge("dunlin_services", "Services known", counts.known)?;
        self.gauge(
            "dunlin_service_addresses_announced",
            "Addresses of Services that this node announces",
            counts.announced,
        )?;
        let withheld = counts.withheld.iter();
        self.gauges(
            "dunlin_service_addresses_withheld",
            "Addresses of Services that this node does not announce, by reason",
            withheld.map(|(reason, n)| (vec![("reason", reason.as_str())], *n)),
        )?;
        let events = metrics.source_events.iter();
        self.counters(
            "dunlin_source_events",
            "Objects that the source told as new, changed or gone, by kind",
            events.map(|(kind, n)| (vec![("kind", kind.as_str())], *n)),
        )?;
        let shown = Shown(&metrics.service_announce);
        self.samples(
            "dunlin_service_announce_seconds",
            "From a change of a Service or its endpoints to the UPDATEs that follow from it being written",
            MetricType::Histogram,
            [(Vec::new(), shown)],
        )
    }
}

pub(super) struct Shown<'a>(pub(super) &'a Histogram);

impl EncodeMetric for Shown<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.0.bounds_secs.iter().copied();
        let buckets: Vec<(f64, u64)> = bounds
            .chain([f64::INFINITY])
            .zip(self.0.counts.iter().copied())
            .collect();
        let count = self.0.counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(self.0.sum_secs, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        <Shown<'_> as TypedMetric>::TYPE
    }
}

impl TypedMetric for Shown<'_> {
    const TYPE: MetricType = MetricType::Histogram;
}
