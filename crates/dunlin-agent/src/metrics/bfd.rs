use std::fmt;

use dunlin_api::{BfdFigures, Metrics, NeighborBfd};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::encode::{Labels, Out};

impl Out<'_> {
    /// Node peers are summed up, as everywhere.
    pub(super) fn bfd(&mut self, metrics: &Metrics) -> fmt::Result {
        let by_kind = metrics.bfd_states.iter();
        let states = by_kind.flat_map(|(kind, states)| {
            states.iter().map(move |(state, n)| {
                let labels = vec![("kind", kind.as_str()), ("state", state.as_str())];
                (labels, u64::from(*n))
            })
        });
        self.gauges("dunlin_bfd_sessions", "BFD sessions, by state", states)?;
        let help = "Times BFD found another node dead";
        self.counter("dunlin_bfd_node_failures", help, metrics.node_bfd_failures)?;
        self.bfd_neighbors(metrics)?;
        match &metrics.bfd {
            Some(figures) => self.bfd_thread(figures),
            None => Ok(()),
        }
    }

    fn bfd_neighbors(&mut self, metrics: &Metrics) -> fmt::Result {
        let watched: Vec<(&str, String, &NeighborBfd)> = metrics
            .external
            .iter()
            .filter_map(|n| {
                let address = n.address.map(|a| a.to_string()).unwrap_or_default();
                Some((n.name.as_str(), address, n.bfd.as_ref()?))
            })
            .collect();
        let each = |value: fn(&NeighborBfd) -> u64| {
            watched.iter().map(move |(name, address, bfd)| {
                let labels: Labels<'_> = vec![("neighbor", *name), ("address", address.as_str())];
                (labels, value(bfd))
            })
        };
        self.gauges(
            "dunlin_bfd_neighbor_up",
            "Whether the BFD session with an external peer is up",
            each(|bfd| u64::from(bfd.state == "Up")),
        )?;
        self.counters(
            "dunlin_bfd_neighbor_failures",
            "Times BFD found an external peer dead",
            each(|bfd| bfd.failures),
        )
    }

    fn bfd_thread(&mut self, figures: &BfdFigures) -> fmt::Result {
        self.counter(
            "dunlin_bfd_packets_received",
            "BFD packets received",
            figures.received,
        )?;
        let dropped = figures.dropped.iter();
        let dropped = dropped.map(|(reason, n)| (vec![("reason", reason.as_str())], *n));
        self.counters(
            "dunlin_bfd_packets_dropped",
            "BFD packets dropped, by reason",
            dropped,
        )?;
        let help = "BFD packets that the kernel dropped because they were not read in time";
        self.counter("dunlin_bfd_overruns", help, figures.overruns)?;
        self.counter(
            "dunlin_bfd_send_errors",
            "BFD packets that could not be sent",
            figures.send_errors,
        )?;
        // A day of lateness is far within the digits of a double.
        let late = ConstGauge::new(figures.most_late_micros as f64 / 1e6);
        self.samples(
            "dunlin_bfd_most_late_seconds",
            "The longest that a BFD packet or a detection was late",
            MetricType::Gauge,
            [(Vec::new(), late)],
        )
    }
}
