use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use dunlin_bgp::session::Seeds;

use crate::Clock;

/// What a speaker is told to be.
#[derive(Clone, Debug)]
pub struct SpeakerConfig {
    /// Where to listen from the start; empty to only dial until [`crate::SpeakerHandle::listen`] is called. An IPv6 address takes IPv6 alone. The IPv6 wildcard is skipped on a machine
    /// without IPv6.
    pub listen: Vec<SocketAddr>,
    /// How many I/O threads share the peers, from 1 to 64.
    pub threads: usize,
    /// Seeds of the session machines.
    pub seeds: Seeds,
    /// The clock that the machines are fed, also those of the core.
    pub clock: Clock,
}

impl SpeakerConfig {
    /// A port of every address of both families.
    pub fn every_address(port: u16) -> Vec<SocketAddr> {
        vec![
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
        ]
    }

    /// One thread that listens on a port of every address of both families.
    pub fn new(port: u16, seeds: Seeds, clock: Clock) -> SpeakerConfig {
        SpeakerConfig {
            listen: SpeakerConfig::every_address(port),
            threads: 1,
            seeds,
            clock,
        }
    }
}

/// Why a speaker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpeakerError {
    /// Someone else listens there.
    #[error(
        "cannot listen on {addr}: another process has this port; find it with `ss -tlnp sport = :{}` and stop it, or set `listenPort`",
        addr.port()
    )]
    PortInUse {
        /// Where.
        addr: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "cannot listen on {addr}: permission denied; give the agent CAP_NET_BIND_SERVICE or set `listenPort` to 1024 or above"
    )]
    PortForbidden {
        /// Where.
        addr: SocketAddr,
    },
    /// Any other failure to listen.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No epoll, no thread.
    #[error("cannot start an I/O thread: {0}")]
    Thread(#[source] io::Error),
}

impl SpeakerError {
    pub(crate) fn listen(addr: SocketAddr, source: io::Error) -> SpeakerError {
        match source.kind() {
            io::ErrorKind::AddrInUse => SpeakerError::PortInUse { addr },
            io::ErrorKind::PermissionDenied => SpeakerError::PortForbidden { addr },
            _ => SpeakerError::Listen { addr, source },
        }
    }
}
