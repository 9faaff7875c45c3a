//! What concerns this node itself: who it is, what it originates, masquerade, readiness to carry pods.

use std::sync::Arc;
use std::time::Duration;

use dunlin_dataplane::KernelCommand;
use dunlin_dataplane::rules::{self, Ranges, Rules};
use dunlin_intent::{LocalIntent, RouteInstallation};
use dunlin_net::{Afi, Instant, IpNet, PerFamily};

use crate::core::{Action, Core, PodNetwork};
use crate::gate::Gate;
use crate::peer_config::Restart;
use crate::routes::Routing;

/// Our nf_tables table: masquerade of pods' traffic that leaves the cluster, and the end of traffic to service addresses
/// that nobody translated.
#[derive(Debug, Default)]
pub(crate) struct Egress {
    /// Something changed that masquerade follows from.
    pub(crate) dirty: bool,
    /// Something changed that the ranges follow from that nothing is forwarded to.
    pub(crate) services_dirty: bool,
    /// What is wanted, as far as it has been looked at.
    wanted: Rules,
    /// What was last asked of the kernel.
    pub(crate) asked: Option<Option<Rules>>,
    /// An answer is awaited: one request at a time, so that changes gather meanwhile.
    pub(crate) in_flight: bool,
    /// The kernel's last answer.
    pub(crate) result: Option<Result<(), String>>,
}

/// Whether the kernel forwards.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    /// What was last asked for.
    asked: PerFamily<bool>,
    /// How it went.
    pub(crate) result: Option<Result<(), String>>,
    /// When it is tried again.
    pub(crate) retry_at: Option<Instant>,
}

impl Forwarding {
    const RETRY: Duration = Duration::from_secs(10);

    pub(crate) fn on_result(&mut self, now: Instant, result: Result<(), String>) {
        self.retry_at = result.is_err().then(|| now + Forwarding::RETRY);
        self.result = Some(result);
    }
}

impl Core {
    pub(crate) fn on_local(&mut self, now: Instant, local: Option<Arc<LocalIntent>>) {
        self.egress.dirty = true;
        self.bfd.dirty = true;
        let before = std::mem::replace(&mut self.local, local.clone());
        let Some(local) = local else {
            return;
        };
        self.on_drain(now, before.is_some(), &local);
        let same_rib = before.is_some_and(|before| {
            before.router_id == local.router_id
                && before.asn == local.asn
                && before.route_installation == local.route_installation
        });
        if self.routing.is_none() || !same_rib {
            self.rebuild_routing(now, &local);
        }
        if let Some(routing) = &mut self.routing
            && routing.next_hops != local.next_hops
        {
            // A family that loses its address is told nothing new by it: what was originated in it goes by itself.
            routing.next_hops = PerFamily {
                v4: local.next_hops.v4.or(routing.next_hops.v4),
                v6: local.next_hops.v6.or(routing.next_hops.v6),
            };
            self.regroup_due = true;
        }
        self.forward(&local);
        self.delivery.on_local(&local);
        self.configure_stations(now, &local.bmp);
        if self.listening != Some(local.listen_port) {
            self.listening = Some(local.listen_port);
            self.actions.push_back(Action::Listen(local.listen_port));
        }
    }

    /// A node that installs routes forwards packets, in the families it has addresses of.
    fn forward(&mut self, local: &LocalIntent) {
        let installs = local.route_installation == RouteInstallation::Kernel;
        let wanted = PerFamily {
            v4: installs && local.next_hops.v4.is_some(),
            v6: installs && local.next_hops.v6.is_some(),
        };
        if wanted != self.forwarding.asked && wanted != PerFamily::default() {
            self.forwarding.asked = wanted;
            self.ask_forwarding();
        }
    }

    pub(crate) fn ask_forwarding(&mut self) {
        self.forwarding.retry_at = None;
        let wanted = self.forwarding.asked;
        self.actions.push_back(Action::EnableForwarding(wanted));
    }

    /// Who we are has changed, which every session has been told: all of them start anew, with an empty RIB. Kernel routes
    /// stay until they are wanted again or known not to be.
    fn rebuild_routing(&mut self, now: Instant, local: &LocalIntent) {
        let ids = self.peers.all();
        let had = self.routing.is_some();
        self.routing = Some(Routing::new(self.config.seed, local));
        if !had {
            return;
        }
        self.restart_stations(now);
        // As after a start: what the kernel holds stays until it is wanted again or known not to be.
        self.fib.start_anew();
        self.adopted = true;
        self.config.restart = Restart {
            restarting: true,
            forwarding_preserved: true,
        };
        if self.gate.is_synced() {
            self.gate = Gate::new();
            self.told_open = false;
        }
        for id in ids {
            self.restart_peer(now, id);
        }
        let originations: Vec<_> = self
            .cluster
            .originations()
            .map(|(net, origination)| (net, origination.clone()))
            .collect();
        for (net, origination) in originations {
            if !self.is_held(net) {
                self.originate(net, &origination);
            }
        }
    }

    /// Whether routes go into the kernel.
    pub(crate) fn installs(&self) -> bool {
        self.local
            .as_ref()
            .is_some_and(|local| local.route_installation == RouteInstallation::Kernel)
    }

    /// The sources that are masqueraded, and the destinations that are not; none of either where nothing is.
    fn wanted_masquerade(&self) -> (PerFamily<Ranges>, PerFamily<Ranges>) {
        let egress = self.local.as_ref().map(|local| &local.pod_egress);
        let egress = egress.filter(|egress| egress.masquerade && !egress.sources.is_empty());
        match egress {
            Some(egress) if self.installs() => (
                rules::ranges(egress.sources.iter().copied()),
                rules::ranges(self.cluster.egress_exclusions()),
            ),
            _ => Default::default(),
        }
    }

    /// The ranges that nothing is forwarded to. What is a Node's, a peer's or a pod's stays reachable, whatever a Service
    /// or a pool says.
    fn untranslatable(&self) -> PerFamily<Ranges> {
        let services: Vec<IpNet> = self.cluster.service_ranges().collect();
        let origin = self.cluster.origin();
        let taken = services.iter().flat_map(|net| origin.taken_within(*net));
        let taken = rules::ranges(taken);
        let mut left = rules::ranges(services.iter().copied());
        for afi in Afi::ALL {
            let ranges = left.get(afi).without(taken.get(afi));
            *left.get_mut(afi) = ranges;
        }
        left
    }

    pub(crate) fn settle_egress(&mut self) {
        // Before the sources have synced, a destination that is excluded may not be known yet, and what an earlier run
        // programmed is better than half of it.
        let known = self.synced && self.local.is_some();
        let dirty = self.egress.dirty || self.egress.services_dirty;
        if !dirty || self.egress.in_flight || !known {
            return;
        }
        if std::mem::take(&mut self.egress.dirty) {
            let (pods, cluster) = self.wanted_masquerade();
            self.egress.wanted.pods = pods;
            self.egress.wanted.cluster = cluster;
        }
        if std::mem::take(&mut self.egress.services_dirty) {
            self.egress.wanted.services = self.untranslatable();
        }
        let wanted = &self.egress.wanted;
        let wanted = (!wanted.is_idle()).then_some(wanted);
        let asked = self.egress.asked.as_ref().map(Option::as_ref);
        if asked == Some(wanted) && self.egress.result.is_some() {
            return;
        }
        let wanted = wanted.cloned();
        self.egress.asked = Some(wanted.clone());
        self.egress.in_flight = true;
        self.kernel(KernelCommand::SetRules(wanted));
    }

    /// Tells when what the CNI configuration says has changed. Once it could be written it stays as it is while something is
    /// repaired: pods that run are better off with what they have.
    pub(crate) fn settle_pod_network(&mut self) {
        let Some(network) = self.current_pod_network() else {
            return;
        };
        if self.pod_network.as_ref() != Some(&network) {
            self.pod_network = Some(network.clone());
            self.actions.push_back(Action::PodNetwork(network));
        }
    }

    fn current_pod_network(&self) -> Option<PodNetwork> {
        if !self.not_ready().is_empty() {
            return None;
        }
        let local = self.local.as_ref()?;
        Some(PodNetwork {
            pod_cidrs: local.pod_subnets.clone(),
            mtu: self.uplink_mtu()?,
        })
    }

    fn uplink_mtu(&self) -> Option<u32> {
        let local = self.local.as_ref()?;
        let link = |addr| self.links.link_of(addr).map(|link| link.mtu);
        local.addresses.iter().find_map(|addr| link(*addr))
    }

    /// What is missing before the node can carry pods. Never anything that depends on peers.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.synced {
            missing.push("the source of objects has not told everything yet".into());
        }
        if !self.read_back {
            missing.push("the kernel has not been read back yet".into());
        }
        let Some(local) = &self.local else {
            missing.push(format!(
                "no usable Node object named {}",
                self.config.node_name
            ));
            return missing;
        };
        if local.pod_subnets.is_empty() {
            missing.push("the Node has no pod subnet of its own (spec.podCIDRs)".into());
        }
        if self.uplink_mtu().is_none() {
            missing.push("no link of this machine holds the Node's InternalIP".into());
        }
        match &self.forwarding.result {
            Some(Ok(())) => {}
            Some(Err(error)) => missing.push(format!("forwarding: {error}")),
            None => missing.push("forwarding is not enabled yet".into()),
        }
        match &self.egress.result {
            Some(Ok(())) if !self.egress.in_flight => {}
            Some(Err(error)) => missing.push(format!("masquerade: {error}")),
            _ if self.pod_network.is_some() => {}
            _ => missing.push("masquerade is not acknowledged yet".into()),
        }
        missing
    }
}
