use std::net::IpAddr;

use dunlin_api::{
    AnnouncedPrefix, EndpointCounts, Explanation, RouteView, Service, ServiceAddress,
    ServiceFilter, Step, Verdict,
};
use dunlin_intent::{
    AddressStanding, Cluster, NamespacedName, OriginKind, ServiceAddressView, ServiceType,
    ServiceView, TrafficPolicy, WithheldReason,
};
use dunlin_net::{Afi, IpNet};

use super::Seen;
use super::explain::{advertisements, step};
use crate::core::Core;
use crate::peers::Peer;

/// The most rows of one answer.
const ROWS_MAX: usize = 10_000;

/// The most Services looked at to say whose addresses an aggregate covers.
const OWNERS_MAX: usize = 1000;

impl Core {
    pub(super) fn services(&self, filter: &ServiceFilter) -> RouteView<Service> {
        let limit = filter.limit.map_or(ROWS_MAX, |limit| limit as usize);
        let limit = limit.min(ROWS_MAX);
        let wanted = |view: &ServiceView<'_>| {
            let namespace = filter.namespace.as_deref();
            let name = filter.name.as_deref();
            namespace.is_none_or(|wanted| *view.name.namespace == *wanted)
                && name.is_none_or(|wanted| *view.name.name == *wanted)
                && (!filter.announced || view.addresses.iter().any(is_announced))
        };
        let mut services = self.cluster.services().filter(wanted);
        let (mut items, mut endpoints) = (Vec::new(), 0);
        let mut truncated = false;
        for view in services.by_ref().take(limit) {
            let mut service = shown(&view);
            service.programmed = self.programmed_counts(view.name);
            if filter.frontends && self.delivery.is_enabled() {
                let frontends = self.service_frontends(view.name);
                endpoints += frontends.iter().map(|f| f.endpoints.len()).sum::<usize>();
                truncated = endpoints > ServiceFilter::MAX_ENDPOINTS && !items.is_empty();
                if truncated {
                    break;
                }
                service.frontends = Some(frontends);
            }
            items.push(service);
        }
        RouteView {
            items,
            truncated: truncated || services.next().is_some(),
        }
    }

    /// Whether this node originates a prefix for Services.
    pub(crate) fn is_service_prefix(&self, net: IpNet) -> bool {
        let routing = self.routing.as_ref();
        let kind = routing.and_then(|routing| routing.exports.originated.kind(net));
        matches!(kind, Some(OriginKind::Service(_)))
    }

    /// The Service that a prefix is announced for, and how many more.
    pub(super) fn announced_for(&self, net: IpNet) -> String {
        announced_for(&self.cluster, net)
    }

    /// Explains a full-length prefix that is a Service's address by that Service: by the one that has it announced, where
    /// several have it.
    pub(super) fn explain_address(&mut self, seen: &Seen<'_>, net: IpNet) -> Option<Explanation> {
        if net.prefix_len() != Afi::of_net(net).bits() {
            return None;
        }
        let (addr, name) = self.cluster.services_within(net).into_iter().next()?;
        let name = name.clone();
        self.explain_service(seen, &name, Some(addr))
    }

    /// Explains a Service, or one address of it.
    pub(super) fn explain_service(
        &mut self,
        seen: &Seen<'_>,
        name: &NamespacedName,
        only: Option<IpAddr>,
    ) -> Option<Explanation> {
        let view = self.cluster.service(name)?;
        let mut steps = explain_object(&view);
        let wanted = |address: &&ServiceAddressView<'_>| only.is_none_or(|a| a == address.address);
        let mut prefixes: Vec<IpNet> = Vec::new();
        let (mut total, mut there) = (0, 0);
        for address in view.addresses.iter().filter(wanted) {
            total += 1;
            there += usize::from(is_announced(address));
            steps.extend(explain_standing(address));
            prefixes.extend(announced(address).iter().map(|one| one.prefix));
        }
        if view.addresses.is_empty() {
            steps.push(step("intent", Verdict::Info, "it has no address"));
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut told = 0;
        for net in &prefixes {
            steps.extend(self.explain_drain(*net));
            let exports = self.explain_service_exports(*net, prefixes.len() > 1);
            told += usize::from(exports.iter().any(|step| step.verdict == Verdict::Pass));
            steps.extend(exports);
        }
        if let Some(net) = only.map(IpNet::from) {
            self.explain_learned(seen, net, &mut steps);
        }
        let delivered = self.explain_frontends(name, only, &mut steps);
        steps.push(self.explain_forwarding());
        let ok = !steps.iter().any(|step| {
            matches!(step.verdict, Verdict::Stop | Verdict::Wait) && step.stage != "adj-rib-in"
        });
        let withheld = |step: &&Step| step.stage == "intent" && step.verdict != Verdict::Pass;
        let why = steps.iter().filter(withheld);
        let why = why.max_by_key(|step| step.verdict == Verdict::Stop);
        let summary: String = match (total, there, why) {
            (0, ..) => "it has no address to be announced".into(),
            (_, 0, Some(why)) => format!("not announced by this node: {}", why.text),
            (..) if told < prefixes.len() => {
                format!("announced: {there} of {total} addresses, but not everybody was told")
            }
            (1, ..) => "announced by this node".into(),
            (..) => format!("{there} of {total} addresses announced by this node"),
        };
        let summary = match delivered {
            Some(delivered) => format!("{summary}; {delivered}"),
            None => summary,
        };
        Some(Explanation {
            subject: match only {
                Some(addr) => addr.to_string(),
                None => format!("Service/{name}"),
            },
            summary,
            ok,
            steps,
        })
    }

    /// Whom a prefix was told to. Other nodes are told no service addresses, and not listed.
    fn explain_service_exports(&mut self, net: IpNet, several: bool) -> Vec<Step> {
        let outside = |peer: &Peer| !peer.key().is_node();
        let mut steps = self.explain_exports(net, outside);
        if steps.is_empty() {
            let any = self.peers.iter().any(outside);
            let (verdict, text) = match any {
                true => (Verdict::Wait, "no session with a router outside is up"),
                false => (Verdict::Stop, "there is no BGPPeer to tell it to"),
            };
            steps.push(step("export", verdict, text));
        }
        if several {
            for step in &mut steps {
                step.text = format!("{net} {}", step.text);
            }
        }
        steps
    }

    /// What others say of a service address: of no effect here, and of interest where it is not announced.
    fn explain_learned(&self, seen: &Seen<'_>, net: IpNet, steps: &mut Vec<Step>) {
        let route = self.route(seen, net);
        let paths = route.map_or_else(Vec::new, |route| route.paths);
        if paths.iter().any(|path| path.from != "local") {
            self.explain_paths(seen, net, steps);
        }
    }

    fn explain_forwarding(&self) -> Step {
        match &self.egress.result {
            Some(Err(error)) => {
                let text = format!("packets that nobody translates may loop: {error}");
                step("kernel", Verdict::Stop, text)
            }
            Some(Ok(())) => {
                let text = "no route: packets are translated by the service proxy, or dropped";
                step("kernel", Verdict::Info, text)
            }
            None => {
                let text = "the rule that drops what nobody translates is not written yet";
                step("kernel", Verdict::Wait, text)
            }
        }
    }
}

fn explain_object(view: &ServiceView<'_>) -> Vec<Step> {
    let text = format!(
        "Service/{}, type {}, internalTrafficPolicy {}, externalTrafficPolicy {}",
        view.name,
        type_text(view.service_type),
        policy_text(view.internal_traffic_policy),
        policy_text(view.external_traffic_policy)
    );
    let counts = view.endpoint_counts();
    let terminating = match counts.terminating {
        0 => String::new(),
        n => format!(", {n} serving while they terminate"),
    };
    let endpoints = format!(
        "{} of {} endpoints ready, {} of them on this node{terminating}",
        counts.ready, counts.total, counts.local_ready
    );
    vec![
        step("object", Verdict::Pass, text),
        step("object", Verdict::Info, endpoints),
    ]
}

fn explain_standing(address: &ServiceAddressView<'_>) -> Vec<Step> {
    let what = format!("{} ({})", address.address, address.kind.as_str());
    let mut steps = Vec::new();
    match &address.standing {
        AddressStanding::Withheld(reason) => {
            let verdict = verdict(*reason);
            steps.push(step("intent", verdict, format!("{what}: {reason}")));
        }
        AddressStanding::Announced(prefixes) if prefixes.is_empty() => {
            let text = format!("{what}: announced because of another Service that has it");
            steps.push(step("intent", Verdict::Pass, text));
        }
        AddressStanding::Announced(prefixes) => {
            for one in prefixes {
                let by = advertisements(&one.advertisements);
                let text = format!("{what}: announced as {} by {by}", one.prefix);
                steps.push(step("intent", Verdict::Pass, text));
            }
        }
    }
    if !address.shared_by.is_empty() {
        let names: Vec<String> = address.shared_by.iter().map(ToString::to_string).collect();
        let text = format!("{what}: an address of {}", names.join(" and "));
        steps.push(step("intent", Verdict::Info, text));
    }
    steps
}

/// What somebody wanted is for information; the rest is in the way.
fn verdict(reason: WithheldReason) -> Verdict {
    match reason {
        WithheldReason::ExternalName
        | WithheldReason::Headless
        | WithheldReason::IpModeProxy
        | WithheldReason::NotSelected
        | WithheldReason::NodeExcluded
        | WithheldReason::Draining
        | WithheldReason::NoReadyLocalEndpoint => Verdict::Info,
        WithheldReason::Pending | WithheldReason::NodeUnknown => Verdict::Wait,
        _ => Verdict::Stop,
    }
}

fn announced<'a>(address: &'a ServiceAddressView<'_>) -> &'a [dunlin_intent::AnnouncedPrefix] {
    match &address.standing {
        AddressStanding::Announced(prefixes) => prefixes,
        AddressStanding::Withheld(_) => &[],
    }
}

fn is_announced(address: &ServiceAddressView<'_>) -> bool {
    matches!(address.standing, AddressStanding::Announced(_))
}

fn shown(view: &ServiceView<'_>) -> Service {
    let counts = view.endpoint_counts();
    Service {
        namespace: view.name.namespace.to_string(),
        name: view.name.name.to_string(),
        service_type: type_text(view.service_type).into(),
        internal_traffic_policy: policy_text(view.internal_traffic_policy).into(),
        external_traffic_policy: policy_text(view.external_traffic_policy).into(),
        endpoints: EndpointCounts {
            total: counts.total,
            ready: counts.ready,
            local_ready: counts.local_ready,
            terminating: counts.terminating,
        },
        addresses: view.addresses.iter().map(shown_address).collect(),
        programmed: None,
        frontends: None,
    }
}

fn shown_address(address: &ServiceAddressView<'_>) -> ServiceAddress {
    let withheld = match &address.standing {
        AddressStanding::Withheld(reason) => Some(*reason),
        AddressStanding::Announced(_) => None,
    };
    let prefixes = announced(address).iter().map(|one| AnnouncedPrefix {
        prefix: one.prefix,
        advertisements: one.advertisements.iter().map(ToString::to_string).collect(),
    });
    ServiceAddress {
        address: address.address,
        kind: address.kind.as_str().into(),
        announced: prefixes.collect(),
        reason: withheld.map(|reason| reason.as_str().into()),
        message: withheld.map(|reason| reason.to_string()),
        shared_by: address.shared_by.iter().map(ToString::to_string).collect(),
    }
}

fn type_text(service_type: ServiceType) -> &'static str {
    match service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::ExternalName => "ExternalName",
        ServiceType::Unknown => "unknown",
    }
}

fn policy_text(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

/// The Services that a prefix is announced for.
pub(crate) fn announced_for(cluster: &Cluster, net: IpNet) -> String {
    let within = cluster.services_within(net);
    let announces = |name: &NamespacedName| {
        let view = cluster.service(name);
        view.is_some_and(|view| {
            let prefixes = view.addresses.iter().flat_map(announced);
            prefixes.into_iter().any(|one| one.prefix == net)
        })
    };
    let mut names: Vec<&NamespacedName> = Vec::new();
    for (_, name) in within.iter().take(OWNERS_MAX) {
        if !names.contains(name) && announces(name) {
            names.push(name);
        }
    }
    let more = if within.len() > OWNERS_MAX {
        " and many more".to_owned()
    } else if names.len() > 1 {
        format!(" and {} more", names.len() - 1)
    } else {
        String::new()
    };
    match names.first() {
        Some(first) => format!("Service/{first}{more}"),
        None => "Service/?".into(),
    }
}
