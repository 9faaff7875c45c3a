//! Connections to services with real packets: clients outside, on the node and in its pods, both families.

mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use dunlin_dataplane::proxy::{Element, Forget, FrontendSet};
use dunlin_net::Afi;
use dunlin_net::service::{Frontend, Protocol, View};
use support::services::*;
use support::world::*;
use support::*;

const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

fn members(frontend: Frontend, sets: &[FrontendSet]) -> Vec<Element> {
    let member = |set: &FrontendSet| Element::Member {
        set: *set,
        frontend,
    };
    sets.iter().map(member).collect()
}

/// Fails where so uneven a spread has a chance of less than one in a billion (Wilson and Hilferty's approximation).
fn assert_even(counts: &BTreeMap<SocketAddr, u32>, n: usize) {
    assert_eq!(counts.len(), n, "{counts:?}");
    if n == 1 {
        return;
    }
    let total: u32 = counts.values().sum();
    let expected = f64::from(total) / n as f64;
    let chi: f64 = counts
        .values()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    let freedom = (n - 1) as f64;
    let root = 2.0 / (9.0 * freedom);
    let bound = freedom * (1.0 - root + 6.0 * root.sqrt()).powi(3);
    assert!(
        chi < bound,
        "chi-square {chi} of at most {bound}: {counts:?}"
    );
}

#[test]
fn connections_spread_evenly_over_any_number_of_endpoints() {
    in_netns(|| {
        let world = World::new();
        let mut elements = Vec::new();
        let mut cases = Vec::new();
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for port in 0..33 {
                serve(
                    From::Space(&world.pod),
                    Protocol::Udp,
                    at(addrs.pods[0], 9000 + port),
                );
            }
            for (port, n) in (80..).zip([1u16, 2, 3, 5, 7, 33]) {
                let endpoints: Vec<SocketAddr> =
                    (0..n).map(|port| at(addrs.pods[0], 9000 + port)).collect();
                let service = frontend(addrs.service, Protocol::Udp, port);
                elements.extend(Balanced::new(service, &endpoints).elements());
                cases.push((at(addrs.service, port), usize::from(n)));
            }
        }
        let _tables = tables(&elements);
        for (to, n) in cases {
            for from in [From::Space(&world.outside), From::Node] {
                let mut counts = BTreeMap::new();
                for _ in 0..n * 25 {
                    *counts.entry(ask(from, Protocol::Udp, to).by).or_insert(0) += 1;
                }
                assert_even(&counts, n);
            }
        }
    });
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    in_netns(|| {
        let world = World::new();
        let mut elements = Vec::new();
        for afi in Afi::ALL {
            for (addr, protocol) in [addrs(afi).service, addrs(afi).node[2]]
                .into_iter()
                .flat_map(|addr| PROTOCOLS.map(|protocol| (addr, protocol)))
            {
                let sets = [FrontendSet::Refused];
                elements.extend(members(frontend(addr, protocol, 80), &sets));
            }
        }
        let _tables = tables(&elements);
        // What drops what nobody translated comes later.
        let services: [dunlin_net::IpNet; 2] =
            ["10.96.0.0/12", "fd10::/108"].map(|net| net.parse().unwrap());
        let rules = dunlin_dataplane::rules::Rules::new([], [], services);
        let mut keeper = dunlin_kernel::nft::RuleKeeper::open().unwrap();
        keeper.apply(Some(&rules)).unwrap();
        for afi in Afi::ALL {
            for addr in [addrs(afi).service, addrs(afi).node[2]] {
                for protocol in PROTOCOLS {
                    let to = at(addr, 80);
                    assert!(
                        is_refused(From::Space(&world.outside), protocol, to),
                        "outside {to} {protocol}"
                    );
                    assert!(
                        is_refused(From::Space(&world.pod), protocol, to),
                        "pod {to} {protocol}"
                    );
                    assert!(is_refused(From::Node, protocol, to), "node {to} {protocol}");
                }
            }
            // Another port of the address is dropped by that rule.
            let other = at(addrs(afi).service, 81);
            assert!(is_silent(
                From::Space(&world.pod),
                Protocol::Tcp,
                None,
                other
            ));
        }
    });
}

#[test]
fn what_a_policy_allows_nowhere_here_is_dropped_for_those_outside_only() {
    in_netns(|| {
        let world = World::new();
        let mut elements = Vec::new();
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                serve(From::Space(&world.far), protocol, at(addrs.far, 8080));
                let service = frontend(addrs.service, protocol, 80);
                let outside = FrontendSet::Dropped {
                    view: View::Outside,
                };
                elements.extend(Balanced::new(service, &[at(addrs.far, 8080)]).elements());
                elements.extend(members(service, &[outside]));
                let nowhere = frontend(addrs.service, protocol, 81);
                let inside = FrontendSet::Dropped { view: View::Inside };
                elements.extend(members(nowhere, &[inside]));
            }
        }
        let _tables = tables(&elements);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                let to = at(addrs.service, 80);
                assert!(is_silent(From::Space(&world.outside), protocol, None, to));
                assert_eq!(
                    ask(From::Space(&world.pod), protocol, to).by,
                    at(addrs.far, 8080)
                );
                assert_eq!(ask(From::Node, protocol, to).by, at(addrs.far, 8080));
                let to = at(addrs.service, 81);
                assert!(is_silent(From::Space(&world.outside), protocol, None, to));
                assert!(is_silent(From::Space(&world.pod), protocol, None, to));
            }
        }
    });
}

#[test]
fn sources_are_rewritten_only_where_answers_would_go_another_way() {
    in_netns(|| {
        let world = World::new();
        let (outside, pod) = (From::Space(&world.outside), From::Space(&world.pod));
        let mut elements = Vec::new();
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                let (here, far) = (at(addrs.pods[0], 8080), at(addrs.far, 8080));
                serve(pod, protocol, here);
                serve(From::Space(&world.far), protocol, far);
                // For all, here and elsewhere; then by a policy that is local for those outside.
                let of = |port| frontend(addrs.service, protocol, port);
                elements.extend(Balanced::new(of(80), &[here]).elements());
                elements.extend(Balanced::new(of(81), &[far]).elements());
                elements.extend(Balanced::new(of(82), &[far]).elements());
                let local = Balanced::new(of(82), &[here]).view(View::Outside);
                elements.extend(local.elements());
            }
            elements.push(Element::Hairpin(addrs.pods[0].parse().unwrap()));
        }
        elements.sort();
        elements.dedup();
        let _tables = tables(&elements);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
            for protocol in PROTOCOLS {
                let (client, itself) = (Some(addrs.outside), Some(addrs.pods[0]));
                for (from, own, port, by, seen) in [
                    // A pod of this node answers this way anyhow.
                    (outside, client, 80, addrs.pods[0], addrs.outside),
                    (From::Node, None, 80, addrs.pods[0], addrs.node[1]),
                    // A pod elsewhere would answer the client itself.
                    (outside, client, 81, addrs.far, addrs.node[1]),
                    (pod, itself, 81, addrs.far, addrs.pods[0]),
                    (From::Node, None, 81, addrs.far, addrs.node[1]),
                    (outside, client, 82, addrs.pods[0], addrs.outside),
                    (pod, itself, 82, addrs.far, addrs.pods[0]),
                    // A pod that reaches itself would find its own answer strange.
                    (pod, itself, 80, addrs.pods[0], addrs.node[0]),
                ] {
                    let to = at(addrs.service, port);
                    let own = own.map(|own| at(own, 0));
                    let answer = Client::open(from, protocol, own, to).unwrap().ask();
                    let expected = Answer {
                        by: at(by, 8080),
                        seen: ip(seen),
                    };
                    assert_eq!(answer, expected, "{afi:?} {protocol} port {port}");
                }
                // Another pod of the node is not the pod itself.
                let seen = ask(
                    From::Space(&world.neighbour),
                    protocol,
                    at(addrs.service, 80),
                )
                .seen;
                assert_eq!(seen, ip(addrs.pods[1]));
            }
        }
    });
}

#[test]
fn where_it_is_asked_for_every_source_is_rewritten() {
    in_netns(|| {
        let world = World::new();
        let mut elements = Vec::new();
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                let here = at(addrs.pods[0], 8080);
                serve(From::Space(&world.pod), protocol, here);
                let service = frontend(addrs.service, protocol, 80);
                elements.extend(Balanced::new(service, &[here]).elements());
                elements.extend(members(service, &[FrontendSet::Masqueraded]));
                let other = frontend(addrs.service, protocol, 81);
                elements.extend(Balanced::new(other, &[here]).elements());
            }
        }
        let _tables = tables(&elements);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
            for protocol in PROTOCOLS {
                for (from, own) in [
                    (From::Space(&world.outside), addrs.outside),
                    (From::Space(&world.neighbour), addrs.pods[1]),
                ] {
                    let seen =
                        |port| ask_from(from, protocol, at(own, 0), at(addrs.service, port)).seen;
                    assert_eq!(seen(80), ip(addrs.node[0]), "{protocol} from {own}");
                    assert_eq!(seen(81), ip(own), "{protocol} from {own}");
                }
            }
        }
    });
}

#[test]
fn clients_come_back_to_their_endpoint_until_it_is_forgotten() {
    in_netns(|| {
        let world = World::new();
        let outside = From::Space(&world.outside);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                let endpoints: Vec<SocketAddr> =
                    (0..4).map(|port| at(addrs.pods[0], 9000 + port)).collect();
                for endpoint in &endpoints {
                    serve(From::Space(&world.pod), protocol, *endpoint);
                }
                let service = frontend(addrs.service, protocol, 80);
                let all = Balanced::new(service, &endpoints).sticky(600);
                let mut tables = tables(&all.elements());
                let to = at(addrs.service, 80);
                let from =
                    |client: IpAddr| ask_from(outside, protocol, SocketAddr::new(client, 0), to).by;
                let clients: Vec<IpAddr> = (1..=OTHER_CLIENTS)
                    .map(|number| other_client(afi, number))
                    .collect();
                let first: BTreeMap<IpAddr, SocketAddr> = clients
                    .iter()
                    .map(|client| (*client, from(*client)))
                    .collect();
                for endpoint in &endpoints {
                    let theirs = first.values().filter(|by| *by == endpoint).count();
                    assert!(theirs > 0, "{first:?}");
                }
                for _ in 0..3 {
                    for client in &clients {
                        assert_eq!(from(*client), first[client]);
                    }
                }
                // The last endpoint goes: its clients move, the others stay.
                let (gone, left) = endpoints.split_last().unwrap();
                let left = Balanced::new(service, left).sticky(600).elements();
                let ops = difference(&all.elements(), &left);
                let forget = [Forget::Clients {
                    frontend: service,
                    endpoint: *gone,
                }];
                change(&mut tables, false, ops, &forget);
                let moved: BTreeMap<IpAddr, SocketAddr> = clients
                    .iter()
                    .map(|client| (*client, from(*client)))
                    .collect();
                for client in &clients {
                    assert_ne!(moved[client], *gone);
                    assert!(first[client] == *gone || moved[client] == first[client]);
                    assert_eq!(from(*client), moved[client]);
                }
            }
        }
    });
}

#[test]
fn only_allowed_sources_come_from_outside() {
    in_netns(|| {
        let world = World::new();
        let mut elements = Vec::new();
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            for protocol in PROTOCOLS {
                serve(From::Space(&world.pod), protocol, at(addrs.pods[0], 8080));
                let service = frontend(addrs.service, protocol, 80);
                elements.extend(Balanced::new(service, &[at(addrs.pods[0], 8080)]).elements());
                elements.extend(members(service, &[FrontendSet::Guarded]));
                let nets: &[&str] = match afi {
                    Afi::Ipv4 => &["198.51.100.4/30", "198.51.100.9/32"],
                    Afi::Ipv6 => &["2001:db8:2::4/126", "2001:db8:2::9/128"],
                };
                elements.extend(nets.iter().map(|net| Element::Allowed {
                    frontend: service,
                    source: net.parse().unwrap(),
                }));
            }
            elements.push(Element::Hairpin(addrs.pods[0].parse().unwrap()));
        }
        let _tables = tables(&elements);
        for afi in Afi::ALL {
            for protocol in PROTOCOLS {
                let to = at(addrs(afi).service, 80);
                let from = |number| SocketAddr::new(other_client(afi, number), 0);
                for number in [4, 7, 9] {
                    ask_from(From::Space(&world.outside), protocol, from(number), to);
                }
                for number in [3, 8] {
                    let from = Some(from(number));
                    assert!(is_silent(From::Space(&world.outside), protocol, from, to));
                }
                ask(From::Space(&world.pod), protocol, to);
                ask(From::Node, protocol, to);
            }
        }
    });
}

#[test]
fn a_hash_sends_the_same_client_to_the_same_endpoint_on_any_node() {
    in_netns(|| {
        let world = World::new();
        let outside = From::Space(&world.outside);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            let endpoints: Vec<SocketAddr> =
                (0..5).map(|port| at(addrs.pods[0], 9000 + port)).collect();
            for endpoint in &endpoints {
                serve(From::Space(&world.pod), Protocol::Udp, *endpoint);
            }
            let service = frontend(addrs.service, Protocol::Udp, 80);
            let elements = Balanced::new(service, &endpoints).hashed(251).elements();
            let forget: Vec<Forget> = endpoints
                .iter()
                .map(|endpoint| Forget::Flows {
                    frontend: service,
                    endpoint: *endpoint,
                })
                .collect();
            let mut seen = Vec::new();
            // Each time another node, as it were: tables made anew, and flows nobody remembers.
            for _ in 0..2 {
                let mut tables = tables(&elements);
                let asked: Vec<SocketAddr> = (0..200)
                    .map(|port| {
                        let from = at(addrs.outside, 20_000 + port);
                        ask_from(outside, Protocol::Udp, from, at(addrs.service, 80)).by
                    })
                    .collect();
                seen.push(asked);
                change(&mut tables, false, Vec::new(), &forget);
            }
            assert_eq!(seen[0], seen[1]);
            let mut counts = BTreeMap::new();
            for by in &seen[0] {
                *counts.entry(*by).or_insert(0) += 1;
            }
            assert_even(&counts, 5);
        }
    });
}
