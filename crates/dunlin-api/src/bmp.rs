use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A monitoring station (BMP, RFC 7854) and how the connection to it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BmpStation {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether the connection stands.
    pub connected: bool,
    /// Seconds since it stands, or has not.
    pub since_secs: u64,
    /// Connections made since the station was configured.
    pub connects: u64,
    /// Times it was cut off because it did not keep up.
    pub overruns: u64,
    /// Octets given to it.
    pub sent_bytes: u64,
    /// Octets on the way to it: at most about 1 MiB.
    pub queued_bytes: u64,
    /// Prefixes, about, that wait in the table until it has read what is on the way.
    #[serde(default)]
    pub behind: u64,
    /// Why it is not connected, or was last not.
    pub last_error: Option<String>,
}
