use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use dunlin_net::Instant;

use super::{
    Clocks, DEBOUNCE, FIGURES_INTERVALS, Failure, Failures, MIN_INTERVAL, StatusPlan, TokenBucket,
};

const EPOCH: u64 = 1_790_000_000_123_456;

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

fn clocks(now: Instant) -> Clocks {
    Clocks {
        now,
        wall_micros: EPOCH + now.as_micros(),
    }
}

fn plan(rank: u32, nodes: u32) -> StatusPlan {
    let mut plan = StatusPlan::new();
    plan.set_place(rank, nodes);
    plan
}

/// Looks whenever it is due, until `end`, and writes each time; when it did.
fn run(plan: &mut StatusPlan, from: Instant, end: Instant) -> Vec<Instant> {
    let mut now = from;
    let mut written = Vec::new();
    while let Some(due) = plan.due(clocks(now)).filter(|due| *due <= end) {
        now = now.max(due);
        assert!(plan.look(clocks(now)));
        plan.written();
        written.push(now);
        plan.changed(now);
    }
    written
}

#[test]
fn nothing_changed_is_nothing_to_do() {
    let mut plan = plan(1, 3);
    assert_eq!(plan.due(clocks(at(5))), None);
    assert!(!plan.look(clocks(at(5))));
}

#[test]
fn in_a_small_cluster_a_first_change_is_told_within_a_second_and_the_next_after_ten() {
    let mut plan = plan(2, 3);
    let start = at(77_000_000);
    plan.changed(start);
    let written = run(&mut plan, start, start + Duration::from_secs(35));
    assert!(written[0] + Duration::from_millis(5) >= start + DEBOUNCE);
    assert!(written[0] <= start + Duration::from_secs(1));
    assert_eq!(written.len(), 4, "{written:?}");
    for pair in written.windows(2) {
        let apart = pair[1].since(pair[0]);
        assert!(
            apart >= MIN_INTERVAL - Duration::from_millis(10),
            "{apart:?}"
        );
        assert!(
            apart <= MIN_INTERVAL + Duration::from_millis(40),
            "{apart:?}"
        );
    }
}

#[test]
fn a_second_change_before_the_look_does_not_put_it_off() {
    let mut plan = plan(0, 1);
    plan.changed(at(1_000_000));
    let due = plan.due(clocks(at(1_000_000)));
    plan.changed(at(1_300_000));
    assert_eq!(plan.due(clocks(at(1_300_000))), due);
}

#[test]
fn a_change_after_the_look_is_told_too() {
    let mut plan = plan(0, 1);
    plan.changed(at(0));
    let now = plan.due(clocks(at(0))).unwrap();
    assert!(plan.look(clocks(now)));
    plan.changed(now);
    plan.written();
    let next = plan.due(clocks(now)).unwrap();
    assert!(next.since(now) >= MIN_INTERVAL - Duration::from_millis(5));
}

#[test]
fn figures_alone_wait_and_go_along_with_a_change() {
    let mut plan = plan(0, 1);
    plan.changed(at(0));
    let first = plan.due(clocks(at(0))).unwrap();
    assert!(plan.look(clocks(first)));
    plan.written();
    plan.figures_changed(first);
    let slow = plan.due(clocks(first)).unwrap().since(first);
    assert!(
        slow >= MIN_INTERVAL * FIGURES_INTERVALS - Duration::from_millis(5),
        "{slow:?}"
    );
    plan.changed(first);
    let soon = plan.due(clocks(first)).unwrap();
    assert!(soon.since(first) < MIN_INTERVAL * 2);
    assert!(plan.look(clocks(soon)));
    assert!(!plan.figures_due());
    plan.figures_changed(soon);
    let now = first + slow;
    assert!(plan.look(clocks(now)) && plan.figures_due());
}

#[test]
fn failures_wait_longer_and_longer_and_are_forgotten_after_a_success() {
    let mut plan = plan(0, 1);
    plan.changed(at(0));
    let mut now = plan.due(clocks(at(0))).unwrap();
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert!(plan.look(clocks(now)));
        plan.failed(now, Failure::Soon, 0);
        let due = plan.due(clocks(now)).unwrap();
        waits.push(due.since(now));
        now = due;
    }
    assert!(
        waits[0] <= Duration::from_secs(1) && waits.is_sorted(),
        "{waits:?}"
    );
    assert!(*waits.last().unwrap() <= Duration::from_secs(300));
    assert!(plan.look(clocks(now)));
    plan.written();
    assert!(Failures::default().pause(Failure::Slow, u64::MAX) >= Duration::from_secs(225));
    plan.failed(now, Failure::Soon, 0);
    let due = plan.due(clocks(now)).unwrap();
    assert!(due.since(now) <= MIN_INTERVAL + Duration::from_secs(1));
}

#[test]
fn a_wall_clock_that_jumps_costs_no_more_than_a_round() {
    let mut plan = plan(4_000, 5_000);
    plan.changed(at(0));
    for wall_micros in [0, u64::MAX, EPOCH] {
        let due = plan
            .due(Clocks {
                now: at(0),
                wall_micros,
            })
            .unwrap();
        assert!(due.since(at(0)) <= Duration::from_secs(51));
    }
}

/// Five thousand nodes see one die at once and each has something to tell. `skew` says by how much each wall clock is wrong.
/// The most writes in any second, the number of writes, and the time of the last.
fn one_of_many_dies(
    nodes: u32,
    changes: u64,
    skew: impl Fn(u32) -> u64,
) -> (usize, usize, Duration) {
    let mut plans: Vec<StatusPlan> = (0..nodes).map(|rank| plan(rank, nodes)).collect();
    let died = at(1_000_000_000);
    let clocks = |rank: u32, now: Instant| Clocks {
        now,
        wall_micros: EPOCH + now.as_micros() + skew(rank),
    };
    let mut queue = BinaryHeap::new();
    for (rank, plan) in (0..).zip(&mut plans) {
        // Hold timers end within a second of each other.
        plan.changed(died + Duration::from_micros(u64::from(rank) * 7_919 % 1_000_000));
        queue.push(Reverse((
            plan.due(clocks(rank, died)).unwrap(),
            rank,
            changes,
        )));
    }
    let mut writes: Vec<u64> = Vec::new();
    while let Some(Reverse((now, rank, left))) = queue.pop() {
        let plan = &mut plans[rank as usize];
        assert!(plan.look(clocks(rank, now)));
        plan.written();
        writes.push(now.as_micros());
        if left > 1 {
            // The next change comes at once: the interval holds it back.
            plan.changed(now);
            queue.push(Reverse((
                plan.due(clocks(rank, now)).unwrap(),
                rank,
                left - 1,
            )));
        } else {
            assert_eq!(plan.due(clocks(rank, now)), None);
        }
    }
    let mut most = 0;
    let mut begin = 0;
    for (end, write) in writes.iter().enumerate() {
        while write - writes[begin] >= 1_000_000 {
            begin += 1;
        }
        most = most.max(end - begin + 1);
    }
    let last = at(*writes.last().unwrap()).since(died);
    (most, writes.len(), last)
}

#[test]
fn five_thousand_nodes_write_a_hundred_times_a_second_at_most() {
    let (most, writes, last) = one_of_many_dies(5_000, 1, |_| 0);
    assert!(most <= 100, "{most}");
    assert_eq!(writes, 5_000);
    assert!(last <= Duration::from_secs(53), "{last:?}");
    // The same when changes do not end.
    let (most, writes, _) = one_of_many_dies(5_000, 5, |_| 0);
    assert!(most <= 100 && writes == 25_000, "{most} {writes}");
}

#[test]
fn clocks_that_differ_by_milliseconds_change_little() {
    let (most, ..) = one_of_many_dies(5_000, 3, |rank| u64::from(rank) * 104_729 % 20_000);
    assert!(most <= 105, "{most}");
}

#[test]
fn a_cluster_of_a_hundred_is_done_within_two_seconds() {
    let (most, writes, last) = one_of_many_dies(100, 1, |_| 0);
    assert!(most <= 100 && writes == 100, "{most}");
    assert!(last <= Duration::from_millis(2_600), "{last:?}");
}

#[test]
fn a_bucket_gives_its_burst_and_then_its_rate() {
    // Also where the clock has only just begun.
    let start = at(0);
    let mut bucket = TokenBucket::new(start, 5, 5);
    let mut now = start;
    let mut given = 0;
    while now < start + Duration::from_secs(10) {
        match bucket.take(now) {
            Ok(()) => given += 1,
            Err(next) => {
                assert!(next > now);
                now = next;
            }
        }
    }
    assert_eq!(given, 5 + 10 * 5 - 1);
    now = now + Duration::from_secs(3600);
    for _ in 0..5 {
        assert!(bucket.take(now).is_ok());
    }
    assert!(bucket.take(now).is_err());
}
