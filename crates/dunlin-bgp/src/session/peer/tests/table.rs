//! Every state with every input: which state follows, and what is done.

use std::time::Duration;

use dunlin_net::Afi;

use super::bench::*;
use crate::session::*;
use crate::wire::{AfiSafi, KEEPALIVE, MessageType, Notification};

/// The states of one connection, and those of a peer without any.
const STATES: [FsmState; 6] = [
    FsmState::Idle,
    FsmState::Active,
    FsmState::Connect,
    FsmState::OpenSent,
    FsmState::OpenConfirm,
    FsmState::Established,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Start,
    Stop,
    Accept,
    Connected,
    DialFailed,
    Closed,
    Open,
    Keepalive,
    Update,
    Refresh,
    Notification,
    Garbage,
    Silence,
    Send,
    AskRefresh,
    ResetByCore,
}

const EVENTS: [Event; 16] = [
    Event::Start,
    Event::Stop,
    Event::Accept,
    Event::Connected,
    Event::DialFailed,
    Event::Closed,
    Event::Open,
    Event::Keepalive,
    Event::Update,
    Event::Refresh,
    Event::Notification,
    Event::Garbage,
    Event::Silence,
    Event::Send,
    Event::AskRefresh,
    Event::ResetByCore,
];

/// A peer in this state, with the connection that is in it.
fn peer_in(state: FsmState) -> (Bench, ConnId) {
    let mut bench = Bench::new(config());
    let dial = bench.did().into_iter().find_map(|did| match did {
        Did::Dial(conn) => Some(conn),
        _ => None,
    });
    let conn = dial.expect("it dials at once");
    let (local, remote) = (ours(), theirs());
    match state {
        FsmState::Idle => bench.on(Input::Stop(Stop::GracefulRestart)),
        FsmState::Active => bench.on(Input::DialFailed {
            conn,
            error: TransportError::Refused,
        }),
        FsmState::Connect => {}
        FsmState::OpenSent | FsmState::OpenConfirm | FsmState::Established => {
            bench.on(Input::Connected {
                conn,
                local,
                remote,
            });
            if state >= FsmState::OpenConfirm {
                bench.bytes(conn, &encoded(&open()));
            }
            if state == FsmState::Established {
                bench.bytes(conn, &KEEPALIVE);
            }
        }
    }
    bench.did();
    assert_eq!(bench.peer.state().0, state);
    (bench, conn)
}

fn apply(bench: &mut Bench, conn: ConnId, event: Event) -> Result<(), RefusedWhy> {
    let (local, remote) = (ours(), theirs());
    match event {
        Event::Start => bench.on(Input::Start),
        Event::Stop => bench.on(Input::Stop(Stop::PeerRemoved)),
        Event::Accept => {
            let accepted = bench.peer.accept(bench.now, local, remote);
            return accepted.map(drop).map_err(|refusal| refusal.why);
        }
        Event::Connected => bench.on(Input::Connected {
            conn,
            local,
            remote,
        }),
        Event::DialFailed => bench.on(Input::DialFailed {
            conn,
            error: TransportError::Refused,
        }),
        Event::Closed => bench.on(Input::Closed {
            conn,
            error: TransportError::Eof,
        }),
        Event::Open => bench.bytes(conn, &encoded(&open())),
        Event::Keepalive => bench.bytes(conn, &KEEPALIVE),
        Event::Update => bench.bytes(conn, &end_of_rib()),
        Event::Refresh => bench.bytes(conn, &refresh(AfiSafi::unicast(Afi::Ipv4))),
        Event::Notification => bench.bytes(conn, &notification(6, 4)),
        Event::Garbage => bench.bytes(conn, &[0; 40]),
        Event::Silence => bench.pass(Duration::from_secs(90)),
        Event::Send => bench.on(Input::Send {
            conn,
            bytes: KEEPALIVE.as_slice().into(),
            messages: 1,
        }),
        Event::AskRefresh => bench.on(Input::RequestRefresh {
            conn,
            afi: Afi::Ipv6,
        }),
        Event::ResetByCore => bench.on(Input::Reset {
            conn,
            notification: Notification::new(6, 1),
            idle_hold: Duration::from_secs(30),
        }),
    }
    Ok(())
}

/// The state that follows, and the code and subcode with which the connection ends, if it ends with any.
fn expected(state: FsmState, event: Event) -> (FsmState, Option<(u8, u8)>) {
    use Event as E;
    use FsmState as S;
    let stays = (state, None);
    match (state, event) {
        // Stopped: nothing but a start moves it; incoming connections are refused.
        (S::Idle, E::Start) => (S::Connect, None),
        (S::Idle, _) => stays,
        (_, E::Start) if state == S::Active => (S::Connect, None),
        (_, E::Start) => stays,
        (S::OpenSent | S::OpenConfirm | S::Established, E::Stop) => (S::Idle, Some((6, 3))),
        (_, E::Stop) => (S::Idle, None),
        // A second connection lives beside the first.
        (S::Active | S::Connect, E::Accept) => (S::OpenSent, None),
        (_, E::Accept) => stays,
        (S::Connect, E::Connected) => (S::OpenSent, None),
        (_, E::Connected) => stays,
        (S::Active, E::Silence) => (S::Connect, None),
        (S::Active, _) => stays,
        (_, E::DialFailed | E::Closed) => (S::Active, None),
        // The dial is given up and begun anew.
        (S::Connect, E::Silence) => (S::Connect, None),
        (S::Connect, E::ResetByCore) => (S::Idle, None),
        // A transport that brings bytes before it says that it is connected is in error.
        (S::Connect, E::Notification) => (S::Active, None),
        (S::Connect, E::Open | E::Keepalive | E::Update | E::Refresh | E::Garbage) => {
            (S::Active, None)
        }
        (_, E::ResetByCore) => (S::Idle, Some((6, 1))),
        (_, E::Garbage) => (S::Active, Some((1, 1))),
        (_, E::Notification) => (S::Active, None),
        (_, E::Send) | (_, E::AskRefresh) => stays,
        (S::OpenSent, E::Open) => (S::OpenConfirm, None),
        // The wait for the OPEN is over and the next dial begins.
        (_, E::Silence) => (S::Active, Some((4, 0))),
        (S::OpenSent, E::Keepalive | E::Update | E::Refresh) => (S::Active, Some((5, 1))),
        (S::OpenConfirm, E::Keepalive) => (S::Established, None),
        (S::OpenConfirm, E::Open | E::Update | E::Refresh) => (S::Active, Some((5, 2))),
        (S::Established, E::Keepalive | E::Update | E::Refresh) => stays,
        (S::Established, E::Open) => (S::Active, Some((5, 3))),
    }
}

#[test]
fn every_state_answers_every_input_as_the_table_says() {
    for state in STATES {
        for event in EVENTS {
            let (mut bench, conn) = peer_in(state);
            let refused = apply(&mut bench, conn, event);
            let (next, ends_with) = expected(state, event);
            let what = format!("{state} on {event:?}");
            assert_eq!(bench.peer.state().0, next, "{what}");
            assert_eq!(
                refused.is_err(),
                (state, event) == (FsmState::Idle, Event::Accept),
                "{what}"
            );
            let did = bench.did();
            let closed = did.iter().find_map(|did| match did {
                Did::Closed(closed, Some(n)) if *closed == conn => Some((n.code, n.subcode)),
                _ => None,
            });
            assert_eq!(closed, ends_with, "{what}");
            check_effects(state, event, next, conn, &did, &what);
        }
    }
}

/// What the core and the peer hear.
fn check_effects(
    state: FsmState,
    event: Event,
    next: FsmState,
    conn: ConnId,
    did: &[Did],
    what: &str,
) {
    let was_up = state == FsmState::Established;
    let is_up = next == FsmState::Established;
    assert_eq!(did.contains(&Did::Up(conn)), !was_up && is_up, "{what}");
    assert_eq!(
        did.contains(&Did::Down(conn, false)),
        was_up && !is_up,
        "{what}"
    );
    let routes = was_up && event == Event::Update;
    assert_eq!(did.contains(&Did::Routes(conn)), routes, "{what}");
    let refresh = was_up && event == Event::Refresh;
    assert_eq!(
        did.contains(&Did::Refresh(conn, Afi::Ipv4)),
        refresh,
        "{what}"
    );
    let asked = was_up && event == Event::AskRefresh;
    assert_eq!(
        did.contains(&Did::Sent(conn, MessageType::RouteRefresh)),
        asked,
        "{what}"
    );
    let opened = (state, event) == (FsmState::Connect, Event::Connected);
    assert_eq!(
        did.contains(&Did::Sent(conn, MessageType::Open)),
        opened,
        "{what}"
    );
    let confirmed = (state, event) == (FsmState::OpenSent, Event::Open);
    let sent = was_up && event == Event::Send;
    assert_eq!(
        did.contains(&Did::Sent(conn, MessageType::Keepalive)),
        confirmed || sent,
        "{what}"
    );
}
