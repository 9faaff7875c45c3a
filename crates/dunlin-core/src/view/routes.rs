use dunlin_api::{
    AdvertisedTo, Advertisement, Path, Route, RouteFilter, RouteState, RouteView, ToldPath,
};
use dunlin_bgp::attrs::{Attrs, Origin};
use dunlin_bgp::policy::RejectReason;
use dunlin_bgp::rib::{DecisionStep, ExportView, PathView, PrefixView, RibFamily};
use dunlin_dataplane::fib;
use dunlin_intent::OriginKind;
use dunlin_net::{Afi, Instant, IpNet, PeerId, V4, V6};

use super::Seen;
use crate::core::Core;

/// The most rows of one answer.
const ROWS_MAX: usize = 10_000;

/// Prefixes looked at in one step of a scan.
const SCAN_STEP: usize = 4096;

impl Core {
    pub(super) fn routes(&self, seen: &Seen<'_>, filter: &RouteFilter) -> RouteView<Route> {
        let mut nets: Vec<IpNet> = Vec::new();
        let truncated = self.matching(filter, &mut nets, |core, net, from| {
            let from_peer = |name: &str| from.iter().any(|id| core.is_called(*id, name));
            filter.peer.as_deref().is_none_or(from_peer)
                && (filter.node.as_deref()).is_none_or(|node| core.is_owned_by(net, node))
        });
        let items = nets.into_iter().filter_map(|net| self.route(seen, net));
        RouteView {
            items: items.collect(),
            truncated,
        }
    }

    /// Collects the prefixes that a filter names, in order; says whether there were more than its limit.
    fn matching(
        &self,
        filter: &RouteFilter,
        nets: &mut Vec<IpNet>,
        wanted: impl Fn(&Core, IpNet, &[PeerId]) -> bool,
    ) -> bool {
        let limit = filter.limit.map_or(ROWS_MAX, |limit| limit as usize);
        let limit = limit.min(ROWS_MAX);
        for afi in Afi::ALL {
            if filter.family.is_some_and(|family| family != afi) {
                continue;
            }
            match afi {
                Afi::Ipv4 => self.collect::<V4>(filter, nets, &wanted),
                Afi::Ipv6 => self.collect::<V6>(filter, nets, &wanted),
            }
        }
        let truncated = nets.len() > limit;
        nets.truncate(limit);
        truncated
    }

    fn collect<F: RibFamily>(
        &self,
        filter: &RouteFilter,
        nets: &mut Vec<IpNet>,
        wanted: &impl Fn(&Core, IpNet, &[PeerId]) -> bool,
    ) {
        let Some(routing) = &self.routing else { return };
        let within = filter.prefix.map(|prefix| prefix.trunc());
        let mut found = Vec::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (views, next) = routing.rib.scan::<F>(at, SCAN_STEP);
            for view in &views {
                let net: IpNet = view.net.into();
                let from: Vec<PeerId> = view
                    .paths
                    .iter()
                    .filter_map(|path| path.info.peer)
                    .collect();
                if within.is_none_or(|within| within.contains(&net)) && wanted(self, net, &from) {
                    found.push(net);
                }
            }
            cursor = next;
        }
        // Kernel routes that no path stands behind any more: kept by the restart gate.
        for stale in self.fib.routes(F::AFI) {
            if stale.state == fib::RouteState::Stale
                && within.is_none_or(|within| within.contains(&stale.net))
                && wanted(self, stale.net, &[])
            {
                found.push(stale.net);
            }
        }
        found.sort_unstable();
        found.dedup();
        nets.append(&mut found);
    }

    fn is_called(&self, id: PeerId, name: &str) -> bool {
        let wanted = name.parse().ok();
        self.peers
            .get(id)
            .is_some_and(|peer| peer.name() == name || wanted.is_some() && peer.address() == wanted)
    }

    fn is_owned_by(&self, net: IpNet, node: &str) -> bool {
        let owner = self.cluster.origin().owner_covering(net);
        let routing = self.routing.as_ref();
        let originates = || routing.is_some_and(|r| r.exports.originated.kind(net).is_some());
        owner.is_some_and(|(_, owner)| owner.node == node)
            || *self.config.node_name == *node && originates()
    }

    pub(super) fn route(&self, seen: &Seen<'_>, net: IpNet) -> Option<Route> {
        let paths = match net {
            IpNet::V4(net) => self.paths::<V4>(net),
            IpNet::V6(net) => self.paths::<V6>(net),
        };
        let kernel = self.kernel_state(seen.now, net);
        if paths.is_empty() && kernel == RouteState::NotWanted {
            return None;
        }
        Some(Route {
            prefix: net,
            paths,
            kernel,
        })
    }

    pub(super) fn kernel_state(&self, now: Instant, net: IpNet) -> RouteState {
        let Some(route) = self.fib.route(net) else {
            return RouteState::NotWanted;
        };
        match route.state {
            fib::RouteState::Installed => RouteState::Installed,
            fib::RouteState::Pending => RouteState::Pending,
            fib::RouteState::Stale => RouteState::Stale,
            fib::RouteState::Failed(failure) if failure.reason == fib::Reason::Conflict => {
                RouteState::Conflict
            }
            fib::RouteState::Failed(failure) => RouteState::Failed {
                error: failure_text(now, &failure),
                retry_secs: failure.retry_at.map_or(0, |at| at.since(now).as_secs()),
            },
        }
    }

    fn paths<F: RibFamily>(&self, net: F::Net) -> Vec<Path> {
        let Some(routing) = &self.routing else {
            return Vec::new();
        };
        let view: Option<PrefixView<'_, F>> = routing.rib.lookup::<F>(net);
        view.map_or_else(Vec::new, |view| {
            view.paths.iter().map(|path| self.path(path)).collect()
        })
    }

    fn path(&self, path: &PathView<'_>) -> Path {
        let peer = path.info.peer.and_then(|id| self.peers.get(id));
        let attrs = path.used.unwrap_or(path.received);
        let interface = self.links.resolve_scoped(path.next_hop.scoped()).ok();
        let interface = interface.and_then(|index| self.links.get(index));
        let mut shown = described(attrs);
        shown.from = match (peer, path.info.is_local()) {
            (Some(peer), _) => peer.name(),
            (None, true) => "local".into(),
            (None, false) => path.info.remote_addr.to_string(),
        };
        shown.path_id = path.path_id;
        shown.address = peer.and_then(|peer| peer.address());
        shown.next_hop = (!path.info.is_local()).then_some(path.next_hop.addr);
        shown.interface = interface.map(|link| link.name.clone());
        shown.best = path.best;
        shown.multipath = path.forwarding;
        shown.stale = path.stale;
        shown.long_lived_stale = path.long_lived;
        shown.reason = match (&path.used, path.lost) {
            (Err(reason), _) => Some(reason.to_string()),
            (Ok(_), Some(step)) => Some(step_text(step).into()),
            (Ok(_), None) => None,
        };
        shown
    }

    pub(super) fn advertisements(&mut self, filter: &RouteFilter) -> RouteView<Advertisement> {
        let mut nets = Vec::new();
        let truncated = self.matching(filter, &mut nets, |core, net, _| {
            (filter.node.as_deref()).is_none_or(|node| core.is_owned_by(net, node))
        });
        let peers: Vec<PeerId> = self
            .peers
            .sorted()
            .iter()
            .filter(|peer| peer.is_established())
            .map(|peer| peer.id)
            .filter(|id| (filter.peer.as_deref()).is_none_or(|name| self.is_called(*id, name)))
            .collect();
        let mut items = Vec::new();
        let is_own = |advertisement: &Advertisement| {
            let origin = &advertisement.origin;
            origin.starts_with("Node/") || origin.starts_with("Service/")
        };
        for net in nets {
            let advertisement = self.advertisement(net, &peers);
            let told = |to: &AdvertisedTo| to.advertised;
            // What no one is told is of interest only where it is ours, or was asked for.
            if filter.prefix == Some(net)
                || is_own(&advertisement)
                || advertisement.to.iter().any(told)
            {
                items.push(advertisement);
            }
        }
        RouteView { items, truncated }
    }

    pub(super) fn advertisement(&mut self, net: IpNet, peers: &[PeerId]) -> Advertisement {
        let routing = self.routing.as_ref();
        let mut advertisements = Vec::new();
        let origin = match routing.and_then(|routing| routing.exports.originated.kind(net)) {
            Some(OriginKind::Service(class)) => {
                let names = self.cluster.class_advertisements(class);
                advertisements = names.iter().map(ToString::to_string).collect();
                self.announced_for(net)
            }
            Some(_) => format!("Node/{}", self.config.node_name),
            None => {
                let from = match net {
                    IpNet::V4(net) => self.paths::<V4>(net),
                    IpNet::V6(net) => self.paths::<V6>(net),
                };
                from.into_iter()
                    .next()
                    .map_or_else(String::new, |path| path.from)
            }
        };
        let to = peers.iter().filter_map(|id| self.advertised_to(net, *id));
        Advertisement {
            prefix: net,
            origin,
            advertisements,
            to: to.collect::<Vec<_>>(),
        }
    }

    pub(super) fn advertised_to(&mut self, net: IpNet, id: PeerId) -> Option<AdvertisedTo> {
        let peer = self.peers.get(id)?;
        let mut to = AdvertisedTo {
            name: peer.name(),
            address: peer.address(),
            ..AdvertisedTo::default()
        };
        let routing = self.routing.as_mut()?;
        let exports = &routing.exports;
        let mut first = true;
        let show = |shown: Result<ExportView<'_>, RejectReason>| {
            let best = std::mem::take(&mut first);
            match shown {
                Ok(view) => {
                    let next_hop = Some(view.next_hop.addr);
                    if best {
                        to.advertised = view.told;
                        to.next_hop = next_hop;
                    }
                    if !view.told {
                        to.reason = Some("waits to be written".into());
                    }
                    to.paths.extend(view.path_id.map(|id| ToldPath {
                        id,
                        next_hop,
                        advertised: view.told,
                    }));
                }
                Err(reason) => to.reason = Some(reason.to_string()),
            }
        };
        let shown = match net {
            IpNet::V4(net) => routing.rib.exported::<V4, _, _>(exports, id, net, show),
            IpNet::V6(net) => routing.rib.exported::<V6, _, _>(exports, id, net, show),
        };
        (!shown.is_empty()).then_some(to)
    }
}

fn described(attrs: Attrs<'_>) -> Path {
    let mut communities: Vec<String> = attrs
        .communities()
        .map(|value| format!("{}:{}", value >> 16, value & 0xffff))
        .collect();
    let large = attrs.large_communities();
    communities.extend(large.map(|[global, first, second]| format!("{global}:{first}:{second}")));
    Path {
        as_path: attrs.as_path().to_string(),
        origin: match attrs.origin() {
            Some(Origin::Igp) => "igp".into(),
            Some(Origin::Egp) => "egp".into(),
            _ => "incomplete".into(),
        },
        local_pref: attrs.local_pref(),
        med: attrs.med(),
        communities,
        only_to_customer: attrs.only_to_customer().map(|asn| asn.0),
        ..Path::default()
    }
}

pub(super) fn failure_text(now: Instant, failure: &fib::Failure) -> String {
    let mut text = failure.reason.to_string();
    if let Some(message) = &failure.message {
        text = format!("{text}: {message}");
    }
    if failure.errno != 0 {
        text = format!("{text} (errno {})", failure.errno);
    }
    match failure.retry_at {
        Some(at) => format!("{text}; tried again in {} s", at.since(now).as_secs()),
        None => text,
    }
}

fn step_text(step: DecisionStep) -> &'static str {
    match step {
        DecisionStep::LocalOrigin => "another path is originated here",
        DecisionStep::LongLivedStale => "long-lived stale, another is not",
        DecisionStep::LocalPref => "another has a higher local preference",
        DecisionStep::AsPathLength => "another has a shorter AS path",
        DecisionStep::Origin => "another has a better origin",
        DecisionStep::Med => "another has a lower MED",
        DecisionStep::ExternalOverInternal => "another was learned from an external peer",
        DecisionStep::IgpMetric => "another has a nearer next hop",
        DecisionStep::RouterId => "another comes from a lower router id",
        DecisionStep::ClusterListLength => "another was reflected fewer times",
        DecisionStep::PeerAddress => "another comes from a lower address",
        DecisionStep::PathIdentifier => "another of this peer has a lower path identifier",
    }
}
