use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

fn requirement(key: &str, operator: Operator, values: &[&str]) -> Selector {
    Selector {
        match_expressions: vec![Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|v| v.to_string()).collect(),
        }],
        ..Selector::default()
    }
}

#[test]
fn each_operator_selects_as_kubernetes_does() {
    use Operator::*;
    let rack1 = labels(&[("rack", "1"), ("zone", "a")]);
    let bare = Labels::new();
    for (operator, values, on_rack1, on_bare) in [
        (In, &["1", "2"][..], true, false),
        (In, &["2"], false, false),
        (NotIn, &["1"], false, true),
        (NotIn, &["2"], true, true),
        (Exists, &[], true, false),
        (DoesNotExist, &[], false, true),
    ] {
        let selector = requirement("rack", operator, values);
        assert_eq!(selector.matches(&rack1), on_rack1, "{selector:?}");
        assert_eq!(selector.matches(&bare), on_bare, "{selector:?}");
        assert_eq!(selector.fault(), None);
    }
}

#[test]
fn everything_given_must_hold_and_nothing_given_selects_all() {
    let mut selector = requirement("rack", Operator::Exists, &[]);
    selector.match_labels = labels(&[("zone", "a")]);
    assert!(selector.matches(&labels(&[("rack", "1"), ("zone", "a")])));
    assert!(!selector.matches(&labels(&[("rack", "1"), ("zone", "b")])));
    assert!(!selector.matches(&labels(&[("zone", "a")])));
    assert!(Selector::default().matches(&Labels::new()));
}

#[test]
fn values_where_none_belong_are_a_fault() {
    assert!(requirement("a", Operator::In, &[]).fault().is_some());
    assert!(requirement("a", Operator::Exists, &["x"]).fault().is_some());
    assert!(requirement("", Operator::Exists, &[]).fault().is_some());
}
