//! Where resources are found, and what people call them.

use dunlin_intent::{Key, Kind};

use crate::object::{Place, Resource};

impl Resource {
    /// Those watched as a whole. Secrets are watched one by one.
    pub(super) fn watched() -> impl Iterator<Item = Resource> {
        let all = Resource::ALL.into_iter();
        all.filter(|resource| resource.facts != Kind::Secret)
    }

    /// Clusters without it, or that keep it from us, are as good.
    pub(super) fn is_optional(&self) -> bool {
        self.facts == Kind::ServiceCidr
    }

    /// How `kubectl` and RBAC's errors name it: `endpointslices.discovery.k8s.io`.
    pub fn full_name(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The path of all its objects, or of those in a namespace.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let prefix = match self.group {
            "" => "/api",
            _ => "/apis",
        };
        let within = namespace.map_or(String::new(), |name| format!("/namespaces/{name}"));
        format!("{prefix}/{}{within}/{}", self.api_version(), self.plural)
    }

    /// The key of an object; none without a name.
    pub(crate) fn key_of(&self, namespace: Option<&str>, name: &str) -> Option<Key> {
        self.key(Place {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
        })
    }
}
