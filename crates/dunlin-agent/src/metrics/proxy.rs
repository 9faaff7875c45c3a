//! The service proxy: what is programmed of what is wanted, and how long that took. Nothing where it is off.

use std::fmt;

use std::net::SocketAddr;

use dunlin_api::{FrontendOwner, Metrics, ProxyStatus};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::encode::Out;
use super::services::Shown;
use crate::connections::Counted;

impl Out<'_> {
    pub(super) fn proxy(&mut self, metrics: &Metrics) -> fmt::Result {
        let Some(proxy) = &metrics.status.proxy else {
            return Ok(());
        };
        self.proxy_gauges(proxy)?;
        self.proxy_counters(proxy)?;
        if let Some(millis) = proxy.first_sync_millis {
            let secs = ConstGauge::new(millis as f64 / 1000.0);
            let help = "From the start until all that was wanted by then was programmed";
            let name = "dunlin_service_proxy_first_sync_seconds";
            self.samples(name, help, MetricType::Gauge, [(Vec::new(), secs)])?;
        }
        match &metrics.service_program {
            Some(histogram) => self.samples(
                "dunlin_service_proxy_program_seconds",
                "From a change of what is wanted to the kernel's acknowledgement of the transaction that it went with",
                MetricType::Histogram,
                [(Vec::new(), Shown(histogram))],
            ),
            None => Ok(()),
        }
    }

    pub(super) fn connections(&mut self, counted: &Counted) -> fmt::Result {
        let frontend = |owner: &FrontendOwner| {
            let at = SocketAddr::new(owner.frontend.address, owner.frontend.port);
            format!("{at}/{}", owner.frontend.protocol)
        };
        let shown = counted.frontends.iter();
        let shown = shown.map(|(owner, n)| (owner.service.as_deref(), frontend(owner), *n));
        let shown: Vec<(Option<&str>, String, u64)> = shown.collect();
        self.counters(
            "dunlin_service_connections",
            "New connections to a service, by frontend, since it was first counted",
            shown.iter().map(|(service, frontend, n)| {
                let service = service.unwrap_or_default();
                let labels = vec![("service", service), ("frontend", frontend.as_str())];
                (labels, *n)
            }),
        )?;
        self.gauge(
            "dunlin_service_connections_missing",
            "Whether connections are counted and not told, as there are too many frontends",
            counted.missing.into(),
        )
    }

    fn proxy_gauges(&mut self, proxy: &ProxyStatus) -> fmt::Result {
        let missing = proxy.pending.saturating_add(proxy.failed);
        let gauges = [
            (
                "services",
                "Services with a frontend: an address, protocol and port that clients reach it at",
                proxy.services,
            ),
            ("frontends", "Frontends wanted", proxy.frontends),
            (
                "frontends_programmed",
                "Of those, programmed as wanted",
                proxy.frontends.saturating_sub(missing),
            ),
            (
                "frontends_failed",
                "Of those, refused by the kernel, to be tried again",
                proxy.failed,
            ),
            (
                "frontends_conflicts",
                "Frontends that an older Service has, too",
                proxy.conflicts,
            ),
            (
                "slots",
                "Slots filled: an endpoint counts for each frontend that it serves",
                proxy.slots,
            ),
            (
                "elements",
                "Elements in the kernel's tables of services",
                proxy.elements,
            ),
        ];
        for (name, help, value) in gauges {
            self.gauge(&format!("dunlin_service_proxy_{name}"), help, value)?;
        }
        Ok(())
    }

    fn proxy_counters(&mut self, proxy: &ProxyStatus) -> fmt::Result {
        let counters = [
            ("operations", "Elements added and removed", proxy.operations),
            (
                "transactions",
                "Transactions given to the kernel",
                proxy.batches,
            ),
            (
                "transactions_failed",
                "Of those, refused, or with an unknown end",
                proxy.refused,
            ),
            (
                "unforgotten",
                "Transactions after which a flow or a client that comes back was not forgotten, to be tried again",
                proxy.unforgotten,
            ),
            ("reads", "Times the tables were read", proxy.reads),
            (
                "repairs",
                "Times somebody else's changes of the tables were found and repaired",
                proxy.repairs,
            ),
        ];
        for (name, help, value) in counters {
            self.counter(&format!("dunlin_service_proxy_{name}"), help, value)?;
        }
        Ok(())
    }
}
