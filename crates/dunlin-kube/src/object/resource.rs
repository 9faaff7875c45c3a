//! The kinds of objects that are read, as the API names them.

use dunlin_intent::{Key, Kind, ObjectKind, SecretRef};

use super::meta::{Place, namespaced};

/// The group of our own kinds.
pub const GROUP: &str = "dunlin.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";

/// A kind of object that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The kind; its name is the `kind` of objects.
    pub kind: ObjectKind,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The version within the group.
    pub version: &'static str,
    /// The name in paths: `bgppeers`.
    pub plural: &'static str,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
    /// The kind of the facts that its objects state.
    pub facts: Kind,
}

impl Resource {
    /// All of them.
    pub const ALL: [Resource; 12] = [
        core("nodes", ObjectKind::Node, false, Kind::Node),
        core("secrets", ObjectKind::Secret, true, Kind::Secret),
        core("services", ObjectKind::Service, true, Kind::Service),
        core("namespaces", ObjectKind::Namespace, false, Kind::Namespace),
        Resource {
            group: "discovery.k8s.io",
            ..core(
                "endpointslices",
                ObjectKind::EndpointSlice,
                true,
                Kind::EndpointSlice,
            )
        },
        Resource {
            group: "networking.k8s.io",
            ..core(
                "servicecidrs",
                ObjectKind::ServiceCidr,
                false,
                Kind::ServiceCidr,
            )
        },
        ours(
            "bgpconfigurations",
            ObjectKind::BgpConfiguration,
            Kind::Configuration,
        ),
        ours("bgppeers", ObjectKind::BgpPeer, Kind::Peer),
        ours(
            "bgpadvertisements",
            ObjectKind::BgpAdvertisement,
            Kind::Advertisement,
        ),
        ours("bgpfilters", ObjectKind::BgpFilter, Kind::Filter),
        ours(
            "loadbalancerpools",
            ObjectKind::LoadBalancerPool,
            Kind::Pool,
        ),
        ours("bfdprofiles", ObjectKind::BfdProfile, Kind::BfdProfile),
    ];

    /// The resource whose objects state facts of this kind.
    pub fn of(kind: Kind) -> Resource {
        let found = Resource::ALL.into_iter().find(|r| r.facts == kind);
        found.expect("each kind of fact is stated by objects of one kind: a test holds it")
    }

    /// The resource of an object that says this of itself.
    pub fn named(api_version: &str, kind: &str) -> Option<Resource> {
        Resource::ALL
            .into_iter()
            .find(|r| r.kind.as_str() == kind && r.is_version(api_version))
    }

    /// The key of an object as people name it: `BGPPeer/tor-1`, `Service/shop/web`. The kind may be written as in paths, and in
    /// any case.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn named_key(text: &str) -> Result<Key, String> {
        let (kind, place) = text.split_once('/').ok_or_else(|| {
            format!("{text:?} names no object: write KIND/NAME, as BGPPeer/tor-1, or KIND/NAMESPACE/NAME")
        })?;
        let is_meant = |resource: &Resource| {
            kind.eq_ignore_ascii_case(resource.kind.as_str())
                || kind.eq_ignore_ascii_case(resource.plural)
        };
        let resource = Resource::ALL.into_iter().find(is_meant).ok_or_else(|| {
            let known = Resource::ALL.map(|resource| resource.kind.as_str());
            format!(
                "{text:?}: {kind} is not a kind that is read here: there are {}",
                known.join(", ")
            )
        })?;
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, place),
        };
        if namespace.is_some() && !resource.namespaced {
            return Err(format!(
                "{text:?}: a {} lies in no namespace",
                resource.kind
            ));
        }
        let name = Some(name.to_owned());
        let place = Place { name, namespace };
        place
            .checked_name()
            .map_err(|why| format!("{text:?}: {why}"))?;
        resource
            .key(place)
            .ok_or_else(|| format!("{text:?} has no name"))
    }

    /// `apiVersion` of its objects: `v1`, `dunlin.dev/v1alpha1`.
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    fn is_version(&self, api_version: &str) -> bool {
        match api_version.split_once('/') {
            None => self.group.is_empty() && self.version == api_version,
            Some((group, version)) => self.group == group && self.version == version,
        }
    }

    /// The key of an object at a place; none if its place has no name.
    pub(crate) fn key(&self, place: Place) -> Option<Key> {
        let Place { name, namespace } = place;
        let name = name.filter(|name| !name.is_empty())?;
        Some(match self.facts {
            Kind::BfdProfile => Key::BfdProfile(name),
            Kind::Node => Key::Node(name),
            Kind::Configuration => Key::Configuration(name),
            Kind::Peer => Key::Peer(name),
            Kind::Advertisement => Key::Advertisement(name),
            Kind::Filter => Key::Filter(name),
            Kind::Namespace => Key::Namespace(name),
            Kind::ServiceCidr => Key::ServiceCidr(name),
            Kind::Pool => Key::Pool(name),
            Kind::Service => Key::Service(namespaced(namespace, name)),
            Kind::EndpointSlice => Key::EndpointSlice(namespaced(namespace, name)),
            Kind::Secret => {
                let at = namespaced(namespace, name);
                Key::Secret(SecretRef::new(&*at.namespace, &*at.name))
            }
        })
    }
}

const fn core(plural: &'static str, kind: ObjectKind, namespaced: bool, facts: Kind) -> Resource {
    Resource {
        kind,
        group: "",
        version: "v1",
        plural,
        namespaced,
        facts,
    }
}

const fn ours(plural: &'static str, kind: ObjectKind, facts: Kind) -> Resource {
    Resource {
        kind,
        group: GROUP,
        version: VERSION,
        plural,
        namespaced: false,
        facts,
    }
}

#[cfg(test)]
mod tests;
