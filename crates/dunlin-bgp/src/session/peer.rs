//! One peer as a pure machine.

mod collision;
mod conn;
mod dial;
mod end;
mod open;
mod receive;
mod reconfigure;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dunlin_net::{Afi, Chance, Instant, PeerId};

use self::conn::{Conn, Direction, Ends, Stage};
use super::pace::{Backoff, Damping, jittered};
use super::{
    Action, Attempt, ConnId, DownReason, FsmState, Input, PeerConfig, PeerStats, Refusal,
    RefusedWhy, Seeds, Stop, TransportError,
};
use crate::wire::{AfiSafi, KEEPALIVE, MessageType, RefreshSubtype, RouteRefresh};

/// How long a dial may take before it is given up and begun anew: a peer that comes back is reached within this time, where
/// the kernel's own repeats of a SYN would soon be far apart.
const DIAL_PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection may take to bring an OPEN, and with a hold time of zero to confirm ours.
const OPEN_PATIENCE: Duration = Duration::from_secs(15);

/// The least time that a peer may leave our octets unread (RFC 9687 5: the greater of eight minutes and two hold times).
const SEND_HOLD: Duration = Duration::from_secs(480);

/// Incoming connections of one peer that are not Established. More are refused: one may be left from before a cut, one may be
/// alive.
const MAX_PENDING_INCOMING: usize = 2;

/// One peer: a BGP session (RFC 4271 8) with all TCP connections that may become it.
///
/// A pure machine, driven by three kinds of calls:
/// * [`Peer::on`] and [`Peer::accept`] say what happened, and when;
/// * [`Peer::poll_action`] gives what is to be done, until it gives nothing; to be called after each of the former;
/// * [`Peer::next_deadline`] says when to call [`Peer::on`] with [`Input::Deadline`] if nothing happens before.
///
/// It holds to this: routes come only between `Up` and `Down` of their connection; every action names its connection; inputs
/// for a connection that has ended are counted and do nothing.
///
/// Bounds: one Established connection, one dial, two incoming ones that are not Established; less than one message of bytes
/// for each; actions never outlive the call that made them by more than its input was long.
#[derive(Debug)]
pub struct Peer {
    id: PeerId,
    config: Arc<PeerConfig>,
    attr_hash_seed: u64,
    chance: Chance,
    stopped: Option<Stop>,
    conns: Vec<Conn>,
    last_conn: u32,
    dial_at: Instant,
    backoff: Backoff,
    damping: Damping,
    shown: FsmState,
    shown_since: Instant,
    told: Option<(FsmState, Option<DownReason>)>,
    stats: Box<PeerStats>,
    actions: VecDeque<Action>,
}

impl Peer {
    /// A peer that begins at once: it dials unless it is passive. The configuration has passed [`PeerConfig::check`].
    pub fn new(now: Instant, id: PeerId, config: Arc<PeerConfig>, seeds: Seeds) -> Peer {
        Peer::after(now, id, config, seeds, ConnId(0))
    }

    /// The same for an id that was a peer before, whose connections were named up to `last_conn`.
    pub(super) fn after(
        now: Instant,
        id: PeerId,
        config: Arc<PeerConfig>,
        seeds: Seeds,
        last_conn: ConnId,
    ) -> Peer {
        let mut peer = Peer {
            id,
            config,
            attr_hash_seed: seeds.attr_hash,
            chance: Chance::new(seeds.chance ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            stopped: None,
            conns: Vec::new(),
            last_conn: last_conn.0,
            dial_at: now,
            backoff: Backoff::new(),
            damping: Damping::default(),
            shown: FsmState::Idle,
            shown_since: now,
            told: None,
            stats: Box::default(),
            actions: VecDeque::new(),
        };
        peer.settle(now);
        peer
    }

    /// The configuration in use.
    pub fn config(&self) -> &Arc<PeerConfig> {
        &self.config
    }

    /// The state as shown, and since when.
    pub fn state(&self) -> (FsmState, Instant) {
        (self.shown, self.shown_since)
    }

    /// What is counted and remembered.
    pub fn stats(&self) -> &PeerStats {
        &self.stats
    }

    /// The Established connection and what it agreed on.
    pub fn established(&self) -> Option<(ConnId, &Arc<super::Negotiated>)> {
        let conn = self.conns.iter().find(|conn| conn.is_established())?;
        Some((conn.id, conn.negotiated()?))
    }

    /// The newest name of a connection.
    pub(super) fn last_conn(&self) -> ConnId {
        ConnId(self.last_conn)
    }

    /// Until when it is held back after failures, or by the core.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.damping.deadline()
    }

    /// When it is dialled next, if it is to be and nothing holds it back.
    pub(super) fn dial_at(&self) -> Option<Instant> {
        let free = self.held_until().is_none();
        (free && self.wants_dial()).then_some(self.dial_at)
    }

    /// Connections that are no session yet.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        let attempts = self.conns.iter().filter(|conn| !conn.is_established());
        attempts
            .map(|conn| Attempt {
                incoming: conn.direction == Direction::Incoming,
                state: conn.state(),
                since: conn.since,
            })
            .collect()
    }

    /// Whether it has any connection or dial.
    pub fn has_connections(&self) -> bool {
        !self.conns.is_empty()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.actions.pop_front();
        if action.is_none() {
            self.actions = VecDeque::new();
        }
        action
    }

    /// When to come back with [`Input::Deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Instant> {
        let dial = self.wants_dial().then_some(self.dial_at);
        self.conns
            .iter()
            .filter_map(Conn::next_deadline)
            .chain(self.damping.deadline())
            .chain(dial.filter(|_| self.damping.deadline().is_none()))
            .min()
    }

    /// The peer has dialled us. Refused ones are to be closed at once.
    pub fn accept(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<ConnId, Refusal> {
        let pending = self
            .conns
            .iter()
            .filter(|conn| conn.direction == Direction::Incoming && !conn.is_established());
        let why = if self.stopped.is_some() {
            RefusedWhy::Stopped
        } else if self.damping.is_holding(now) {
            RefusedWhy::HeldBack
        } else if pending.count() >= MAX_PENDING_INCOMING {
            RefusedWhy::TooManyConnections
        } else {
            let conn = self.add(now, Direction::Incoming);
            self.connected(now, conn, Ends { local, remote });
            self.settle(now);
            return Ok(conn);
        };
        self.stats.refused += 1;
        Err(Refusal::new(why))
    }

    /// Something happened.
    pub fn on(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected {
                conn,
                local,
                remote,
            } => self.on_connected(now, conn, Ends { local, remote }),
            Input::DialFailed { conn, error } | Input::Closed { conn, error } => {
                if self.is_live(conn) {
                    self.lost(now, conn, error);
                }
            }
            Input::Bytes { conn, bytes } => {
                if self.is_live(conn) {
                    self.on_bytes(now, conn, bytes);
                }
            }
            Input::ReadPaused { conn, paused } => self.on_read_paused(now, conn, paused),
            Input::Written { conn, pending } => self.on_written(now, conn, pending),
            Input::Send {
                conn,
                bytes,
                messages,
            } => self.on_send(conn, bytes, messages),
            Input::RequestRefresh { conn, afi } => self.on_request_refresh(conn, afi),
            Input::Reset {
                conn,
                notification,
                idle_hold,
            } => {
                if self.is_live(conn) {
                    self.end(now, conn, DownReason::Reset(notification));
                    self.damping.hold_for(now, idle_hold);
                }
            }
            Input::Start => {
                self.stopped = None;
                self.forgive(now);
            }
            Input::Stop(stop) => {
                self.end_all(now, &DownReason::Stopped(stop.clone()));
                self.stopped = Some(stop);
            }
            Input::Configure(config) => self.on_configure(now, config),
            Input::Deadline => self.on_deadline(now),
        }
        self.settle(now);
    }

    fn conn(&self, conn: ConnId) -> Option<&Conn> {
        self.conns.iter().find(|c| c.id == conn)
    }

    fn conn_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.iter_mut().find(|c| c.id == conn)
    }

    /// Whether the connection lives; if not, an input came late.
    fn is_live(&mut self, conn: ConnId) -> bool {
        let live = self.conn(conn).is_some();
        if !live {
            self.stats.late_inputs += 1;
        }
        live
    }

    /// The Established connection of this id; an input for any other came late.
    fn established_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        let index = self
            .conns
            .iter()
            .position(|c| c.id == conn && c.is_established());
        if index.is_none() {
            self.stats.late_inputs += 1;
        }
        self.conns.get_mut(index?)
    }

    fn add(&mut self, now: Instant, direction: Direction) -> ConnId {
        self.last_conn = self.last_conn.wrapping_add(1);
        let id = ConnId(self.last_conn);
        // More than one is rare and short.
        self.conns.reserve_exact(1);
        self.conns.push(Conn {
            id,
            direction,
            stage: Stage::Dialing,
            since: now,
            patience_ends: Some(now + DIAL_PATIENCE),
            keepalive_at: None,
            send_hold_ends: None,
            read_paused: false,
            open: Bytes::new(),
            partial: Vec::new(),
        });
        id
    }

    fn write(&mut self, conn: ConnId, bytes: Bytes, credited: bool) {
        self.stats.sent.bytes += bytes.len() as u64;
        self.actions.push_back(Action::Write {
            conn,
            bytes,
            credited,
        });
    }

    fn on_connected(&mut self, now: Instant, conn: ConnId, ends: Ends) {
        match self.conn(conn).map(|c| &c.stage) {
            Some(Stage::Dialing) if self.conns.iter().any(Conn::is_open) => {
                // The peer was faster. Given up before our OPEN, so that the two sides cannot choose differently.
                self.end(now, conn, DownReason::Collision);
            }
            Some(Stage::Dialing) => self.connected(now, conn, ends),
            Some(_) | None => self.stats.late_inputs += 1,
        }
    }

    /// The TCP connection stands: our OPEN goes out.
    fn connected(&mut self, now: Instant, conn: ConnId, ends: Ends) {
        let config = Arc::clone(&self.config);
        let Some(connected) = self.conn_mut(conn) else {
            return;
        };
        let mut bytes = Vec::new();
        open::our_open(&config).encode(&mut bytes);
        let bytes: Bytes = bytes.into();
        connected.stage = Stage::OpenSent(ends);
        connected.since = now;
        connected.patience_ends = Some(now + OPEN_PATIENCE);
        connected.open = bytes.clone();
        self.stats.sent.opens += 1;
        self.write(conn, bytes, false);
    }

    fn send_keepalive(&mut self, now: Instant, conn: ConnId) {
        let secs = self
            .conn(conn)
            .and_then(|c| c.negotiated())
            .map_or(0, |negotiated| negotiated.keepalive_time_secs);
        let interval = jittered(&mut self.chance, Duration::from_secs(secs.into()));
        if let Some(sender) = self.conn_mut(conn) {
            sender.keepalive_at = (secs != 0).then(|| now + interval);
            self.stats.sent.keepalives += 1;
            self.write(conn, Bytes::from_static(&KEEPALIVE), false);
        }
    }

    fn on_read_paused(&mut self, now: Instant, conn: ConnId, paused: bool) {
        if let Some(reader) = self.conn_mut(conn) {
            reader.read_paused = paused;
            if !paused {
                reader.heard(now);
            }
        }
    }

    fn on_written(&mut self, now: Instant, conn: ConnId, pending: bool) {
        if let Some(writer) = self.conn_mut(conn) {
            let hold_secs = writer.negotiated().map_or(0, |n| n.hold_time_secs);
            let patience = SEND_HOLD.max(Duration::from_secs(2 * u64::from(hold_secs)));
            writer.send_hold_ends = pending.then(|| now + patience);
        }
    }

    fn on_send(&mut self, conn: ConnId, bytes: Bytes, messages: u32) {
        if self.established_mut(conn).is_some() {
            // Marks of RFC 7313 come one at a time.
            let sent = match bytes.get(18) {
                Some(&kind) if kind == MessageType::RouteRefresh as u8 => {
                    &mut self.stats.sent.refreshes
                }
                _ => &mut self.stats.sent.updates,
            };
            *sent += u64::from(messages);
            self.write(conn, bytes, true);
        }
    }

    fn on_request_refresh(&mut self, conn: ConnId, afi: Afi) {
        let able = self
            .established_mut(conn)
            .and_then(|c| c.negotiated())
            .is_some_and(|n| n.route_refresh && *n.families.get(afi));
        if able {
            let mut bytes = Vec::new();
            RouteRefresh {
                family: AfiSafi::unicast(afi),
                subtype: RefreshSubtype::Request,
            }
            .encode(&mut bytes);
            self.stats.sent.refreshes += 1;
            self.write(conn, bytes.into(), false);
        }
    }

    fn on_deadline(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let ids: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|conn| due(conn.next_deadline()))
            .map(|conn| conn.id)
            .collect();
        for id in ids {
            let Some(conn) = self.conn(id) else {
                continue;
            };
            if due(conn.patience_ends) && !conn.read_paused {
                let reason = out_of_patience(conn);
                self.end(now, id, reason);
            } else if due(conn.send_hold_ends) {
                self.end(now, id, DownReason::SendHoldTimerExpired);
            } else if due(conn.keepalive_at) {
                self.send_keepalive(now, id);
            }
        }
        if self.damping.release(now) {
            self.dial_at = now;
        }
    }
}

/// Why a connection whose patience has ended is ended.
fn out_of_patience(conn: &Conn) -> DownReason {
    match &conn.stage {
        Stage::Dialing => DownReason::Transport(TransportError::TimedOut),
        Stage::OpenSent(_) => DownReason::OpenTimedOut,
        Stage::OpenConfirm(negotiated) | Stage::Established(negotiated, _) => {
            DownReason::HoldTimerExpired {
                hold_time_secs: negotiated.hold_time_secs,
            }
        }
    }
}

#[cfg(test)]
mod tests;
