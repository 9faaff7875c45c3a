use std::fmt;

use dunlin_bgp::policy::Role;
use dunlin_intent::{
    AddPathFact, MaxPrefixesAction, MaxPrefixesFact, NextHopMode, PeerAsn, PeerFact,
};
use dunlin_net::{Afi, Asn};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::cel;
use super::meta::Meta;
use super::shared::{GracefulRestartSpec, SecretRefSpec, SelectorSpec, TimersSpec};
use super::value::Values;

/// A router outside the cluster. Nothing is told to it without a BGPAdvertisement, and nothing is learned from it without an
/// importFilter.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = spec_rules()))]
pub(super) struct Spec {
    /// The nodes that have this peer. Default all.
    node_selector: Option<SelectorSpec>,
    /// The router's address.
    #[schemars(with = "Option<cel::Address>")]
    peer_address: Option<String>,
    /// Whoever dials from this prefix is this peer; the agent does not dial.
    #[schemars(with = "Option<cel::Prefix>")]
    peer_range: Option<String>,
    /// A link of the node, by name: the router that advertises itself there is the peer, at its link-local address.
    #[schemars(length(min = 1, max = 15))]
    interface: Option<String>,
    /// The router's AS: a number, internal (ours) or external (any but ours).
    #[serde(rename = "peerASN")]
    #[schemars(required)]
    peer_asn: Option<AsnSpec>,
    /// Our AS number toward this router instead of that of the cluster, which the router never sees: what is told has this number
    /// in its path, and a path with either of the two is a loop. Default that of the BGPConfiguration.
    #[serde(rename = "localASN")]
    #[schemars(range(min = 1), extend("x-kubernetes-validations" = cel::asn()))]
    local_asn: Option<u32>,
    /// The address to dial from, of the family of the router's. Default the kernel's choice.
    #[schemars(with = "Option<cel::Address>")]
    source_address: Option<String>,
    /// The router's TCP port. Default 179.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// The TTL toward an external router that is not on a link, 1 to 255. Default 1.
    #[schemars(range(min = 1))]
    ebgp_multihop: Option<u8>,
    /// Packets that come from further than the router is are dropped (GTSM). Not with ebgpMultihop. Default any are taken.
    ttl_security: Option<TtlSecuritySpec>,
    /// TCP-AO (RFC 5925). Not built: a router with it is refused.
    #[serde(rename = "tcpAO")]
    tcp_ao: Option<TcpAoSpec>,
    /// Timers of this session. Default those of the BGPConfiguration.
    #[serde(default)]
    timers: TimersSpec,
    /// The password of this session. Default none.
    password_secret_ref: Option<SecretRefSpec>,
    /// The name of the BFDProfile by which a dead router, or a dead path to it, is noticed. Default none: by the hold time.
    #[schemars(length(min = 1, max = cel::NAME_LEN))]
    bfd_profile: Option<String>,
    /// Graceful restart with this router. Default that of the BGPConfiguration.
    #[serde(default)]
    graceful_restart: GracefulRestartSpec,
    /// The families that are offered. Default both.
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    address_families: Option<Vec<AfiSpec>>,
    /// The name of the BGPFilter that a route must pass to be learned. Default none: nothing is learned.
    #[schemars(length(min = 1, max = cel::NAME_LEN))]
    import_filter: Option<String>,
    /// The name of the BGPFilter that all that is told must pass; learned routes that pass it are told too. Default none:
    /// only advertisements are told.
    #[schemars(length(min = 1, max = cel::NAME_LEN))]
    export_filter: Option<String>,
    /// What we are to a router of another AS: its Provider, its Customer, its Peer, the RouteServer that it is a client of, or the
    /// RouteServerClient of what it serves. Both sides have to agree, and routes go where that lets them (RFC 9234). Default none.
    role: Option<RoleSpec>,
    /// True refuses a router that does not say its own role. Default false: ours alone counts then.
    strict_role: Option<bool>,
    /// How many prefixes the router may announce. Default any number.
    max_prefixes: Option<MaxPrefixesSpec>,
    /// Self announces routes with the node as next hop; Unchanged keeps that of learned routes. Default Self.
    next_hop: Option<NextHopSpec>,
    /// Several paths for one prefix (RFC 7911). Default neither way, and both ways with a reflectorClient.
    add_path: Option<AddPathSpec>,
    /// The router is a client of this node, which reflects routes between it and other routers and nodes of our AS (RFC
    /// 4456). Default false.
    reflector_client: Option<bool>,
    /// The peer is a router of an L3 fabric: other nodes' pod subnets may come by it, with the router as next hop, and without
    /// an importFilter these alone. Default false.
    fabric: Option<bool>,
    /// How often our AS may stand in the AS path of what is learned, for fabrics whose racks share one AS. Default 0: never.
    #[serde(rename = "allowOwnAS")]
    #[schemars(range(max = 10))]
    allow_own_as: Option<u8>,
}

fn spec_rules() -> serde_json::Value {
    cel::rules(&[
        (
            "[has(self.peerAddress), has(self.peerRange), has(self.interface)].filter(given, given).size() == 1",
            "give exactly one of peerAddress, peerRange and interface",
            None,
        ),
        (
            "!has(self.port) || !has(self.peerRange)",
            "has no meaning with peerRange, whose peers are never dialled: remove it",
            Some(".port"),
        ),
        (
            "!has(self.ebgpMultihop) || type(self.peerASN) != string || self.peerASN != 'internal'",
            "has no meaning within our own AS: remove it",
            Some(".ebgpMultihop"),
        ),
        (
            "!has(self.ttlSecurity) || !has(self.ebgpMultihop)",
            "its packets leave with TTL 255, and ebgpMultihop asks for another: give one of the two",
            Some(".ttlSecurity"),
        ),
        (
            "!has(self.reflectorClient) || !self.reflectorClient || type(self.peerASN) != string || \
             self.peerASN == 'internal'",
            "has no meaning with a router of another AS: remove it",
            Some(".reflectorClient"),
        ),
        (
            "!has(self.role) || type(self.peerASN) != string || self.peerASN != 'internal'",
            "has no meaning within our own AS: remove it (RFC 9234 section 4.1)",
            Some(".role"),
        ),
        (
            "!has(self.strictRole) || !self.strictRole || has(self.role)",
            "asks for a role of the peer's that fits ours: give role too",
            Some(".strictRole"),
        ),
        (
            "!has(self.interface) || !has(self.ebgpMultihop)",
            "has no meaning with interface, whose peer is on that link: remove it",
            Some(".ebgpMultihop"),
        ),
        (
            "!has(self.interface) || !has(self.sourceAddress)",
            "has no meaning with interface, where both sides have link-local addresses: remove it",
            Some(".sourceAddress"),
        ),
        (
            "!has(self.sourceAddress) || !has(self.peerAddress) || !isIP(self.sourceAddress) || \
             !isIP(self.peerAddress) || ip(self.sourceAddress).family() == ip(self.peerAddress).family()",
            "must be of the family of peerAddress",
            Some(".sourceAddress"),
        ),
    ])
}

/// Keys of TCP-AO, whatever they look like: they are refused by name rather than as an unknown field.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
struct TcpAoSpec {}

/// The peer's packets must come with a TTL that only a router so near can give them (RFC 5082).
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TtlSecuritySpec {
    /// How many links away the router is at most.
    #[schemars(range(min = 1, max = 254))]
    hops: u8,
}

/// Several paths for one prefix, in all families of the session.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AddPathSpec {
    /// The router is told all paths that may be told to it, at most 64 of a prefix, if it takes them.
    send: Option<bool>,
    /// The router may announce several paths of a prefix, at most 256, if it has them.
    receive: Option<bool>,
}

/// How many prefixes the router may announce, of each family. They are counted as they come, before any filter.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = max_prefixes_rules()))]
struct MaxPrefixesSpec {
    /// How many.
    #[schemars(required, range(min = 1))]
    limit: Option<u32>,
    /// From so many percent of the limit on the number is shown as a problem. Default 75.
    #[schemars(range(min = 1, max = 100))]
    warning_percent: Option<u8>,
    /// What happens when more come. Reset ends the session, drops what the router announced, and holds the session down for
    /// restartAfterSeconds; Warn only tells of it. Default Reset.
    action: Option<MaxPrefixesActionSpec>,
    /// How long the session is held down, 1 to 86400 seconds. Default 300.
    #[schemars(range(min = 1, max = 86400))]
    restart_after_seconds: Option<u32>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum MaxPrefixesActionSpec {
    Reset,
    Warn,
}

fn max_prefixes_rules() -> serde_json::Value {
    cel::rules(&[(
        "!has(self.restartAfterSeconds) || !has(self.action) || self.action != 'Warn'",
        "has no meaning with action Warn, which ends no session: remove it",
        Some(".restartAfterSeconds"),
    )])
}

impl From<MaxPrefixesSpec> for MaxPrefixesFact {
    fn from(spec: MaxPrefixesSpec) -> MaxPrefixesFact {
        MaxPrefixesFact {
            limit: spec.limit,
            warning_percent: spec.warning_percent,
            action: spec.action.map(|action| match action {
                MaxPrefixesActionSpec::Reset => MaxPrefixesAction::Reset,
                MaxPrefixesActionSpec::Warn => MaxPrefixesAction::Warn,
            }),
            restart_after_secs: spec.restart_after_seconds,
        }
    }
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum AfiSpec {
    #[serde(rename = "IPv4")]
    Ipv4,
    #[serde(rename = "IPv6")]
    Ipv6,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum RoleSpec {
    Provider,
    Customer,
    Peer,
    RouteServer,
    RouteServerClient,
}

impl From<RoleSpec> for Role {
    fn from(role: RoleSpec) -> Role {
        match role {
            RoleSpec::Provider => Role::Provider,
            RoleSpec::Customer => Role::Customer,
            RoleSpec::Peer => Role::Peer,
            RoleSpec::RouteServer => Role::RouteServer,
            RoleSpec::RouteServerClient => Role::RouteServerClient,
        }
    }
}

#[derive(Deserialize, JsonSchema)]
enum NextHopSpec {
    #[serde(rename = "Self")]
    SelfAddress,
    Unchanged,
}

/// `peerASN`: a number or a word.
struct AsnSpec(PeerAsn);

impl JsonSchema for AsnSpec {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PeerAsn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 8,
            "x-kubernetes-validations": cel::peer_asn(),
        })
    }
}

impl<'de> Deserialize<'de> for AsnSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsnSpec, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = AsnSpec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number, internal or external")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<AsnSpec, E> {
                let number = u32::try_from(number).map_err(|_| {
                    E::custom(format!(
                        "{number} is no AS number: it has more than 32 bits"
                    ))
                })?;
                Ok(AsnSpec(PeerAsn::Number(Asn(number))))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<AsnSpec, E> {
                let number = u64::try_from(number)
                    .map_err(|_| E::custom(format!("{number} is no AS number: it is negative")))?;
                self.visit_u64(number)
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<AsnSpec, E> {
                match word {
                    "internal" => Ok(AsnSpec(PeerAsn::Internal)),
                    "external" => Ok(AsnSpec(PeerAsn::External)),
                    _ => Err(E::custom(format!(
                        "peerASN {word:?}: give an AS number, internal or external"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Spec {
    pub(super) fn into_fact(self, mut metadata: Meta) -> PeerFact {
        let mut values = Values::default();
        let mut addr =
            |field: &str, text: Option<String>| text.and_then(|text| values.addr(field, &text));
        let peer_address = addr("spec.peerAddress", self.peer_address);
        let source_address = addr("spec.sourceAddress", self.source_address);
        let range = self.peer_range;
        let peer_range = range.and_then(|text| values.net("spec.peerRange", &text));
        let families = self.address_families.map(|families| {
            families
                .into_iter()
                .map(|afi| match afi {
                    AfiSpec::Ipv4 => Afi::Ipv4,
                    AfiSpec::Ipv6 => Afi::Ipv6,
                })
                .collect()
        });
        PeerFact {
            labels: metadata.labels(),
            name: metadata.name,
            node_selector: self.node_selector.map(Into::into),
            peer_address,
            peer_range,
            interface: self.interface,
            peer_asn: self.peer_asn.map(|asn| asn.0),
            local_asn: self.local_asn.map(Asn),
            source_address,
            port: self.port,
            ebgp_multihop: self.ebgp_multihop,
            tcp_ao: self.tcp_ao.is_some(),
            ttl_security_hops: self.ttl_security.map(|security| security.hops),
            timers: self.timers.into(),
            password: self.password_secret_ref.map(Into::into),
            bfd_profile: self.bfd_profile,
            graceful_restart: self.graceful_restart.into(),
            address_families: families,
            import_filter: self.import_filter,
            export_filter: self.export_filter,
            role: self.role.map(Into::into),
            strict_role: self.strict_role,
            max_prefixes: self.max_prefixes.map(Into::into),
            next_hop: self.next_hop.map(|mode| match mode {
                NextHopSpec::SelfAddress => NextHopMode::SelfAddress,
                NextHopSpec::Unchanged => NextHopMode::Unchanged,
            }),
            add_path: AddPathFact {
                send: self.add_path.as_ref().and_then(|both| both.send),
                receive: self.add_path.as_ref().and_then(|both| both.receive),
            },
            reflector_client: self.reflector_client,
            fabric: self.fabric,
            allow_own_as: self.allow_own_as,
            malformed: values.malformed,
        }
    }
}
