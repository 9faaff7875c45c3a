use dunlin_intent::{Fact, Key};

use super::{Ignored, sift};
use crate::manifest::Format;

#[test]
fn objects_of_other_kinds_are_named_and_ours_are_read() {
    let text = "\
# what the team has at hand
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPFilter
metadata: {name: all}
spec: {rules: [{action: Accept}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
";
    let sifted = sift(text, Format::Yaml);
    assert_eq!(sifted.faults, []);
    let keys: Vec<Key> = sifted.facts.iter().map(|one| one.fact.key()).collect();
    assert_eq!(
        keys,
        [Key::Filter("all".into()), Key::Namespace("shop".into())]
    );
    assert_eq!(sifted.facts[0].line, 6);
    let ignored = |line, object: &str| Ignored {
        line,
        object: object.into(),
    };
    assert_eq!(
        sifted.ignored,
        [
            ignored(2, "Deployment/shop/web"),
            ignored(11, "ConfigMap/c")
        ]
    );
}

#[test]
fn each_document_that_does_not_parse_is_told_with_its_place() {
    let text = "\
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPPeer
metadata: {name: a}
spec: {peerAdress: 192.0.2.1}
---
apiVersion: dunlin.dev/v1beta7
kind: BGPPeer
metadata: {name: b}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
";
    let sifted = sift(text, Format::Yaml);
    let [(1, first), (2, second)] = sifted.faults.as_slice() else {
        panic!("{:?}", sifted.faults);
    };
    assert_eq!(first.line, 5);
    assert!(first.message.contains("peerAdress"), "{first}");
    assert_eq!(second.line, 7);
    assert!(second.message.contains("dunlin.dev/v1beta7"), "{second}");
    assert!(matches!(sifted.facts[0].fact, Fact::Namespace(_)));
}

#[test]
fn what_is_no_object_is_a_fault() {
    for text in ["just words", "[1, 2]", "kind: BGPPeer\n", "a: b: c"] {
        let sifted = sift(text, Format::Yaml);
        assert_eq!(sifted.faults.len(), 1, "{text:?}: {sifted:?}");
    }
    assert_eq!(sift("{", Format::Json).faults.len(), 1);
    assert_eq!(sift("# nothing\n---\n", Format::Yaml), Default::default());
}
