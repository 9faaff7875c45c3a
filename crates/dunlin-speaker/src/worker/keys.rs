//! TCP MD5 keys of the listening sockets.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use dunlin_bgp::session::{Password, PeerConfig, Remote};
use dunlin_net::{Afi, IpNet, PeerId};

use crate::socket;

/// The listening sockets of a speaker, for all its threads to set keys on.
#[derive(Default)]
pub(crate) struct Listeners {
    sockets: Vec<(Afi, OwnedFd)>,
}

impl Listeners {
    pub(crate) fn add(&mut self, addr: SocketAddr, fd: OwnedFd) {
        self.sockets.push((Afi::of(addr.ip()), fd));
    }

    fn set(&self, peers: IpNet, password: Option<&Password>) -> io::Result<()> {
        for (afi, socket) in &self.sockets {
            if *afi == Afi::of_net(peers) {
                socket::set_md5_key(socket, peers, password)?;
            }
        }
        Ok(())
    }
}

/// Which keys the peers of this thread have on the listening sockets. The kernel holds some 960 of them
/// (`net.core.optmem_max`); a peer whose key it refuses is never accepted, only dialled.
pub(super) struct Keys {
    listeners: std::sync::Arc<Listeners>,
    set: HashMap<PeerId, (IpNet, Password)>,
    refused: HashMap<PeerId, i32>,
}

impl Keys {
    pub(super) fn new(listeners: std::sync::Arc<Listeners>) -> Keys {
        Keys {
            listeners,
            set: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// The peer's configuration is this now; `None` if it is no more.
    pub(super) fn set(&mut self, peer: PeerId, config: Option<&PeerConfig>) -> io::Result<()> {
        let wanted = config.and_then(|config| {
            let peers = match config.remote {
                Remote::Address(remote) => remote.ip().to_canonical().into(),
                Remote::Range { prefix, .. } => prefix.trunc(),
            };
            Some((peers, config.transport.password.clone()?))
        });
        let was_refused = self.refused.remove(&peer).is_some();
        if self.set.get(&peer) == wanted.as_ref() && !was_refused {
            return Ok(());
        }
        if let Some((old, _)) = self.set.remove(&peer)
            && wanted.as_ref().map(|(peers, _)| *peers) != Some(old)
        {
            self.take_away(old)?;
        }
        if let Some((peers, password)) = wanted {
            if let Err(error) = self.listeners.set(peers, Some(&password)) {
                let number = error.raw_os_error().unwrap_or(0);
                self.refused.insert(peer, number);
                return Err(error);
            }
            self.set.insert(peer, (peers, password));
        }
        Ok(())
    }

    /// Sets all keys on other listening sockets; says how many the kernel refused.
    pub(super) fn move_to(&mut self, listeners: std::sync::Arc<Listeners>) -> u64 {
        self.listeners = listeners;
        let mut refused = 0;
        let set = &mut self.set;
        for (peer, (peers, password)) in std::mem::take(set) {
            match self.listeners.set(peers, Some(&password)) {
                Ok(()) => drop(set.insert(peer, (peers, password))),
                Err(error) => {
                    refused += 1;
                    let number = error.raw_os_error().unwrap_or(0);
                    self.refused.insert(peer, number);
                }
            }
        }
        refused
    }

    /// The error number, if the kernel refused the key of this peer: its connections may be unsigned.
    pub(super) fn refused(&self, peer: PeerId) -> Option<i32> {
        self.refused.get(&peer).copied()
    }

    fn take_away(&self, peers: IpNet) -> io::Result<()> {
        // A range of one address and a peer with this address share a key.
        let other = self.set.values().find(|(other, _)| *other == peers);
        self.listeners
            .set(peers, other.map(|(_, password)| password))
    }
}
