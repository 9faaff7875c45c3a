use super::*;

fn node(name: &str, ready: Option<&str>) -> Node {
    let conditions = ready.map(|status| {
        vec![NodeCondition {
            kind: "Ready".to_owned(),
            status: status.to_owned(),
        }]
    });
    Node {
        metadata: Named {
            name: name.to_owned(),
        },
        status: NodeStatus { conditions },
    }
}

fn said(name: &str) -> BgpNode {
    BgpNode {
        metadata: Named {
            name: name.to_owned(),
        },
        status: Some(BgpNodeStatus::default()),
    }
}

#[test]
fn nodes_that_nothing_is_known_of_are_named() {
    let nodes = vec![
        node("n3", Some("True")),
        node("n1", Some("True")),
        node("n2", Some("Unknown")),
        node("n5", None),
    ];
    let all = joined(nodes, vec![said("n1"), said("n2"), said("n4"), said("n5")]);
    let seen: Vec<(&str, bool, Option<&str>)> = all
        .iter()
        .map(|n| {
            let note = n.note.as_deref().map(|note| &note[..12]);
            (n.node.as_str(), n.status.is_some(), note)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("n1", true, None),
            ("n2", true, Some("the Node is ")),
            ("n3", false, Some("no agent has")),
            ("n4", true, Some("there is no ")),
            ("n5", true, None),
        ]
    );
}

#[test]
fn only_names_go_into_paths() {
    for good in ["n1", "node-1.example.org"] {
        assert!(checked(good).is_ok(), "{good}");
    }
    for bad in ["", "../pods/x", "a/b", "N1", "n1?x=y", ".."] {
        assert!(checked(bad).is_err(), "{bad}");
    }
    assert_eq!(encoded("aZ9-_.~+/= é"), "aZ9-_.~%2B%2F%3D%20%C3%A9");
}
