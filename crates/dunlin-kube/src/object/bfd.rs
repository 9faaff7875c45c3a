use dunlin_intent::BfdProfileFact;
use schemars::JsonSchema;
use serde::Deserialize;

use super::meta::Meta;

/// How fast the failure of a peer is noticed (RFC 5880).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// How often a packet is sent, in milliseconds, unless the peer wants fewer. Default 300.
    #[schemars(range(min = 10, max = 60_000))]
    transmit_interval_millis: Option<u32>,
    /// How often the peer may send one, in milliseconds. Default 300.
    #[schemars(range(min = 10, max = 60_000))]
    receive_interval_millis: Option<u32>,
    /// After how many of our packets missed the peer takes us for dead; its own multiplier says the same of it. Default 3.
    #[schemars(range(min = 1))]
    detect_multiplier: Option<u8>,
    /// Whether the peer must speak first; one of the two ends must not be passive. Default false.
    passive: Option<bool>,
    /// The lowest TTL of packets taken from a peer behind routers: 255 less their number, if the peer sends with 255 (FRR); BIRD
    /// sends with 64. Default 1: any. From a neighbour on a link only 255 is taken.
    #[serde(rename = "minimumTTL")]
    #[schemars(range(min = 1))]
    minimum_ttl: Option<u8>,
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> BfdProfileFact {
        BfdProfileFact {
            name: metadata.name,
            transmit_interval_millis: self.transmit_interval_millis,
            receive_interval_millis: self.receive_interval_millis,
            detect_multiplier: self.detect_multiplier,
            passive: self.passive,
            minimum_ttl: self.minimum_ttl,
        }
    }
}
