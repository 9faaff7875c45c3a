use std::net::IpAddr;
use std::sync::Arc;

use dunlin_intent::{EndpointFact, EndpointPortFact, EndpointSliceFact, Protocol};
use dunlin_net::Afi;
use serde::Deserialize;

use super::meta::namespaced;
use super::repeated::Repeated;
use super::service::{FAMILIES, PROTOCOLS};
use super::value::{First, Name, Parsed, Values};

/// An EndpointSlice as the API server gives it. A cluster may have a hundred thousand endpoints: only what is named
/// here is copied out of the text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceObject {
    metadata: SliceMeta,
    address_type: Option<String>,
    endpoints: Option<Vec<EndpointSpec>>,
    ports: Option<Vec<PortSpec>>,
}

#[derive(Deserialize)]
struct PortSpec {
    name: Option<Repeated>,
    protocol: Option<String>,
    port: Option<i64>,
}

#[derive(Deserialize)]
struct SliceMeta {
    name: Name,
    namespace: Option<Repeated>,
    labels: Option<SliceLabels>,
}

#[derive(Deserialize)]
struct SliceLabels {
    #[serde(rename = "kubernetes.io/service-name")]
    service: Option<Name>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EndpointSpec {
    #[serde(default)]
    addresses: First<Parsed<IpAddr>>,
    conditions: Option<Conditions>,
    node_name: Option<Repeated>,
    hints: Option<Hints>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hints {
    for_zones: Option<Vec<Hint>>,
    for_nodes: Option<Vec<Hint>>,
}

#[derive(Deserialize)]
struct Hint {
    name: Repeated,
}

#[derive(Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

impl SliceObject {
    pub(super) fn into_fact(self) -> EndpointSliceFact {
        let mut values = Values::default();
        let address_type = match self.address_type.as_deref() {
            // Names, which nothing is routed to.
            Some("FQDN") => None,
            None => {
                values.fault("addressType", "is missing: IPv4 or IPv6");
                None
            }
            word => values.word("addressType", word, &FAMILIES),
        };
        let endpoints = self.endpoints.unwrap_or_default().into_iter().enumerate();
        let endpoints = endpoints
            .map(|(at, endpoint)| endpoint.into_fact(at, address_type, &mut values))
            .collect();
        let SliceMeta {
            name,
            namespace,
            labels,
        } = self.metadata;
        EndpointSliceFact {
            name: namespaced(namespace.map(|name| name.0), name.0),
            service: labels
                .and_then(|labels| labels.service)
                .map(|service| service.0)
                .filter(|service| !service.is_empty()),
            address_type,
            ports: ports(self.ports, &mut values),
            endpoints,
            malformed: values.malformed,
        }
    }
}

impl EndpointSpec {
    fn into_fact(self, at: usize, afi: Option<Afi>, values: &mut Values) -> EndpointFact {
        let field = || format!("endpoints[{at}].addresses[0]");
        let address = afi.and_then(|afi| {
            let addr = values.parsed_addr(field, self.addresses.0?)?;
            let fits = Afi::of(addr) == afi;
            if !fits {
                values.fault(
                    field(),
                    format!("{addr} is no {afi} address, as addressType says"),
                );
            }
            fits.then_some(addr)
        });
        let conditions = self.conditions.unwrap_or(Conditions {
            ready: None,
            serving: None,
            terminating: None,
        });
        let ready = conditions.ready.unwrap_or(true);
        let (zones, nodes) = match self.hints {
            Some(hints) => (hints.for_zones, hints.for_nodes),
            None => (None, None),
        };
        EndpointFact {
            address,
            node: self
                .node_name
                .map(|node| node.0)
                .filter(|node| !node.is_empty()),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            zone_hints: names(zones),
            node_hints: names(nodes),
        }
    }
}

fn names(hints: Option<Vec<Hint>>) -> Vec<Arc<str>> {
    let hints = hints.unwrap_or_default().into_iter();
    hints.map(|hint| hint.name.0).collect()
}

/// The ports that a Service's port can be matched with: one without a name or a number says nothing to any.
fn ports(ports: Option<Vec<PortSpec>>, values: &mut Values) -> Vec<EndpointPortFact> {
    let ports = ports.unwrap_or_default().into_iter().enumerate();
    let mut read = |at: usize, spec: PortSpec| {
        let field = |name: &str| format!("ports[{at}].{name}");
        let protocol = match spec.protocol.as_deref() {
            None => Protocol::Tcp,
            word => values.word(&field("protocol"), word, &PROTOCOLS)?,
        };
        Some(EndpointPortFact {
            port: values.optional_port(&field("port"), spec.port?)?,
            name: spec.name?.0,
            protocol,
        })
    };
    ports.filter_map(|(at, spec)| read(at, spec)).collect()
}

#[cfg(test)]
mod tests;
