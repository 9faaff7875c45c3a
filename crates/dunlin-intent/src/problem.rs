//! What is wrong with which object, said so that it can be put right.

use std::fmt;

/// The kind of an object that a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ObjectKind {
    /// A Kubernetes Node.
    Node,
    /// A Kubernetes Secret, as `namespace/name`.
    Secret,
    /// `BGPConfiguration`.
    BgpConfiguration,
    /// `BGPPeer`.
    BgpPeer,
    /// `BGPAdvertisement`.
    BgpAdvertisement,
    /// `BGPFilter`.
    BgpFilter,
    /// `BFDProfile`.
    BfdProfile,
    /// `LoadBalancerPool`.
    LoadBalancerPool,
    /// A Kubernetes Service, as `namespace/name`.
    Service,
    /// An EndpointSlice, as `namespace/name`.
    EndpointSlice,
    /// A Kubernetes Namespace.
    Namespace,
    /// `ServiceCIDR`.
    ServiceCidr,
    /// A file of the manifest directory, by its path.
    File,
}

impl ObjectKind {
    /// The kind as objects spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectKind::Node => "Node",
            ObjectKind::Secret => "Secret",
            ObjectKind::BgpConfiguration => "BGPConfiguration",
            ObjectKind::BgpPeer => "BGPPeer",
            ObjectKind::BgpAdvertisement => "BGPAdvertisement",
            ObjectKind::BgpFilter => "BGPFilter",
            ObjectKind::BfdProfile => "BFDProfile",
            ObjectKind::LoadBalancerPool => "LoadBalancerPool",
            ObjectKind::Service => "Service",
            ObjectKind::EndpointSlice => "EndpointSlice",
            ObjectKind::Namespace => "Namespace",
            ObjectKind::ServiceCidr => "ServiceCIDR",
            ObjectKind::File => "File",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An object, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name; `namespace/name` where the kind has namespaces.
    pub name: String,
}

impl ObjectRef {
    /// The object of this kind and name.
    pub fn new(kind: ObjectKind, name: impl Into<String>) -> ObjectRef {
        ObjectRef {
            kind,
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// Why an object, or a part of it, has no effect. The name of the variant is the condition's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// A field or kind that is not built yet.
    Unsupported,
    /// A value that does not parse or is out of range.
    Invalid,
    /// The Node has no usable InternalIP.
    NoAddress,
    /// The Node has a pod subnet of a family it has no InternalIP of.
    NoNextHop,
    /// This node and the other have no address family in common.
    NoCommonFamily,
    /// Another object has the same address.
    DuplicateAddress,
    /// The pod subnet overlaps one of an older Node.
    OverlappingPodSubnet,
    /// The pod subnet contains the address of a Node.
    CoversNodeAddress,
    /// Two Nodes would have the same router id.
    RouterIdCollision,
    /// There should be route reflectors, and no Node may be one.
    NoReflector,
    /// A `BGPFilter` that is referred to does not exist or is refused.
    FilterMissing,
    /// A `BFDProfile` that is referred to does not exist or is refused.
    BfdProfileMissing,
    /// A Secret that is referred to does not exist or holds no usable password.
    SecretMissing,
    /// A Service's address is that of a Node or lies within a pod subnet.
    ServiceAddressInUse,
    /// An aggregate of service addresses would cover a Node's address or a pod subnet.
    AggregateRefused,
    /// A range of a `LoadBalancerPool` or `ServiceCIDR` overlaps what it must not.
    OverlappingRange,
    /// The same object is declared twice.
    DuplicateObject,
    /// The file cannot be read or does not parse.
    Unreadable,
}

impl Reason {
    /// The reason as a condition spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Unsupported => "Unsupported",
            Reason::Invalid => "Invalid",
            Reason::NoAddress => "NoAddress",
            Reason::NoNextHop => "NoNextHop",
            Reason::NoCommonFamily => "NoCommonFamily",
            Reason::DuplicateAddress => "DuplicateAddress",
            Reason::OverlappingPodSubnet => "OverlappingPodSubnet",
            Reason::CoversNodeAddress => "CoversNodeAddress",
            Reason::RouterIdCollision => "RouterIdCollision",
            Reason::NoReflector => "NoReflector",
            Reason::FilterMissing => "FilterMissing",
            Reason::BfdProfileMissing => "BfdProfileMissing",
            Reason::SecretMissing => "SecretMissing",
            Reason::ServiceAddressInUse => "ServiceAddressInUse",
            Reason::AggregateRefused => "AggregateRefused",
            Reason::OverlappingRange => "OverlappingRange",
            Reason::DuplicateObject => "DuplicateObject",
            Reason::Unreadable => "Unreadable",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The object.
    pub object: ObjectRef,
    /// What kind of wrong.
    pub reason: Reason,
    /// The field, where one is to blame, as a path: `spec.peerAddress`.
    pub field: Option<String>,
    /// What, where and what to do.
    pub message: String,
}

impl Problem {
    /// A problem of an object as a whole.
    pub fn new(object: ObjectRef, reason: Reason, message: impl Into<String>) -> Problem {
        Problem {
            object,
            reason,
            field: None,
            message: message.into(),
        }
    }

    /// A problem of one field.
    pub fn of_field(
        object: ObjectRef,
        reason: Reason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            field: Some(field.into()),
            ..Problem::new(object, reason, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.object, self.reason)?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}
