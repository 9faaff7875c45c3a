//! What is known of the peers at the other end of links.

use dunlin_api::{Problem, Step, Verdict};

use super::explain::step;
use crate::core::Core;
use crate::peers::Peer;

/// The most that are told of.
const SHOWN: usize = 100;

/// Where an unnumbered peer is, as people are told.
pub(super) fn place(peer: &Peer) -> Option<String> {
    let interface = peer.interface()?;
    Some(match peer.address() {
        Some(address) => format!("{interface} ({address})"),
        None => interface.to_string(),
    })
}

impl Core {
    /// Links with more routers than one, and what keeps all from being found.
    pub(super) fn unnumbered_problems(&self, problems: &mut Vec<Problem>) {
        let peers = self.peers.sorted();
        let of_links = peers.iter().filter(|peer| peer.interface().is_some());
        let found = of_links.filter_map(|peer| {
            let (reason, message) = match self.unnumbered.refused() {
                Some(why) => ("DiscoveryFailed", why.to_owned()),
                None => ("SeveralRouters", self.several(peer)?),
            };
            Some(Problem {
                object: peer.key().to_string(),
                reason: reason.into(),
                message,
            })
        });
        problems.extend(found.take(SHOWN));
    }

    fn several(&self, peer: &Peer) -> Option<String> {
        let interface = peer.interface()?;
        let found = self.unnumbered.neighbour(&self.links, interface)?;
        let address = found.address.filter(|_| !found.others.is_empty())?;
        let others: Vec<String> = found.others.iter().map(ToString::to_string).collect();
        Some(format!(
            "{address} was heard first on {interface} and is the peer, and {} advertises itself there too: an unnumbered peer needs \
             a link to one router; give peerAddress where there are several",
            others.join(", ")
        ))
    }

    /// Whom router advertisements have shown.
    pub(super) fn discovery_explained(&self, peer: &Peer) -> Option<Step> {
        let interface = peer.interface()?;
        if let Some(several) = self.several(peer) {
            return Some(step("discovery", Verdict::Info, several));
        }
        let (verdict, text) = match (&peer.place, peer.address()) {
            (Ok(_), Some(address)) => (
                Verdict::Pass,
                format!("{address} is the router that advertises itself on {interface}"),
            ),
            (Err(why), _) => (Verdict::Stop, format!("{interface}: {}", why.text())),
            (Ok(_), None) => (Verdict::Wait, format!("{interface} is not watched yet")),
        };
        let mut step = step("discovery", verdict, text);
        step.lines
            .extend(self.unnumbered.refused().map(str::to_owned));
        Some(step)
    }
}
