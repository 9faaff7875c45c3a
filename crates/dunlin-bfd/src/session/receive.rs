//! A packet of the session (RFC 5880 6.8.6, from the point where the session is known).

use std::time::Duration;

use dunlin_net::Instant;

use super::{Remote, Session};
use crate::event::Cause;
use crate::{ControlPacket, DropReason, State};

/// What a received state makes of ours (RFC 5880 6.2 and 6.8.6).
pub(super) fn transition(local: State, received: State) -> Option<(State, Cause)> {
    match (local, received) {
        (State::AdminDown, _) | (State::Down, State::AdminDown | State::Up) => None,
        (State::Init | State::Up, State::AdminDown) => Some((State::Down, Cause::RemoteAdminDown)),
        (State::Down, State::Down) => Some((State::Init, Cause::Handshake)),
        (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
            Some((State::Up, Cause::Handshake))
        }
        (State::Init, State::Down) | (State::Up, State::Init | State::Up) => None,
        (State::Up, State::Down) => Some((State::Down, Cause::RemoteDown)),
    }
}

impl Session {
    /// A packet came that is of this session.
    ///
    /// # Errors
    /// Why it does not count, which is counted.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        packet: &ControlPacket,
    ) -> Result<(), DropReason> {
        if packet.authenticated {
            return Err(self.drop_packet(DropReason::Authenticated));
        }
        let known = self.remote.discriminator;
        let is_new = known != 0 && known != packet.my_discriminator;
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            min_rx: Duration::from_micros(packet.required_min_rx_micros.into()),
            desired_tx: Duration::from_micros(packet.desired_min_tx_micros.into()),
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            control_plane_independent: packet.control_plane_independent,
        };
        self.remote_diagnostic = packet.diagnostic;
        self.heard = Some(now);
        if packet.is_final {
            self.end_poll(now);
        }
        if self.state == State::AdminDown {
            self.settle(now);
            return Err(self.drop_packet(DropReason::AdminDown));
        }
        self.stats.received += 1;
        match transition(self.state, packet.state) {
            Some((to, Cause::RemoteDown)) if is_new => self.go(now, to, Cause::RemoteRestarted),
            Some((to, cause)) => self.go(now, to, cause),
            None => {}
        }
        self.last_received = Some(now);
        self.final_due |= packet.poll;
        self.settle(now);
        Ok(())
    }

    /// Counts a packet that was of this session and is dropped.
    pub(crate) fn drop_packet(&mut self, reason: DropReason) -> DropReason {
        self.stats.dropped.count(reason);
        reason
    }
}
