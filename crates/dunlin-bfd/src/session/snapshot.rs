use std::time::Duration;

use dunlin_net::Instant;

use super::Session;
use crate::event::Cause;
use crate::{Diagnostic, Discriminator, SessionConfig, SessionId, SessionStats, State};

/// A session as it is now, for people and metrics.
#[derive(Clone, Debug)]
pub struct SessionSnapshot {
    /// As its owner names it.
    pub session: SessionId,
    /// What it was told to be.
    pub config: SessionConfig,
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// When and why it last went down.
    pub last_down: Option<(Instant, Cause)>,
    /// What we then told the peer, and the peer had told us.
    pub last_down_diagnostics: (Diagnostic, Diagnostic),
    /// What we tell the peer now.
    pub local_diagnostic: Diagnostic,
    /// What the peer last told us.
    pub remote_diagnostic: Diagnostic,
    /// Our name of it.
    pub local_discriminator: Discriminator,
    /// The peer's; zero while it is not heard.
    pub remote_discriminator: u32,
    /// The peer's state; Down while it is not heard.
    pub remote_state: State,
    /// The peer's multiplier; zero while it is not heard.
    pub remote_detect_mult: u8,
    /// What the peer would send; zero while it is not heard.
    pub remote_desired_min_tx: Duration,
    /// What the peer can take.
    pub remote_required_min_rx: Duration,
    /// Whether the peer is in demand mode.
    pub remote_demand: bool,
    /// Whether the peer said that its BFD does not share fate with its control plane.
    pub remote_control_plane_independent: bool,
    /// Between our packets, before jitter.
    pub transmit_interval: Duration,
    /// After so long without a packet the peer is gone; none while it is not heard.
    pub detection_time: Option<Duration>,
    /// Whether a poll sequence is under way.
    pub polling: bool,
    /// When the last packet was taken.
    pub last_received: Option<Instant>,
    /// What is counted.
    pub stats: SessionStats,
}

impl Session {
    pub(crate) fn snapshot(&self) -> SessionSnapshot {
        let last_down = self.last_down;
        SessionSnapshot {
            session: self.id,
            config: self.config.clone(),
            state: self.state,
            since: self.since,
            last_down: last_down.map(|down| (down.at, down.cause)),
            last_down_diagnostics: last_down.map_or_else(Default::default, |down| {
                (down.local_diagnostic, down.remote_diagnostic)
            }),
            local_diagnostic: self.local_diagnostic,
            remote_diagnostic: self.remote_diagnostic,
            local_discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            remote_state: self.remote.state,
            remote_detect_mult: self.remote.detect_mult,
            remote_desired_min_tx: self.remote.desired_tx,
            remote_required_min_rx: self.remote.min_rx,
            remote_demand: self.remote.demand,
            remote_control_plane_independent: self.remote.control_plane_independent,
            transmit_interval: self.transmit_interval(),
            detection_time: self.detection_time(),
            polling: !self.poll.is_idle(),
            last_received: self.last_received,
            stats: self.stats,
        }
    }
}
