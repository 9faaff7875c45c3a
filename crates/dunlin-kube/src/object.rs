//! One object of any kind → the fact it states.
//!
//! The same code reads objects out of files ([`crate::manifest`]) and out of what an API server says ([`read_json`]).

mod advertisement;
mod bfd;
mod cel;
mod cluster;
mod configuration;
mod filter;
mod json;
mod meta;
mod node;
mod peer;
mod pool;
mod repeated;
mod resource;
mod secret;
mod service;
mod shared;
mod slice;
mod value;

use dunlin_intent::{Fact, ObjectKind};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub use json::{ObjectFault, read_json, read_value};
use meta::Meta;
pub(crate) use meta::{Header, Place};
pub use resource::{GROUP, Resource, VERSION};

/// The kinds that may lie beside the others and say nothing to routing.
const IGNORED: [(&str, &str); 4] = [
    ("v1", "Pod"),
    ("v1", "Endpoints"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("dunlin.dev/v1alpha1", "BGPNode"),
];

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

/// What is told of an input may hold what the input said: nothing of it reaches a terminal that would act on it. Quotes stay.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\'' | '\\' => printable.push(c),
            _ => printable.extend(c.escape_debug()),
        }
    }
    printable
}

/// An object of one of our kinds: unknown fields are errors.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ours<S> {
    #[serde(default, rename = "apiVersion")]
    _api_version: Option<IgnoredAny>,
    #[serde(default, rename = "kind")]
    _kind: Option<IgnoredAny>,
    metadata: Meta,
    #[serde(default)]
    spec: S,
    #[serde(default, rename = "status")]
    _status: Option<IgnoredAny>,
}

/// The resource that an object with this header is of; `None` for a kind that says nothing to routing.
pub(crate) fn resource(header: &Header) -> Result<Option<Resource>, String> {
    let (version, kind) = (header.api_version.as_str(), header.kind.as_str());
    if IGNORED.contains(&(version, kind)) {
        return Ok(None);
    }
    Resource::named(version, kind).map(Some).ok_or_else(|| {
        let known: Vec<String> = Resource::ALL
            .iter()
            .map(|r| format!("{} ({})", r.kind, r.api_version()))
            .collect();
        format!(
            "kind {kind:?} of apiVersion {version:?} is not one that is read here: there are {}",
            known.join(", ")
        )
    })
}

/// The schema of the `spec` of one of our kinds, as the very types say that read it. `None` for other kinds.
pub(crate) fn spec_schema(kind: ObjectKind, generator: &mut SchemaGenerator) -> Option<Schema> {
    Some(match kind {
        ObjectKind::BgpConfiguration => configuration::Spec::json_schema(generator),
        ObjectKind::BgpPeer => peer::Spec::json_schema(generator),
        ObjectKind::BgpAdvertisement => advertisement::Spec::json_schema(generator),
        ObjectKind::BgpFilter => filter::Spec::json_schema(generator),
        ObjectKind::LoadBalancerPool => pool::Spec::json_schema(generator),
        ObjectKind::BfdProfile => bfd::Spec::json_schema(generator),
        _ => return None,
    })
}

/// The fact that an object of a resource states.
pub(crate) fn fact<R: Readable>(resource: Resource, object: &R) -> Result<Fact, R::Error> {
    Ok(match resource.kind {
        ObjectKind::Node => Fact::Node(object.read::<node::NodeObject>()?.into_fact()),
        ObjectKind::Secret => {
            let secret: secret::SecretObject = object.read().map_err(R::redact)?;
            Fact::Secret(secret.into_fact())
        }
        ObjectKind::Service => Fact::Service(object.read::<service::ServiceObject>()?.into_fact()),
        ObjectKind::EndpointSlice => {
            Fact::EndpointSlice(object.read::<slice::SliceObject>()?.into_fact())
        }
        ObjectKind::Namespace => {
            Fact::Namespace(object.read::<cluster::NamespaceObject>()?.into_fact())
        }
        ObjectKind::ServiceCidr => {
            Fact::ServiceCidr(object.read::<cluster::ServiceCidrObject>()?.into_fact())
        }
        ObjectKind::BgpConfiguration => {
            let Ours { metadata, spec, .. } = object.read::<Ours<configuration::Spec>>()?;
            Fact::Configuration(spec.into_fact(metadata))
        }
        ObjectKind::BgpPeer => {
            let Ours { metadata, spec, .. } = object.read::<Ours<peer::Spec>>()?;
            Fact::Peer(spec.into_fact(metadata))
        }
        ObjectKind::BgpAdvertisement => {
            let Ours { metadata, spec, .. } = object.read::<Ours<advertisement::Spec>>()?;
            Fact::Advertisement(spec.into_fact(metadata))
        }
        ObjectKind::BgpFilter => {
            let Ours { metadata, spec, .. } = object.read::<Ours<filter::Spec>>()?;
            Fact::Filter(spec.into_fact(metadata))
        }
        ObjectKind::LoadBalancerPool => {
            let Ours { metadata, spec, .. } = object.read::<Ours<pool::Spec>>()?;
            Fact::Pool(spec.into_fact(metadata))
        }
        ObjectKind::BfdProfile => {
            let Ours { metadata, spec, .. } = object.read::<Ours<bfd::Spec>>()?;
            Fact::BfdProfile(spec.into_fact(metadata))
        }
        kind => return Err(object.refuse(format!("kind {kind} is not one that is read here"))),
    })
}
