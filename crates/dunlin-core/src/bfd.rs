//! The BFD sessions beside the peers: which are wanted, and what their end means to BGP.
//!
//! Data goes one way: intents, links and sessions say what is wanted, the difference to what was told goes to the BFD thread,
//! and changes of state come back. What a change means (RFC 5882 4.2, 4.3; our BFD ends with the agent, C is clear):
//!
//! | change | BGP |
//! |---|---|
//! | a packet was missed for the detection time, by either end, and TCP is silent | reset with Cease/BFD Down as a Hard Reset; the routes go at once, none stay as stale |
//! | the peer says Down for another reason | the same, if TCP is still silent a moment later |
//! | failed, BGP already down | nothing: TCP told of the end first, which is a restart; stale routes stay |
//! | the peer went to AdminDown, or began anew | nothing: neither says anything of the path |
//! | never up | nothing: a peer without BFD is still a peer |

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use dunlin_bfd::{Cause, Diagnostic, Hops, Role, SessionConfig, SessionId, State, StateChange};
use dunlin_bgp::policy::PeerType;
use dunlin_bgp::session::{Command, ConnId};
use dunlin_dataplane::links::{Links, Unresolved};
use dunlin_intent::LocalIntent;
use dunlin_net::{Afi, Instant, PeerId, ScopedAddr};

use crate::core::{Action, Core};
use crate::peers::{Peer, Refused};

/// When what was refused is asked for again.
const RETRY: Duration = Duration::from_secs(30);

/// How long a peer whose path has failed is left alone: no longer than a first connection attempt takes to be repeated.
const IDLE_HOLD: Duration = Duration::from_secs(1);

/// How long TCP may be behind BFD in telling that the peer's BGP has ended.
const DOUBT: Duration = Duration::from_millis(50);

/// For the BFD thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BfdCommand {
    /// Make the session this, now or for the first time. If it cannot be, say [`crate::Input::BfdRefused`].
    Set(SessionId, SessionConfig),
    /// End the session; its number is not used again.
    Remove(SessionId),
}

/// All BFD sessions. As many as there are peers that are to have one.
#[derive(Debug, Default)]
pub(crate) struct Bfd {
    by_peer: BTreeMap<PeerId, Watched>,
    by_session: BTreeMap<SessionId, PeerId>,
    /// Each session on another path is a new one, so that no late word of the old one is taken for one of the new.
    next: u32,
    /// What is wanted may differ from what was told.
    pub(crate) dirty: bool,
    /// Connections of peers that say Down, until it is clear whether TCP says more. One a failure, for [`DOUBT`].
    doubts: BTreeSet<(Instant, PeerId, ConnId)>,
}

/// A BFD session as it was asked for, and what is known of it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) id: SessionId,
    pub(crate) config: SessionConfig,
    /// Failures that were told.
    failures: u64,
    /// The last change.
    pub(crate) last: Option<StateChange>,
    /// Why it is not there, and when it is asked for again.
    pub(crate) refused: Option<(String, Instant)>,
}

impl Watched {
    pub(crate) fn state(&self) -> State {
        self.last.map_or(State::Down, |change| change.to)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state() == State::Up
    }
}

impl Bfd {
    pub(crate) fn of(&self, peer: PeerId) -> Option<&Watched> {
        self.by_peer.get(&peer)
    }

    pub(crate) fn peer_of(&self, session: SessionId) -> Option<PeerId> {
        self.by_session.get(&session).copied()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let watched = self.by_peer.values();
        let retries = watched.filter_map(|w| w.refused.as_ref().map(|(_, at)| *at));
        retries.chain(self.doubts.first().map(|(at, ..)| *at)).min()
    }

    fn on_time(&mut self, now: Instant) {
        let mut watched = self.by_peer.values();
        self.dirty |= watched.any(|w| w.refused.as_ref().is_some_and(|(_, at)| *at <= now));
    }

    fn watched(&mut self, session: SessionId) -> Option<(PeerId, &mut Watched)> {
        let peer = *self.by_session.get(&session)?;
        Some((peer, self.by_peer.get_mut(&peer)?))
    }

    fn forget(&mut self, peer: PeerId) -> Option<SessionId> {
        let watched = self.by_peer.remove(&peer)?;
        self.by_session.remove(&watched.id);
        Some(watched.id)
    }

    /// Notes what is wanted of a peer. Gives what is to be told.
    fn want(&mut self, now: Instant, peer: PeerId, config: SessionConfig) -> Vec<BfdCommand> {
        let mut commands = Vec::new();
        if let Some(watched) = self.by_peer.get_mut(&peer) {
            let due = watched.refused.as_ref().is_some_and(|(_, at)| *at <= now);
            if watched.config == config && !due {
                return commands;
            }
            if is_same_path(&watched.config, &config) {
                watched.config = config.clone();
                watched.refused = None;
                commands.push(BfdCommand::Set(watched.id, config));
                return commands;
            }
            commands.extend(self.forget(peer).map(BfdCommand::Remove));
        }
        let id = SessionId(self.next);
        // 2^32 paths in one agent's life.
        self.next = self.next.wrapping_add(1);
        self.by_session.insert(id, peer);
        let watched = Watched {
            id,
            config: config.clone(),
            failures: 0,
            last: None,
            refused: None,
        };
        self.by_peer.insert(peer, watched);
        commands.push(BfdCommand::Set(id, config));
        commands
    }
}

/// Whether a session can become the other without going down.
fn is_same_path(a: &SessionConfig, b: &SessionConfig) -> bool {
    let path = |c: &SessionConfig| (c.peer, c.local, c.interface, c.hops);
    path(a) == path(b)
}

/// What is wanted of a peer's BFD session. `before` is what stands.
fn wanted(
    peer: &Peer,
    links: &Links,
    local: &LocalIntent,
    before: Option<&Watched>,
) -> Option<SessionConfig> {
    let asked = peer.intent.bfd?;
    let ScopedAddr { addr, interface } = peer.scoped()?;
    if matches!(peer.refused, Some(Refused::NotTried(_))) {
        return None;
    }
    // A link that has lost its addresses, or has gone down, takes its sessions with it by the detection time: on another path
    // they would start anew, and nobody would notice.
    let lives = |watched: &&Watched| peer.is_established() || watched.is_up();
    let before = before.filter(lives).map(|watched| &watched.config);
    let before = before.filter(|config| config.peer == addr);
    let on_link = match links.resolve(addr) {
        _ if interface != 0 => Some(interface),
        Ok(ifindex) | Err(Unresolved::LinkDown { ifindex }) => Some(ifindex),
        Err(_) => None,
    };
    let session = &peer.intent.session;
    let behind_routers =
        session.ebgp_multihop.is_some() || session.ttl_security_hops.is_some_and(|hops| hops > 1);
    let hops = match (session.peer_type(), behind_routers, on_link) {
        (PeerType::External, true, _) => Hops::Multi,
        (PeerType::External, false, _) | (PeerType::Internal, _, Some(_)) => Hops::Single,
        (PeerType::Internal, _, None) => before.map_or(Hops::Multi, |config| config.hops),
    };
    let source = session.local_address;
    let mut config = match hops {
        Hops::Single => SessionConfig {
            local: source,
            interface: on_link.or(before.and_then(|config| config.interface)),
            ..SessionConfig::single_hop(addr)
        },
        Hops::Multi => {
            let connection = peer.up.as_ref();
            let connection = connection.map(|up| up.negotiated.local.ip().to_canonical());
            let own: Option<IpAddr> = source
                .or(connection)
                .or(before.and_then(|config| config.local))
                .or(*local.next_hops.get(Afi::of(addr)));
            SessionConfig {
                min_ttl: asked.minimum_ttl.unwrap_or(1),
                ..SessionConfig::multi_hop(addr, own?)
            }
        }
    };
    config.desired_min_tx = asked.transmit_interval;
    config.required_min_rx = asked.receive_interval;
    config.detect_mult = asked.detect_multiplier;
    config.role = match asked.passive {
        true => Role::Passive,
        false => Role::Active,
    };
    Some(config)
}

impl Core {
    /// Tells the BFD thread what is wanted and it has not been told.
    pub(crate) fn settle_bfd(&mut self, now: Instant) {
        let Some(local) = self.local.as_ref().filter(|_| self.read_back) else {
            return;
        };
        if !std::mem::take(&mut self.bfd.dirty) {
            return;
        }
        let mut commands = Vec::new();
        let mut gone: BTreeSet<PeerId> = self.bfd.by_peer.keys().copied().collect();
        let mut set = Vec::new();
        for peer in self.peers.sorted() {
            if self.waiting.contains(peer.key()) {
                continue;
            }
            let before = self.bfd.of(peer.id);
            if let Some(config) = wanted(peer, &self.links, local, before) {
                gone.remove(&peer.id);
                set.push((peer.id, config));
            }
        }
        // What ends comes first: another peer may have its address by now.
        for id in gone {
            commands.extend(self.bfd.forget(id).map(BfdCommand::Remove));
        }
        for (id, config) in set {
            commands.extend(self.bfd.want(now, id, config));
        }
        self.actions.extend(commands.into_iter().map(Action::Bfd));
    }

    pub(crate) fn on_bfd_time(&mut self, now: Instant) {
        self.bfd.on_time(now);
        while let Some(&(at, peer, conn)) = self.bfd.doubts.first() {
            if at > now {
                break;
            }
            self.bfd.doubts.pop_first();
            if self.peers.established(peer, conn).is_some() {
                self.path_down(peer, conn);
            }
        }
    }

    /// A BFD session has changed its state.
    pub(crate) fn on_bfd(&mut self, now: Instant, change: StateChange) {
        let Some((peer, watched)) = self.bfd.watched(change.session) else {
            return;
        };
        // Changes may have been merged on their way, so the states alone do not tell that it failed in between.
        let failed = change.failures > watched.failures;
        watched.failures = change.failures;
        watched.last = Some(change);
        self.bfd.dirty |= change.to != State::Up;
        if failed {
            self.on_bfd_failed(now, peer, &change);
        }
    }

    /// A BFD session that is wanted cannot be.
    pub(crate) fn on_bfd_refused(&mut self, now: Instant, session: SessionId, why: String) {
        if let Some((_, watched)) = self.bfd.watched(session) {
            watched.refused = Some((why, now + RETRY));
        }
    }

    /// The peer, or the path to it, is dead.
    fn on_bfd_failed(&mut self, now: Instant, id: PeerId, change: &StateChange) {
        // After FIN or RST the peer is one that restarts, and takes its BFD with it.
        let Some(conn) = self.peers.get(id).and_then(|peer| peer.up.as_ref()) else {
            return;
        };
        let conn = conn.conn;
        if is_silence(change) {
            self.path_down(id, conn);
        } else {
            self.bfd.doubts.insert((now + DOUBT, id, conn));
        }
    }

    /// The end of the session comes back as any other does, without stale routes; if TCP was faster, as what it is then.
    fn path_down(&mut self, peer: PeerId, conn: ConnId) {
        self.fail_over(peer, conn);
        self.command(Command::PathDown {
            peer,
            conn,
            idle_hold: IDLE_HOLD,
        });
    }
}

/// Whether one of the two ends has missed the other's packets. An end that says Down for another reason may do so because
/// its BGP has ended, as FRR does, and BFD is faster than TCP by a little.
fn is_silence(change: &StateChange) -> bool {
    change.cause != Cause::RemoteDown
        || change.remote_diagnostic == Diagnostic::DETECTION_TIME_EXPIRED
}
