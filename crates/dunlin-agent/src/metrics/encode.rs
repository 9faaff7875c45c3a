//! Each metric's name, help and value. `docs/metrics.md` lists them; a test compares the two.

use std::collections::BTreeMap;
use std::fmt;

use dunlin_api::{CniState, Metrics, Neighbor, NeighborLimit, Status, TopologyStatus};
use dunlin_net::Afi;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::process::Usage;

/// Labels of one sample.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes metrics in the order they are given.
pub(super) struct Out<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Out<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Out<'a> {
        Out { encoder }
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    pub(super) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        // A gauge is a signed number there; a count beyond its range is shown as the greatest.
        let signed = |value| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels, signed(value)));
        self.samples(name, help, MetricType::Gauge, samples)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value)])
    }

    pub(super) fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let samples = samples
            .into_iter()
            .map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.samples(name, help, MetricType::Counter, samples)
    }

    pub(super) fn samples<'l, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'l>, M)>,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, metric) in samples {
            if labels.is_empty() {
                // An empty label set would be written as `name{}`.
                return metric.encode(encoder);
            }
            metric.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn process(&mut self, usage: &Usage) -> fmt::Result {
        self.gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            usage.resident_bytes,
        )?;
        self.gauge("process_threads", "Threads", usage.threads)?;
        self.gauge("process_open_fds", "Open files", usage.open_files)?;
        let cpu = ConstCounter::new(usage.cpu.as_secs_f64());
        let help = "Processor time, user and system";
        self.samples(
            "process_cpu_seconds",
            help,
            MetricType::Counter,
            [(Vec::new(), cpu)],
        )
    }

    pub(super) fn core(&mut self, metrics: &Metrics) -> fmt::Result {
        self.node(&metrics.status)?;
        self.sessions(metrics)?;
        self.neighbors(&metrics.external)?;
        self.bfd(metrics)?;
        self.bmp(&metrics.status)?;
        self.routes(metrics)?;
        self.services(metrics)?;
        self.proxy(metrics)?;
        self.kernel(&metrics.status)
    }

    fn node(&mut self, status: &Status) -> fmt::Result {
        self.gauges(
            "dunlin_build_info",
            "Always 1; the version is a label",
            [(vec![("version", status.version.as_str())], 1)],
        )?;
        self.gauge(
            "dunlin_uptime_seconds",
            "Since the agent started",
            status.uptime_secs,
        )?;
        self.gauge(
            "dunlin_ready",
            "Whether the node is ready to carry pods",
            status.ready.into(),
        )?;
        self.gauge(
            "dunlin_cni_written",
            "Whether the CNI configuration is written",
            (status.cni.state == CniState::Written).into(),
        )?;
        self.gauge(
            "dunlin_node_draining",
            "Whether the node is drained or about to be",
            status.drain.is_some().into(),
        )?;
        let synced = u64::from(status.source_synced);
        self.gauge(
            "dunlin_source_synced",
            "Whether all objects were delivered once",
            synced,
        )?;
        if let Some(age) = status.source_age_secs {
            self.gauge(
                "dunlin_source_age_seconds",
                "Since the source of objects last delivered",
                age,
            )?;
        }
        let mut problems: BTreeMap<&str, u64> = BTreeMap::new();
        for problem in &status.problems {
            *problems.entry(&problem.reason).or_default() += 1;
        }
        let problems = problems
            .into_iter()
            .map(|(reason, n)| (vec![("reason", reason)], n));
        self.gauges(
            "dunlin_problems",
            "Problems shown by `dunlin status`, by reason",
            problems,
        )?;
        let open = u64::from(status.gate.open);
        self.gauge(
            "dunlin_restart_gate_open",
            "Whether deletes and withdrawals may go",
            open,
        )
    }

    fn topology(&mut self, topology: &TopologyStatus) -> fmt::Result {
        let role = vec![("role", topology.role.as_str())];
        let help = "What the node is to the others: always 1";
        self.gauges("dunlin_topology_role", help, [(role, 1)])?;
        let reflectors = topology.reflectors.len() as u64;
        let help = "Nodes that reflect, by this agent's reckoning";
        self.gauge("dunlin_topology_reflectors", help, reflectors)?;
        let help = "Established sessions that the node reflects on";
        self.gauge("dunlin_topology_clients", help, topology.clients.into())?;
        let help = "Sessions wanted no longer, or their routes: they go once every route has come elsewhere";
        self.gauge("dunlin_topology_leaving", help, topology.leaving.into())
    }

    fn sessions(&mut self, metrics: &Metrics) -> fmt::Result {
        let by_kind = |node: u32, external: u32| {
            [
                (vec![("kind", "node")], node.into()),
                (vec![("kind", "external")], external.into()),
            ]
        };
        let s = &metrics.status.sessions;
        let up = by_kind(s.nodes_up, s.external_up);
        self.gauges("dunlin_sessions_up", "Sessions in Established", up)?;
        let expected = by_kind(s.nodes_expected, s.external_expected);
        self.gauges("dunlin_sessions_expected", "Sessions wanted", expected)?;
        if let Some(topology) = &metrics.status.topology {
            self.topology(topology)?;
        }
        let states = metrics.node_states.iter();
        let states = states.map(|(state, n)| (vec![("state", state.as_str())], u64::from(*n)));
        self.gauges(
            "dunlin_node_sessions",
            "Sessions with other nodes, by FSM state",
            states,
        )?;
        let help = "Times a session with another node left Established";
        self.counter("dunlin_node_session_flaps", help, metrics.node_flaps)?;
        let c = &metrics.node_counters;
        let by_direction = |received, sent| {
            [
                (vec![("direction", "received")], received),
                (vec![("direction", "sent")], sent),
            ]
        };
        let messages = by_direction(c.messages_received, c.messages_sent);
        self.counters(
            "dunlin_node_messages",
            "BGP messages with other nodes",
            messages,
        )?;
        let updates = by_direction(c.updates_received, c.updates_sent);
        self.counters("dunlin_node_updates", "UPDATEs with other nodes", updates)?;
        let notifications = by_direction(c.notifications_received, c.notifications_sent);
        let help = "NOTIFICATIONs with other nodes";
        self.counters("dunlin_node_notifications", help, notifications)?;
        let refused = metrics.refused_connections.iter();
        let refused = refused.map(|(reason, n)| (vec![("reason", reason.as_str())], *n));
        self.counters(
            "dunlin_connections_refused",
            "BGP connections refused, by reason",
            refused,
        )?;
        self.counter(
            "dunlin_refreshes_melted",
            "Requests to be told everything again that became one with another that waited",
            metrics.refreshes_melted,
        )?;
        let heard = metrics.router_discovery.iter();
        let heard = heard.map(|(result, n)| (vec![("result", result.as_str())], *n));
        self.counters(
            "dunlin_router_discovery_messages",
            "Router advertisements and solicitations heard for unnumbered peers, by what became of them; send-error: not sent",
            heard,
        )
    }

    fn neighbors(&mut self, external: &[Neighbor]) -> fmt::Result {
        let addresses: Vec<String> = external.iter().map(address).collect();
        let labelled: Vec<(Labels<'_>, &Neighbor)> = external
            .iter()
            .zip(&addresses)
            .map(|(n, address)| {
                let labels = vec![("neighbor", n.name.as_str()), ("address", address.as_str())];
                (labels, n)
            })
            .collect();
        let each = |value: fn(&Neighbor) -> u64| {
            let samples = labelled.iter();
            samples.map(move |(labels, n)| (labels.clone(), value(n)))
        };
        self.gauges(
            "dunlin_neighbor_up",
            "Whether the session with an external peer is up",
            each(|n| u64::from(n.state == "Established")),
        )?;
        self.gauges(
            "dunlin_neighbor_state_seconds",
            "Time in the present FSM state",
            each(|n| n.since_secs),
        )?;
        self.counters(
            "dunlin_neighbor_flaps",
            "Times the session left Established",
            each(|n| n.flaps),
        )?;
        self.counters(
            "dunlin_neighbor_treated_as_withdraw",
            "UPDATEs treated as withdrawals for their faults (RFC 7606)",
            each(|n| n.counters.treated_as_withdraw),
        )?;
        self.counters(
            "dunlin_neighbor_attributes_discarded",
            "Attributes discarded for their faults (RFC 7606)",
            each(|n| n.counters.attributes_discarded),
        )?;
        self.neighbor_notifications(&labelled)?;
        self.neighbor_routes(&labelled)?;
        self.neighbor_limits(&labelled)
    }

    fn neighbor_limits(&mut self, neighbors: &[(Labels<'_>, &Neighbor)]) -> fmt::Result {
        let each = |value: fn(&NeighborLimit) -> u64| {
            let limited = neighbors
                .iter()
                .filter_map(|(labels, n)| Some((labels.clone(), n.max_prefixes.as_ref()?)));
            limited.map(move |(labels, limit)| (labels, value(limit)))
        };
        self.gauges(
            "dunlin_neighbor_max_prefixes",
            "The most prefixes of each family that an external peer may announce, where that is limited",
            each(|limit| limit.limit.into()),
        )?;
        self.gauges(
            "dunlin_neighbor_max_prefixes_near",
            "Families in which an external peer has come near its limit",
            each(|limit| limit.near.len() as u64),
        )?;
        self.counters(
            "dunlin_neighbor_max_prefixes_exceeded",
            "Times the session was ended because the peer announced too many prefixes",
            each(|limit| limit.exceeded),
        )
    }

    fn neighbor_notifications(&mut self, neighbors: &[(Labels<'_>, &Neighbor)]) -> fmt::Result {
        let samples = neighbors.iter().flat_map(|(labels, neighbor)| {
            let c = &neighbor.counters;
            let by_direction = [
                ("received", c.notifications_received),
                ("sent", c.notifications_sent),
            ];
            by_direction.map(|(direction, n)| {
                let mut labels = labels.clone();
                labels.push(("direction", direction));
                (labels, n)
            })
        });
        let help =
            "NOTIFICATIONs with an external peer: each ended a connection, also before Established";
        self.counters("dunlin_neighbor_notifications", help, samples)
    }

    fn neighbor_routes(&mut self, neighbors: &[(Labels<'_>, &Neighbor)]) -> fmt::Result {
        let mut samples = Vec::new();
        for (labels, neighbor) in neighbors {
            for counts in &neighbor.routes {
                let family = match counts.family {
                    Afi::Ipv4 => "ipv4",
                    Afi::Ipv6 => "ipv6",
                };
                for (what, n) in [
                    ("received", counts.received),
                    ("accepted", counts.accepted),
                    ("advertised", counts.advertised),
                    ("stale", counts.stale),
                    ("long_lived_stale", counts.long_lived_stale),
                ] {
                    let mut labels = labels.clone();
                    labels.extend([("family", family), ("what", what)]);
                    samples.push((labels, n));
                }
            }
        }
        self.gauges(
            "dunlin_neighbor_routes",
            "Paths received, accepted and advertised; of those received, kept as stale and as long-lived stale",
            samples,
        )
    }

    fn routes(&mut self, metrics: &Metrics) -> fmt::Result {
        let r = &metrics.status.routes;
        self.gauge(
            "dunlin_routes_received",
            "Paths received from all peers",
            r.received,
        )?;
        self.gauge(
            "dunlin_routes_rejected",
            "Of those, rejected or unusable",
            r.rejected,
        )?;
        self.gauge(
            "dunlin_routes_received_stale",
            "Of those received, not told anew yet since the session broke or a refresh began",
            r.received_stale,
        )?;
        self.gauge(
            "dunlin_routes_received_long_lived_stale",
            "Of those, kept for long (RFC 9494)",
            r.received_long_lived_stale,
        )?;
        let reasons = metrics.rejected_by_reason.iter();
        let reasons = reasons.map(|(reason, n)| (vec![("reason", reason.as_str())], *n));
        self.gauges(
            "dunlin_routes_rejected_by_reason",
            "The same, by reason",
            reasons,
        )?;
        self.gauge("dunlin_routes_best", "Prefixes in the Loc-RIB", r.best)?;
        self.gauge(
            "dunlin_routes_originated",
            "Prefixes this node originates",
            r.originated,
        )?;
        self.gauge(
            "dunlin_routes_wanted",
            "Routes wanted in the kernel",
            r.wanted,
        )?;
        self.gauge(
            "dunlin_routes_installed",
            "Routes the kernel has acknowledged",
            r.installed,
        )?;
        self.gauge(
            "dunlin_routes_failed",
            "Routes the kernel refused, to be tried again",
            r.failed,
        )?;
        let help = "Routes not installed because somebody else's stands there";
        self.gauge("dunlin_routes_conflicts", help, r.conflicts)?;
        let help = "Routes kept although not wanted, until the restart gate opens";
        self.gauge("dunlin_routes_stale", help, r.stale)
    }

    fn kernel(&mut self, status: &Status) -> fmt::Result {
        let d = &status.dataplane;
        if let Some(age) = d.synced_age_secs {
            let help = "Since the kernel last acknowledged everything asked of it";
            self.gauge("dunlin_kernel_synced_age_seconds", help, age)?;
        }
        let read_back = u64::from(d.read_back);
        self.gauge(
            "dunlin_kernel_read_back",
            "Whether the read-back at start is complete",
            read_back,
        )?;
        if let Some(masquerade) = d.masquerade {
            let help = "Whether pod egress masquerade is programmed";
            self.gauge("dunlin_masquerade_programmed", help, masquerade.into())?;
        }
        self.counter(
            "dunlin_kernel_operations",
            "Operations acknowledged",
            d.operations,
        )?;
        self.counter("dunlin_kernel_failures", "Operations refused", d.failures)?;
        self.counter(
            "dunlin_kernel_overruns",
            "Times notifications were lost and all was read again",
            d.overruns,
        )?;
        self.counter(
            "dunlin_kernel_repairs",
            "Routes repaired after somebody else changed them",
            d.repairs,
        )
    }
}

/// The address of a peer; for one at the other end of a link with the link's name.
fn address(neighbor: &Neighbor) -> String {
    match (neighbor.address, &neighbor.interface) {
        (Some(address), Some(interface)) => format!("{address}%{interface}"),
        (Some(address), None) => address.to_string(),
        (None, _) => String::new(),
    }
}
