//! Peers without an address: the router at the other end of a link.
//!
//! Intents and links say which links are to be watched; the difference to what was told goes to the thread that hears router
//! advertisements, and what it finds comes back as the neighbour of a link. From both follows where each such peer is: its
//! session is told when that changes, and is not tried while nobody is there.
//!
//! A link that goes down keeps its neighbour, for whether it lives is what BGP and BFD say. A link that is gone, or is called
//! otherwise, takes its session with it.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dunlin_bgp::discovery::Neighbour;
use dunlin_dataplane::links::Links;
use dunlin_intent::Remote;
use dunlin_net::{Instant, InterfaceName, PeerId};

use crate::core::{Action, Core};
use crate::peer_config::NotTried;
use crate::peers::Peer;

/// When a refused command is given again.
const RETRY: Duration = Duration::from_secs(30);

/// For the thread that hears router advertisements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryCommand {
    /// Watch this link, on which we have this link-local address; if it is watched, make us known anew. If that cannot be,
    /// say [`crate::Input::DiscoveryRefused`].
    Watch {
        /// The link's index.
        interface: u32,
        /// Our address.
        local: Ipv6Addr,
    },
    /// Watch it no longer.
    Unwatch {
        /// The link's index.
        interface: u32,
    },
}

/// A link as it is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    local: Ipv6Addr,
    up: bool,
}

/// All watched links, as many as unnumbered peers name.
#[derive(Debug, Default)]
pub(crate) struct Unnumbered {
    watched: BTreeMap<u32, Watched>,
    /// What was found on them.
    heard: BTreeMap<u32, Neighbour>,
    /// Why nothing can be found, and when it is tried again.
    refused: Option<(String, Instant)>,
    /// What follows from intents, links and neighbours has to be looked at again.
    pub(crate) dirty: bool,
}

impl Unnumbered {
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.refused.as_ref().map(|(_, at)| *at)
    }

    /// Why nothing can be found on any link.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_ref().map(|(why, _)| why.as_str())
    }

    /// What was found on the link of this name.
    pub(crate) fn neighbour(&self, links: &Links, name: InterfaceName) -> Option<&Neighbour> {
        let link = links.by_name(name.as_str())?;
        self.heard.get(&link.ifindex)
    }

    /// Where a peer is whose session is to be with this remote; none for one whose place the intent says.
    pub(crate) fn place(
        &self,
        links: &Links,
        remote: &Remote,
    ) -> Result<Option<SocketAddr>, NotTried> {
        let Remote::Interface(name, port) = *remote else {
            return Ok(None);
        };
        let link = links
            .by_name(name.as_str())
            .ok_or(NotTried::InterfaceMissing)?;
        let index = link.ifindex;
        if links.link_local(index).is_none() {
            return Err(NotTried::NoLinkLocal);
        }
        let found = self.heard.get(&index).and_then(|heard| heard.address);
        let address = match found {
            Some(address) => address,
            None if self.refused.is_some() => return Err(NotTried::CannotHear),
            None => return Err(NotTried::NobodyHeard),
        };
        let place = SocketAddrV6::new(address, port, 0, index);
        Ok(Some(place.into()))
    }

    /// The same before anybody has listened there: then it is taken for granted that somebody is there.
    pub(crate) fn foresee(
        &self,
        links: &Links,
        remote: &Remote,
    ) -> Result<Option<SocketAddr>, NotTried> {
        let place = self.place(links, remote);
        let (Err(NotTried::NobodyHeard), Remote::Interface(name, port)) = (place, *remote) else {
            return place;
        };
        match links.by_name(name.as_str()) {
            Some(link) if !self.watched.contains_key(&link.ifindex) => {
                let anybody = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0);
                let place = SocketAddrV6::new(anybody, port, 0, link.ifindex);
                Ok(Some(place.into()))
            }
            _ => place,
        }
    }
}

impl Core {
    /// What the thread has found.
    pub(crate) fn on_neighbour(&mut self, neighbour: Neighbour) {
        let interface = neighbour.interface;
        // What was on its way when the link was given up is nobody's.
        if self.unnumbered.watched.contains_key(&interface) {
            self.unnumbered.heard.insert(interface, neighbour);
            self.unnumbered.dirty = true;
        }
    }

    /// Nothing can be found.
    pub(crate) fn on_discovery_refused(&mut self, now: Instant, why: String) {
        self.unnumbered.refused = Some((why, now + RETRY));
        self.unnumbered.watched.clear();
        self.unnumbered.dirty = true;
    }

    pub(crate) fn on_discovery_time(&mut self, now: Instant) {
        let refused = &mut self.unnumbered.refused;
        if refused.take_if(|(_, at)| *at <= now).is_some() {
            self.unnumbered.dirty = true;
        }
    }

    /// Has links watched, and tells sessions where their peers are.
    pub(crate) fn settle_unnumbered(&mut self) {
        if !self.read_back || !std::mem::take(&mut self.unnumbered.dirty) {
            return;
        }
        self.settle_watched();
        let peers = self.peers.iter().filter(|peer| peer.interface().is_some());
        let mut moved: Vec<PeerId> = peers
            .filter(|peer| {
                let place = self
                    .unnumbered
                    .place(&self.links, &peer.intent.session.remote);
                place != peer.place && !self.waiting.contains(peer.key())
            })
            .map(|peer| peer.id)
            .collect();
        moved.sort_unstable();
        for id in moved {
            self.configure(id);
        }
    }

    fn settle_watched(&mut self) {
        let mut wanted: BTreeMap<u32, Watched> = BTreeMap::new();
        for name in self.peers.iter().filter_map(Peer::interface) {
            let link = self.links.by_name(name.as_str());
            let local = link.and_then(|link| self.links.link_local(link.ifindex));
            if let (Some(link), Some(local)) = (link, local) {
                let up = link.up;
                wanted.insert(link.ifindex, Watched { local, up });
            }
        }
        let mut commands = Vec::new();
        let gone = self.unnumbered.watched.keys();
        let gone: Vec<u32> = gone.filter(|i| !wanted.contains_key(i)).copied().collect();
        for interface in gone {
            self.unnumbered.watched.remove(&interface);
            self.unnumbered.heard.remove(&interface);
            commands.push(DiscoveryCommand::Unwatch { interface });
        }
        if self.unnumbered.refused.is_some() {
            wanted.clear();
        }
        for (interface, now) in wanted {
            let before = self.unnumbered.watched.insert(interface, now);
            let known = |before: Watched| before.local == now.local && (before.up || !now.up);
            if !before.is_some_and(known) {
                let local = now.local;
                commands.push(DiscoveryCommand::Watch { interface, local });
            }
        }
        let commands = commands.into_iter().map(Action::Discovery);
        self.actions.extend(commands);
    }
}
