use std::net::IpAddr;

use dunlin_intent::{EndpointFact, EndpointSliceFact};
use dunlin_net::Afi;
use serde::Deserialize;

use super::meta::namespaced;
use super::service::FAMILIES;
use super::value::{First, Name, Parsed, Values};

/// An EndpointSlice as the API server gives it. A cluster may have a hundred thousand endpoints: only what is named
/// here is copied out of the text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SliceObject {
    metadata: SliceMeta,
    address_type: Option<String>,
    endpoints: Option<Vec<EndpointSpec>>,
}

#[derive(Deserialize)]
struct SliceMeta {
    name: Name,
    namespace: Option<Name>,
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
    node_name: Option<Name>,
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
        EndpointFact {
            address,
            node: self
                .node_name
                .map(|node| node.0)
                .filter(|node| !node.is_empty()),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests;
