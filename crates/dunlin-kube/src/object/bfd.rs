use schemars::JsonSchema;
use serde::Deserialize;

/// How fast the failure of a peer is noticed (RFC 5880).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "nothing acts on it yet: it is read to say what is wrong with it"
)]
pub(super) struct Spec {
    /// How often a packet is sent at most, in milliseconds. Default 300.
    #[schemars(range(min = 10, max = 60_000))]
    transmit_interval_millis: Option<u32>,
    /// How often packets may come, in milliseconds. Default 300.
    #[schemars(range(min = 10, max = 60_000))]
    receive_interval_millis: Option<u32>,
    /// After how many packets missed the peer is down. Default 3.
    #[schemars(range(min = 1))]
    detect_multiplier: Option<u8>,
    /// Whether the peer must speak first. Default false.
    passive: Option<bool>,
    /// The lowest TTL of packets taken from a peer that is not on a link.
    #[serde(rename = "minimumTTL")]
    #[schemars(range(min = 1))]
    minimum_ttl: Option<u8>,
}
