//! Starts, refusals, and hands of others.

use std::time::Duration;

use dunlin_net::Instant;
use dunlin_net::service::{FrontendRule, View};

use super::kernel::{Kernel, Walk, error};
use super::{frontend, name, rule, to};
use crate::proxy::{Batch, BatchDone, Command, Element, FrontendState, Op, Proxy};

const T0: Instant = Instant::ZERO;

fn one(n: u8, endpoint: &str) -> FrontendRule {
    rule(&format!("10.96.0.{n}:80"), to(&[endpoint]))
}

fn proxy() -> Proxy {
    let mut proxy = Proxy::new(7);
    proxy.set_enabled(true);
    proxy
}

fn submitted(proxy: &mut Proxy, now: Instant) -> Batch {
    match proxy.next(now) {
        Some(Command::Submit(batch)) => batch,
        other => panic!("no batch: {other:?}"),
    }
}

fn refuse(proxy: &mut Proxy, now: Instant, batch: &Batch, errno: i32, unsure: bool) {
    let done = BatchDone {
        number: batch.number,
        result: Err(error(errno)),
        unsure,
        forgotten: Ok(()),
    };
    proxy.on_done(now, done);
}

/// The one that all of `one` are in.
fn block_of_all() -> Element {
    Element::Served("10.96.0.0/20".parse().expect("a block"))
}

/// Until nothing is left to do, and when that is.
fn settle(kernel: &mut Kernel, proxy: &mut Proxy, mut now: Instant) -> Instant {
    while !proxy.is_settled() {
        kernel.run(proxy, now);
        now = proxy.deadline().unwrap_or(now);
    }
    now
}

#[test]
fn nothing_is_done_before_somebody_says() {
    let mut proxy = Proxy::new(7);
    proxy.set(&name("a/b"), vec![one(1, "10.0.0.1:1")]);
    proxy.synced();
    assert_eq!((proxy.next(T0), proxy.deadline()), (None, None));
    proxy.set_enabled(false);
    let mut kernel = Kernel {
        present: true,
        ..Kernel::default()
    };
    kernel.run(&mut proxy, T0);
    assert!(!kernel.present);
    assert!(proxy.is_settled());
    assert_eq!((proxy.next(T0), proxy.deadline()), (None, None));
    proxy.set_enabled(true);
    kernel.run(&mut proxy, T0);
    assert!(proxy.is_programmed(&frontend("10.96.0.1:80")));
    proxy.set_enabled(false);
    kernel.run(&mut proxy, T0);
    assert!(!proxy.is_programmed(&frontend("10.96.0.1:80")));
    assert_eq!(proxy.counters().elements, 0);
}

#[test]
fn what_is_found_stays_until_it_is_synced() {
    let mut kernel = Kernel::default();
    let mut before = proxy();
    before.set(&name("a/1"), vec![one(1, "10.0.0.1:1")]);
    before.set(&name("a/2"), vec![one(2, "10.0.0.1:1")]);
    kernel.run(&mut before, T0);
    let found = kernel.set();

    let mut proxy = proxy();
    proxy.set(&name("a/1"), vec![one(1, "10.0.0.9:1")]);
    proxy.set(&name("a/3"), vec![one(3, "10.0.0.1:1")]);
    kernel.run(&mut proxy, T0);
    assert!(found.is_subset(&kernel.set()));
    assert!(
        proxy.is_programmed(&frontend("10.96.0.3:80")),
        "additions go at once"
    );
    // What was not found may change as it likes.
    proxy.set(&name("a/3"), vec![one(3, "10.0.0.2:1")]);
    kernel.run(&mut proxy, T0);
    assert_eq!(proxy.service("a/3")[0].state, FrontendState::Current);
    proxy.synced();
    kernel.run(&mut proxy, T0);
    let walk = |n| kernel.walk(frontend(&format!("10.96.0.{n}:80")), View::Inside, None);
    assert_eq!(walk(2), Walk::Untouched);
    assert_eq!(
        walk(1),
        Walk::Reaches(["10.0.0.9:1".parse().unwrap()].into())
    );
}

#[test]
fn tables_of_another_shape_are_replaced_at_once_and_whole() {
    let mut kernel = Kernel {
        present: true,
        ..Kernel::default()
    };
    let mut proxy = proxy();
    for n in 0..250 {
        let endpoints: Vec<String> = (0..200).map(|e| format!("10.{n}.0.{e}:1")).collect();
        let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
        let rule = rule(&format!("10.96.0.{n}:80"), to(&endpoints));
        proxy.set(&name(&format!("a/{n}")), vec![rule]);
    }
    kernel.run(&mut proxy, T0);
    assert_eq!(kernel.batches, 0, "what is there may serve somebody");
    proxy.synced();
    kernel.run(&mut proxy, T0);
    assert_eq!((kernel.batches, kernel.ops), (1, 250 * 201 + 1));
}

#[test]
fn one_that_is_refused_does_not_hold_up_the_others() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    proxy.synced();
    kernel.run(&mut proxy, T0);
    for n in 0..100 {
        proxy.set(&name(&format!("a/{n}")), vec![one(n, "10.0.0.1:1")]);
    }
    let bad = frontend("10.96.0.77:80");
    let is_bad =
        |op: &Op| matches!(op, Op::Add(Element::Slot { frontend, .. }) if *frontend == bad);
    let mut refused = 0;
    while let Some(command) = proxy.next(T0) {
        match command {
            Command::Submit(batch) if batch.ops.iter().any(is_bad) => {
                refused += 1;
                refuse(&mut proxy, T0, &batch, 28, false);
            }
            command => kernel.answer(&mut proxy, T0, command),
        }
    }
    assert!(refused <= 14, "{refused}");
    assert_eq!(kernel.set().len(), 99 * 2 + 1);
    assert!(
        matches!(&proxy.service("a/77")[0].state, FrontendState::Failed(failure)
        if failure.attempts == 1 && failure.error.errno == 28)
    );
    assert_eq!(proxy.counters().failed, 1);
    let mut now = proxy.deadline().expect("it is tried again");
    assert_eq!(now, T0 + Duration::from_millis(100));
    let batch = submitted(&mut proxy, now);
    refuse(&mut proxy, now, &batch, 28, false);
    assert_eq!(proxy.deadline(), Some(now + Duration::from_millis(200)));
    // Another wish is not what was refused.
    proxy.set(&name("a/77"), vec![one(77, "10.0.0.2:1")]);
    now = now + Duration::from_millis(1);
    kernel.run(&mut proxy, now);
    assert!(proxy.is_settled());
    assert_eq!(proxy.counters().failed, 0);
}

#[test]
fn where_all_is_refused_it_is_asked_ever_more_seldom() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    proxy.synced();
    kernel.run(&mut proxy, T0);
    for n in 0..200 {
        proxy.set(&name(&format!("a/{n}")), vec![one(n, "10.0.0.1:1")]);
    }
    let (mut now, mut asked) = (T0, 0);
    while now < T0 + Duration::from_secs(600) {
        while let Some(Command::Submit(batch)) = proxy.next(now) {
            asked += 1;
            refuse(&mut proxy, now, &batch, 12, false);
        }
        now = proxy.deadline().expect("it is tried again");
    }
    assert!(asked < 100, "{asked} in ten minutes");
    assert!(proxy.last_error().is_some_and(|error| error.errno == 12));
    kernel.run(&mut proxy, now);
    while let Some(deadline) = proxy.deadline() {
        kernel.run(&mut proxy, deadline);
    }
    assert!(proxy.is_settled());
}

#[test]
fn an_unknown_end_is_read_back() {
    for applied in [false, true] {
        let mut kernel = Kernel::default();
        let mut proxy = proxy();
        proxy.synced();
        kernel.run(&mut proxy, T0);
        let udp = rule("10.96.0.1:53/UDP", to(&["10.0.0.1:1"]));
        proxy.set(&name("a/b"), vec![udp]);
        kernel.run(&mut proxy, T0);
        kernel.forgotten.clear();
        proxy.set(&name("a/b"), Vec::new());
        let batch = submitted(&mut proxy, T0);
        if applied {
            kernel.apply(&batch).expect("a good batch");
            kernel.forgotten.clear();
        }
        refuse(&mut proxy, T0, &batch, 0, true);
        assert_eq!(proxy.next(T0), None);
        let now = proxy.deadline().expect("a read-back");
        assert_eq!(proxy.next(now), Some(Command::Read));
        proxy.on_found(now, Ok(kernel.found()));
        kernel.run(&mut proxy, now);
        assert!(kernel.set().is_empty());
        assert!(proxy.is_settled());
        kernel.forgotten.dedup();
        assert_eq!(kernel.forgotten, batch.forget);
    }
}

#[test]
fn what_cannot_be_forgotten_is_tried_again() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    kernel.run(&mut proxy, T0);
    let udp = rule("10.96.0.1:53/UDP", to(&["10.0.0.1:1"]));
    proxy.set(&name("a/b"), vec![udp]);
    let batch = submitted(&mut proxy, T0);
    assert_eq!(batch.forget.len(), 1);
    let done = BatchDone {
        number: batch.number,
        result: Ok(()),
        unsure: false,
        forgotten: Err(error(1)),
    };
    proxy.on_done(T0, done);
    assert!(proxy.is_programmed(&frontend("10.96.0.1:53/UDP")));
    assert_eq!(proxy.next(T0), None);
    let now = proxy.deadline().expect("it is tried again");
    let again = submitted(&mut proxy, now);
    assert_eq!((again.ops, again.forget), (Vec::new(), batch.forget));
}

#[test]
fn what_others_change_is_repaired_within_a_second() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    proxy.synced();
    for n in 0..20 {
        proxy.set(&name(&format!("a/{n}")), vec![one(n, "10.0.0.1:1")]);
    }
    kernel.run(&mut proxy, T0);
    let whole = kernel.set();
    let mut now = T0 + Duration::from_secs(60);
    let mut reads = 0;
    for round in 0..20_u8 {
        if round % 5 == 0 {
            kernel.flush();
        } else {
            kernel.take(
                whole
                    .iter()
                    .nth(usize::from(round))
                    .expect("there are more"),
            );
        }
        let began = now;
        proxy.on_meddled(now);
        now = settle(&mut kernel, &mut proxy, now);
        reads += 1;
        assert!(now.since(began) < Duration::from_secs(1));
        assert_eq!(kernel.set(), whole);
    }
    assert_eq!(proxy.counters().reads, 1 + reads);
}

#[test]
fn a_frontend_comes_with_its_block_and_the_last_takes_it_along() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    proxy.synced();
    kernel.run(&mut proxy, T0);
    let block = block_of_all();
    let (one, two) = (one(1, "10.0.0.1:1"), one(2, "10.0.0.1:1"));
    proxy.set(&name("a/1"), vec![one.clone()]);
    // Without it no packet is looked at: who is refused it is not programmed.
    let batch = submitted(&mut proxy, T0);
    assert!(batch.ops.contains(&Op::Add(block)));
    refuse(&mut proxy, T0, &batch, 12, false);
    assert!(proxy.next(T0).is_none());
    assert!(matches!(
        &proxy.service("a/1")[0].state,
        FrontendState::Failed(_)
    ));
    assert!(!proxy.is_programmed(&one.frontend));
    let now = proxy.deadline().expect("it is tried again");
    proxy.set(&name("a/2"), vec![two]);
    kernel.run(&mut proxy, now);
    assert!(proxy.is_settled() && proxy.is_programmed(&one.frontend));
    assert_eq!(proxy.elements_of(&one.frontend)[0], block);
    for (service, left) in [("a/1", true), ("a/2", false)] {
        proxy.set(&name(service), Vec::new());
        kernel.run(&mut proxy, now);
        assert_eq!(kernel.has(&block), left);
    }
    assert!(proxy.is_settled());
}

#[test]
fn who_lacks_nothing_but_its_block_has_it_again_where_another_is_refused() {
    let mut kernel = Kernel::default();
    let mut proxy = proxy();
    proxy.synced();
    let block = block_of_all();
    let rules = [one(1, "10.0.0.1:1"), one(2, "10.0.0.2:1")];
    for (n, rule) in rules.iter().enumerate() {
        proxy.set(&name(&format!("a/{n}")), vec![rule.clone()]);
    }
    kernel.run(&mut proxy, T0);
    let whole = kernel.set();
    let slot = Element::Slot {
        view: View::Inside,
        frontend: rules[0].frontend,
        slot: 0,
        to: "10.0.0.1:1".parse().expect("an endpoint"),
    };
    kernel.take(&block);
    kernel.take(&slot);
    let mut now = T0 + Duration::from_secs(60);
    proxy.on_meddled(now);
    while !kernel.has(&block) {
        match proxy.next(now) {
            Some(Command::Submit(batch)) if batch.ops.contains(&Op::Add(slot)) => {
                refuse(&mut proxy, now, &batch, 28, false);
            }
            Some(command) => kernel.answer(&mut proxy, now, command),
            None => now = proxy.deadline().expect("it is tried again"),
        }
        assert!(
            now.since(T0) < Duration::from_secs(61),
            "the block is held up"
        );
    }
    let programmed = |proxy: &Proxy| {
        rules
            .each_ref()
            .map(|rule| proxy.is_programmed(&rule.frontend))
    };
    assert_eq!(programmed(&proxy), [false, true]);
    settle(&mut kernel, &mut proxy, now);
    assert_eq!((programmed(&proxy), kernel.set()), ([true, true], whole));
}

#[test]
fn flows_past_a_block_that_is_not_found_at_a_start_are_forgotten() {
    let at = "10.96.0.1:53/UDP";
    let started = |kernel: &mut Kernel| {
        let mut proxy = proxy();
        proxy.set(&name("a/b"), vec![rule(at, to(&["10.0.0.1:1"]))]);
        proxy.synced();
        kernel.run(&mut proxy, T0);
        assert!(proxy.is_programmed(&frontend(at)));
        std::mem::take(&mut kernel.forgotten)
    };
    let mut kernel = Kernel::default();
    let at_first = started(&mut kernel);
    assert!(!at_first.is_empty());
    assert_eq!(started(&mut kernel), [], "nothing has changed");
    kernel.take(&block_of_all());
    assert_eq!(started(&mut kernel), at_first);
}
