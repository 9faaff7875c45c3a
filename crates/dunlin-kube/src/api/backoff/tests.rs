use std::time::Duration;

use super::Backoff;

#[test]
fn pauses_grow_to_a_bound_and_differ() {
    let mut one = Backoff::new(1);
    let mut other = Backoff::new(2);
    let pauses: Vec<_> = (0..20)
        .map(|_| (one.next(None), other.next(None)))
        .collect();
    assert!(pauses.iter().all(|(a, b)| a != b));
    assert!(pauses[0].0 <= Duration::from_secs(1));
    for (pause, _) in &pauses[6..] {
        assert!((15..=30).contains(&pause.as_secs()), "{pause:?}");
    }
    one.reset();
    assert!(one.next(None) <= Duration::from_secs(1));
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let mut backoff = Backoff::new(3);
    let asked = Duration::from_secs(40);
    for _ in 0..10 {
        assert!(backoff.next(Some(asked)) >= asked);
    }
    let forever = backoff.next(Some(Duration::from_secs(u64::MAX / 2)));
    assert!(forever <= Duration::from_secs(400));
}
