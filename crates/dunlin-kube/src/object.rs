//! One object of any kind → the fact it states.

mod advertisement;
mod configuration;
mod filter;
mod meta;
mod node;
mod peer;
mod secret;
mod shared;
mod value;

use dunlin_intent::{Fact, ObjectKind, ObjectRef};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub(crate) use meta::Header;
use meta::Meta;

/// The group and version of our own kinds.
const OUR_VERSION: &str = "dunlin.dev/v1alpha1";

/// Something that an object can be read from, as often as needed.
pub(crate) trait Readable {
    type Error;

    /// Reads it as a `T`.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Self::Error>;

    /// The error that the object as a whole is not one we take.
    fn refuse(&self, message: String) -> Self::Error;

    /// The same error without what the input said, which may be secret.
    fn redact(error: Self::Error) -> Self::Error;
}

/// An object of one of our kinds: unknown fields are errors.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ours<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    metadata: Meta,
    #[serde(default)]
    spec: S,
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

/// Which kind an object is of, and what we do with that kind.
enum Known {
    Node,
    Secret,
    Configuration,
    Peer,
    Advertisement,
    Filter,
    Unbuilt(ObjectKind),
    /// A kind that may be there and says nothing to routing yet.
    Ignored,
}

fn known(header: &Header) -> Result<Known, String> {
    let known = match (header.api_version.as_str(), header.kind.as_str()) {
        ("v1", "Node") => Known::Node,
        ("v1", "Secret") => Known::Secret,
        ("v1", "Service" | "Pod" | "Namespace" | "Endpoints")
        | ("discovery.k8s.io/v1", "EndpointSlice")
        | ("networking.k8s.io/v1", "NetworkPolicy")
        | (OUR_VERSION, "BGPNode") => Known::Ignored,
        (OUR_VERSION, "BGPConfiguration") => Known::Configuration,
        (OUR_VERSION, "BGPPeer") => Known::Peer,
        (OUR_VERSION, "BGPAdvertisement") => Known::Advertisement,
        (OUR_VERSION, "BGPFilter") => Known::Filter,
        (OUR_VERSION, "BFDProfile") => Known::Unbuilt(ObjectKind::BfdProfile),
        (OUR_VERSION, "LoadBalancerPool") => Known::Unbuilt(ObjectKind::LoadBalancerPool),
        (version, kind) => {
            return Err(format!(
                "kind {kind:?} of apiVersion {version:?} is not one that is read here: \
                 there are Node, Secret, Service, Pod, Namespace of v1, EndpointSlice of discovery.k8s.io/v1, \
                 NetworkPolicy of networking.k8s.io/v1, and BGPConfiguration, BGPPeer, BGPAdvertisement, BGPFilter \
                 of {OUR_VERSION}"
            ));
        }
    };
    Ok(known)
}

/// The fact that an object states; `None` for a kind that says nothing to routing.
pub(crate) fn fact<R: Readable>(header: &Header, object: &R) -> Result<Option<Fact>, R::Error> {
    let known = known(header).map_err(|message| object.refuse(message))?;
    let name = header
        .metadata
        .checked_name()
        .map_err(|message| object.refuse(message))?;
    let fact = match known {
        Known::Ignored => return Ok(None),
        Known::Unbuilt(kind) => Fact::Unbuilt(ObjectRef::new(kind, name)),
        Known::Node => Fact::Node(object.read::<node::NodeObject>()?.into_fact()),
        Known::Secret => {
            let secret: secret::SecretObject = object.read().map_err(R::redact)?;
            Fact::Secret(secret.into_fact())
        }
        Known::Configuration => {
            let Ours { metadata, spec, .. } = object.read::<Ours<configuration::Spec>>()?;
            Fact::Configuration(spec.into_fact(metadata))
        }
        Known::Peer => {
            let Ours { metadata, spec, .. } = object.read::<Ours<peer::Spec>>()?;
            Fact::Peer(spec.into_fact(metadata))
        }
        Known::Advertisement => {
            let Ours { metadata, spec, .. } = object.read::<Ours<advertisement::Spec>>()?;
            Fact::Advertisement(spec.into_fact(metadata))
        }
        Known::Filter => {
            let Ours { metadata, spec, .. } = object.read::<Ours<filter::Spec>>()?;
            Fact::Filter(spec.into_fact(metadata))
        }
    };
    Ok(Some(fact))
}
