//! The tables of services against the real kernel, in network namespaces; `nft` is the judge.

mod support;

use dunlin_dataplane::proxy::{Batch, Element, Found, FrontendSet, Op};
use dunlin_kernel::nft::proxy::ProxyTables;
use dunlin_kernel::{KernelCommand, KernelEvent};
use dunlin_net::service::{Frontend, Protocol, View};
use support::services::{Balanced, add, blocks, change, difference, frontend, remove};
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
        elements.push(member(FrontendSet::Masqueraded));
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
    elements.extend(blocks(&elements));
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

/// So many that slots are looked up by what is known of frontends; what that would miss must be found all the same.
#[test]
fn many_slots_are_found_and_strays_among_them() {
    in_netns(|| {
        let ports = 1..=3_000;
        let endpoints4: Vec<String> = (1..=7).map(|at| format!("10.244.1.{at}:8080")).collect();
        let endpoints6: Vec<String> = (1..=7).map(|at| format!("[fd00:1::{at}]:8080")).collect();
        let of = |endpoints: &[String], addr: &str, port: u16, hashed: bool| {
            let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
            let balanced = Balanced::new(frontend(addr, Protocol::Tcp, port), &endpoints);
            let balanced = if hashed { balanced.hashed(7) } else { balanced };
            balanced.elements()
        };
        let mut elements: Vec<Element> = ports
            .flat_map(|port| {
                let ipv4 = of(&endpoints4, "10.96.0.1", port, false);
                ipv4.into_iter()
                    .chain(of(&endpoints6, "fd10::1", port, port % 2 == 0))
            })
            .collect();
        elements.sort();
        let mut tables = ProxyTables::open().unwrap();
        assert_eq!(tables.apply(&rebuild(&elements)).result, Ok(()));
        let found = read(&mut ProxyTables::open().unwrap());
        assert_eq!((found.intact, &found.elements), (true, &elements));
        let stray = Element::Slot {
            view: View::Inside,
            frontend: frontend("10.96.0.9", Protocol::Udp, 53),
            slot: 100,
            to: "10.244.1.9:53".parse().unwrap(),
        };
        let batch = Batch {
            number: 2,
            rebuild: false,
            ops: add(&[stray]),
            forget: Vec::new(),
        };
        assert_eq!(tables.apply(&batch).result, Ok(()));
        let found = read(&mut ProxyTables::open().unwrap());
        elements.push(stray);
        elements.sort();
        assert!(found.intact && found.elements == elements);
    });
}

#[test]
fn what_is_there_already_is_adopted_and_changed() {
    in_netns(|| {
        let elements = some_of_each();
        let mut first = ProxyTables::open().unwrap();
        assert_eq!(first.apply(&rebuild(&elements)).result, Ok(()));
        // Another process knows only what it reads: sets for sizes and times that are there are not made twice.
        let mut tables = ProxyTables::open().unwrap();
        let service = frontend("10.96.0.9", Protocol::Udp, 53);
        let endpoints = ["10.244.1.2:53", "10.244.1.3:53", "10.244.2.2:53"];
        let more = Balanced::new(service, &endpoints).sticky(60).elements();
        let batch = |number, ops| Batch {
            number,
            rebuild: false,
            ops,
            forget: Vec::new(),
        };
        let done = tables.apply(&batch(7, add(&more)));
        assert_eq!((done.number, done.result), (7, Ok(())));
        let found = read(&mut ProxyTables::open().unwrap());
        let mut expected = [elements.clone(), more.clone()].concat();
        expected.sort();
        assert_eq!((found.intact, found.elements), (true, expected));
        // A slot gets another endpoint in one batch.
        let slot = more.last().copied().unwrap();
        let Element::Slot { view, slot, .. } = slot else {
            panic!("the last element is a slot");
        };
        let moved = |to: &str| Element::Slot {
            view,
            frontend: service,
            slot,
            to: to.parse().unwrap(),
        };
        let ops = vec![
            Op::Remove(moved(endpoints[2])),
            Op::Add(moved("10.244.2.9:53")),
        ];
        assert_eq!(tables.apply(&batch(8, ops)).result, Ok(()));
        let text =
            run("nft get element ip dunlin_services slots_inside { 10.96.0.9 . udp . 53 . 2 }");
        assert!(text.contains("10.244.2.9 . 53"), "{text}");
        assert_eq!(
            tables
                .apply(&batch(9, remove(&more[..more.len() - 1])))
                .result,
            Ok(())
        );
    });
}

#[test]
fn a_refused_batch_does_nothing_and_says_where_it_failed() {
    in_netns(|| {
        let elements = some_of_each();
        let mut tables = ProxyTables::open().unwrap();
        assert_eq!(tables.apply(&rebuild(&elements)).result, Ok(()));
        let before = run("nft list ruleset");
        let service = frontend("10.96.0.9", Protocol::Tcp, 80);
        let endpoints = ["10.244.1.2:80"];
        let fresh = Balanced::new(service, &endpoints).elements();
        let absent = Balanced::new(service, &["10.244.9.9:80"; 5]).elements();
        let mut ops = add(&fresh);
        ops.extend(remove(&absent[4..5]));
        let refused = Batch {
            number: 2,
            rebuild: false,
            ops,
            forget: Vec::new(),
        };
        let done = tables.apply(&refused);
        let error = done.result.unwrap_err();
        assert!(!done.unsure);
        assert_eq!(error.errno, libc::ENOENT);
        let place =
            "deleting 1 elements from set slots_inside of the nf_tables table ip dunlin_services";
        assert!(error.message.contains(place), "{error}");
        assert_eq!(run("nft list ruleset"), before);
        // Nor are sets thought to be there that it would have made.
        let done = tables.apply(&Batch {
            ops: add(&fresh),
            ..refused
        });
        assert_eq!(done.result, Ok(()));
        assert!(run("nft list ruleset").contains("random_inside_1"));
    });
}

#[test]
fn tables_of_another_shape_are_not_taken_for_ours() {
    in_netns(|| {
        let elements = some_of_each();
        let mut tables = ProxyTables::open().unwrap();
        assert_eq!(tables.read().unwrap(), Found::default());
        for damage in [
            "nft delete table ip dunlin_services",
            "nft flush chain ip6 dunlin_services refuse",
            "nft add set ip dunlin_services other { type mark; }",
            "nft insert rule ip dunlin_services inside drop",
            "nft flush chain ip dunlin_services pick_inside_4",
        ] {
            assert_eq!(tables.apply(&rebuild(&elements)).result, Ok(()));
            assert!(tables.read().unwrap().intact);
            run(damage);
            let found = tables.read().unwrap();
            assert!(!found.intact && found.present, "{damage}");
            assert_eq!(found.elements, Vec::new());
            // Nothing is changed of what is not understood.
            let batch = Batch {
                number: 3,
                ops: add(&elements[..1]),
                ..Batch::default()
            };
            assert!(tables.apply(&batch).result.is_err(), "{damage}");
        }
        assert!(tables.remove().unwrap());
        assert!(!tables.remove().unwrap());
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn the_kernel_thread_tells_of_meddling_once_and_not_of_its_own_changes() {
    in_netns(|| {
        let mut node = Node::start();
        let command = |node: &Node, command| node.kernel.command(command).unwrap();
        let elements = some_of_each();
        command(&node, KernelCommand::SubmitProxy(rebuild(&elements)));
        node.until("the batch", |node| !node.proxy.is_empty());
        command(&node, KernelCommand::ReadProxy);
        node.until("the read-back", |node| node.proxy.len() == 2);
        assert!(matches!(&node.proxy[1], KernelEvent::ProxyFound(Ok(found)) if found.intact));
        for round in 0..2 {
            let told = node.proxy.len();
            for _ in 0..3 {
                run("nft add element ip6 dunlin_services near { fd77::/64 }");
                run("nft delete element ip6 dunlin_services near { fd77::/64 }");
            }
            node.until("the meddling", |node| node.proxy.len() == told + 1);
            assert!(matches!(&node.proxy[told], KernelEvent::ProxyMeddled));
            // Not again before it is read, and then at once.
            run("nft flush set ip dunlin_services near");
            command(&node, KernelCommand::ReadProxy);
            node.until("the read-back", |node| node.proxy.len() == told + 2);
            let lost = usize::from(round == 0);
            let KernelEvent::ProxyFound(Ok(found)) = &node.proxy[told + 1] else {
                panic!("{:?}", node.proxy);
            };
            assert!(found.intact && found.elements.len() <= elements.len() - lost);
        }
        let told = node.proxy.len();
        command(&node, KernelCommand::RemoveProxy);
        node.until("the removal", |node| node.proxy.len() > told);
        let removed = node.proxy.last().unwrap();
        assert!(matches!(removed, KernelEvent::ProxyFound(Ok(found)) if !found.present));
        assert_eq!(run("nft list ruleset"), "");
    });
}

#[test]
fn networks_may_touch_grow_and_shrink() {
    in_netns(|| {
        let service = frontend("10.96.0.1", Protocol::Tcp, 80);
        let of = |nets: &[&str]| -> Vec<Element> {
            let of = |net: &&str| {
                let source: dunlin_net::IpNet = net.parse().unwrap();
                let allowed = Element::Allowed {
                    frontend: service,
                    source,
                };
                [Element::Near(source), allowed]
            };
            nets.iter().flat_map(of).collect()
        };
        let steps = [
            of(&["10.0.0.128/25", "10.0.1.0/24", "10.0.2.0/25"]),
            of(&["10.0.0.128/25", "10.0.2.0/25"]),
            of(&["10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/25"]),
            of(&["10.0.0.0/23", "10.0.2.0/24"]),
            of(&["10.0.0.0/25", "10.0.1.128/25", "255.0.0.0/8"]),
            of(&["0.0.0.0/0"]),
            of(&[]),
        ];
        let mut tables = ProxyTables::open().unwrap();
        let mut last = Vec::new();
        for (number, mut step) in steps.into_iter().enumerate() {
            change(&mut tables, number == 0, difference(&last, &step), &[]);
            step.sort();
            let found = read(&mut ProxyTables::open().unwrap());
            assert_eq!((found.intact, &found.elements), (true, &step), "{number}");
            last = step;
        }
    });
}

/// A rebuild of so many elements that nobody listens while they are written.
fn large() -> Batch {
    let endpoints: Vec<String> = (2..10).map(|pod| format!("10.244.1.{pod}:80")).collect();
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let services = (1..=250).map(|host| frontend(&format!("10.96.0.{host}"), Protocol::Tcp, 80));
    let elements = services.flat_map(|service| Balanced::new(service, &endpoints).elements());
    rebuild(&elements.collect::<Vec<Element>>())
}

#[test]
fn the_generation_tells_what_others_changed() {
    in_netns(|| {
        let mut tables = ProxyTables::open().unwrap();
        let begun = tables.generation().unwrap();
        assert_eq!(tables.apply(&large()).result, Ok(()));
        let small = rebuild(&some_of_each());
        assert_eq!(tables.apply(&small).result, Ok(()));
        let refused = Batch {
            number: 2,
            ops: remove(
                &Balanced::new(frontend("10.96.0.9", Protocol::Tcp, 1), &["10.0.0.1:1"]).elements(),
            ),
            ..Batch::default()
        };
        assert!(tables.apply(&refused).result.is_err());
        let own = tables.generation().unwrap();
        assert_ne!(own, begun);
        assert!(own.is_undisturbed_since(begun));
        run("nft add table ip others");
        let now = tables.generation().unwrap();
        assert!(!now.is_undisturbed_since(begun));
        assert!(!now.is_undisturbed_since(own));
        assert!(tables.remove().unwrap());
        assert!(tables.generation().unwrap().is_undisturbed_since(now));
    });
}

#[test]
fn a_large_batch_is_nobodys_meddling_and_meddling_behind_it_is_heard() {
    in_netns(|| {
        let mut node = Node::start();
        for round in 1..=3 {
            let batch = KernelCommand::SubmitProxy(large());
            node.kernel.command(batch).unwrap();
            node.until("the batch", |node| node.proxy.len() == 2 * round - 1);
            let done = &node.proxy[2 * round - 2];
            assert!(
                matches!(done, KernelEvent::ProxyDone(done) if done.result.is_ok()),
                "{done:?}"
            );
            run("nft add element ip dunlin_services near { 192.0.2.0/24 }");
            node.until("the meddling", |node| node.proxy.len() == 2 * round);
            assert!(matches!(
                node.proxy[2 * round - 1],
                KernelEvent::ProxyMeddled
            ));
        }
    });
}
