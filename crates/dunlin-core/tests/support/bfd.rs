//! BFD sessions as the core sees them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dunlin_api::NeighborBfd;
use dunlin_bfd::{Cause, Diagnostic, SessionConfig, SessionId, State, StateChange};
use dunlin_bgp::session::{ConnId, DownReason, SessionEvent, StaleInfo, TransportError};
use dunlin_bgp::wire::{Notification, cease, code};
use dunlin_core::{BfdCommand, Input};
use dunlin_dataplane::KernelEvent;
use dunlin_dataplane::links::{Address, LinkEvent};
use dunlin_intent::{BfdProfileFact, Fact};
use dunlin_net::{IpNet, Ipv4Net, PeerId, PerFamily};

use super::{Bench, CONN, OWN};

/// What was asked of BFD, and of BGP because of it.
#[derive(Debug, Default)]
pub(crate) struct BfdSeen {
    pub(crate) sessions: BTreeMap<SessionId, SessionConfig>,
    /// How many commands came.
    pub(crate) commands: usize,
    /// How many sessions were to end because of it.
    pub(crate) resets: usize,
    /// TCP knows of the end already, and says so instead.
    pub(crate) tcp_is_first: bool,
}

impl BfdSeen {
    pub(super) fn act(&mut self, command: BfdCommand) {
        self.commands += 1;
        match command {
            BfdCommand::Set(id, config) => {
                config.check().unwrap();
                self.sessions.insert(id, config);
            }
            BfdCommand::Remove(id) => {
                assert!(self.sessions.remove(&id).is_some(), "{id} was never there");
            }
        }
    }

    /// The only session there is.
    pub(crate) fn only(&self) -> (SessionId, &SessionConfig) {
        assert_eq!(self.sessions.len(), 1, "{self:?}");
        let (id, config) = self.sessions.first_key_value().unwrap();
        (*id, config)
    }
}

/// A profile called `fast`.
pub(crate) fn profile(transmit_interval_millis: u32) -> Fact {
    Fact::BfdProfile(BfdProfileFact {
        name: "fast".into(),
        transmit_interval_millis: Some(transmit_interval_millis),
        ..BfdProfileFact::default()
    })
}

fn address(net: &str) -> Address {
    Address {
        ifindex: 2,
        local: IpAddr::V4(OWN),
        on_link: IpNet::V4(net.parse::<Ipv4Net>().unwrap()),
    }
}

impl Bench {
    /// The only BFD session changes so.
    pub(crate) fn bfd(&mut self, from: State, to: State, cause: Cause, failures: u64) {
        let (session, _) = self.bfd.only();
        self.bfd_of(session, from, to, cause, failures);
    }

    pub(crate) fn bfd_of(
        &mut self,
        session: SessionId,
        from: State,
        to: State,
        cause: Cause,
        failures: u64,
    ) {
        self.bfd_says(session, from, to, cause, failures, Diagnostic::NONE);
    }

    fn bfd_says(
        &mut self,
        session: SessionId,
        from: State,
        to: State,
        cause: Cause,
        failures: u64,
        remote_diagnostic: Diagnostic,
    ) {
        let change = StateChange {
            session,
            at: self.now,
            from,
            to,
            cause,
            local_diagnostic: Default::default(),
            remote_diagnostic,
            remote_control_plane_independent: false,
            last_received: None,
            failures,
        };
        self.core.on(self.now, Input::Bfd(change));
        self.settle();
    }

    /// The only BFD session fails because the peer says Down, and why.
    pub(crate) fn peer_says_down(&mut self, why: Diagnostic, failures: u64) {
        let (session, _) = self.bfd.only();
        self.bfd_says(
            session,
            State::Up,
            State::Down,
            Cause::RemoteDown,
            failures,
            why,
        );
    }

    pub(crate) fn bfd_comes_up(&mut self) {
        self.bfd(State::Down, State::Up, Cause::Handshake, 0);
    }

    pub(crate) fn bfd_refused(&mut self, why: &str) {
        let (session, _) = self.bfd.only();
        let input = Input::BfdRefused(session, why.into());
        self.core.on(self.now, input);
        self.settle();
    }

    /// The router's TCP connection ends with FIN, and it has said that it keeps its routes over a restart.
    pub(crate) fn router_restarts(&mut self) {
        let peer = self.router.expect("the router is wanted");
        self.session(SessionEvent::Down {
            peer,
            conn: CONN,
            reason: DownReason::Transport(TransportError::Eof),
            sent: None,
            stale: Some(StaleInfo {
                restart_time_secs: 120,
                families: PerFamily { v4: true, v6: true },
                ..StaleInfo::default()
            }),
        });
    }

    /// The I/O thread obeys, unless TCP was first.
    pub(super) fn path_down(&mut self, peer: PeerId, conn: ConnId) {
        let down = Notification::new(code::CEASE, cease::BFD_DOWN);
        if self.bfd.tcp_is_first {
            return;
        }
        let event = SessionEvent::Down {
            peer,
            conn,
            reason: DownReason::Reset(Notification::hard_reset(&down)),
            sent: None,
            stale: None,
        };
        self.core.on(self.now, Input::Session(event));
    }

    /// The link loses its subnet, or has it again.
    pub(crate) fn on_link(&mut self, net: &str, there: bool) {
        let event = match there {
            true => LinkEvent::Address(address(net)),
            false => LinkEvent::AddressGone(address(net)),
        };
        self.kernel(KernelEvent::Link(event));
        self.settle();
    }

    /// How the neighbor's BFD is shown.
    pub(crate) fn shown_bfd(&mut self, name: &str) -> Option<NeighborBfd> {
        let mut all = self.neighbors().into_iter();
        all.find(|neighbor| neighbor.name == name)?.bfd
    }

    /// The reasons of problems, and what they say.
    pub(crate) fn problems(&mut self) -> Vec<(String, String)> {
        let problems = self.status().problems.into_iter();
        problems.map(|p| (p.reason, p.message)).collect()
    }

    pub(crate) fn own() -> Ipv4Addr {
        OWN
    }
}
