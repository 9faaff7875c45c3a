use super::{Changes, Duration, Instant, LAG, Names, PORTION_OCTETS, Queue, ROOM_OCTETS};
use crate::object::Resource;
use dunlin_intent::Kind;

fn text(octets: usize) -> Option<Vec<u8>> {
    Some(vec![b'x'; octets])
}

#[test]
fn of_each_object_the_last_word_is_kept() {
    let queue = Queue::default();
    for round in 0..100_u32 {
        for object in 0..10 {
            let text = format!("{object} in round {round}").into_bytes();
            assert!(queue.put(&format!("nodes/n{object}"), &mut Some(text)));
        }
    }
    assert!(queue.put("nodes/n3", &mut None));
    queue.end();
    let changes = queue.take(None).changes;
    assert_eq!(changes.objects.len(), 10);
    assert_eq!(changes.objects["nodes/n3"], None);
    let last = b"7 in round 99".to_vec();
    assert_eq!(changes.objects["nodes/n7"], Some(last));
}

#[test]
fn a_change_waits_for_others_and_not_for_long() {
    let queue = Queue::default();
    let begun = Instant::now();
    assert!(queue.put("nodes/n1", &mut text(1)));
    let batch = queue.take(None);
    assert!(begun.elapsed() >= LAG - Duration::from_millis(1));
    assert!(!batch.is_urgent() && batch.changes.objects.len() == 1);
    // What was written that long ago has to become durable.
    let batch = queue.take(Some(begun));
    assert!(batch.changes.objects.is_empty());
}

#[test]
fn a_lot_is_written_at_once_and_so_is_a_complete_list() {
    let queue = Queue::default();
    let begun = Instant::now();
    assert!(queue.put("nodes/n1", &mut text(PORTION_OCTETS)));
    assert_eq!(queue.take(None).changes.objects.len(), 1);
    let nodes = Resource::of(Kind::Node);
    queue.complete(nodes, Names::from_iter(["n1".to_owned()]));
    assert!(queue.take(None).is_urgent());
    assert!(begun.elapsed() < LAG, "{:?}", begun.elapsed());
}

#[test]
fn what_waits_for_the_disk_is_bounded() {
    let mut changes = Changes::default();
    assert!(changes.put("a", &mut text(ROOM_OCTETS / 2)));
    let mut more = text(ROOM_OCTETS / 2);
    assert!(!changes.put("b", &mut more));
    assert!(more.is_some(), "it is handed back");
    // The same object again takes the place of what was held of it.
    assert!(changes.put("a", &mut text(ROOM_OCTETS / 2 + 1)));
    assert!(changes.put("a", &mut text(1)));
    assert!(changes.put("b", &mut more));
    // One that is larger than the room is taken when nothing else waits.
    assert!(Changes::default().put("c", &mut text(2 * ROOM_OCTETS)));
}
