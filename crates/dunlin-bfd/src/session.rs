//! One session as a pure machine (RFC 5880 6.8).

mod allowance;
mod receive;
mod snapshot;
mod timers;

use std::time::Duration;

use dunlin_net::{Chance, Instant};

use self::allowance::Allowance;
pub use self::snapshot::SessionSnapshot;
use self::timers::{Farewell, Poll};
use crate::event::{Cause, StateChange};
use crate::{
    ControlPacket, Diagnostic, Discriminator, Role, SessionConfig, SessionId, SessionStats, State,
};

/// What a session wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send(ControlPacket),
    Changed(StateChange),
}

/// What the peer told us; as RFC 5880 6.8.1 initializes it while nothing is heard.
#[derive(Clone, Copy, Debug)]
struct Remote {
    /// bfd.RemoteDiscr; zero while the peer is not heard.
    discriminator: u32,
    state: State,
    /// bfd.RemoteMinRxInterval.
    min_rx: Duration,
    desired_tx: Duration,
    detect_mult: u8,
    demand: bool,
    control_plane_independent: bool,
}

impl Remote {
    const UNHEARD: Remote = Remote {
        discriminator: 0,
        state: State::Down,
        min_rx: Duration::from_micros(1),
        desired_tx: Duration::ZERO,
        detect_mult: 0,
        demand: false,
        control_plane_independent: false,
    };
}

/// The last time that it left Up, or was kept from coming up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastDown {
    pub(crate) at: Instant,
    pub(crate) cause: Cause,
    pub(crate) local_diagnostic: Diagnostic,
    pub(crate) remote_diagnostic: Diagnostic,
}

/// One session. Driven like [`crate::Sessions`], which hosts it and knows its addresses.
///
/// It holds to this: it is Up only while the peer has said that it hears us (our discriminator came back); it is not Up for
/// longer than the detection time after the last packet, if it is called at its deadlines; between packets in turn there is
/// at least three quarters of what the peer can take.
///
/// Bounds: two actions a call at most, a change and a packet, but for a deadline that finds several things due: five.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    discriminator: Discriminator,
    config: SessionConfig,
    chance: Chance,
    state: State,
    since: Instant,
    local_diagnostic: Diagnostic,
    remote: Remote,
    remote_diagnostic: Diagnostic,
    /// When the last packet of this contact came; none once a detection time has passed without one.
    heard: Option<Instant>,
    last_received: Option<Instant>,
    last_down: Option<LastDown>,
    /// bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval, as advertised.
    desired_tx: Duration,
    required_rx: Duration,
    /// The same as they are in force: a poll sequence may not have ended yet.
    tx_in_force: Duration,
    rx_in_force: Duration,
    poll: Poll,
    next_transmit: Option<Instant>,
    last_transmit: Option<Instant>,
    /// The interval that `next_transmit` was drawn for.
    paced: Duration,
    final_due: bool,
    change_due: bool,
    allowance: Allowance,
    farewell: Option<Farewell>,
    /// Its owner wants it no more; it ends with its farewell.
    leaving: bool,
    stats: SessionStats,
    actions: Vec<Action>,
}

impl Session {
    /// A session that begins at once. The configuration has passed [`SessionConfig::check`].
    pub(crate) fn new(
        now: Instant,
        id: SessionId,
        discriminator: Discriminator,
        config: SessionConfig,
        chance: Chance,
    ) -> Session {
        let state = if config.enabled {
            State::Down
        } else {
            State::AdminDown
        };
        let desired_tx = config.desired_min_tx.max(timers::SLOW);
        let required_rx = config.required_min_rx;
        let mut session = Session {
            id,
            discriminator,
            config,
            chance,
            state,
            since: now,
            local_diagnostic: match state {
                State::AdminDown => Diagnostic::ADMINISTRATIVELY_DOWN,
                _ => Diagnostic::NONE,
            },
            remote: Remote::UNHEARD,
            remote_diagnostic: Diagnostic::NONE,
            heard: None,
            last_received: None,
            last_down: None,
            desired_tx,
            required_rx,
            tx_in_force: desired_tx,
            rx_in_force: required_rx,
            poll: Poll::after(Instant::ZERO),
            next_transmit: None,
            last_transmit: None,
            paced: Duration::ZERO,
            final_due: false,
            change_due: false,
            allowance: Allowance::full(now),
            farewell: None,
            leaving: false,
            stats: SessionStats::default(),
            actions: Vec::new(),
        };
        session.settle(now);
        session
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// Takes what is to be done, in order.
    pub(crate) fn take_actions(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.actions.drain(..)
    }

    /// Whether it wants nothing more.
    pub(crate) fn is_gone(&self) -> bool {
        self.leaving && self.farewell.is_none() && !self.change_due && !self.final_due
    }

    /// The configuration has changed; the path is the same.
    pub(crate) fn configure(&mut self, now: Instant, config: SessionConfig) {
        let was_enabled = self.config.enabled;
        self.config = config;
        match (was_enabled, self.config.enabled) {
            (true, false) => self.disable(now),
            (false, true) => {
                self.farewell = None;
                self.go(now, State::Down, Cause::Enabled);
            }
            (true, true) | (false, false) => {}
        }
        self.settle(now);
    }

    /// Its owner wants it no more. It says so to the peer, for as long as the peer needs to hear it.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.leaving = true;
        if self.config.enabled {
            self.config.enabled = false;
            self.disable(now);
        }
        self.settle(now);
    }

    fn disable(&mut self, now: Instant) {
        self.farewell = Farewell::begin(self, now);
        // Nobody listens: nothing is said.
        let heard = self.remote.discriminator != 0;
        self.go(now, State::AdminDown, Cause::Disabled);
        self.change_due &= heard;
    }

    /// Changes the state (RFC 5880 6.2), and says so at once.
    fn go(&mut self, now: Instant, to: State, cause: Cause) {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.local_diagnostic = match (to, cause) {
            (State::AdminDown, _) => Diagnostic::ADMINISTRATIVELY_DOWN,
            (State::Down, Cause::DetectionTimeExpired) => Diagnostic::DETECTION_TIME_EXPIRED,
            (State::Down, Cause::Enabled) | (State::Up, _) => Diagnostic::NONE,
            (State::Down, _) => Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            (State::Init, _) => self.local_diagnostic,
        };
        self.stats.transitions += 1;
        self.stats.ups += u64::from(to == State::Up);
        self.stats.failures += u64::from(from == State::Up && cause.is_failure());
        self.change_due = true;
        if matches!(to, State::Down | State::AdminDown) && cause != Cause::Enabled {
            self.last_down = Some(LastDown {
                at: now,
                cause,
                local_diagnostic: self.local_diagnostic,
                remote_diagnostic: self.remote_diagnostic,
            });
        }
        self.actions.push(Action::Changed(StateChange {
            session: self.id,
            at: now,
            from,
            to,
            cause,
            local_diagnostic: self.local_diagnostic,
            remote_diagnostic: self.remote_diagnostic,
            remote_control_plane_independent: self.remote.control_plane_independent,
            last_received: self.last_received,
            failures: self.stats.failures,
        }));
        if (from == State::Up) != (to == State::Up) {
            // What is advertised changes at once, whatever poll is under way.
            self.poll = Poll::after(Instant::ZERO);
            self.tx_in_force = self.desired_tx;
            self.rx_in_force = self.required_rx;
        }
    }

    /// Its deadline has come, or may have.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        if self.detection_deadline().is_some_and(|at| at <= now) {
            self.lose(now);
        }
        if self.farewell.is_some_and(|farewell| farewell.until <= now) {
            self.farewell = None;
        }
        self.settle(now);
    }

    /// A detection time has passed without a packet (RFC 5880 6.8.4, and 6.8.1 for the discriminator).
    fn lose(&mut self, now: Instant) {
        let independent = self.remote.control_plane_independent;
        self.remote = Remote::UNHEARD;
        self.remote.control_plane_independent = independent;
        self.heard = None;
        self.final_due = false;
        if matches!(self.state, State::Init | State::Up) {
            self.go(now, State::Down, Cause::DetectionTimeExpired);
        }
    }

    /// Sends what is due, and decides when the next packet is.
    fn settle(&mut self, now: Instant) {
        self.advertise(now);
        if self.is_mute() {
            self.change_due = false;
            self.final_due = false;
        }
        if self.final_due && self.allowance.take(now) {
            self.final_due = false;
            // It says all that a packet of its own would say.
            self.change_due = false;
            self.send(true);
        }
        if self.change_due && self.allowance.take(now) {
            self.transmit(now);
        }
        self.pace(now);
        if self.next_transmit.is_some_and(|at| at <= now) {
            self.transmit(now);
            self.pace(now);
        }
    }

    /// RFC 5880 6.8.7: whether nothing at all may be sent.
    fn is_mute(&self) -> bool {
        self.config.role == Role::Passive && self.remote.discriminator == 0
    }

    fn transmit(&mut self, now: Instant) {
        self.change_due = false;
        self.last_transmit = Some(now);
        self.next_transmit = None;
        self.send(false);
    }

    fn send(&mut self, is_final: bool) {
        let poll = !is_final && self.poll.ask();
        self.stats.sent += 1;
        self.actions.push(Action::Send(ControlPacket {
            diagnostic: self.local_diagnostic,
            state: self.state,
            poll,
            is_final,
            // The agent routes and runs BFD: they end together.
            control_plane_independent: false,
            authenticated: false,
            demand: false,
            detect_mult: self.config.detect_mult,
            my_discriminator: self.discriminator.0.get(),
            your_discriminator: self.remote.discriminator,
            desired_min_tx_micros: timers::micros(self.desired_tx),
            required_min_rx_micros: timers::micros(self.required_rx),
            required_min_echo_rx_micros: 0,
        }));
    }
}

#[cfg(test)]
mod tests;
