use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * SECOND)
}

fn record(version: &str, holder: &str) -> LeaseRecord {
    LeaseRecord {
        version: version.to_owned(),
        holder: holder.to_owned(),
        duration: Duration::from_secs(15),
        acquired: None,
        transitions: 3,
    }
}

fn election(identity: &str) -> Election {
    let pace = Duration::from_millis(1500);
    Election::new(identity.to_owned(), LeaseTimes::default(), pace, at(0), 7)
}

fn write(request: Option<LeaseRequest>) -> LeaseWrite {
    match request {
        Some(LeaseRequest::Write(write)) => write,
        other => panic!("no write: {other:?}"),
    }
}

#[test]
fn the_first_creates_it() {
    let mut one = election("one");
    assert_eq!(one.poll(at(0)), Some(LeaseRequest::Read));
    assert_eq!(one.poll(at(0)), None, "one question at a time");
    one.answer(at(0), LeaseAnswer::Missing);
    let wanted = write(one.poll(at(0)));
    assert_eq!((wanted.version, wanted.transitions), (None, 0));
    assert_eq!(one.holds_until(at(0)), None);
    one.answer(at(1), LeaseAnswer::Is(record("1", "one")));
    // As of when it was asked for, less the margin.
    assert_eq!(one.holds_until(at(1)), Some(at(14)));
    assert_eq!(one.holds_until(at(14)), None);
}

#[test]
fn one_that_is_held_is_waited_for() {
    let mut two = election("two");
    two.poll(at(0));
    two.answer(at(1), LeaseAnswer::Is(record("5", "one")));
    let mut now = at(1);
    // It is seen to be renewed, and then no more.
    for step in 0..100 {
        let next = two.deadline().unwrap();
        assert!(next > now);
        now = next;
        match two.poll(now) {
            Some(LeaseRequest::Read) => {
                let version = if step < 3 { "5" } else { "6" };
                two.answer(now, LeaseAnswer::Is(record(version, "one")));
                if step == 3 {
                    let due = plus(now, Duration::from_secs(15));
                    assert!(two.deadline().unwrap() < due);
                }
            }
            other => {
                panic!("{other:?}");
            }
        }
        if two.deadline() == Some(now) {
            break;
        }
    }
    let wanted = write(two.poll(now));
    assert_eq!(
        (wanted.version.as_deref(), wanted.transitions),
        (Some("6"), 4)
    );
}

#[test]
fn one_that_is_free_is_taken_at_once() {
    let mut two = election("two");
    two.poll(at(0));
    two.answer(at(0), LeaseAnswer::Is(record("5", "")));
    assert_eq!(write(two.poll(at(0))).holder, "two");
    two.answer(at(0), LeaseAnswer::Conflict);
    assert_eq!(two.poll(at(0)), Some(LeaseRequest::Read));
    two.answer(at(0), LeaseAnswer::Is(record("6", "one")));
    assert!(two.deadline().unwrap() > at(1));
}

#[test]
fn who_looks_rarely_fails_rarely() {
    let pace = Duration::from_secs(600);
    let mut one = Election::new("one".to_owned(), LeaseTimes::default(), pace, at(0), 7);
    one.poll(at(0));
    one.answer(at(4), LeaseAnswer::Failed);
    assert!(one.deadline().unwrap() >= at(500));
    // Those who look closely try again soon.
    let mut two = election("two");
    two.poll(at(0));
    two.answer(at(4), LeaseAnswer::Failed);
    assert!(two.deadline().unwrap() <= at(7));
}

#[test]
fn an_answer_that_was_lost() {
    let mut one = election("one");
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Missing);
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Is(record("1", "one")));
    let renewal = one.deadline().unwrap();
    one.poll(renewal);
    one.answer(renewal, LeaseAnswer::Failed);
    let again = one.deadline().unwrap();
    assert_eq!(write(one.poll(again)).version.as_deref(), Some("1"));
    one.answer(again, LeaseAnswer::Conflict);
    assert_eq!(one.poll(again), Some(LeaseRequest::Read));
    // The first had been done after all: it is still ours, though no longer than we know.
    one.answer(again, LeaseAnswer::Is(record("2", "one")));
    assert_eq!(one.holds_until(again), Some(at(14)));
    assert_eq!(write(one.poll(again)).version.as_deref(), Some("2"));
    one.answer(again, LeaseAnswer::Is(record("3", "one")));
    assert_eq!(
        one.holds_until(again),
        Some(plus(again, Duration::from_secs(14)))
    );
    assert_eq!(one.term(), 1);
}

#[test]
fn one_that_slept_looks_before_it_leads() {
    let mut one = election("one");
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Missing);
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Is(record("1", "one")));
    assert_eq!(one.holds_until(at(500)), None);
    assert_eq!(one.poll(at(500)), Some(LeaseRequest::Read));
    one.answer(at(500), LeaseAnswer::Is(record("1", "one")));
    write(one.poll(at(500)));
    one.answer(at(501), LeaseAnswer::Is(record("2", "one")));
    assert_eq!(one.holds_until(at(501)), Some(at(514)));
    assert_eq!(one.term(), 2, "others may have had it");
}

#[test]
fn one_that_somebody_deletes_is_not_taken_at_once() {
    let mut two = election("two");
    two.poll(at(0));
    two.answer(at(0), LeaseAnswer::Is(record("5", "one")));
    two.poll(at(2));
    two.answer(at(2), LeaseAnswer::Missing);
    assert_eq!(two.deadline(), Some(at(17)));
    assert_eq!(two.poll(at(17)), Some(LeaseRequest::Read));
    two.answer(at(17), LeaseAnswer::Missing);
    assert_eq!(write(two.poll(at(17))).version, None);
}

#[test]
fn giving_it_up() {
    let mut one = election("one");
    assert_eq!(one.resign(at(0)), None);
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Missing);
    one.poll(at(0));
    one.answer(at(0), LeaseAnswer::Is(record("1", "one")));
    let release = one.resign(at(1)).unwrap();
    assert_eq!(
        (release.version.as_deref(), &*release.holder),
        (Some("1"), "")
    );
    assert_eq!(one.holds_until(at(1)), None);
}

#[test]
fn objects_are_read_as_they_are_written() {
    let write = LeaseWrite {
        version: Some("7".to_owned()),
        holder: "one".to_owned(),
        duration: Duration::from_secs(15),
        acquired: Some("2026-01-01T00:00:00.000000Z".to_owned()),
        transitions: 2,
    };
    let object = write.object("kube-system", "x", "2026-01-02T00:00:00.000000Z");
    let read = LeaseRecord::parse(&serde_json::to_vec(&object).unwrap()).unwrap();
    assert_eq!(read.version, "7");
    assert_eq!((read.holder, read.duration), (write.holder, write.duration));
    assert_eq!((read.acquired, read.transitions), (write.acquired, 2));
    for odd in [
        "",
        "{}",
        "[]",
        r#"{"metadata":{}}"#,
        r#"{"metadata":{"resourceVersion":1}}"#,
    ] {
        assert_eq!(LeaseRecord::parse(odd.as_bytes()), None, "{odd}");
    }
    let odd = r#"{"metadata":{"resourceVersion":"1"},"spec":{"leaseDurationSeconds":-5,"leaseTransitions":-1}}"#;
    let odd = LeaseRecord::parse(odd.as_bytes()).unwrap();
    assert_eq!(
        (odd.duration, odd.transitions, &*odd.holder),
        (Duration::ZERO, 0, "")
    );
}

/// What happens to a request on its way.
#[derive(Clone, Copy, Debug)]
struct Luck {
    /// Microseconds until the server acts.
    there: u64,
    /// Until the answer is back.
    back: u64,
    /// The server never gets it.
    lost: bool,
    /// The answer is lost.
    unheard: bool,
    /// The process sleeps this long after it was answered.
    sleeps: u64,
}

fn luck() -> impl Strategy<Value = Luck> {
    let often = |ms: u64| prop_oneof![8 => 0u64..50_000, 1 => 0..ms * 1000];
    (
        often(4000),
        often(4000),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop_oneof![20 => Just(0u64), 1 => 0..40 * SECOND],
    )
        .prop_map(|(there, back, lost, unheard, sleeps)| Luck {
            there,
            back,
            lost,
            unheard,
            sleeps,
        })
}

/// The API server's Lease.
#[derive(Default)]
struct Server {
    stored: Option<LeaseRecord>,
    version: u64,
}

impl Server {
    fn serve(&mut self, request: &LeaseRequest) -> LeaseAnswer {
        let LeaseRequest::Write(write) = request else {
            return self
                .stored
                .clone()
                .map_or(LeaseAnswer::Missing, LeaseAnswer::Is);
        };
        if self.stored.as_ref().map(|r| &r.version) != write.version.as_ref() {
            return match self.stored {
                None => LeaseAnswer::Missing,
                Some(_) => LeaseAnswer::Conflict,
            };
        }
        self.version += 1;
        let stored = LeaseRecord {
            version: self.version.to_string(),
            holder: write.holder.clone(),
            duration: write.duration,
            acquired: write.acquired.clone(),
            transitions: write.transitions,
        };
        self.stored = Some(stored.clone());
        LeaseAnswer::Is(stored)
    }
}

enum Event {
    Wake,
    Arrives(LeaseRequest, u64),
    Answered(LeaseAnswer),
}

/// Plays three contenders against a server for ten minutes; says for how long anybody held the Lease.
fn play(lucks: &[Luck], deadline: u64) -> u64 {
    let mut server = Server::default();
    let mut elections: Vec<Election> = ["a", "b", "c"].into_iter().map(election).collect();
    // What happens at a time, and to whom.
    let mut queue: BTreeMap<(u64, u64), (usize, Event)> = BTreeMap::new();
    let mut count = 0;
    let mut put = |queue: &mut BTreeMap<_, _>, time: u64, who: usize, event: Event| {
        count += 1;
        queue.insert((time, count), (who, event));
    };
    for who in 0..elections.len() {
        put(&mut queue, 0, who, Event::Wake);
    }
    let mut lucks = lucks.iter().cycle();
    let (mut held, mut last) = (0, 0);
    let mut asleep = [0u64; 3];
    while let Some(((time, _), (who, event))) = queue.pop_first() {
        if time > deadline {
            break;
        }
        if time < asleep[who] && !matches!(event, Event::Arrives(..)) {
            put(&mut queue, asleep[who], who, event);
            continue;
        }
        let now = Instant::from_micros(time);
        match event {
            Event::Arrives(request, back) => {
                let answer = server.serve(&request);
                let (time, answer) = match back {
                    0 => (time, LeaseAnswer::Failed),
                    back => (time + back, answer),
                };
                put(&mut queue, time, who, Event::Answered(answer));
            }
            Event::Answered(answer) => {
                elections[who].answer(now, answer);
                put(&mut queue, time, who, Event::Wake);
            }
            Event::Wake => {
                if let Some(request) = elections[who].poll(now) {
                    let luck = lucks.next().unwrap();
                    asleep[who] = time + luck.sleeps;
                    let sent = time + luck.there;
                    if luck.lost {
                        put(&mut queue, sent, who, Event::Answered(LeaseAnswer::Failed));
                    } else {
                        let back = if luck.unheard { 0 } else { luck.back + 1 };
                        put(&mut queue, sent, who, Event::Arrives(request, back));
                    }
                } else if let Some(next) = elections[who].deadline() {
                    let next = next.as_micros().max(time + 1);
                    put(&mut queue, next, who, Event::Wake);
                }
            }
        }
        let holding: Vec<usize> = (0..elections.len())
            .filter(|who| elections[*who].holds_until(now).is_some())
            .collect();
        assert!(holding.len() <= 1, "at {now:?} by {holding:?}");
        if let [who] = holding[..] {
            let until = elections[who].holds_until(now).unwrap().as_micros();
            let next = queue
                .first_key_value()
                .map_or(until, |((next, _), _)| *next);
            held += until.min(next).saturating_sub(time.max(last));
            last = until.min(next).max(last);
        }
    }
    held
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_two(lucks in prop::collection::vec(luck(), 1..60)) {
        play(&lucks, 600 * SECOND);
    }
}

#[test]
fn somebody_holds_it_most_of_the_time() {
    let good = Luck {
        there: 5_000,
        back: 5_000,
        lost: false,
        unheard: false,
        sleeps: 0,
    };
    assert!(play(&[good], 600 * SECOND) > 599 * SECOND);
    let mut lucks = vec![good; 9];
    lucks.push(Luck { lost: true, ..good });
    lucks.push(Luck {
        unheard: true,
        ..good
    });
    assert!(play(&lucks, 600 * SECOND) > 590 * SECOND);
}
