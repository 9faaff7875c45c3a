mod timers;

use std::num::NonZeroU32;

use super::receive::transition;
use super::*;
use crate::DropReason;

const OURS: u32 = 0xaaaa;
const THEIRS: u32 = 0xbbbb;
const MS: u64 = 1000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * MS)
}

fn config() -> SessionConfig {
    SessionConfig {
        desired_min_tx: ms(50),
        required_min_rx: ms(50),
        ..SessionConfig::single_hop([192, 0, 2, 1].into())
    }
}

fn packet(state: State) -> ControlPacket {
    ControlPacket {
        diagnostic: Diagnostic::NONE,
        state,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        authenticated: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: THEIRS,
        your_discriminator: OURS,
        desired_min_tx_micros: 50_000,
        required_min_rx_micros: 50_000,
        required_min_echo_rx_micros: 0,
    }
}

/// A session with what it did since it was last asked.
struct Driven {
    session: Session,
    now: Instant,
    sent: Vec<(Instant, ControlPacket)>,
    changes: Vec<StateChange>,
}

impl Driven {
    fn new(config: SessionConfig) -> Driven {
        let name = Discriminator(NonZeroU32::new(OURS).expect("not zero"));
        let now = at(10_000);
        let session = Session::new(now, SessionId(1), name, config, Chance::new(7));
        let mut driven = Driven {
            session,
            now,
            sent: Vec::new(),
            changes: Vec::new(),
        };
        driven.collect();
        driven
    }

    fn collect(&mut self) {
        for action in self.session.take_actions() {
            match action {
                Action::Send(packet) => self.sent.push((self.now, packet)),
                Action::Changed(change) => self.changes.push(change),
            }
        }
    }

    /// Lets time pass, with all deadlines on time.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.session.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.session.on_deadline(self.now);
            self.collect();
        }
        self.now = end;
    }

    fn receive(&mut self, packet: ControlPacket) -> Result<(), DropReason> {
        let taken = self.session.receive(self.now, &packet);
        self.collect();
        taken
    }

    fn configure(&mut self, config: SessionConfig) {
        self.session.configure(self.now, config);
        self.collect();
    }

    fn take(&mut self) -> Vec<(Instant, ControlPacket)> {
        std::mem::take(&mut self.sent)
    }

    /// In this state, with whatever it took to get there.
    fn in_state(state: State) -> Driven {
        let mut driven = Driven::new(config());
        match state {
            State::AdminDown => driven.configure(SessionConfig {
                enabled: false,
                ..config()
            }),
            State::Down => {}
            State::Init => driven.receive(packet(State::Down)).expect("taken"),
            State::Up => {
                driven.receive(packet(State::Down)).expect("taken");
                driven.receive(packet(State::Init)).expect("taken");
            }
        }
        assert_eq!(driven.session.state, state);
        driven.changes.clear();
        driven
    }

    /// Up, polled to the end, with the intervals in force.
    fn up() -> Driven {
        let mut driven = Driven::in_state(State::Up);
        driven
            .receive(ControlPacket {
                is_final: true,
                ..packet(State::Up)
            })
            .expect("taken");
        assert!(driven.session.poll.is_idle());
        driven.keep(ms(400));
        driven.take();
        driven
    }

    /// Lets time pass while the peer says every 50 ms that it is up.
    fn keep(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.receive(packet(State::Up)).expect("taken");
            self.pass(ms(50).min(end - self.now));
        }
    }
}

/// The whole of RFC 5880 6.2 and 6.8.6: state, received state, what becomes of it.
const TABLE: [(State, State, State); 16] = {
    use State::{AdminDown, Down, Init, Up};
    [
        (AdminDown, AdminDown, AdminDown),
        (AdminDown, Down, AdminDown),
        (AdminDown, Init, AdminDown),
        (AdminDown, Up, AdminDown),
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ]
};

#[test]
fn each_state_meets_each_received_state_as_the_rfc_says() {
    for (from, received, to) in TABLE {
        let next = transition(from, received).map_or(from, |(next, _)| next);
        assert_eq!(next, to, "{from} on {received}");
        for poll in [false, true] {
            let mut driven = Driven::in_state(from);
            driven.take();
            let taken = driven.receive(ControlPacket {
                poll,
                ..packet(received)
            });
            let state = driven.session.state;
            assert_eq!(state, to, "{from} on {received}");
            assert_eq!(taken.is_err(), from == State::AdminDown);
            let sent = driven.take();
            // A change is told at once; a poll is answered at once in all states but AdminDown.
            assert_eq!(driven.changes.len(), usize::from(from != to));
            if from != to {
                assert_eq!(sent.first().map(|(_, packet)| packet.state), Some(to));
            }
            let finals = sent.iter().filter(|(_, packet)| packet.is_final).count();
            assert_eq!(finals, usize::from(poll && from != State::AdminDown));
            assert!(sent.iter().all(|(_, p)| !(p.poll && p.is_final)));
            if to == State::Init && from != to {
                assert_eq!(sent.len(), 1, "an answer tells the change as well");
            }
        }
    }
}

#[test]
fn each_state_meets_silence_being_switched_off_and_being_switched_on() {
    let off = SessionConfig {
        enabled: false,
        ..config()
    };
    for from in State::ALL {
        let mut driven = Driven::in_state(from);
        driven.pass(Duration::from_secs(200));
        let silent = match from {
            State::AdminDown => State::AdminDown,
            _ => State::Down,
        };
        assert_eq!(driven.session.state, silent, "{from} in silence");
        assert_eq!(driven.session.remote.discriminator, 0);
        let told: Vec<Cause> = driven.changes.iter().map(|change| change.cause).collect();
        let expected = match from {
            State::Init | State::Up => vec![Cause::DetectionTimeExpired],
            _ => vec![],
        };
        assert_eq!(told, expected);
        let failures = driven.session.stats.failures;
        assert_eq!(failures, u64::from(from == State::Up), "{from} in silence");

        let mut driven = Driven::in_state(from);
        driven.configure(off.clone());
        assert_eq!(driven.session.state, State::AdminDown);
        assert_eq!(
            driven.session.local_diagnostic,
            Diagnostic::ADMINISTRATIVELY_DOWN
        );
        driven.configure(config());
        assert_eq!(driven.session.state, State::Down, "{from} off and on");
        assert_eq!(driven.session.local_diagnostic, Diagnostic::NONE);
        assert_eq!(driven.session.stats.failures, 0, "nothing has failed");
    }
}

#[test]
fn diagnostics_and_causes_say_why_it_went_down() {
    let ends = |received: ControlPacket| {
        let mut driven = Driven::up();
        driven.changes.clear();
        driven.receive(received).expect("taken");
        let change = driven.changes[0];
        (change.cause, change.local_diagnostic, change.failures)
    };
    let neighbor = Diagnostic::NEIGHBOR_SIGNALED_DOWN;
    assert_eq!(ends(packet(State::Down)), (Cause::RemoteDown, neighbor, 1));
    assert_eq!(
        ends(packet(State::AdminDown)),
        (Cause::RemoteAdminDown, neighbor, 0)
    );
    let restarted = ControlPacket {
        my_discriminator: 0xcccc,
        your_discriminator: 0,
        ..packet(State::Down)
    };
    assert_eq!(ends(restarted), (Cause::RemoteRestarted, neighbor, 0));
    let mut driven = Driven::up();
    driven.changes.clear();
    driven.pass(ms(151));
    let change = driven.changes[0];
    assert_eq!(change.cause, Cause::DetectionTimeExpired);
    assert_eq!(change.local_diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
    assert_eq!(change.failures, 1);
    let last = driven.take().pop().expect("it says so").1;
    assert_eq!(last.diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
    assert_eq!(last.your_discriminator, 0);
}

#[test]
fn switching_off_is_told_at_the_old_pace_for_the_detection_time_and_then_slowly() {
    let mut driven = Driven::up();
    let off = SessionConfig {
        enabled: false,
        ..config()
    };
    driven.configure(off);
    let begun = driven.now;
    driven.pass(Duration::from_secs(10));
    let sent = driven.take();
    assert!(sent.iter().all(|(_, p)| p.state == State::AdminDown
        && p.desired_min_tx_micros == 1_000_000
        && !p.poll));
    let soon = sent.iter().filter(|(at, _)| *at <= begun + ms(150)).count();
    assert!((3..=5).contains(&soon), "{soon}");
    assert!((13..=19).contains(&sent.len()), "{}", sent.len());
}

#[test]
fn leaving_ends_after_the_detection_time_of_the_peer_and_at_once_if_none_listens() {
    let mut driven = Driven::up();
    driven.session.leave(driven.now);
    driven.collect();
    assert!(!driven.session.is_gone());
    driven.pass(ms(149));
    assert!(!driven.session.is_gone());
    driven.pass(ms(1));
    assert!(driven.session.is_gone());
    assert!(
        driven
            .take()
            .iter()
            .all(|(_, p)| p.state == State::AdminDown)
    );
    assert_eq!(
        driven
            .session
            .next_deadline()
            .filter(|at| *at <= driven.now),
        None
    );

    let mut driven = Driven::new(config());
    driven.take();
    driven.session.leave(driven.now);
    driven.collect();
    assert!(driven.session.is_gone());
    assert!(driven.take().is_empty());
}

#[test]
fn an_authenticated_packet_changes_nothing() {
    let mut driven = Driven::up();
    let taken = driven.receive(ControlPacket {
        authenticated: true,
        ..packet(State::Down)
    });
    assert_eq!(taken, Err(DropReason::Authenticated));
    assert_eq!(driven.session.state, State::Up);
    assert_eq!(
        driven.session.stats.dropped.of(DropReason::Authenticated),
        1
    );
}

#[test]
fn a_flood_of_polls_and_flips_is_answered_at_a_bounded_rate() {
    let mut driven = Driven::up();
    for round in 0..100_000_u32 {
        let state = [State::Down, State::Init, State::Up][round as usize % 3];
        let _ = driven.receive(ControlPacket {
            poll: true,
            ..packet(state)
        });
        driven.pass(Duration::from_micros(10));
    }
    // A second: eight, 100, and those in turn.
    let sent = driven.take().len();
    assert!(sent <= 8 + 101 + 30, "{sent}");
}
