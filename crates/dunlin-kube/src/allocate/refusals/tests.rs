use super::{Instant, Refusals};

#[test]
fn the_same_answer_is_said_once_in_five_minutes_and_another_at_once() {
    let mut refusals = Refusals::default();
    let mut said = Vec::new();
    // Every other second for ten minutes; in the sixth, the answer is another.
    for at in (0..600).step_by(2) {
        let code = if (300..360).contains(&at) { 401 } else { 403 };
        if refusals.note(Instant::from_micros(at * 1_000_000), code) {
            said.push((at, code));
        }
    }
    assert_eq!(said, [(0, 403), (300, 401), (360, 403)]);
    assert_eq!(refusals.count, 300);
    assert!(!refusals.note(Instant::from_micros(659_000_000), 403));
    assert!(refusals.note(Instant::from_micros(660_000_000), 403));
}
