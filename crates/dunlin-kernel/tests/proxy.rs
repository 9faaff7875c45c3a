//! The tables of services against the real kernel, in network namespaces; `nft` is the judge.

mod support;

use dunlin_dataplane::proxy::{Batch, Element, Found, FrontendSet};
use dunlin_kernel::nft::proxy::ProxyTables;
use dunlin_net::service::{Frontend, Protocol, View};
use support::services::{Balanced, add, frontend};
use support::*;

/// Something of each kind, in both families.
fn some_of_each() -> Vec<Element> {
    let mut elements = Vec::new();
    for (addr, endpoints, source, near, pod) in [
        (
            "10.96.0.1",
            ["10.244.1.2:8080", "10.244.1.3:8080", "10.244.2.2:8080"],
            "192.0.2.0/24",
            "10.244.1.0/24",
            "10.244.1.2",
        ),
        (
            "fd10::1",
            ["[fd00:1::2]:8080", "[fd00:1::3]:8080", "[fd00:2::2]:8080"],
            "2001:db8::/64",
            "fd00:1::/64",
            "fd00:1::2",
        ),
    ] {
        let service = frontend(addr, Protocol::Tcp, 80);
        elements.extend(Balanced::new(service, &endpoints).sticky(10_800).elements());
        elements.extend(
            Balanced::new(service, &endpoints[..2])
                .view(View::Outside)
                .hashed(3)
                .elements(),
        );
        let member = |set| Element::Member {
            set,
            frontend: service,
        };
        elements.push(member(FrontendSet::Guarded));
        elements.push(Element::Allowed {
            frontend: service,
            source: source.parse().unwrap(),
        });
        for set in [
            FrontendSet::Refused,
            FrontendSet::Dropped { view: View::Inside },
            FrontendSet::Dropped {
                view: View::Outside,
            },
        ] {
            let other = Frontend {
                port: 81,
                ..service
            };
            elements.push(Element::Member {
                set,
                frontend: other,
            });
        }
        elements.push(Element::Near(near.parse().unwrap()));
        elements.push(Element::Hairpin(pod.parse().unwrap()));
    }
    elements.sort();
    elements.dedup();
    elements
}

fn rebuild(elements: &[Element]) -> Batch {
    Batch {
        number: 1,
        rebuild: true,
        ops: add(elements),
        forget: Vec::new(),
    }
}

fn read(tables: &mut ProxyTables) -> Found {
    let mut found = tables.read().unwrap();
    found.elements.sort();
    found
}

#[test]
fn what_is_written_is_what_nft_shows_and_takes_in_again() {
    in_netns(|| {
        let elements = some_of_each();
        let mut tables = ProxyTables::open().unwrap();
        let done = tables.apply(&rebuild(&elements));
        assert_eq!(done.result, Ok(()));
        let listing = run("nft list ruleset");
        let expected = include_str!("proxy/listing.txt");
        assert_eq!(listing, expected, "{listing}");
        let found = read(&mut ProxyTables::open().unwrap());
        assert!(found.intact && found.present);
        assert_eq!(found.elements, elements);
    });
}

/// Not those that remember clients: `nft` 1.0.6 has too few registers for their IPv6 rule, which it shows well.
#[test]
fn what_nft_shows_it_takes_in_again() {
    in_netns(|| {
        let sticky = |element: &Element| {
            let set = FrontendSet::Sticky { secs: 10_800 };
            matches!(element, Element::Member { set: found, .. } if *found == set)
        };
        let mut elements = some_of_each();
        elements.retain(|element| !sticky(element));
        let done = ProxyTables::open().unwrap().apply(&rebuild(&elements));
        assert_eq!(done.result, Ok(()));
        let listing = run("nft list ruleset");
        run("nft flush ruleset");
        feed("nft -f -", &listing);
        let found = read(&mut ProxyTables::open().unwrap());
        assert!(found.intact && found.present);
        assert_eq!(found.elements, elements);
    });
}
