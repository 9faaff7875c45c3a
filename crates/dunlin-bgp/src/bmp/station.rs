//! What passes between the core and whoever holds the connections to stations.

use std::net::SocketAddr;
use std::time::Duration;

/// A station, never used for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StationId(pub u32);

/// From the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StationCommand {
    /// There is this station: connect, and again whenever the connection ends.
    Set {
        /// Which.
        station: StationId,
        /// Where.
        addr: SocketAddr,
    },
    /// It is no more.
    Remove {
        /// Which.
        station: StationId,
        /// To be said before the connection is closed, if the station reads.
        last: Vec<u8>,
    },
    /// Whole messages. At most [`StationCommand::CREDIT`] octets in [`StationCommand::SENDS`] of these commands may be on the
    /// way that [`StationEvent::Written`] has not told of.
    Send {
        /// To which.
        station: StationId,
        /// On which connection; on another one this means nothing.
        conn: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// Close the connection at once, and connect again later: the station is too far behind.
    Reset {
        /// Which.
        station: StationId,
        /// Which connection.
        conn: u32,
    },
}

impl StationCommand {
    /// Octets on the way to one station. One [`StationCommand::Send`] may go above.
    pub const CREDIT: usize = 1 << 20;
    /// Commands on the way to one station.
    pub const SENDS: usize = 64;
}

/// To the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StationEvent {
    /// The connection stands.
    Connected {
        /// To which.
        station: StationId,
        /// Its name, never used again for this station.
        conn: u32,
        /// The wall clock now, since 1970.
        wall: Duration,
    },
    /// So many octets have gone to the kernel.
    Written {
        /// To which.
        station: StationId,
        /// On which connection.
        conn: u32,
        /// How many.
        octets: usize,
    },
    /// The connection, or the attempt at one, has ended.
    Lost {
        /// To which.
        station: StationId,
        /// How.
        why: String,
    },
}
