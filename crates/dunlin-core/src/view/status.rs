use std::collections::BTreeMap;

use dunlin_api::{
    DataplaneStatus, DrainStatus, GateStatus, Metrics, NeighborCounters, Node, Problem,
    RouteCounts, ServiceCounts, SessionCounts, Status,
};
use dunlin_bgp::policy::RejectReason;
use dunlin_dataplane::fib;
use dunlin_intent::{Initiative, LocalIntent};
use dunlin_net::{Afi, Instant};

use super::{Seen, age_secs};
use crate::core::Core;

/// The most external peers that metrics show one by one.
const EXTERNAL_SHOWN: usize = 1000;

/// The most problems of one kind of thing in a status.
const PROBLEMS_SHOWN: usize = 100;

impl Core {
    pub(super) fn status(&self, seen: &Seen<'_>) -> Status {
        let now = seen.now;
        let not_ready = self.not_ready();
        let local = self.local.as_deref();
        // Counted once: it looks at every route.
        let fib = self.fib.counters();
        Status {
            node: self.config.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_secs: age_secs(now, self.started),
            ready: not_ready.is_empty(),
            not_ready,
            asn: local.map(|local| local.asn),
            router_id: local.map(|local| local.router_id),
            addresses: local.map_or_else(Vec::new, |local| local.addresses.clone()),
            pod_cidrs: local.map_or_else(Vec::new, |local| local.pod_subnets.clone()),
            topology: self.topology_status(),
            sessions: self.session_counts(),
            routes: self.route_counts(&fib),
            services: self.service_counts(),
            proxy: self.proxy_status(seen),
            dataplane: self.dataplane_status(seen, &fib),
            gate: self.gate_status(seen),
            drain: local.and_then(|local| self.drain_status(now, local)),
            bmp: self.stations(now),
            source_synced: self.synced,
            source_age_secs: self.source_heard.map(|at| age_secs(now, at)),
            problems: self.problems(seen, &fib),
            ..Status::default()
        }
    }

    fn session_counts(&self) -> SessionCounts {
        let mut counts = SessionCounts::default();
        for peer in self.peers.iter().filter(|peer| !peer.is_range()) {
            if let Some(watched) = self.bfd.of(peer.id) {
                counts.bfd_expected += 1;
                counts.bfd_up += u32::from(watched.is_up());
            }
            let up = u32::from(peer.is_established());
            if peer.intent.initiative == Initiative::Theirs {
                continue;
            }
            if peer.key().is_node() {
                counts.nodes_expected += 1;
                counts.nodes_up += up;
            } else {
                counts.external_expected += u32::from(peer.dynamic.is_none());
                counts.external_up += up;
            }
        }
        counts
    }

    fn route_counts(&self, fib: &fib::Counters) -> RouteCounts {
        let mut counts = RouteCounts {
            wanted: fib.wanted as u64,
            installed: fib.installed as u64,
            failed: fib.failed.saturating_sub(fib.conflicts) as u64,
            conflicts: fib.conflicts as u64,
            stale: fib.stale as u64,
            originated: self.cluster.originations().count() as u64,
            ..RouteCounts::default()
        };
        let Some(routing) = &self.routing else {
            return counts;
        };
        for source in self.peers.iter().filter_map(|peer| peer.source) {
            for afi in Afi::ALL {
                let of_source = routing.rib.source_counts(source, afi);
                counts.received += u64::from(of_source.received);
                counts.rejected += u64::from(of_source.received - of_source.accepted);
                counts.best += u64::from(of_source.best);
                counts.received_stale += u64::from(of_source.stale);
                counts.received_long_lived_stale += u64::from(of_source.long_lived);
            }
        }
        counts.best += counts.originated;
        counts
    }

    fn dataplane_status(&self, seen: &Seen<'_>, fib: &fib::Counters) -> DataplaneStatus {
        let asked = self.egress.asked.as_ref().and_then(Option::as_ref);
        let wanted = asked.is_some_and(|rules| {
            let pods = |afi: Afi| rules.pods.get(afi).as_slice();
            Afi::ALL.into_iter().any(|afi| !pods(afi).is_empty())
        });
        DataplaneStatus {
            route_installation: self.installs(),
            read_back: self.read_back,
            // What is settled now is so until something changes, however long ago that was found out.
            synced_age_secs: if self.fib.is_settled() {
                Some(0)
            } else {
                self.fib_settled.map(|at| age_secs(seen.now, at))
            },
            operations: fib.ops_done,
            failures: fib.ops_failed,
            overruns: self.counters.overruns,
            repairs: self.counters.repairs,
            masquerade: wanted.then_some(self.egress.result == Some(Ok(()))),
        }
    }

    fn gate_status(&self, seen: &Seen<'_>) -> GateStatus {
        let mut waiting_for = Vec::new();
        if !self.synced {
            waiting_for.push("the source of objects".to_owned());
        }
        let peers = self.gate.awaited().filter_map(|id| self.peers.get(id));
        waiting_for.extend(peers.map(|peer| format!("End-of-RIB of {}", peer.name())));
        let shown = waiting_for.len().min(PROBLEMS_SHOWN);
        waiting_for.truncate(shown);
        GateStatus {
            open: self.gate.is_open(),
            waiting_for,
            deadline_secs: self
                .gate
                .next_deadline()
                .map(|at| at.since(seen.now).as_secs()),
        }
    }

    fn drain_status(&self, now: Instant, local: &LocalIntent) -> Option<DrainStatus> {
        let cause = local.draining?;
        let until = self.drain.next_deadline();
        Some(DrainStatus {
            cause: cause.as_str().into(),
            drained: until.is_none(),
            // A second that has begun is still to come.
            remaining_secs: until.map(|at| at.since(now).as_millis().div_ceil(1000) as u64),
        })
    }

    fn problems(&self, seen: &Seen<'_>, fib: &fib::Counters) -> Vec<Problem> {
        let mut problems = seen.outside.problems.clone();
        if self.read_back && fib.failed > 0 {
            self.route_problems(seen, &mut problems);
        }
        if let Some(Err(error)) = &self.egress.result {
            problems.push(Problem {
                object: "Masquerade".into(),
                reason: "MasqueradeFailed".into(),
                message: format!(
                    "{error}: pods cannot reach addresses outside the cluster, and packets to unused service addresses may loop"
                ),
            });
        }
        self.delivery_problems(&mut problems);
        self.next_hop_problems(&mut problems);
        for problem in self.cluster.problems() {
            problems.push(object_problem(problem));
        }
        self.peer_problems(&mut problems);
        self.limit_problems(&mut problems);
        self.bfd_problems(seen.now, &mut problems);
        self.station_problems(seen.now, &mut problems);
        self.unnumbered_problems(&mut problems);
        problems
    }

    fn route_problems(&self, seen: &Seen<'_>, problems: &mut Vec<Problem>) {
        let routes = Afi::ALL.into_iter().flat_map(|afi| self.fib.routes(afi));
        let failed = routes.filter_map(|route| match route.state {
            fib::RouteState::Failed(failure) => Some((route.net, failure)),
            _ => None,
        });
        for (net, failure) in failed.take(PROBLEMS_SHOWN) {
            problems.push(Problem {
                object: format!("Route/{net}"),
                reason: match failure.reason {
                    fib::Reason::Conflict => "RouteConflict".into(),
                    _ => "RouteFailed".into(),
                },
                message: super::routes::failure_text(seen.now, &failure),
            });
        }
    }

    fn peer_problems(&self, problems: &mut Vec<Problem>) {
        let down = |peer: &&&crate::peers::Peer| {
            let ours = peer.intent.initiative == Initiative::Ours;
            ours && !peer.is_established() && !peer.is_range()
        };
        for peer in self.peers.sorted().iter().filter(down).take(PROBLEMS_SHOWN) {
            let Some(why) = peer.last_error() else {
                // It has only just been tried for the first time.
                continue;
            };
            problems.push(Problem {
                object: peer.key().to_string(),
                reason: "SessionDown".into(),
                message: format!("the BGP session is {}: {why}", peer.state),
            });
        }
    }

    /// Figures are left out: they change all the time, and `get neighbors` has them.
    fn limit_problems(&self, problems: &mut Vec<Problem>) {
        let mut shown = 0;
        for peer in self.peers.sorted() {
            let Some(max) = peer.intent.max_prefixes else {
                continue;
            };
            for afi in Afi::ALL {
                if !*peer.announced.near.get(afi) || shown == PROBLEMS_SHOWN {
                    continue;
                }
                shown += 1;
                let then = match max.restart_after {
                    Some(after) => {
                        format!("more end the session for {} s", after.as_secs())
                    }
                    None => "the session stays up, whatever comes".to_owned(),
                };
                problems.push(Problem {
                    object: peer.key().to_string(),
                    reason: "NearMaxPrefixes".into(),
                    message: format!(
                        "{} announces {} or more of the {} {afi} prefixes that maxPrefixes allows; {then}",
                        peer.name(),
                        max.warning,
                        max.limit,
                    ),
                });
            }
        }
    }

    pub(super) fn nodes(&self, seen: &Seen<'_>) -> Vec<Node> {
        let mut problems: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for problem in self.cluster.problems() {
            if problem.object.kind == dunlin_intent::ObjectKind::Node {
                let of_node = problems.entry(&problem.object.name).or_default();
                of_node.push(format!("{}: {}", problem.reason, problem.message));
            }
        }
        self.cluster
            .nodes()
            .map(|node| {
                let name = node.fact.name.as_str();
                let peer = self.peers.node(name);
                let installed = |subnet: &&dunlin_intent::PodSubnet| {
                    let route = self.fib.route(subnet.net);
                    route.is_some_and(|route| route.state == fib::RouteState::Installed)
                };
                let count = node.pod_subnets.iter().filter(installed).count();
                Node {
                    name: name.to_owned(),
                    local: node.is_own,
                    role: self.cluster.role(name).as_str().into(),
                    addresses: node.fact.internal_ips.clone(),
                    pod_cidrs: node.fact.pod_cidrs.clone(),
                    session: peer.map(|peer| peer.state.to_string()),
                    since_secs: peer.map_or(0, |peer| age_secs(seen.now, peer.since)),
                    installed: u32::try_from(count).unwrap_or(u32::MAX),
                    draining: node.draining.is_some(),
                    problems: problems.remove(name).unwrap_or_default(),
                }
            })
            .collect()
    }

    pub(super) fn metrics(&self, seen: &Seen<'_>) -> Metrics {
        let mut metrics = Metrics {
            status: self.status(seen),
            refused_connections: seen.outside.refused_connections.clone(),
            rejected_by_reason: self.rejected_by_reason(),
            source_events: self.source_events(),
            refreshes_melted: self.melted_refreshes,
            bfd: seen.outside.bfd.as_ref().map(super::bfd::figures),
            router_discovery: seen.outside.router_discovery.clone(),
            service_announce: self.announcing.histogram.shown(),
            service_program: self
                .delivery
                .is_enabled()
                .then(|| self.delivery.histogram().shown()),
            ..Metrics::default()
        };
        for neighbor in self.neighbors(seen) {
            if let Some(bfd) = &neighbor.bfd {
                let kind = if neighbor.kind == "node" {
                    "node"
                } else {
                    "external"
                };
                let states = metrics.bfd_states.entry(kind.to_owned()).or_default();
                *states.entry(bfd.state.clone()).or_default() += 1;
            }
            if neighbor.kind != "node" {
                if metrics.external.len() < EXTERNAL_SHOWN {
                    metrics.external.push(neighbor);
                }
                continue;
            }
            metrics.node_flaps += neighbor.flaps;
            metrics.node_bfd_failures += neighbor.bfd.as_ref().map_or(0, |bfd| bfd.failures);
            add(&mut metrics.node_counters, &neighbor.counters);
            *metrics.node_states.entry(neighbor.state).or_default() += 1;
        }
        metrics
    }

    fn service_counts(&self) -> ServiceCounts {
        let counts = self.cluster.service_counts();
        let withheld = counts.withheld.into_iter();
        ServiceCounts {
            known: counts.known as u64,
            announced: counts.announced as u64,
            withheld: withheld
                .map(|(reason, count)| (reason.as_str().to_owned(), count as u64))
                .collect(),
        }
    }

    fn source_events(&self) -> BTreeMap<String, u64> {
        let events = self.announcing.events.iter();
        events.map(|(kind, n)| ((*kind).to_owned(), *n)).collect()
    }

    fn rejected_by_reason(&self) -> BTreeMap<String, u64> {
        let mut by_reason = BTreeMap::new();
        let Some(routing) = &self.routing else {
            return by_reason;
        };
        for source in self.peers.iter().filter_map(|peer| peer.source) {
            for afi in Afi::ALL {
                let counts = routing.rib.source_counts(source, afi);
                if counts.received == counts.accepted {
                    continue;
                }
                for (reason, count) in routing.rib.rejected(source, afi) {
                    *by_reason.entry(label(reason)).or_default() += u64::from(count);
                }
            }
        }
        by_reason
    }
}

fn add(sum: &mut NeighborCounters, more: &NeighborCounters) {
    sum.messages_received += more.messages_received;
    sum.messages_sent += more.messages_sent;
    sum.updates_received += more.updates_received;
    sum.updates_sent += more.updates_sent;
    sum.notifications_received += more.notifications_received;
    sum.notifications_sent += more.notifications_sent;
    sum.treated_as_withdraw += more.treated_as_withdraw;
    sum.attributes_discarded += more.attributes_discarded;
}

pub(super) fn object_problem(problem: &dunlin_intent::Problem) -> Problem {
    let field = problem.field.as_ref();
    Problem {
        object: problem.object.to_string(),
        reason: problem.reason.to_string(),
        message: match field {
            Some(field) => format!("{field}: {}", problem.message),
            None => problem.message.clone(),
        },
    }
}

/// The reason's name without its details, of which metrics would have too many.
fn label(reason: RejectReason) -> String {
    let mut label = format!("{reason:?}");
    if let Some(at) = label.find('(') {
        label.truncate(at);
    }
    label
}
