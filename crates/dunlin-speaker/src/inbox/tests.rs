use std::thread;
use std::time::Duration;

use super::*;

const NOW: Option<Duration> = Some(Duration::ZERO);

#[test]
fn a_full_lane_refuses_and_leaves_other_lanes_alone() {
    let inbox = inbox();
    let (first, second) = (
        inbox.sender(Lane { capacity: 10 }),
        inbox.sender(Lane { capacity: 1 }),
    );
    assert_eq!(first.try_send(6, "a"), Ok(()));
    assert_eq!(first.try_send(6, "b"), Err(SendError::Full("b")));
    assert_eq!(first.clone().try_send(4, "c"), Ok(()));
    assert_eq!(second.try_send(1, "d"), Ok(()));
    let mut out = Vec::new();
    assert!(inbox.receive(&mut out, NOW));
    assert_eq!(out, ["a", "c", "d"]);
    assert_eq!(first.try_send(6, "b"), Ok(()));
}

#[test]
fn one_value_above_the_capacity_is_let_in_alone() {
    let inbox = inbox();
    let sender = inbox.sender(Lane { capacity: 10 });
    assert_eq!(sender.try_send(100, 1), Ok(()));
    assert_eq!(sender.try_send(1, 2), Err(SendError::Full(2)));
}

#[test]
fn a_sender_waits_for_room_and_every_value_arrives_in_order() {
    let inbox = inbox();
    let sender = inbox.sender(Lane { capacity: 3 });
    let sending = thread::spawn(move || (0..1000).try_for_each(|number| sender.send(1, number)));
    let mut out = Vec::new();
    while out.len() < 1000 {
        assert!(
            inbox.receive(&mut out, Some(Duration::from_secs(20))),
            "nothing came"
        );
    }
    assert_eq!(out, (0..1000).collect::<Vec<_>>());
    assert_eq!(sending.join().unwrap(), Ok(()));
}

#[test]
fn without_a_receiver_sending_fails_also_for_who_waits() {
    let inbox = inbox();
    let sender = inbox.sender(Lane { capacity: 1 });
    assert_eq!(sender.try_send(1, 1), Ok(()));
    let waiting = {
        let sender = sender.clone();
        thread::spawn(move || sender.send(1, 2))
    };
    drop(inbox);
    assert_eq!(waiting.join().unwrap(), Err(2));
    assert_eq!(sender.try_send(1, 3), Err(SendError::Closed(3)));
}

#[test]
fn receiving_ends_with_its_patience() {
    let inbox = inbox::<()>();
    let mut out = Vec::new();
    assert!(!inbox.receive(&mut out, Some(Duration::from_millis(20))));
    assert!(!inbox.receive(&mut out, NOW));
}
