//! The peers this node wants, and how each stands.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dunlin_bgp::rib::SourceId;
use dunlin_bgp::session::{ConfigError, ConnId, DYNAMIC_PEERS, DownReason, FsmState, Negotiated};
use dunlin_intent::{
    ExportFilter, ImportPolicy, Initiative, PeerIntent, PeerKey, PolicyIntent, Remote,
};
use dunlin_net::{Afi, Instant, InterfaceName, IpNet, PeerId, PerFamily, ScopedAddr, V4, V6};

use crate::handover::Parting;
use crate::kept::Kept;
use crate::peer_config::NotTried;
use crate::received::Announced;
use crate::refreshed::{Asked, Refreshing};

/// A peer: a node, a configured router, a range, or somebody who came from a range.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) intent: Arc<PeerIntent>,
    /// For somebody who came from a range: the address.
    pub(crate) dynamic: Option<IpAddr>,
    /// For one that is at the other end of a link: where it is, as its session was told, or why it is not tried.
    pub(crate) place: Result<Option<SocketAddr>, NotTried>,
    pub(crate) state: FsmState,
    pub(crate) since: Instant,
    /// Since when it is established, or not.
    pub(crate) turned: Instant,
    pub(crate) reason: Option<DownReason>,
    /// Why it is not even tried, or its configuration was refused.
    pub(crate) refused: Option<Refused>,
    pub(crate) up: Option<Up>,
    /// Where its routes are in the RIB, from the first session on.
    pub(crate) source: Option<SourceId>,
    /// What is kept of its routes though its session broke.
    pub(crate) kept: Kept,
    /// What it tells again (RFC 7313).
    pub(crate) refreshing: Refreshing,
    /// What it asks to be told again (RFC 2918).
    pub(crate) asked: Asked,
    /// When it is no longer waited for though no End-of-RIB came: it cannot send one.
    pub(crate) complete_at: Option<Instant>,
    pub(crate) announced: Announced,
    /// We reflect for it on the session that is up (RFC 4456), which may outlast the wish.
    pub(crate) client: bool,
    /// It may reflect for us on the session that is up.
    pub(crate) relays: bool,
    /// Its session is to end, or to change its part.
    pub(crate) parting: Option<Parting>,
    /// Its Node is no more; what it reflected is kept until others tell it.
    pub(crate) gone: bool,
}

/// Why a peer is not even tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotTried(NotTried),
    Config(ConfigError),
}

impl Refused {
    pub(crate) fn text(&self) -> String {
        match self {
            Refused::NotTried(why) => why.text().into(),
            Refused::Config(error) => format!("the configuration is refused: {error}"),
        }
    }
}

/// An Established session.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) conn: ConnId,
    pub(crate) negotiated: Arc<Negotiated>,
    pub(crate) end_of_rib: PerFamily<bool>,
    /// Octets of UPDATEs handed to the session.
    pub(crate) sent: u64,
    /// Of those, written to the socket.
    pub(crate) written: u64,
}

impl Up {
    /// Whether End-of-RIB has come in every family in use.
    pub(crate) fn is_complete(&self) -> bool {
        Afi::ALL
            .iter()
            .all(|&afi| !self.negotiated.families.get(afi) || *self.end_of_rib.get(afi))
    }
}

impl Peer {
    fn new(id: PeerId, intent: Arc<PeerIntent>, now: Instant) -> Peer {
        Peer {
            id,
            intent,
            dynamic: None,
            place: Ok(None),
            state: FsmState::Idle,
            since: now,
            turned: now,
            reason: None,
            refused: None,
            up: None,
            source: None,
            kept: Kept::default(),
            refreshing: Refreshing::default(),
            asked: Asked::default(),
            complete_at: None,
            announced: Announced::default(),
            client: false,
            relays: false,
            parting: None,
            gone: false,
        }
    }

    pub(crate) fn key(&self) -> &PeerKey {
        &self.intent.key
    }

    pub(crate) fn policy(&self) -> &PolicyIntent {
        &self.intent.policy
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self.dynamic {
            Some(addr) => format!("{}/{addr}", self.key().name()),
            None => self.key().name().to_owned(),
        }
    }

    /// Why it is down, or was last.
    pub(crate) fn last_error(&self) -> Option<String> {
        let excess = self.announced.excess.as_ref().map(ToString::to_string);
        let refused = self.refused.as_ref().map(Refused::text);
        refused
            .or(excess)
            .or_else(|| self.reason.as_ref().map(ToString::to_string))
    }

    /// `node`, `external` or `range`.
    pub(crate) fn kind(&self) -> &'static str {
        match (self.key().is_node(), self.is_range(), self.dynamic) {
            (true, _, _) => "node",
            (false, true, None) | (false, _, Some(_)) => "range",
            (false, false, None) => "external",
        }
    }

    /// Whether this is a range itself and not a peer.
    pub(crate) fn is_range(&self) -> bool {
        matches!(self.intent.session.remote, Remote::Range(_)) && self.dynamic.is_none()
    }

    /// For one that is at the other end of a link: the link's name.
    pub(crate) fn interface(&self) -> Option<InterfaceName> {
        self.intent.session.remote.interface()
    }

    /// Where it is, if that is known.
    pub(crate) fn scoped(&self) -> Option<ScopedAddr> {
        match self.place {
            Ok(Some(place)) => Some(place.into()),
            _ => self.address().map(ScopedAddr::from),
        }
    }

    /// Its address, if that is known.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        match (self.dynamic, self.intent.session.remote) {
            (Some(addr), _) => Some(addr),
            (None, Remote::Address(addr, _)) => Some(addr),
            (None, Remote::Interface(..)) => Some(self.place.ok()??.ip()),
            (None, Remote::Range(_)) => None,
        }
    }

    /// Whether it may announce what no Node owns, or what other nodes own.
    pub(crate) fn imports_from_outside(&self) -> bool {
        let import = &self.policy().import;
        matches!(import, ImportPolicy::Filter(_) | ImportPolicy::Fabric(_))
    }

    /// Whether other nodes' pod subnets may come by it.
    pub(crate) fn is_fabric(&self) -> bool {
        matches!(self.policy().import, ImportPolicy::Fabric(_))
    }

    /// Whether it is told routes learned from others: by its filter, or since we reflect them.
    pub(crate) fn is_told_learned_routes(&self) -> bool {
        self.client
            || self.intent.reflector_client
            || matches!(self.policy().export.filter, ExportFilter::Filter(_))
    }

    /// Whether it could announce a prefix that is the pod subnet of another node, or that no Node owns, and be believed.
    pub(crate) fn may_announce(&self, net: IpNet, is_pod_subnet: bool) -> bool {
        let Some(filter) = self.policy().import.filter() else {
            return self.is_fabric() && is_pod_subnet;
        };
        match net {
            IpNet::V4(net) => filter.may_accept::<V4>(net),
            IpNet::V6(net) => filter.may_accept::<V6>(net),
        }
    }

    /// Whether it has told all it has: by End-of-RIB, or because it need not send any and had its time.
    pub(crate) fn is_complete(&self) -> bool {
        self.up.as_ref().is_some_and(|up| {
            let restart = up.negotiated.graceful_restart;
            let silent = restart.is_none_or(|restart| restart.restarting);
            up.is_complete() || silent && self.complete_at.is_none()
        })
    }

    /// Whether it reflects for us, or may still do.
    pub(crate) fn is_reflector(&self) -> bool {
        self.intent.reflector || self.relays
    }

    /// Whether it is a node that nobody wants a session with: only its dialling is waited for.
    pub(crate) fn is_silent(&self) -> bool {
        self.intent.initiative == Initiative::Theirs && self.up.is_none() && self.source.is_none()
    }

    pub(crate) fn is_established(&self) -> bool {
        self.up.is_some()
    }
}

/// All peers, by id and by what they are. Bounded by the objects, and for ranges by the sessions' own bound.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    /// Boxed: half of a table is room.
    by_id: HashMap<PeerId, Box<Peer>, foldhash::fast::FixedState>,
    by_key: BTreeMap<PeerKey, PeerId>,
    next: u32,
}

impl Peers {
    /// Notes what is wanted of a peer. Gives its id, and what was wanted before.
    pub(crate) fn want(
        &mut self,
        intent: Arc<PeerIntent>,
        now: Instant,
    ) -> (PeerId, Option<Arc<PeerIntent>>) {
        if let Some(&id) = self.by_key.get(&intent.key)
            && let Some(peer) = self.by_id.get_mut(&id)
        {
            peer.gone = false;
            let before = std::mem::replace(&mut peer.intent, intent);
            return (id, Some(before));
        }
        let id = PeerId(self.next);
        // 2^31 peers in one agent's life: the ids above belong to those who come from ranges.
        self.next = (self.next + 1) % DYNAMIC_PEERS;
        self.by_key.insert(intent.key.clone(), id);
        self.by_id.insert(id, Box::new(Peer::new(id, intent, now)));
        (id, None)
    }

    /// Notes somebody who came from a range.
    pub(crate) fn add_dynamic(&mut self, id: PeerId, range: PeerId, remote: IpAddr, now: Instant) {
        if let Some(intent) = self.by_id.get(&range).map(|range| range.intent.clone()) {
            let mut peer = Peer::new(id, intent, now);
            peer.dynamic = Some(remote);
            self.by_id.insert(id, Box::new(peer));
        }
    }

    /// Those who came from a range.
    pub(crate) fn of_range(&self, key: &PeerKey) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> = self
            .by_id
            .values()
            .filter(|peer| peer.dynamic.is_some() && peer.key() == key)
            .map(|peer| peer.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = *self.by_id.remove(&id)?;
        if peer.dynamic.is_none() {
            self.by_key.remove(peer.key());
        }
        Some(peer)
    }

    pub(crate) fn get(&self, id: PeerId) -> Option<&Peer> {
        self.by_id.get(&id).map(Box::as_ref)
    }

    pub(crate) fn get_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.by_id.get_mut(&id).map(Box::as_mut)
    }

    /// The peer whose Established session this is.
    pub(crate) fn established(&mut self, id: PeerId, conn: ConnId) -> Option<&mut Peer> {
        self.get_mut(id)
            .filter(|peer| peer.up.as_ref().is_some_and(|up| up.conn == conn))
    }

    /// Whether this is what is left of a reflector whose Node is no more.
    pub(crate) fn is_gone(&self, key: &PeerKey) -> bool {
        let peer = self.id_of(key).and_then(|id| self.get(id));
        peer.is_some_and(|peer| peer.gone)
    }

    pub(crate) fn id_of(&self, key: &PeerKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    /// The peer that is this Node, if it is no [silent](Peer::is_silent) one.
    pub(crate) fn node(&self, name: &str) -> Option<&Peer> {
        let id = self.id_of(&PeerKey::Node(name.into()))?;
        self.get(id).filter(|peer| !peer.is_silent())
    }

    /// Without the [silent](Peer::is_silent), in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        let all = self.by_id.values().map(Box::as_ref);
        all.filter(|peer| !peer.is_silent())
    }

    /// All whose sessions are told what they are to be, the silent among them, and none that came from a range; ascending.
    pub(crate) fn told(&self) -> Vec<PeerId> {
        let told = self
            .by_id
            .values()
            .filter(|p| p.dynamic.is_none() && !p.gone);
        let mut ids: Vec<PeerId> = told.map(|peer| peer.id).collect();
        ids.sort_unstable();
        ids
    }

    /// All, the silent and those that came from ranges among them; ascending.
    pub(crate) fn all(&self) -> Vec<PeerId> {
        let mut ids: Vec<PeerId> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Without the silent, by what they are, then address: the order they are shown in.
    pub(crate) fn sorted(&self) -> Vec<&Peer> {
        let mut peers: Vec<&Peer> = self.iter().collect();
        peers.sort_by(|a, b| (a.key(), a.dynamic).cmp(&(b.key(), b.dynamic)));
        peers
    }
}
