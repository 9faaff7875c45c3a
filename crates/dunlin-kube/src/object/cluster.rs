//! Small kinds of Kubernetes: Namespace and ServiceCIDR.

use dunlin_intent::{NamespaceFact, ServiceCidrFact};
use serde::Deserialize;

use super::meta::Meta;
use super::value::Values;

/// A Namespace: all that matters is its labels.
#[derive(Deserialize)]
pub(super) struct NamespaceObject {
    metadata: Meta,
}

impl NamespaceObject {
    pub(super) fn into_fact(mut self) -> NamespaceFact {
        NamespaceFact {
            labels: self.metadata.labels(),
            name: self.metadata.name,
        }
    }
}

/// A ServiceCIDR.
#[derive(Deserialize)]
pub(super) struct ServiceCidrObject {
    metadata: Meta,
    #[serde(default)]
    spec: ServiceCidrSpec,
}

#[derive(Default, Deserialize)]
struct ServiceCidrSpec {
    cidrs: Option<Vec<String>>,
}

impl ServiceCidrObject {
    pub(super) fn into_fact(self) -> ServiceCidrFact {
        let mut values = Values::default();
        let cidrs = self.spec.cidrs.unwrap_or_default();
        ServiceCidrFact {
            cidrs: values.each("spec.cidrs", &cidrs, |v, field, text| v.net(field, text)),
            name: self.metadata.name,
            malformed: values.malformed,
        }
    }
}
