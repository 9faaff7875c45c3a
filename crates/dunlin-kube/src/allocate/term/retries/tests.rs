use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

fn name(name: &str) -> NamespacedName {
    NamespacedName::new("ns", name)
}

#[test]
fn failures_back_off() {
    let mut retries = Retries::default();
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..12 {
        retries.failed(now, &name("a"), false);
        let next = retries.next().unwrap();
        pauses.push(next.since(now).as_millis());
        assert_eq!(retries.due(at(next.as_micros() / 1000 - 1)), []);
        assert_eq!(retries.due(next), [name("a")]);
        assert!(retries.may_write(next, &name("a")));
        now = next;
    }
    assert_eq!(pauses[..4], [250, 500, 1000, 2000]);
    assert_eq!(pauses[11], 60_000);
    assert_eq!(retries.next(), None);
}

#[test]
fn news_hasten_a_retry_but_not_without_end() {
    let mut retries = Retries::default();
    for n in 0..10 {
        retries.failed(at(n), &name("a"), true);
        retries.hasten(&name("a"));
        assert_eq!(retries.may_write(at(n), &name("a")), n < 4, "{n}");
    }
    assert!(retries.next().is_some(), "it comes up by itself");
}

#[test]
fn whoever_undoes_what_is_written_is_met_ever_more_slowly() {
    let mut retries = Retries::default();
    let mut now = at(0);
    let mut waited = Duration::ZERO;
    for _ in 0..20 {
        if !retries.may_write(now, &name("a")) {
            let next = retries.next().unwrap();
            waited += next.since(now);
            now = next;
            assert_eq!(retries.due(now), [name("a")]);
        }
        retries.succeeded(now, &name("a"));
        // The undoing is seen.
        retries.hasten(&name("a"));
    }
    assert!(waited > Duration::from_secs(300), "{waited:?}");
    // After a calm while, all is forgotten.
    let later = plus(now, Duration::from_secs(200));
    retries.succeeded(later, &name("a"));
    assert!(retries.may_write(later, &name("a")));
}

#[test]
fn what_is_gone_comes_up_no_more() {
    let mut retries = Retries::default();
    retries.failed(at(0), &name("a"), false);
    retries.forget(&name("a"));
    assert_eq!(retries.next(), None);
    assert_eq!(retries.due(at(1_000_000)), []);
}
