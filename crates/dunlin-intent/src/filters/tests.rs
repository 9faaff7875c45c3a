use super::*;
use crate::fact::FilterRuleFact;
use dunlin_bgp::policy::{CommunityValue, PeerType};

const OWN: Asn = Asn(64512);

fn rule(matches: Match, action: FilterAction, attributes: Attributes) -> FilterRuleFact {
    FilterRuleFact {
        matches,
        action,
        attributes,
    }
}

fn filter(rules: Vec<FilterRuleFact>) -> FilterFact {
    FilterFact {
        name: "f".to_owned(),
        rules,
        ..FilterFact::default()
    }
}

fn cidr(text: &str) -> Match {
    Match {
        cidr: Some(text.parse().unwrap()),
        ..Match::default()
    }
}

#[test]
fn rules_compile_in_order_with_everything_they_say() {
    let matches = Match {
        length_min: Some(16),
        length_max: Some(24),
        communities: vec![CommunityValue::Large(1, 2, 3)],
        as_path_prefix: vec![Asn(65010)],
        peer_type: Some(PeerType::External),
        ..cidr("10.0.0.0/8")
    };
    let attributes = Attributes {
        local_preference: Some(200),
        med: Some(5),
        prepend: Some(Prepend {
            asn: None,
            count: 2,
        }),
        communities: vec![
            CommunityValue::Standard(2),
            CommunityValue::Standard(1),
            CommunityValue::Standard(2),
        ],
    };
    let fact = filter(vec![
        rule(matches.clone(), FilterAction::Accept, attributes),
        rule(
            Match::default(),
            FilterAction::Reject,
            Attributes::default(),
        ),
    ]);
    let (compiled, problems) = compile(&fact, OWN);
    assert_eq!(problems, []);
    let compiled = compiled.unwrap();
    assert_eq!(compiled.name, "f");
    assert_eq!(compiled.rules[0].matches, matches);
    assert_eq!(
        compiled.rules[0].edits,
        AttrEdits {
            local_pref: Some(200),
            med: Some(5),
            prepend: Some((OWN, 2)),
            add_communities: vec![CommunityValue::Standard(1), CommunityValue::Standard(2)],
        }
    );
    assert_eq!(compiled.rules[1].action, FilterAction::Reject);
}

#[test]
fn a_rule_that_cannot_be_meant_refuses_the_filter() {
    let prepend = |asn: Option<u32>, count| Attributes {
        prepend: Some(Prepend {
            asn: asn.map(Asn),
            count,
        }),
        ..Attributes::default()
    };
    let accept = |matches| rule(matches, FilterAction::Accept, Attributes::default());
    for (bad, field) in [
        (accept(cidr("10.0.0.1/8")), "match.cidr"),
        (
            accept(Match {
                length_max: Some(33),
                ..cidr("10.0.0.0/8")
            }),
            "match.lengthMax",
        ),
        (
            accept(Match {
                length_min: Some(129),
                ..Match::default()
            }),
            "match.lengthMin",
        ),
        (
            accept(Match {
                length_max: Some(7),
                ..cidr("10.0.0.0/8")
            }),
            "match.lengthMax",
        ),
        (
            accept(Match {
                length_min: Some(9),
                length_max: Some(8),
                ..Match::default()
            }),
            "match.lengthMax",
        ),
        (
            accept(Match {
                as_path_prefix: vec![Asn(0)],
                ..Match::default()
            }),
            "match.asPath[0]",
        ),
        (
            rule(Match::default(), FilterAction::Accept, prepend(None, 0)),
            "attributes.prepend.count",
        ),
        (
            rule(Match::default(), FilterAction::Accept, prepend(None, 33)),
            "attributes.prepend.count",
        ),
        (
            rule(Match::default(), FilterAction::Accept, prepend(Some(0), 1)),
            "attributes.prepend.asn",
        ),
        (
            rule(Match::default(), FilterAction::Reject, prepend(None, 1)),
            "attributes",
        ),
    ] {
        let (compiled, problems) = compile(&filter(vec![FilterRuleFact::accept_all(), bad]), OWN);
        assert_eq!(compiled, None);
        let fields: Vec<_> = problems.iter().filter_map(|p| p.field.as_deref()).collect();
        assert_eq!(fields, [format!("spec.rules[1].{field}")]);
    }
}

#[test]
fn a_filter_beyond_its_bound_or_malformed_is_refused() {
    let long = filter(vec![FilterRuleFact::accept_all(); MAX_FILTER_RULES + 1]);
    assert!(compile(&long, OWN).0.is_none());
    let mut malformed = filter(vec![FilterRuleFact::accept_all()]);
    malformed
        .malformed
        .push(crate::fact::Malformed::new("spec.rules[0].match.cidr", "x"));
    let (compiled, problems) = compile(&malformed, OWN);
    assert_eq!((compiled, problems.len()), (None, 1));
}

#[test]
fn no_rules_reject_everything() {
    let (compiled, problems) = compile(&filter(Vec::new()), OWN);
    assert_eq!((compiled.unwrap().rules.len(), problems.len()), (0, 0));
}

#[test]
fn two_advertisements_merge_the_same_either_way() {
    let standard = |n| CommunityValue::Standard(n);
    let a = AttrEdits {
        local_pref: Some(100),
        med: None,
        prepend: Some((Asn(2), 3)),
        add_communities: vec![standard(2), standard(3)],
    };
    let b = AttrEdits {
        local_pref: Some(200),
        med: Some(7),
        prepend: Some((Asn(1), 3)),
        add_communities: vec![standard(1), standard(2)],
    };
    let c = AttrEdits {
        med: Some(5),
        ..AttrEdits::default()
    };
    let want = AttrEdits {
        local_pref: Some(200),
        med: Some(5),
        prepend: Some((Asn(1), 3)),
        add_communities: vec![standard(1), standard(2), standard(3)],
    };
    for order in [[&a, &b, &c], [&c, &a, &b], [&b, &c, &a], [&c, &b, &a]] {
        assert_eq!(order.into_iter().cloned().reduce(merge), Some(want.clone()));
    }
}
