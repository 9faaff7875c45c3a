//! Where and why something stops, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_api::{Explanation, Path, RouteState, Step, ToldPath, Verdict};
use dunlin_bgp::rib::MAX_PATHS_OF_SOURCE;
use dunlin_intent::OriginKind;
use dunlin_net::{IpNet, PeerId};

use super::Seen;
use crate::core::Core;
use crate::peers::Peer;

/// The most peers an explanation goes into.
const PEERS_SHOWN: usize = 100;

/// The objects that announce a service address, as people call them.
pub(super) fn advertisements(names: &[Arc<str>]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|name| format!("BGPAdvertisement/{name}"))
        .collect();
    names.join(" and ")
}

/// How many paths came with an identifier from each neighbor.
fn counted(paths: &[Path]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for path in paths.iter().filter(|path| path.path_id.is_some()) {
        *counts.entry(path.from.as_str()).or_default() += 1;
    }
    counts
}

/// A path as it is told where several are.
fn told_path(path: &ToldPath) -> String {
    let hop = path
        .next_hop
        .map_or_else(String::new, |hop| format!(" with next hop {hop}"));
    let waits = if path.advertised {
        ""
    } else {
        " (waits to be written)"
    };
    format!("path {}{hop}{waits}", path.id)
}

pub(super) fn step(stage: &str, verdict: Verdict, text: impl Into<String>) -> Step {
    Step {
        stage: stage.into(),
        verdict,
        text: text.into(),
        lines: Vec::new(),
    }
}

/// As communities are shown (RFC 8326).
const GRACEFUL_SHUTDOWN: &str = "65535:0";

impl Core {
    pub(super) fn explain_prefix(&mut self, seen: &Seen<'_>, net: IpNet) -> Explanation {
        let net = net.trunc();
        if let Some(explanation) = self.explain_address(seen, net) {
            return explanation;
        }
        let mut steps = vec![self.explain_object(net)];
        steps.extend(self.explain_own(net));
        steps.extend(self.explain_drain(net));
        let usable = self.explain_paths(seen, net, &mut steps);
        let kernel = self.explain_kernel(seen, net, usable);
        let ok = matches!(kernel.verdict, Verdict::Pass | Verdict::Info)
            && !steps
                .iter()
                .any(|step| step.verdict == Verdict::Stop && step.stage != "adj-rib-in");
        let summary = kernel.text.clone();
        steps.push(kernel);
        steps.extend(self.explain_exports(net, |_| true));
        Explanation {
            subject: net.to_string(),
            summary,
            ok,
            steps,
        }
    }

    fn explain_object(&self, net: IpNet) -> Step {
        let origin = self.cluster.origin();
        if let Some(owner) = origin.owner_of(net) {
            let addresses: Vec<String> = owner.addresses.iter().map(ToString::to_string).collect();
            let text = format!(
                "pod subnet of Node/{} ({})",
                owner.node,
                addresses.join(", ")
            );
            return step("object", Verdict::Pass, text);
        }
        if self.is_service_prefix(net) {
            let text = format!("an aggregate of addresses of {}", self.announced_for(net));
            return step("object", Verdict::Pass, text);
        }
        match origin.owner_covering(net) {
            Some((subnet, owner)) => {
                let text = format!("lies within {subnet}, a pod subnet of Node/{}", owner.node);
                step("object", Verdict::Info, text)
            }
            None => step("object", Verdict::Info, "no Node has it as a pod subnet"),
        }
    }

    fn explain_own(&self, net: IpNet) -> Option<Step> {
        let (_, origination) = self.cluster.originations().find(|(own, _)| *own == net)?;
        let by = match origination.kind {
            OriginKind::Service(class) => {
                let names = self.cluster.class_advertisements(class);
                format!(" by {}", advertisements(names))
            }
            _ => String::new(),
        };
        let text = format!(
            "this node originates it{by} with next hop {}",
            origination.next_hop
        );
        Some(step("intent", Verdict::Pass, text))
    }

    /// What is said to all who are told a prefix of ours while this node is drained.
    pub(super) fn explain_drain(&self, net: IpNet) -> Option<Step> {
        let cause = self.local.as_ref()?.draining?;
        self.cluster.originations().find(|(own, _)| *own == net)?;
        let text = format!(
            "the node is drained ({}): told with GRACEFUL_SHUTDOWN (65535:0)",
            cause.as_str()
        );
        Some(step("intent", Verdict::Info, text))
    }

    /// Says whether any path can be used.
    pub(super) fn explain_paths(&self, seen: &Seen<'_>, net: IpNet, steps: &mut Vec<Step>) -> bool {
        let paths = self
            .route(seen, net)
            .map_or_else(Vec::new, |route| route.paths);
        for path in paths.iter().filter(|path| path.from != "local") {
            let hop = path
                .next_hop
                .map_or_else(String::new, |hop| format!(", next hop {hop}"));
            let stale = match (path.long_lived_stale, path.stale) {
                (true, _) => ", kept as long-lived stale",
                (false, true) => ", kept as stale",
                (false, false) => "",
            };
            let as_path = if path.as_path.is_empty() {
                String::new()
            } else {
                format!(", AS path {}", path.as_path)
            };
            let id = path
                .path_id
                .map_or_else(String::new, |id| format!(" (path {id})"));
            let leaves = path.local_pref == Some(0)
                && path.communities.iter().any(|it| it == GRACEFUL_SHUTDOWN);
            let leaves = match leaves {
                true => ", to go soon (GRACEFUL_SHUTDOWN 65535:0) and so with local preference 0",
                false => "",
            };
            let mark = path.only_to_customer.map_or_else(String::new, |asn| {
                format!(", only to customers (marked by AS {asn})")
            });
            let what = format!("from {}{id}{hop}{as_path}{mark}{stale}{leaves}", path.from);
            let (verdict, end) = match (&path.reason, path.best, path.multipath) {
                (None, true, _) => (Verdict::Pass, ": best path".to_owned()),
                (Some(reason), _, true) => (
                    Verdict::Pass,
                    format!(": shares the traffic (not best: {reason})"),
                ),
                (Some(reason), _, false) => (Verdict::Stop, format!(": {reason}")),
                (None, false, true) => (Verdict::Pass, ": shares the traffic".into()),
                (None, false, false) => (Verdict::Stop, self.unresolved(path.next_hop)),
            };
            steps.push(step("adj-rib-in", verdict, format!("{what}{end}")));
        }
        for (from, count) in counted(&paths) {
            if count >= MAX_PATHS_OF_SOURCE {
                let text = format!(
                    "from {from}: {count} paths, as many of a prefix as are taken from one peer; any more were refused"
                );
                steps.push(step("adj-rib-in", Verdict::Info, text));
            }
        }
        if paths.is_empty() {
            steps.push(step(
                "adj-rib-in",
                Verdict::Stop,
                self.nobody_announces(net),
            ));
        }
        paths.iter().any(|path| path.best)
    }

    fn unresolved(&self, next_hop: Option<std::net::IpAddr>) -> String {
        let why = next_hop.and_then(|hop| self.links.resolve(hop).err());
        why.map_or_else(String::new, |why| format!(": {why}"))
    }

    fn nobody_announces(&self, net: IpNet) -> String {
        let owner = self.cluster.origin().owner_of(net);
        let Some(owner) = owner else {
            return "no neighbor announces it".into();
        };
        match self.peers.node(&owner.node) {
            Some(peer) if peer.is_established() => {
                format!("{} is up and does not announce it", owner.node)
            }
            Some(peer) => {
                let why = match (&peer.refused, &peer.reason) {
                    (Some(refused), _) => refused.text(),
                    (None, Some(reason)) => reason.to_string(),
                    (None, None) => "not connected yet".into(),
                };
                format!("the session with {} is {}: {why}", owner.node, peer.state)
            }
            None => format!("there is no session with Node/{}", owner.node),
        }
    }

    fn explain_kernel(&self, seen: &Seen<'_>, net: IpNet, usable: bool) -> Step {
        let (verdict, text) = match self.kernel_state(seen.now, net) {
            RouteState::Installed => (Verdict::Pass, format!("installed{}", self.via(net))),
            RouteState::Pending => (Verdict::Wait, "asked for, not yet acknowledged".into()),
            RouteState::Failed { error, .. } => (Verdict::Stop, error),
            RouteState::Conflict => (
                Verdict::Stop,
                "somebody else's route has the same prefix and metric: `ip route` shows whose"
                    .into(),
            ),
            RouteState::Stale => (
                Verdict::Wait,
                "in the kernel from before the restart, kept until the restart gate opens".into(),
            ),
            RouteState::NotWanted if !self.installs() => (
                Verdict::Info,
                "routeInstallation is None: not installed".into(),
            ),
            RouteState::NotWanted if self.is_service_prefix(net) => (
                Verdict::Info,
                "service addresses have no route: they are translated, or dropped".into(),
            ),
            RouteState::NotWanted if usable => (Verdict::Wait, "about to be asked for".into()),
            RouteState::NotWanted => (Verdict::Stop, "not installed: no usable path".into()),
        };
        step("kernel", verdict, text)
    }

    fn via(&self, net: IpNet) -> String {
        let Some(route) = self.fib.route(net) else {
            return String::new();
        };
        if route.blackhole {
            return ": own subnet, a blackhole behind the pods' routes".into();
        }
        let hops = route.hops.iter().map(|hop| {
            let link = self.links.get(hop.ifindex);
            let name = link.map_or("?", |link| link.name.as_str());
            format!("{} dev {name}", hop.gateway)
        });
        format!(" via {}", hops.collect::<Vec<_>>().join(" and "))
    }

    pub(super) fn explain_exports(
        &mut self,
        net: IpNet,
        concerned: impl Fn(&Peer) -> bool,
    ) -> Vec<Step> {
        let peers: Vec<PeerId> = self
            .peers
            .sorted()
            .iter()
            .filter(|peer| peer.is_established() && concerned(peer))
            .map(|peer| peer.id)
            .take(PEERS_SHOWN)
            .collect();
        let to = self.advertisement(net, &peers).to;
        to.into_iter()
            .map(|to| match (to.advertised, to.reason) {
                (true, _) if !to.paths.is_empty() => {
                    let paths: Vec<String> = to.paths.iter().map(told_path).collect();
                    let text = format!("told to {}: {}", to.name, paths.join(", "));
                    step("export", Verdict::Pass, text)
                }
                (true, _) => {
                    let hop = to
                        .next_hop
                        .map_or_else(String::new, |hop| format!(" with next hop {hop}"));
                    step("export", Verdict::Pass, format!("told to {}{hop}", to.name))
                }
                (false, reason) => {
                    let reason = reason.unwrap_or_default();
                    let text = format!("not told to {}: {reason}", to.name);
                    step("export", Verdict::Info, text)
                }
            })
            .collect()
    }

    pub(super) fn explain_neighbor(&self, seen: &Seen<'_>, id: PeerId) -> Explanation {
        let Some(peer) = self.peers.get(id) else {
            return Explanation::default();
        };
        let neighbor = self.neighbor(seen, peer);
        let mut steps = vec![step("object", Verdict::Pass, peer.key().to_string())];
        let unnumbered = super::unnumbered::place(peer);
        let address = unnumbered.or(neighbor.address.map(|addr| addr.to_string()));
        let address = address.unwrap_or_else(|| "whoever dials from its range".to_owned());
        let text = format!("{} at {address}", neighbor.kind);
        steps.push(step("intent", Verdict::Pass, text));
        steps.extend(self.explain_tie(peer));
        steps.extend(self.discovery_explained(peer));
        let up = peer.is_established();
        let verdict = match (up, peer.is_range(), &neighbor.last_error) {
            (true, ..) | (_, true, _) => Verdict::Pass,
            (false, _, Some(_)) => Verdict::Stop,
            (false, _, None) => Verdict::Wait,
        };
        let mut summary = format!("{} for {} s", neighbor.state, neighbor.since_secs);
        if !up && let Some(error) = &neighbor.last_error {
            summary = format!("{summary}: {error}");
        }
        steps.push(step("session", verdict, summary.clone()));
        if let Some(down) = &neighbor.down {
            steps.extend(super::down::explained(&neighbor, down));
        }
        for (way, seen) in [
            ("sent", &neighbor.notification_sent),
            ("received", &neighbor.notification_received),
        ] {
            if let Some(seen) = seen {
                let text = format!(
                    "last NOTIFICATION {way}: {} ({}/{}), {} s ago",
                    seen.text, seen.code, seen.subcode, seen.age_secs
                );
                steps.push(step("session", Verdict::Info, text));
            }
        }
        if let Some(bfd) = &neighbor.bfd {
            steps.push(super::bfd::explained(bfd, up));
        }
        if let Some(limit) = &neighbor.max_prefixes {
            steps.push(super::neighbors::limit_explained(limit));
        }
        for counts in &neighbor.routes {
            let text = format!(
                "{}: {} received, {} accepted, {} told",
                counts.family, counts.received, counts.accepted, counts.advertised
            );
            steps.push(step("adj-rib-in", Verdict::Info, text));
        }
        Explanation {
            subject: neighbor.name,
            summary,
            ok: verdict == Verdict::Pass,
            steps,
        }
    }
}
