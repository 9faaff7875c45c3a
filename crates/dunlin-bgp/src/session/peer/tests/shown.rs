//! What is shown of a peer whose session is down.

use std::time::Duration;

use super::bench::{Bench, Did, config, encoded, open};
use crate::session::*;
use crate::wire::KEEPALIVE;

#[test]
fn when_the_next_dial_is_and_how_far_this_one_has_come() {
    let mut bench = Bench::new(config());
    let Some(Did::Dial(conn)) = bench
        .did()
        .into_iter()
        .find(|did| matches!(did, Did::Dial(_)))
    else {
        panic!("it dials");
    };
    let attempt = |bench: &Bench| match &bench.peer.attempts()[..] {
        [one] => (one.incoming, one.state),
        other => panic!("{other:?}"),
    };
    assert_eq!(attempt(&bench), (false, FsmState::Connect));
    assert_eq!(bench.peer.dial_at(), None, "it is being dialled");
    let error = TransportError::Refused;
    bench.on(Input::DialFailed { conn, error });
    assert_eq!(bench.peer.attempts(), []);
    let next = bench.peer.dial_at().expect("it is dialled again");
    assert!(next > bench.now);
    bench.pass(next.since(bench.now));
    assert_eq!(attempt(&bench), (false, FsmState::Connect));
    let stats = bench.peer.stats();
    assert_eq!((stats.dials, &stats.last_down), (2, &None));
}

#[test]
fn why_the_session_was_left_outlives_what_comes_after() {
    let (mut bench, _) = Bench::established(config());
    assert_eq!(bench.peer.attempts(), [], "a session is no attempt");
    bench.pass(Duration::from_secs(90));
    let left = bench.now;
    let expired = DownReason::HoldTimerExpired { hold_time_secs: 90 };
    assert_eq!(bench.peer.stats().last_down, Some((left, expired.clone())));
    assert_eq!(expired.ended_by(), EndedBy::Us);
    // The peer comes back, says hello, and goes.
    bench.pass(Duration::from_secs(30));
    let conn = bench.accept();
    bench.bytes(conn, &encoded(&open()));
    let [attempt] = bench.peer.attempts()[..] else {
        panic!("one attempt");
    };
    assert_eq!(
        (attempt.incoming, attempt.state),
        (true, FsmState::OpenConfirm)
    );
    let error = TransportError::Reset;
    bench.on(Input::Closed { conn, error });
    let stats = bench.peer.stats();
    let reset = DownReason::Transport(error);
    assert_eq!(reset.ended_by(), EndedBy::Peer);
    assert_eq!(stats.last_error, Some((bench.now, reset)));
    assert_eq!(stats.last_down, Some((left, expired)));
    let conn = bench.accept();
    bench.bytes(conn, &encoded(&open()));
    bench.bytes(conn, &KEEPALIVE);
    assert_eq!(bench.peer.attempts(), []);
}
