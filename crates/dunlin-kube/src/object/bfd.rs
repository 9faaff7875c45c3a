use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(rename = "transmitIntervalMillis")]
    _transmit_interval_millis: Option<u32>,
    #[serde(rename = "receiveIntervalMillis")]
    _receive_interval_millis: Option<u32>,
    #[serde(rename = "detectMultiplier")]
    _detect_multiplier: Option<u8>,
    #[serde(rename = "passive")]
    _passive: Option<bool>,
    #[serde(rename = "minimumTTL")]
    _minimum_ttl: Option<u8>,
}
