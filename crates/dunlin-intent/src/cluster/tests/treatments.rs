//! What becomes of connections to Services, rule by rule. The seeing node is n1.

mod frontends;
mod policy;

use super::*;
use crate::fact::{
    EndpointFact, EndpointPortFact, EndpointSliceFact, IngressFact, NamespacedName, ServiceFact,
    ServicePortFact, ServiceType, TrafficPolicy,
};
use dunlin_net::Afi;
use dunlin_net::service::{FrontendRule, NodePorts, Protocol, ProxyOptions, Treatment, View};

const INTERNAL: &str = "10.96.0.1:80/TCP";
const NODE_PORT: &str = "192.0.2.1:30080/TCP";

fn name(of: &str) -> NamespacedName {
    NamespacedName::new("web", of)
}

fn port(number: u16, node_port: Option<u16>) -> ServicePortFact {
    ServicePortFact {
        name: "".into(),
        protocol: Protocol::Tcp,
        port: number,
        node_port,
    }
}

/// `web/a`, with a cluster IP and a node port.
fn service(change: impl FnOnce(&mut ServiceFact)) -> Fact {
    let mut fact = ServiceFact::new("web", "a");
    fact.service_type = ServiceType::NodePort;
    fact.cluster_ips = vec![addr("10.96.0.1")];
    fact.ports = vec![port(80, Some(30080))];
    change(&mut fact);
    Fact::Service(fact)
}

/// An endpoint from `number:state[:zones[:nodes]]`. The state is `r`eady, `t`erminating and serving, or `u`nready, then `L`
/// for one on n1 and `?` for one that does not say its node.
fn endpoint(text: &str) -> EndpointFact {
    let mut parts = text.split(':');
    let number: u8 = parts.next().unwrap().parse().unwrap();
    let state = parts.next().unwrap();
    let mut names = || {
        let list = parts.next().unwrap_or_default().split(',');
        list.filter(|name| !name.is_empty())
            .map(Into::into)
            .collect()
    };
    EndpointFact {
        address: Some(IpAddr::from([10, 244, 1, number])),
        node: (!state.contains('?')).then(|| if state.contains('L') { "n1" } else { "n2" }.into()),
        ready: state.contains('r'),
        serving: !state.contains('u'),
        terminating: state.contains('t'),
        zone_hints: names(),
        node_hints: names(),
    }
}

/// A slice of `web/a` with endpoints at port 8080.
fn slice(of: &str, endpoints: &str) -> EndpointSliceFact {
    EndpointSliceFact {
        name: name(of),
        service: Some("a".into()),
        address_type: Some(Afi::Ipv4),
        ports: vec![to("", Protocol::Tcp, 8080)],
        endpoints: endpoints.split_whitespace().map(endpoint).collect(),
        malformed: Vec::new(),
    }
}

fn to(name: &str, protocol: Protocol, port: u16) -> EndpointPortFact {
    EndpointPortFact {
        name: name.into(),
        protocol,
        port,
    }
}

fn endpoints(list: &str) -> Fact {
    Fact::EndpointSlice(slice("a-1", list))
}

/// n1 and n2 and these facts, with the service proxy and nothing left to tell.
fn proxied(facts: impl IntoIterator<Item = Fact>) -> Cluster {
    proxied_by(ProxyOptions::default(), facts)
}

/// The same by these options.
fn proxied_by(options: ProxyOptions, facts: impl IntoIterator<Item = Fact>) -> Cluster {
    let cluster = Cluster::new("n1").with_service_proxy();
    let mut cluster = cluster.with_proxy_options(options);
    let facts = pair().into_iter().chain(facts);
    facts.for_each(|fact| cluster.apply(fact));
    Kind::ALL.into_iter().for_each(|kind| cluster.synced(kind));
    changes(&mut cluster);
    told(&mut cluster);
    cluster
}

/// The names of the Services that are told to be asked for.
fn told(cluster: &mut Cluster) -> Vec<String> {
    let names = std::iter::from_fn(|| cluster.poll_treatment_change());
    names.map(|name| name.name.to_string()).collect()
}

/// The same after this fact.
fn told_by(cluster: &mut Cluster, fact: Fact) -> Vec<String> {
    cluster.apply(fact);
    told(cluster)
}

fn rules(cluster: &Cluster) -> Vec<FrontendRule> {
    let rules = cluster.treatment(&name("a"));
    for rule in &rules {
        for view in View::ALL {
            if let Treatment::Balance(balance) = rule.treatment(view) {
                assert!(!balance.endpoints.is_empty());
                assert!(balance.endpoints.is_sorted_by(|a, b| a < b), "{balance:?}");
            }
        }
        assert_ne!(rule.outside.as_ref(), Some(&rule.inside));
    }
    assert!(rules.is_sorted_by(|a, b| a.frontend < b.frontend));
    rules
}

fn frontends(cluster: &Cluster) -> Vec<String> {
    let rules = rules(cluster);
    rules.iter().map(|rule| rule.frontend.to_string()).collect()
}

/// What a view of a frontend of `web/a` gets: the last octets of the endpoints, or what else.
fn at(cluster: &Cluster, frontend: &str, view: View) -> String {
    let rules = rules(cluster);
    let rule = rules.iter().find(|r| r.frontend.to_string() == frontend);
    match rule.map(|rule| rule.treatment(view)) {
        None => "none".to_owned(),
        Some(Treatment::Reject) => "reject".to_owned(),
        Some(Treatment::Drop) => "drop".to_owned(),
        Some(Treatment::Balance(balance)) => {
            let last = |at: &std::net::SocketAddr| match at.ip() {
                IpAddr::V4(addr) => addr.octets()[3].to_string(),
                IpAddr::V6(addr) => addr.segments()[7].to_string(),
            };
            let numbers: Vec<String> = balance.endpoints.iter().map(last).collect();
            numbers.join(",")
        }
    }
}

fn n1(zone: Option<&str>) -> Fact {
    let fact = node(
        "n1",
        &["192.0.2.1", "2001:db8::1"],
        &["10.244.1.0/24", "fd00:1::/64"],
    );
    Fact::Node(match zone {
        Some(zone) => fact.with_label("topology.kubernetes.io/zone", zone),
        None => fact,
    })
}
