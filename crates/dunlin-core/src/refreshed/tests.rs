use dunlin_net::{Afi, Instant};

use super::Refreshing;

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
