//! The metrics of load-balancer addresses.

use std::fmt;

use dunlin_kube::allocate::AllocateReport;
use dunlin_net::Afi;

use super::encode::Out;

impl Out<'_> {
    /// `dropped` are Events that were not written.
    pub(super) fn allocation(&mut self, report: &AllocateReport, dropped: u64) -> fmt::Result {
        self.gauge(
            "dunlin_load_balancer_leader",
            "Whether this agent gives out load-balancer addresses",
            report.leading.into(),
        )?;
        self.gauge(
            "dunlin_load_balancer_services_short",
            "Services that lack addresses, as the agent that gives them out sees it",
            u64::try_from(report.short).unwrap_or(u64::MAX),
        )?;
        self.counter(
            "dunlin_load_balancer_addresses_given",
            "Addresses this agent has given to Services",
            report.given,
        )?;
        self.counter(
            "dunlin_load_balancer_write_failures",
            "Writes of Services' status that did not succeed",
            report.failures,
        )?;
        self.counter(
            "dunlin_load_balancer_lease_refused",
            "Requests about the Lease that the API server refused",
            report.refused,
        )?;
        self.counter(
            "dunlin_events_dropped",
            "Kubernetes Events not written, because there were too many or the API server did not take them",
            dropped,
        )?;
        let families = [(Afi::Ipv4, "ipv4"), (Afi::Ipv6, "ipv6")];
        let each = report
            .pools
            .iter()
            .flat_map(|pool| families.map(|f| (pool, f)));
        let total = each.clone().map(|(pool, (afi, family))| {
            let labels = vec![("pool", pool.name.as_str()), ("family", family)];
            (
                labels,
                u64::try_from(*pool.total.get(afi)).unwrap_or(u64::MAX),
            )
        });
        self.gauges(
            "dunlin_load_balancer_pool_addresses",
            "Addresses of a pool, as the agent that gives them out sees it",
            total,
        )?;
        let used = each.map(|(pool, (afi, family))| {
            let labels = vec![("pool", pool.name.as_str()), ("family", family)];
            (
                labels,
                u64::try_from(*pool.used.get(afi)).unwrap_or(u64::MAX),
            )
        });
        self.gauges(
            "dunlin_load_balancer_pool_addresses_used",
            "Addresses of a pool that Services hold, as the agent that gives them out sees it",
            used,
        )
    }
}
