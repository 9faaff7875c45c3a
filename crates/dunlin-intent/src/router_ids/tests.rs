use super::*;

fn name(text: &str) -> Arc<str> {
    text.into()
}

fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

#[test]
fn an_id_is_the_ipv4_address_or_a_hash_that_never_changes() {
    let mut ids = RouterIds::default();
    ids.set(&name("a"), Some(Some(ip(1))));
    ids.set(&name("b"), Some(None));
    assert_eq!(ids.settle(), BTreeSet::new());
    assert_eq!(ids.get("a"), Some(RouterId(ip(1))));
    // A router id that changes with a release would reset every session: this figure stands.
    assert_eq!(
        ids.get("b"),
        Some(RouterId(Ipv4Addr::new(128, 67, 248, 192)))
    );
    assert_eq!(ids.get("c"), None);
}

#[test]
fn of_two_with_one_address_the_first_by_name_keeps_the_id() {
    let mut ids = RouterIds::default();
    ids.set(&name("b"), Some(Some(ip(1))));
    ids.set(&name("c"), Some(Some(ip(1))));
    assert_eq!(ids.settle(), BTreeSet::from([name("c")]));
    assert_eq!(ids.get("b"), Some(RouterId(ip(1))));
    let given = ids.get("c").unwrap();
    assert_ne!(given, RouterId(ip(1)));
    assert_eq!(ids.collision("c"), Some((RouterId(ip(1)), &name("b"))));
    assert_eq!(ids.collision("b"), None);

    ids.set(&name("a"), Some(Some(ip(1))));
    assert_eq!(ids.settle(), BTreeSet::from([name("b"), name("c")]));
    assert_eq!(
        ids.get("c"),
        Some(given),
        "who gave way already does not move"
    );

    ids.set(&name("a"), None);
    ids.set(&name("b"), Some(Some(ip(2))));
    assert!(ids.settle().contains(&name("c")));
    assert_eq!(ids.get("c"), Some(RouterId(ip(1))));
    assert_eq!(ids.collision("c"), None);
}

#[test]
fn an_id_given_for_a_collision_is_no_other_nodes_address() {
    let mut ids = RouterIds::default();
    ids.set(&name("a"), Some(Some(ip(1))));
    ids.set(&name("b"), Some(Some(ip(1))));
    ids.settle();
    let RouterId(given) = ids.get("b").unwrap();
    // A node comes whose address is just that.
    ids.set(&name("z"), Some(Some(given)));
    ids.settle();
    assert_eq!(ids.get("z"), Some(RouterId(given)));
    assert_ne!(ids.get("b"), Some(RouterId(given)));
}
