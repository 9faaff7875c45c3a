//! From the RIB to the kernel, and what the kernel says back.

use std::collections::BTreeSet;

use dunlin_bgp::attrs::{AttrBuilder, Origin};
use dunlin_bgp::batch::NextHop;
use dunlin_bgp::rib::{
    FibNextHop, FibRoute, GroupId, NextHopEvent, Resolution, Rib, RibConfig, RibFamily, SourceId,
    SourceInfo,
};
use dunlin_bgp::session::Command;
use dunlin_dataplane::KernelEvent;
use dunlin_dataplane::fib::{Fib, Hop, RouteChange, RouteEvent, RouteState, Wanted};
use dunlin_dataplane::links::{LinkChange, Links};
use dunlin_dataplane::mark;
use dunlin_intent::{
    Cluster, Initiative, LocalIntent, OriginKind, Origination, PeerKey, RouteInstallation,
};
use dunlin_net::{Family, Instant, IpNet, PeerId, PerFamily, V4, V6};

use crate::core::Core;
use crate::gate::{Claimant, Gate};
use crate::peers::{Peer, Peers};
use crate::policy::{Exports, Import, Reexport};

/// Octets of UPDATEs encoded at a time.
const OUTPUT_BYTES: usize = 64 * 1024;

/// The RIB and what belongs to it: made anew when who we are changes.
#[derive(Debug)]
pub(crate) struct Routing {
    pub(crate) rib: Rib,
    /// What we originate.
    pub(crate) own: Option<SourceId>,
    pub(crate) exports: Exports,
    /// Next hops that paths name.
    pub(crate) wanted_hops: BTreeSet<NextHop>,
    /// What we name as next hop toward other nodes.
    pub(crate) next_hops: PerFamily<Option<std::net::IpAddr>>,
    resolves: bool,
}

fn resolution(links: &Links, hop: &NextHop) -> Resolution {
    match links.resolve_scoped(hop.scoped()) {
        Ok(ifindex) => Resolution {
            reachable: true,
            igp_metric: 0,
            ifindex,
        },
        Err(_) => Resolution::default(),
    }
}

impl Routing {
    pub(crate) fn new(seed: u64, local: &LocalIntent) -> Routing {
        let installs = local.route_installation == RouteInstallation::Kernel;
        let mut config = RibConfig::new(seed, local.router_id, local.asn);
        config.resolve = installs;
        config.fib = installs;
        let mut rib = Rib::new(config);
        rib.set_gate(true, true);
        let own = rib.register(SourceInfo::local(local.router_id, local.asn));
        Routing {
            rib,
            own,
            exports: Exports::default(),
            wanted_hops: BTreeSet::new(),
            next_hops: local.next_hops,
            resolves: installs,
        }
    }

    fn resolve_all(&mut self, links: &Links) {
        let known = |hop: &NextHop| (*hop, resolution(links, hop));
        self.rib.set_next_hops(self.wanted_hops.iter().map(known));
    }

    fn settle_next_hops(&mut self, links: &Links) {
        let mut known = Vec::new();
        while let Some(event) = self.rib.poll_next_hop() {
            match event {
                NextHopEvent::Wanted(hop) => {
                    self.wanted_hops.insert(hop);
                    if self.resolves {
                        known.push((hop, resolution(links, &hop)));
                    }
                }
                NextHopEvent::Unused(hop) => {
                    self.wanted_hops.remove(&hop);
                }
            }
        }
        self.rib.set_next_hops(known);
    }

    /// What a prefix is to lead to, and where it goes at once if that dies.
    fn wanted(&self, net: IpNet, route: Option<FibRoute>) -> Option<(Wanted, Option<Hop>)> {
        let hop = |hop: &FibNextHop| Hop {
            gateway: hop.next_hop.addr,
            ifindex: hop.ifindex,
        };
        match route? {
            // What of our own pod subnets no pod has leads nowhere. A service address has no route: a connection from
            // this node would fail before it is translated.
            FibRoute::Local(_) => {
                let kind = self.exports.originated.kind(net);
                (kind == Some(OriginKind::PodSubnet)).then_some((Wanted::Blackhole, None))
            }
            FibRoute::Via(hops, backup) => {
                let wanted = Wanted::Via(hops.iter().map(hop).collect());
                Some((wanted, backup.as_ref().map(hop)))
            }
        }
    }

    /// Notes what is told to a peer, and has what that concerns looked at again.
    pub(crate) fn set_export(
        &mut self,
        key: &PeerKey,
        policy: &dunlin_intent::ExportPolicy,
        peers: &Peers,
    ) {
        let (number, what) = self.exports.set(key, policy);
        match what {
            Reexport::Nothing => {}
            Reexport::Kinds(kinds) => {
                for kind in kinds {
                    let nets: Vec<IpNet> = self.exports.originated.of(kind).collect();
                    self.reexport(&nets);
                }
            }
            Reexport::All => {
                let members = peers.iter().filter(|peer| peer.is_established());
                let groups: BTreeSet<GroupId> = members
                    .filter_map(|peer| self.rib.group_of(peer.id))
                    .filter(|group| {
                        let key = self.rib.group_key(*group);
                        key.is_some_and(|key| key.policy == number)
                    })
                    .collect();
                for group in groups {
                    self.rib.reexport(group);
                }
            }
        }
    }

    /// Has what peers are told of these prefixes looked at again.
    fn reexport(&mut self, nets: &[IpNet]) {
        let v4 = nets.iter().filter_map(|net| V4::from_net(*net));
        self.rib.reexport_prefixes::<V4>(v4);
        let v6 = nets.iter().filter_map(|net| V6::from_net(*net));
        self.rib.reexport_prefixes::<V6>(v6);
    }

    fn settle_fib<F: RibFamily>(&mut self, fib: &mut Fib, release: impl Fn(IpNet) -> bool) {
        while let Some((net, route)) = self.rib.poll_fib::<F>() {
            let net: IpNet = net.into();
            let (wanted, backup) = self.wanted(net, route).unzip();
            // What was wanted in this run is not left from an earlier one: it goes with whoever announced it, and
            // the gate has no say.
            let of_this_run = wanted.is_none()
                && fib
                    .route(net)
                    .is_some_and(|route| route.state != RouteState::Stale);
            fib.want_with_backup(net, wanted.as_ref(), backup.flatten());
            if of_this_run {
                fib.release(net);
            }
            // Whoever could have wanted something else has spoken: this is the whole of it, less than before or not.
            if release(net) {
                fib.release(net);
            }
        }
    }
}

impl Core {
    /// Lets the RIB draw its conclusions: next hops, Loc-RIB to FIB, Adj-RIB-Out to sessions.
    pub(crate) fn settle_routing(&mut self, work_budget: usize) -> bool {
        self.settle_rejudging();
        let installs = self.installs();
        let Some(routing) = &mut self.routing else {
            return false;
        };
        let import = Import {
            cluster: &self.cluster,
            peers: &self.peers,
            installs,
        };
        if std::mem::take(&mut self.links_changed) && routing.resolves {
            routing.resolve_all(&self.links);
        }
        routing.settle_next_hops(&self.links);
        routing.rib.poll_work(&import, work_budget);
        routing.settle_next_hops(&self.links);
        if installs {
            let (gate, peers, cluster) = (&self.gate, &self.peers, &self.cluster);
            let release = |net| releases(gate, cluster, peers, net);
            routing.settle_fib::<V4>(&mut self.fib, release);
            routing.settle_fib::<V6>(&mut self.fib, release);
        }
        self.settle_outputs();
        if self.regroup_due {
            self.settle_regrouping();
            self.settle_outputs();
        }
        self.routing
            .as_ref()
            .is_some_and(|routing| routing.rib.has_work())
    }

    /// Hands the sessions what their peers are to be told.
    fn settle_outputs(&mut self) {
        let Some(routing) = &mut self.routing else {
            return;
        };
        while let Some(output) = routing.rib.poll_output(&routing.exports, OUTPUT_BYTES) {
            let messages = message_count(&output.bytes);
            for peer in output.members() {
                let Some(up) = self.peers.get_mut(peer).and_then(|peer| peer.up.as_mut()) else {
                    continue;
                };
                up.sent += output.bytes.len() as u64;
                self.announcing.on_sent(peer, up);
                let send = Command::Send {
                    peer,
                    conn: up.conn,
                    bytes: output.bytes.clone(),
                    messages,
                };
                self.actions.push_back(crate::core::Action::Session(send));
            }
        }
    }

    pub(crate) fn originate(&mut self, net: IpNet, origination: &Origination) {
        let Some(routing) = &mut self.routing else {
            return;
        };
        let Some(own) = routing.own else { return };
        let kind = origination.kind;
        let before = routing.exports.originated.set(net, Some(kind));
        let attrs = AttrBuilder::originated(Origin::Igp).build();
        match net {
            IpNet::V4(net) => routing.rib.originate::<V4>(own, net, &attrs),
            IpNet::V6(net) => routing.rib.originate::<V6>(own, net, &attrs),
        };
        // The attributes are the same for all; what is made of them is not.
        if before.is_some_and(|before| before != kind) {
            routing.reexport(&[net]);
            let has_route = |kind| kind == OriginKind::PodSubnet;
            if before.is_some_and(has_route) != has_route(kind) {
                routing.rib.refresh_fib::<V4>();
                routing.rib.refresh_fib::<V6>();
            }
        }
        self.announcing.on_origination([before, Some(kind)]);
    }

    pub(crate) fn originate_gone(&mut self, net: IpNet) {
        let Some(routing) = &mut self.routing else {
            return;
        };
        let Some(own) = routing.own else { return };
        let before = routing.exports.originated.set(net, None);
        match net {
            IpNet::V4(net) => routing.rib.withdraw_origination::<V4>(own, net),
            IpNet::V6(net) => routing.rib.withdraw_origination::<V6>(own, net),
        }
        self.announcing.on_origination([before, None]);
    }

    /// Who owns a pod subnet has changed: what was said of it is judged again, and if nobody owns it any more its route goes
    /// without waiting for any peer.
    pub(crate) fn on_owner_changed(&mut self, net: IpNet) {
        self.rejudge.insert(net);
        self.release_soon.insert(net);
        self.egress.services_dirty = true;
    }

    pub(crate) fn on_protection_changed(&mut self, net: IpNet) {
        self.rejudge.insert(net);
        self.egress.services_dirty = true;
    }

    /// Judges again what is equal to the prefixes whose facts changed, within them, or covers them. Many facts that change
    /// together cost one pass over the table.
    fn settle_rejudging(&mut self) {
        if self.rejudge.is_empty() {
            return;
        }
        let nets = std::mem::take(&mut self.rejudge);
        let installs = self.installs();
        let Some(routing) = &mut self.routing else {
            return;
        };
        let import = Import {
            cluster: &self.cluster,
            peers: &self.peers,
            installs,
        };
        let of = |net: &IpNet| V4::from_net(*net);
        routing
            .rib
            .rejudge_related::<V4, _>(&import, nets.iter().filter_map(of));
        let of = |net: &IpNet| V6::from_net(*net);
        routing
            .rib
            .rejudge_related::<V6, _>(&import, nets.iter().filter_map(of));
    }

    /// From the kernel.
    pub(crate) fn on_kernel(&mut self, now: Instant, event: KernelEvent) {
        match event {
            KernelEvent::Link(event) => {
                let change = self.links.on_event(&event);
                self.on_link_change(now, change, Some(event.ifindex()));
            }
            KernelEvent::Route(event) => {
                self.count_repair(&event);
                self.fib.on_route(now, &event);
            }
            KernelEvent::NexthopChanged { id } => self.fib.on_nexthop_changed(now, id),
            KernelEvent::DumpBegin => {
                self.links.on_dump_begin();
                self.fib.on_dump_begin();
            }
            KernelEvent::DumpLinks(links) => {
                for link in links {
                    self.links.on_dump_link(link);
                }
            }
            KernelEvent::DumpAddresses(addresses) => {
                for address in addresses {
                    self.links.on_dump_address(address);
                }
            }
            KernelEvent::DumpItems(items) => {
                for item in &items {
                    self.fib.on_dump_item(item);
                }
            }
            KernelEvent::DumpEnd { complete } => self.on_dump_end(now, complete),
            KernelEvent::BatchDone(done) => self.fib.on_batch_done(now, &done),
            KernelEvent::Overrun => {
                self.counters.overruns += 1;
                self.fib.on_overrun(now);
            }
            KernelEvent::RulesDone(result) => {
                self.egress.in_flight = false;
                if result.as_ref().is_ok_and(|outcome| outcome.repaired) {
                    self.counters.repairs += 1;
                }
                self.egress.result = Some(result.map(|_| ()).map_err(|error| error.to_string()));
            }
            // Routes are not concerned.
            KernelEvent::ProxyDone(_) | KernelEvent::ProxyFound(_) | KernelEvent::ProxyMeddled => {
                self.on_kernel_proxy(now, event);
            }
        }
    }

    /// What somebody else does to a route of ours will be undone.
    fn count_repair(&mut self, event: &RouteEvent) {
        let ours = event.protocol == mark::ROUTE_PROTOCOL;
        let harmed = match event.change {
            RouteChange::Deleted => ours,
            RouteChange::New { .. } if ours => true,
            // A route of theirs in the place of ours, or of another of theirs.
            RouteChange::New { replaced, .. } => {
                let stood = self.fib.route(event.net);
                replaced && stood.is_some_and(|route| route.state == RouteState::Installed)
            }
        };
        self.counters.repairs += u64::from(harmed);
    }

    fn on_dump_end(&mut self, now: Instant, complete: bool) {
        let change = self.links.on_dump_end(complete);
        self.fib.on_dump_end(now, complete);
        self.on_link_change(now, change, None);
        if !self.read_back && self.fib.is_synced() {
            self.read_back = true;
            self.adopted = self.fib.adopted() > 0;
            self.release_due = true;
        }
    }

    fn on_link_change(&mut self, now: Instant, change: LinkChange, ifindex: Option<u32>) {
        self.unnumbered.dirty |= change != LinkChange::Nothing;
        if change != LinkChange::Reachability {
            return;
        }
        if let Some(ifindex) = ifindex {
            self.fib.on_link(now, ifindex);
        }
        let subnets: Vec<IpNet> = self
            .links
            .addresses()
            .map(|address| address.on_link)
            .collect();
        self.cluster.set_on_link(subnets);
        let addresses = self.links.addresses().map(|address| address.local);
        self.cluster.set_machine_addresses(addresses);
        self.links_changed = true;
        self.bfd.dirty = true;
    }

    /// Lets go of what the kernel holds of an earlier run and nobody can want any more.
    pub(crate) fn release_all(&mut self) {
        if !self.gate.is_synced() || !self.read_back || self.local.is_none() {
            return;
        }
        if self.gate.releases_all() || !self.installs() {
            self.fib.hold_deletes(false);
            return;
        }
        let stale: Vec<IpNet> = self.fib.stale().collect();
        for net in stale {
            self.release_if_free(net);
        }
    }

    /// The same for one prefix.
    pub(crate) fn release_if_free(&mut self, net: IpNet) {
        if self.local.is_none() || !self.read_back || !self.gate.is_synced() {
            return;
        }
        let Some(route) = self.fib.route(net) else {
            return;
        };
        if route.state != RouteState::Stale {
            return;
        }
        let free = match claimant(&self.cluster, &self.peers, net) {
            // What the filter of nobody who is awaited lets in was not announced by any of them.
            Claimant::Outside => !awaits(&self.gate, &self.peers, |peer| {
                peer.may_announce(net, false)
            }),
            _ => releases(&self.gate, &self.cluster, &self.peers, net),
        };
        if free {
            self.fib.release(net);
        }
    }

    /// A peer has told all it has, or is wanted no longer: what it alone could have announced may go.
    pub(crate) fn on_peer_complete(&mut self, id: PeerId, key: &PeerKey) {
        if !self.gate.on_complete(id) {
            return;
        }
        let reflects = self.peers.get(id).is_some_and(|peer| peer.intent.reflector);
        if self.gate.is_open() || !key.is_node() || reflects {
            self.release_due = true;
        } else {
            let node = self.cluster.node(key.name());
            let subnets = node.map_or_else(Vec::new, |node| node.pod_subnets);
            self.release_soon
                .extend(subnets.iter().map(|subnet| subnet.net));
        }
        self.on_gate_moved();
    }
}

/// Whether any router outside is awaited that is as asked.
fn awaits(gate: &Gate, peers: &Peers, is: impl Fn(&Peer) -> bool) -> bool {
    gate.outside().any(|id| peers.get(id).is_some_and(&is))
}

/// Whether the restart gate lets go of a prefix that nobody wants. A pod subnet may also come by the fabric.
fn releases(gate: &Gate, cluster: &Cluster, peers: &Peers, net: IpNet) -> bool {
    let claimant = claimant(cluster, peers, net);
    let by_fabric = |peer: &Peer| peer.is_fabric() && peer.may_announce(net, true);
    let outside = claimant == Claimant::Outside;
    gate.releases(claimant) && (outside || !awaits(gate, peers, by_fabric))
}

/// Who could still announce a prefix.
fn claimant(cluster: &Cluster, peers: &Peers, net: IpNet) -> Claimant {
    match cluster.origin().owner_of(net) {
        None => Claimant::Outside,
        Some(owner) => match peers.node(&owner.node) {
            Some(peer) if peer.intent.initiative == Initiative::Ours => Claimant::Peer(peer.id),
            _ if *owner.node == *cluster.node_name() => Claimant::Nobody,
            _ => Claimant::Reflectors,
        },
    }
}

/// How many BGP messages a block holds (RFC 4271 4.1: the length stands after the marker).
fn message_count(mut bytes: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(&[high, low]) = bytes.get(16..18) {
        count += 1;
        let len = usize::from(u16::from_be_bytes([high, low])).max(19);
        bytes = bytes.get(len..).unwrap_or_default();
    }
    count
}
