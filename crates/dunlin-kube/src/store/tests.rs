use super::*;
use dunlin_intent::NodeFact;

fn node(name: &str, label: &str) -> Fact {
    Fact::Node(NodeFact::new(name).with_label("is", label))
}

fn at(line: usize, fact: Fact) -> Located {
    Located { line, fact }
}

/// The events that say something of objects, without problems taken back that were never there.
fn facts(events: Vec<SourceEvent>) -> Vec<SourceEvent> {
    events
        .into_iter()
        .filter(|event| !matches!(event, SourceEvent::Problems(_, problems) if problems.is_empty()))
        .collect()
}

fn fault(kinds: &[Kind]) -> FileFault {
    FileFault {
        at: Some("line 3".to_owned()),
        message: "is broken".to_owned(),
        kinds: kinds.to_vec(),
    }
}

#[test]
fn only_what_differs_is_told() {
    let mut store = Store::default();
    let (a, b, c) = (node("a", "1"), node("b", "1"), node("c", "1"));
    let told = store.put("f", vec![at(1, a.clone()), at(5, b.clone())]);
    assert_eq!(
        facts(told),
        [SourceEvent::Apply(a.clone()), SourceEvent::Apply(b.clone())]
    );
    // `a` moves to another line, `b` goes, `c` comes.
    let told = store.put("f", vec![at(9, a), at(20, c.clone())]);
    assert_eq!(
        facts(told),
        [SourceEvent::Remove(b.key()), SourceEvent::Apply(c.clone())]
    );
    let changed = node("c", "2");
    let told = store.put("f", vec![at(1, node("a", "1")), at(2, changed.clone())]);
    assert_eq!(facts(told), [SourceEvent::Apply(changed)]);
    assert_eq!(facts(store.remove("f")).len(), 2);
    assert_eq!(store.remove("f"), []);
}

#[test]
fn the_first_file_by_path_counts_whatever_came_first() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut store = Store::default();
        let mut last = None;
        let mut problem = None;
        for path in order {
            for event in store.put(path, vec![at(1, node("x", path))]) {
                match event {
                    SourceEvent::Apply(fact) => last = Some(fact),
                    SourceEvent::Problems(object, problems) if object.kind == ObjectKind::Node => {
                        problem = problems.into_iter().next();
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(last, Some(node("x", "a")), "{order:?}");
        let problem = problem.unwrap();
        assert_eq!(problem.reason, Reason::DuplicateObject);
        assert!(problem.message.contains("a:1, b:1"), "{problem}");

        let told = store.remove("a");
        assert!(
            told.contains(&SourceEvent::Apply(node("x", "b"))),
            "{told:?}"
        );
        assert!(
            told.contains(&SourceEvent::Problems(problem.object, Vec::new())),
            "{told:?}"
        );
        assert!(
            !told.contains(&SourceEvent::Remove(node("x", "a").key())),
            "{told:?}"
        );
    }
}

#[test]
fn a_change_of_a_later_duplicate_changes_nothing() {
    let mut store = Store::default();
    store.put("a", vec![at(1, node("x", "a"))]);
    store.put("b", vec![at(1, node("x", "b"))]);
    assert_eq!(facts(store.put("b", vec![at(1, node("x", "c"))])), []);
    let told = store.remove("b");
    assert!(
        !told
            .iter()
            .any(|e| matches!(e, SourceEvent::Apply(_) | SourceEvent::Remove(_))),
        "{told:?}"
    );
}

#[test]
fn within_a_file_the_first_document_counts() {
    let mut store = Store::default();
    let told = facts(store.put("f", vec![at(1, node("x", "1")), at(7, node("x", "2"))]));
    assert_eq!(told[0], SourceEvent::Apply(node("x", "1")));
    let SourceEvent::Problems(_, problems) = &told[1] else {
        panic!("{told:?}")
    };
    assert!(problems[0].message.contains("f:1, f:7"), "{problems:?}");
}

#[test]
fn a_file_that_breaks_keeps_what_it_held_and_says_so() {
    let mut store = Store::default();
    store.put("f", vec![at(1, node("x", "1"))]);
    let told = store.fail("f", fault(&Kind::ALL));
    let [SourceEvent::Problems(object, problems)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(*object, ObjectRef::new(ObjectKind::File, "f"));
    assert_eq!(
        problems[0].to_string(),
        "File/f: Unreadable: line 3: is broken; what it last held stays"
    );
    // Mended, unchanged: only the problem goes.
    let told = store.put("f", vec![at(1, node("x", "1"))]);
    assert_eq!(told, [SourceEvent::Problems(object.clone(), Vec::new())]);
    store.fail("f", fault(&Kind::ALL));
    assert!(
        store
            .remove("f")
            .contains(&SourceEvent::Remove(node("x", "1").key()))
    );
}

#[test]
fn a_kind_is_synced_once_no_file_that_never_parsed_may_hold_it() {
    let synced = |events: Vec<SourceEvent>| -> Vec<Kind> {
        events
            .into_iter()
            .filter_map(|event| match event {
                SourceEvent::Synced(kind) => Some(kind),
                _ => None,
            })
            .collect()
    };
    let mut store = Store::default();
    store.put("good", vec![at(1, node("x", "1"))]);
    store.fail("bad", fault(&[Kind::Node, Kind::Peer]));
    let told = synced(store.complete());
    let others = Kind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Node | Kind::Peer));
    assert_eq!(told, others.collect::<Vec<Kind>>());
    assert_eq!(
        synced(store.fail("bad", fault(&[Kind::Node]))),
        [Kind::Peer]
    );
    assert_eq!(synced(store.put("bad", vec![])), [Kind::Node]);
    // Once parsed, a file that breaks holds nothing back, and nothing is told twice.
    assert_eq!(synced(store.fail("bad", fault(&Kind::ALL))), []);
    assert_eq!(synced(store.put("bad", vec![])), []);

    let mut store = Store::default();
    store.fail("bad", fault(&Kind::ALL));
    assert_eq!(synced(store.complete()), []);
    assert_eq!(synced(store.remove("bad")), Kind::ALL);
}
