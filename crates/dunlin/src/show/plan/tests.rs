use dunlin_api::{
    FieldChange, Listed, ObjectChange, Plan, PlannedExports, PlannedImports, PlannedObject,
    PlannedPeer, PlannedPrefix, PlannedPrefixes, PlannedSessions, SessionEffect,
};

use super::plan;
use crate::args::Color;
use crate::output::Style;
use crate::table::WIDTH;

fn listed<T>(items: Vec<T>, more: u64) -> Listed<T> {
    Listed { items, more }
}

fn change(field: &str, before: Option<&str>, after: Option<&str>) -> FieldChange {
    FieldChange {
        field: field.into(),
        before: before.map(Into::into),
        after: after.map(Into::into),
    }
}

fn prefix(net: &str, origin: &str) -> PlannedPrefix {
    PlannedPrefix {
        origin: Some(origin.into()),
        ..PlannedPrefix::new(net.parse().unwrap())
    }
}

fn sample() -> Plan {
    let object = |name: &str, change, line| PlannedObject {
        object: name.into(),
        change,
        file: Some("peers.yaml".into()),
        line: Some(line),
    };
    let peer = |name: &str, last: u8| PlannedPeer {
        name: name.into(),
        address: Some([10, 0, 0, last].into()),
        state: Some("Established".into()),
    };
    let mut rejected = PlannedPrefix::new("198.51.100.0/24".parse().unwrap());
    rejected.reason = Some("rejected by rule 1 of the filter".into());
    let mut with_med = prefix("203.0.113.1/32", "Service/shop/web");
    with_med.changes = vec![change("MULTI_EXIT_DISC", None, Some("10"))];
    Plan {
        node: "n1".into(),
        objects: listed(
            vec![
                object("BGPPeer/tor-1", ObjectChange::Replaced, 1),
                object("Deployment/shop/web", ObjectChange::Ignored, 12),
            ],
            0,
        ),
        sessions: listed(
            vec![PlannedSessions {
                effect: SessionEffect::Resets,
                reasons: vec![change("peerASN", Some("65001"), Some("65002"))],
                not_tried: None,
                peers: listed(vec![peer("tor-1", 101), peer("tor-2", 102)], 0),
                established: 2,
            }],
            0,
        ),
        exports: listed(
            vec![PlannedExports {
                peers: listed(vec!["tor-1".into(), "tor-2".into()], 7),
                prefixes: PlannedPrefixes {
                    appear: listed(vec![prefix("10.244.1.0/24", "Node/n1")], 0),
                    go: Listed::default(),
                    change: listed(vec![with_med], 41),
                },
            }],
            0,
        ),
        imports: listed(
            vec![PlannedImports {
                peer: "tor-1".into(),
                prefixes: PlannedPrefixes {
                    go: listed(vec![rejected], 0),
                    ..PlannedPrefixes::default()
                },
            }],
            0,
        ),
        ..Plan::default()
    }
}

#[test]
fn a_plan_reads_from_the_objects_to_what_comes_of_them() {
    let expected = "\
Plan for node n1, by its agent; other nodes may fare otherwise. Nothing was changed.
  replace  BGPPeer/tor-1  (peers.yaml:1)
  ignore   Deployment/shop/web  (peers.yaml:12)

SESSIONS
  reset    tor-1 10.0.0.101, tor-2 10.0.0.102 (2 of 2 Established)
             peerASN 65001 -> 65002

TOLD TO tor-1, tor-2 and 7 more
  + 10.244.1.0/24 Node/n1
  ~ 203.0.113.1/32 Service/shop/web: MULTI_EXIT_DISC none -> 10
  ~ … and 41 more that change

LEARNED FROM tor-1
  - 198.51.100.0/24 (rejected: rejected by rule 1 of the filter)
";
    assert_eq!(plan(&sample(), Style::new(Color::Never, false)), expected);
}

#[test]
fn nobody_is_said_to_be_told_what_comes_from_itself() {
    let mut reflected = sample();
    let prefixes = &mut reflected.exports.items[0].prefixes;
    prefixes.go = listed(vec![prefix("10.244.2.0/24", "tor-2")], 0);
    let text = plan(&reflected, Style::new(Color::Never, false));
    let title = "TOLD TO tor-1, tor-2 and 7 more (each but what comes from itself)";
    assert!(text.contains(title), "{text}");
}

#[test]
fn no_line_is_too_wide_and_nothing_moves_the_cursor() {
    let mut wide = sample();
    let long = "a-rather-long-name-of-a-router-in-some-rack";
    let peers = &mut wide.sessions.items[0].peers;
    peers.items = (0..9u8)
        .map(|n| PlannedPeer {
            name: format!("{long}-{n}\x1b[2J"),
            address: Some([10, 0, 0, n].into()),
            state: None,
        })
        .collect();
    wide.exports.items[0].peers.items = (0..9).map(|n| format!("{long}-{n}")).collect();
    wide.notes = vec!["words and more of them ".repeat(20)];
    let text = plan(&wide, Style::new(Color::Never, false));
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.contains('\x1b'), "{line}");
    }
}
