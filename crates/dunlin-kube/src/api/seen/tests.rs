use dunlin_intent::{Fact, NodeFact, Secret, SecretFact, SecretRef};

use super::Seen;

#[test]
fn only_a_change_is_told() {
    let mut seen = Seen::default();
    seen.begin_list();
    let node = Fact::Node(NodeFact::new("n1"));
    let (change, hash) = seen.look(&node);
    assert!(change.fact);
    seen.note(node.key(), hash, false);
    assert!(!seen.look(&node).0.fact);
    let labelled = Fact::Node(NodeFact::new("n1").with_label("a", "b"));
    assert!(seen.look(&labelled).0.fact);
}

#[test]
fn a_password_that_changes_is_a_change() {
    let secret = |password: &[u8]| {
        Fact::Secret(SecretFact {
            at: SecretRef::new("a", "b"),
            password: Some(Secret::new(password)),
        })
    };
    let mut seen = Seen::default();
    let (_, hash) = seen.look(&secret(b"one"));
    seen.note(secret(b"one").key(), hash, false);
    assert!(seen.look(&secret(b"two")).0.fact);
    assert!(!seen.look(&secret(b"one")).0.fact);
}

#[test]
fn what_a_complete_list_lacks_is_missing() {
    let mut seen = Seen::default();
    let note = |seen: &mut Seen, name: &str| {
        let node = Fact::Node(NodeFact::new(name));
        let (_, hash) = seen.look(&node);
        seen.note(node.key(), hash, false);
    };
    seen.begin_list();
    note(&mut seen, "a");
    note(&mut seen, "b");
    assert_eq!(seen.missing(), []);
    seen.begin_list();
    note(&mut seen, "b");
    assert_eq!(seen.missing(), [Fact::Node(NodeFact::new("a")).key()]);
}
