use std::fmt;

use dunlin_intent::{MaxPrefixesFact, NextHopMode, PeerAsn, PeerFact};
use dunlin_net::{Afi, Asn};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::meta::Meta;
use super::shared::{GracefulRestartSpec, SecretRefSpec, SelectorSpec, TimersSpec};
use super::value::Values;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    node_selector: Option<SelectorSpec>,
    peer_address: Option<String>,
    peer_range: Option<String>,
    interface: Option<String>,
    #[serde(rename = "peerASN")]
    peer_asn: Option<AsnSpec>,
    #[serde(rename = "localASN")]
    local_asn: Option<u32>,
    source_address: Option<String>,
    port: Option<u16>,
    ebgp_multihop: Option<u8>,
    ttl_security: Option<TtlSecuritySpec>,
    #[serde(default)]
    timers: TimersSpec,
    password_secret_ref: Option<SecretRefSpec>,
    bfd_profile: Option<String>,
    #[serde(default)]
    graceful_restart: GracefulRestartSpec,
    address_families: Option<Vec<AfiSpec>>,
    import_filter: Option<String>,
    export_filter: Option<String>,
    max_prefixes: Option<MaxPrefixesSpec>,
    next_hop: Option<NextHopSpec>,
    fabric: Option<bool>,
    #[serde(rename = "allowOwnAS")]
    allow_own_as: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlSecuritySpec {
    hops: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MaxPrefixesSpec {
    limit: Option<u32>,
    action: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
enum AfiSpec {
    #[serde(rename = "IPv4", alias = "ipv4")]
    Ipv4,
    #[serde(rename = "IPv6", alias = "ipv6")]
    Ipv6,
}

#[derive(Deserialize)]
enum NextHopSpec {
    #[serde(rename = "Self")]
    SelfAddress,
    Unchanged,
}

/// `peerASN`: a number or a word.
struct AsnSpec(PeerAsn);

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
            ttl_security_hops: self.ttl_security.map(|security| security.hops),
            timers: self.timers.into(),
            password: self.password_secret_ref.map(Into::into),
            bfd_profile: self.bfd_profile,
            graceful_restart: self.graceful_restart.into(),
            address_families: families,
            import_filter: self.import_filter,
            export_filter: self.export_filter,
            max_prefixes: self.max_prefixes.map(|max| MaxPrefixesFact {
                limit: max.limit,
                action: max.action,
            }),
            next_hop: self.next_hop.map(|mode| match mode {
                NextHopSpec::SelfAddress => NextHopMode::SelfAddress,
                NextHopSpec::Unchanged => NextHopMode::Unchanged,
            }),
            fabric: self.fabric,
            allow_own_as: self.allow_own_as,
            malformed: values.malformed,
        }
    }
}
