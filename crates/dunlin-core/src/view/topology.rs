//! How nodes peer with each other, as shown.

use dunlin_api::{Step, TopologyStatus, Verdict};
use dunlin_intent::Initiative;

use super::explain::step;
use crate::core::Core;
use crate::peers::Peer;

impl Peer {
    /// What a node is to this one, in a word.
    pub(super) fn tie(&self) -> Option<&'static str> {
        let ours = self.intent.initiative == Initiative::Ours;
        if !self.key().is_node() {
            None
        } else if self.parting.is_some() && !ours {
            Some("leaving")
        } else if self.intent.reflector {
            Some("reflector")
        } else if self.client {
            Some("client")
        } else {
            Some("mesh")
        }
    }
}

impl Core {
    /// None until the node's own part is known.
    pub(super) fn topology_status(&self) -> Option<TopologyStatus> {
        self.local.as_ref()?;
        let own = &self.config.node_name;
        let choice = self.cluster.candidacy(own);
        let peers = || self.peers.iter().filter(|peer| peer.key().is_node());
        let clients = peers().filter(|peer| peer.is_established() && peer.client);
        let leaving = peers().filter(|peer| peer.tie() == Some("leaving"));
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(TopologyStatus {
            role: self.cluster.role(own).as_str().into(),
            reason: self.cluster.topology_reason(),
            choice: choice.map(|choice| choice.text().into()),
            reflectors: self.cluster.reflectors().map(ToString::to_string).collect(),
            clients: count(clients.count()),
            leaving: count(leaving.count()),
        })
    }

    /// What a node's session is for.
    pub(super) fn explain_tie(&self, peer: &Peer) -> Option<Step> {
        let tie = peer.tie()?;
        let (us, them) = (&*self.config.node_name, peer.key().name());
        let reflects = |name: &str| match self.cluster.candidacy(name) {
            Some(choice) => format!("; as a reflector {name} {}", choice.text()),
            None => String::new(),
        };
        let text = match tie {
            "leaving" => {
                format!(
                    "wanted no longer: it goes once every route has come elsewhere{}",
                    reflects(them)
                )
            }
            "reflector" if peer.client => format!("{them} and {us} both reflect{}", reflects(them)),
            "reflector" => format!("{them} reflects for {us}{}", reflects(them)),
            "client" if peer.intent.reflector_client => {
                format!("{us} reflects for {them}{}", reflects(them))
            }
            "client" => format!("{us} goes on reflecting for {them}, until that needs it no more"),
            _ => "neither reflects for the other".to_owned(),
        };
        let why = self.cluster.topology_reason();
        Some(step("intent", Verdict::Info, format!("{text} ({why})")))
    }
}
