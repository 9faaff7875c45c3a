use dunlin_dataplane::proxy::{Element, Found, FrontendSet};
use dunlin_net::service::{Frontend, Protocol, View};

use super::{TableTreatment, grouped};

fn frontend(addr: &str) -> Frontend {
    Frontend {
        addr: addr.parse().unwrap(),
        protocol: Protocol::Tcp,
        port: 80,
    }
}

fn found(elements: Vec<Element>) -> Found {
    Found {
        elements,
        intact: true,
        present: true,
        flows: Vec::new(),
    }
}

#[test]
fn elements_are_put_together_to_what_they_do() {
    let (random, refused) = (frontend("10.96.0.10"), frontend("10.96.0.11"));
    let member = |frontend, set| Element::Member { set, frontend };
    let slot = |slot, to: &str| Element::Slot {
        view: View::Inside,
        frontend: random,
        slot,
        to: to.parse().unwrap(),
    };
    let view = View::Inside;
    let tables = grouped(found(vec![
        Element::Near("10.244.1.0/24".parse().unwrap()),
        Element::Served("10.96.0.0/20".parse().unwrap()),
        slot(1, "10.244.1.3:8080"),
        slot(0, "10.244.1.2:8080"),
        member(random, FrontendSet::Random { view, slots: 2 }),
        member(random, FrontendSet::Sticky { secs: 60 }),
        member(
            random,
            FrontendSet::Dropped {
                view: View::Outside,
            },
        ),
        member(refused, FrontendSet::Refused),
    ]));
    assert_eq!(tables.near, ["10.244.1.0/24".parse().unwrap()]);
    let one = &tables.frontends[&random];
    assert_eq!(one.outside, Some(TableTreatment::Drop));
    assert_eq!(one.affinity_secs, Some(60));
    assert!(one.faults.is_empty(), "{:?}", one.faults);
    let Some(TableTreatment::Balance { endpoints, .. }) = &one.inside else {
        panic!("{one:?}");
    };
    assert_eq!(endpoints.len(), 2);
    let slots = "ip dunlin_services slots_inside { 10.96.0.10 . tcp . 80 . 1 : 10.244.1.3 . 8080 }";
    assert!(
        one.elements.iter().any(|element| element == slots),
        "{one:?}"
    );
    let other = &tables.frontends[&refused];
    assert_eq!(other.inside, Some(TableTreatment::Reject));
}

#[test]
fn what_does_not_fit_together_is_said() {
    let lost = frontend("10.96.0.10");
    let view = View::Inside;
    let tables = grouped(found(vec![Element::Member {
        set: FrontendSet::Random { view, slots: 1 },
        frontend: lost,
    }]));
    let faults = tables.frontends[&lost].faults.join("; ");
    for part in ["not among the served", "has no slot"] {
        assert!(faults.contains(part), "{part}: {faults}");
    }
}
