use dunlin_net::{Afi, Instant};

use super::{Ask, Asked, Refreshing};

fn secs(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

#[test]
fn marks_without_end_make_one_deadline() {
    let mut refreshing = Refreshing::default();
    assert_eq!(refreshing.begin(Afi::Ipv4, secs(10)), Some(secs(10)));
    for begun in 11..1000 {
        for afi in Afi::ALL {
            assert_eq!(refreshing.begin(afi, secs(begun)), None);
            // Nor do pairs of them.
            *refreshing.until.get_mut(Afi::Ipv6) = None;
        }
    }
    assert_eq!(refreshing.overdue(secs(9)), []);
    assert_eq!(refreshing.overdue(secs(10)), []);
    assert_eq!(refreshing.look_again(), Some(secs(999)));
    assert_eq!(refreshing.overdue(secs(999)), [Afi::Ipv4]);
}

#[test]
fn each_family_is_answered_by_itself() {
    let mut asked = Asked::default();
    assert_eq!(asked.ask(secs(10), Afi::Ipv4), Ask::Now);
    assert_eq!(asked.ask(secs(11), Afi::Ipv6), Ask::Now);
    assert_eq!(asked.ask(secs(12), Afi::Ipv4), Ask::At(secs(15)));
    assert_eq!(asked.ask(secs(12), Afi::Ipv4), Ask::Melts);
    assert_eq!(asked.due(secs(14), secs(14)), []);
    // Looked at late, the next is counted from then.
    assert_eq!(asked.due(secs(17), secs(15)), [Afi::Ipv4]);
    assert_eq!(asked.due(secs(17), secs(15)), []);
    assert_eq!(asked.ask(secs(18), Afi::Ipv4), Ask::At(secs(22)));
    assert_eq!(asked.ask(secs(16), Afi::Ipv6), Ask::Now);
}
