//! Intervals, polls, jitter, silence.

use super::*;

#[test]
fn silence_is_noticed_at_the_detection_time_and_not_before() {
    for (desired, mult, expected) in [
        (50_000, 3, 150),
        (200_000, 3, 600),
        (0, 5, 250),
        (50_000, 1, 50),
    ] {
        let mut driven = Driven::up();
        driven
            .receive(ControlPacket {
                desired_min_tx_micros: desired,
                detect_mult: mult,
                ..packet(State::Up)
            })
            .expect("taken");
        assert_eq!(driven.session.detection_time(), Some(ms(expected)));
        driven.pass(ms(expected) - Duration::from_micros(1));
        assert_eq!(driven.session.state, State::Up);
        driven.pass(Duration::from_micros(1));
        assert_eq!(driven.session.state, State::Down);
    }
}

#[test]
fn while_not_up_a_packet_a_second_is_sent_and_a_second_is_advertised() {
    let mut driven = Driven::new(config());
    driven.pass(Duration::from_secs(60));
    let sent = driven.take();
    assert!((60..=81).contains(&sent.len()), "{}", sent.len());
    for pair in sent.windows(2) {
        let gap = pair[1].0 - pair[0].0;
        assert!((ms(750)..=ms(1000)).contains(&gap), "{gap:?}");
    }
    assert!(
        sent.iter()
            .all(|(_, p)| p.desired_min_tx_micros == 1_000_000 && !p.poll)
    );
}

#[test]
fn up_it_polls_and_speeds_up_at_once() {
    let mut driven = Driven::in_state(State::Init);
    driven.take();
    driven.receive(packet(State::Up)).expect("taken");
    driven.keep(ms(500));
    let sent = driven.take();
    assert!(sent.len() >= 10, "{}", sent.len());
    assert!(
        sent.iter()
            .all(|(_, p)| p.poll && p.desired_min_tx_micros == 50_000)
    );
    driven
        .receive(ControlPacket {
            is_final: true,
            ..packet(State::Up)
        })
        .expect("taken");
    driven.keep(ms(500));
    assert!(driven.take().iter().all(|(_, p)| !p.poll));
    // Gone again: slow at once, with a poll, for the peer must know.
    driven.take();
    driven.receive(packet(State::Down)).expect("taken");
    let (_, told) = driven.take()[0];
    assert_eq!((told.poll, told.desired_min_tx_micros), (true, 1_000_000));
    assert_eq!(driven.session.transmit_interval(), Duration::from_secs(1));
}

#[test]
fn jitter_takes_up_to_a_quarter_and_with_multiplier_one_at_least_a_tenth() {
    for (mult, most) in [(3, 50_000), (1, 45_000)] {
        let mut driven = Driven::up();
        driven.configure(SessionConfig {
            detect_mult: mult,
            ..config()
        });
        driven.keep(ms(200));
        driven.take();
        driven.keep(Duration::from_secs(20));
        let gaps: Vec<u128> = driven
            .take()
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0).as_micros())
            .collect();
        assert!(gaps.iter().all(|gap| (37_500..=most).contains(gap)));
        let spread = gaps.iter().max().unwrap_or(&0) - gaps.iter().min().unwrap_or(&0);
        assert!(
            spread > (most - 37_500) * 9 / 10,
            "all of the range is used"
        );
    }
}

#[test]
fn a_slower_peer_sets_the_pace_at_once_in_both_directions() {
    let mut driven = Driven::up();
    let slow = ControlPacket {
        required_min_rx_micros: 400_000,
        ..packet(State::Up)
    };
    driven.receive(slow).expect("taken");
    for _ in 0..40 {
        driven.pass(ms(50));
        driven.receive(slow).expect("taken");
    }
    let sent = driven.take();
    assert!((4..=7).contains(&sent.len()), "{}", sent.len());
    // Faster again: the next packet counts from the last one.
    driven.pass(ms(80).saturating_sub(driven.now - driven.session.last_transmit.expect("sent")));
    driven.take();
    driven.receive(packet(State::Up)).expect("taken");
    assert_eq!(driven.take().len(), 1, "50 ms have passed already");
    let next = driven.session.next_transmit.expect("planned");
    assert!(next <= driven.now + ms(50));
}

#[test]
fn slower_sending_waits_for_the_end_of_the_poll_and_faster_sending_does_not() {
    let mut driven = Driven::up();
    let tx = |millis| SessionConfig {
        desired_min_tx: ms(millis),
        ..config()
    };
    driven.configure(tx(500));
    assert_eq!(driven.session.transmit_interval(), ms(50));
    assert!(driven.take().is_empty(), "a poll waits for its turn");
    driven.keep(ms(300));
    let sent = driven.take();
    assert!(sent.len() >= 5, "the old pace");
    assert!(
        sent.iter()
            .all(|(_, p)| p.poll && p.desired_min_tx_micros == 500_000)
    );
    let answer = ControlPacket {
        is_final: true,
        ..packet(State::Up)
    };
    driven.receive(answer).expect("taken");
    assert_eq!(driven.session.transmit_interval(), ms(500));
    // The next change waits until no answer to this poll can come any more.
    driven.configure(tx(20));
    driven.keep(ms(900));
    assert!(
        driven
            .take()
            .iter()
            .all(|(_, p)| p.desired_min_tx_micros == 500_000)
    );
    driven.keep(ms(600));
    assert_eq!(driven.session.tx_in_force, ms(20), "at once");
    assert!(driven.session.poll == Poll::Asked);
}

#[test]
fn faster_detection_waits_for_the_end_of_the_poll_and_slower_detection_does_not() {
    let rx = |millis| SessionConfig {
        required_min_rx: ms(millis),
        ..config()
    };
    let mut driven = Driven::up();
    driven.configure(rx(200));
    assert_eq!(driven.session.detection_time(), Some(ms(600)), "at once");
    let answer = ControlPacket {
        is_final: true,
        ..packet(State::Up)
    };
    driven.keep(ms(200));
    driven.receive(answer).expect("taken");
    driven.keep(ms(1000));
    driven.take();
    driven.configure(rx(50));
    assert_eq!(driven.session.detection_time(), Some(ms(600)));
    driven.keep(ms(200));
    assert_eq!(
        driven.session.detection_time(),
        Some(ms(600)),
        "not answered"
    );
    let sent = driven.take();
    assert!(
        !sent.is_empty()
            && sent
                .iter()
                .all(|(_, p)| p.poll && p.required_min_rx_micros == 50_000)
    );
    driven.receive(answer).expect("taken");
    assert_eq!(driven.session.detection_time(), Some(ms(150)));
}

#[test]
fn an_answer_to_no_poll_ends_none() {
    let mut driven = Driven::up();
    driven.configure(SessionConfig {
        desired_min_tx: ms(500),
        ..config()
    });
    // The poll is wanted, and no packet has asked yet.
    driven
        .receive(ControlPacket {
            is_final: true,
            ..packet(State::Up)
        })
        .expect("taken");
    assert_eq!(driven.session.transmit_interval(), ms(50));
    assert_eq!(driven.session.poll, Poll::Wanted);
}

#[test]
fn the_passive_end_is_silent_until_it_hears_and_again_when_it_hears_no_more() {
    let passive = SessionConfig {
        role: Role::Passive,
        ..config()
    };
    let mut driven = Driven::new(passive);
    driven.pass(Duration::from_secs(100));
    assert!(driven.take().is_empty());
    driven
        .receive(ControlPacket {
            your_discriminator: 0,
            ..packet(State::Down)
        })
        .expect("taken");
    assert_eq!(driven.take()[0].1.state, State::Init);
    driven.receive(packet(State::Init)).expect("taken");
    assert_eq!(driven.session.state, State::Up);
    driven.pass(ms(150));
    driven.take();
    driven.pass(Duration::from_secs(100));
    assert!(driven.take().is_empty());
}

#[test]
fn a_peer_that_wants_nothing_gets_nothing_in_turn() {
    for demand in [false, true] {
        let mut driven = Driven::up();
        let quiet = ControlPacket {
            demand,
            required_min_rx_micros: if demand { 50_000 } else { 0 },
            ..packet(State::Up)
        };
        for _ in 0..100 {
            driven.receive(quiet).expect("taken");
            driven.pass(ms(50));
        }
        assert!(driven.take().is_empty());
        // It is answered, though, and told of a change.
        driven
            .receive(ControlPacket {
                poll: true,
                ..quiet
            })
            .expect("taken");
        assert!(driven.take()[0].1.is_final);
        // In demand mode, a poll is sent until it is answered.
        driven.configure(SessionConfig {
            desired_min_tx: ms(40),
            ..config()
        });
        driven.pass(ms(100));
        assert_eq!(driven.take().is_empty(), !demand);
    }
}

#[test]
fn going_down_ends_what_was_still_to_be_agreed() {
    let mut driven = Driven::up();
    let tx = |secs| SessionConfig {
        desired_min_tx: Duration::from_secs(secs),
        ..config()
    };
    driven.configure(tx(2));
    driven.keep(ms(200));
    driven
        .receive(ControlPacket {
            is_final: true,
            ..packet(State::Up)
        })
        .expect("taken");
    driven.keep(ms(2000));
    driven.configure(tx(3));
    assert_eq!(driven.session.transmit_interval(), Duration::from_secs(2));
    driven.receive(packet(State::Down)).expect("taken");
    assert_eq!(driven.session.transmit_interval(), Duration::from_secs(3));
}
