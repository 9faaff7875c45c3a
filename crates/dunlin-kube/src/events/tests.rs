use super::*;

fn notice(name: &str, message: &str) -> Notice {
    Notice {
        object: NoticeObject {
            api_version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: Some("u".to_owned()),
        },
        reason: "AddressAllocated",
        action: "Allocate",
        message: message.to_owned(),
        warning: false,
    }
}

fn at(secs: u64) -> Instant {
    Instant::from_micros(secs * 1_000_000)
}

#[test]
fn the_same_is_said_once() {
    let mut ledger = Ledger::new(at(0));
    assert!(!ledger.said_before(at(0), &notice("a", "x")));
    assert!(ledger.said_before(at(599), &notice("a", "x")));
    assert!(!ledger.said_before(at(599), &notice("b", "x")));
    assert!(
        !ledger.said_before(at(600), &notice("a", "x")),
        "after a while again"
    );
    assert!(
        !ledger.said_before(at(601), &notice("a", "y")),
        "something else"
    );
    assert!(!ledger.said_before(at(602), &notice("a", "x")));
    ledger.forget(&notice("a", "x"));
    assert!(
        !ledger.said_before(at(603), &notice("a", "x")),
        "it was not written"
    );
}

#[test]
fn memory_is_bounded() {
    let mut ledger = Ledger::new(at(0));
    for n in 0..2 * REMEMBERED {
        ledger.said_before(at(0), &notice(&n.to_string(), "x"));
        assert!(ledger.said.len() <= REMEMBERED);
    }
}

#[test]
fn the_rate_is_bounded() {
    let mut ledger = Ledger::new(at(0));
    let spoken = (0..1000).filter(|_| ledger.may_speak(at(0))).count();
    assert_eq!(spoken, 100);
    let spoken = (0..1000).filter(|_| ledger.may_speak(at(2))).count();
    assert_eq!(spoken, 10);
    let spoken = (0..1000).filter(|_| ledger.may_speak(at(1000))).count();
    assert_eq!(spoken, 100);
}

#[test]
fn events_keep_to_the_limits_of_the_api() {
    let long = "x".repeat(5000);
    let object = event(&notice(&"n".repeat(253), &long), &long, 7, "t");
    let name = object["metadata"]["name"].as_str().unwrap();
    assert!(name.len() <= 253, "{name}");
    assert!(object["note"].as_str().unwrap().len() <= 1024);
    assert!(object["reportingInstance"].as_str().unwrap().len() <= 128);
    assert_eq!(object["regarding"]["namespace"], "ns");
    let mut pool = notice("p", "m");
    pool.object.namespace = String::new();
    let object = event(&pool, "node", 7, "t");
    assert_eq!(object["metadata"]["namespace"], "default");
    assert_eq!(object["regarding"].get("namespace"), None);
}

#[tokio::test]
async fn too_many_are_dropped_and_counted() {
    let (notices, mut queue) = notices();
    for n in 0..QUEUE + 5 {
        notices.tell(notice(&n.to_string(), "x"));
    }
    assert_eq!(notices.dropped(), 5);
    assert_eq!(queue.next().await, Some(notice("0", "x")));
}
