//! What becomes of flows that go on when services change, with real packets.

mod support;

use std::net::SocketAddr;

use dunlin_dataplane::proxy::{Forget, Op};
use dunlin_net::Afi;
use dunlin_net::service::Protocol;
use support::services::*;
use support::world::*;
use support::*;

#[test]
fn established_connections_outlive_their_endpoints_place_and_new_ones_go_elsewhere() {
    in_netns(|| {
        let world = World::new();
        let outside = From::Space(&world.outside);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            let (old, new) = (at(addrs.pods[0], 8080), at(addrs.pods[1], 8080));
            serve(From::Space(&world.pod), Protocol::Tcp, old);
            serve(From::Space(&world.neighbour), Protocol::Tcp, new);
            let service = frontend(addrs.service, Protocol::Tcp, 80);
            let of = |endpoint: SocketAddr| Balanced::new(service, &[endpoint]).elements();
            let mut tables = tables(&of(old));
            let to = at(addrs.service, 80);
            let mut client = Client::open(outside, Protocol::Tcp, None, to).unwrap();
            assert_eq!(client.ask().by, old);
            change(&mut tables, false, difference(&of(old), &of(new)), &[]);
            assert_eq!(ask(outside, Protocol::Tcp, to).by, new);
            assert_eq!(client.ask().by, old);
            // Even when the whole service goes, and when the tables are made anew.
            change(&mut tables, false, remove(&of(new)), &[]);
            assert_eq!(client.ask().by, old);
            change(&mut tables, true, add(&of(new)), &[]);
            assert_eq!(client.ask().by, old);
        }
    });
}

#[test]
fn udp_moves_at_once_and_nothing_else_is_forgotten() {
    in_netns(|| {
        let world = World::new();
        let outside = From::Space(&world.outside);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            let (old, new) = (at(addrs.pods[0], 8080), at(addrs.pods[1], 8080));
            serve(From::Space(&world.pod), Protocol::Udp, old);
            serve(From::Space(&world.neighbour), Protocol::Udp, new);
            let services = [80, 81].map(|port| frontend(addrs.service, Protocol::Udp, port));
            let of = |service, endpoint: SocketAddr| Balanced::new(service, &[endpoint]).elements();
            let mut tables = tables(&[of(services[0], old), of(services[1], old)].concat());
            let open =
                |port| Client::open(outside, Protocol::Udp, None, at(addrs.service, port)).unwrap();
            let (mut client, mut other) = (open(80), open(81));
            assert_eq!((client.ask().by, other.ask().by), (old, old));
            // Both lose it; only the first is to be forgotten.
            let ops: Vec<Op> = services
                .iter()
                .flat_map(|service| difference(&of(*service, old), &of(*service, new)))
                .collect();
            change(&mut tables, false, ops, &[]);
            assert_eq!((client.ask().by, other.ask().by), (old, old));
            let flows = |frontend| Forget::Flows {
                frontend,
                endpoint: old,
            };
            change(&mut tables, false, Vec::new(), &[flows(services[0])]);
            assert_eq!((client.ask().by, other.ask().by), (new, old));
            // Among many that are looked for at once, too.
            let mut many: Vec<Forget> = (100..120)
                .map(|port| flows(frontend(addrs.service, Protocol::Udp, port)))
                .collect();
            many.push(flows(services[1]));
            change(&mut tables, false, Vec::new(), &many);
            assert_eq!((client.ask().by, other.ask().by), (new, new));
        }
    });
}

#[test]
fn a_flow_from_before_its_service_is_translated_once_it_is_forgotten() {
    in_netns(|| {
        let world = World::new();
        let mut tables = tables(&[]);
        for afi in Afi::ALL {
            let addrs = addrs(afi);
            // An address of the node, where something else listens.
            let (itself, endpoint) = (at(addrs.node[2], 5300), at(addrs.pods[0], 5300));
            serve(From::Node, Protocol::Udp, itself);
            serve(From::Space(&world.pod), Protocol::Udp, endpoint);
            let outside = From::Space(&world.outside);
            let mut client = Client::open(outside, Protocol::Udp, None, itself).unwrap();
            assert_eq!(client.ask().by, itself);
            let service = frontend(addrs.node[2], Protocol::Udp, 5300);
            let mut elements = Balanced::new(service, &[endpoint]).elements();
            elements.extend(blocks(&elements));
            change(&mut tables, false, add(&elements), &[]);
            assert_eq!(client.ask().by, itself);
            let forget = [Forget::Untranslated { frontend: service }];
            change(&mut tables, false, Vec::new(), &forget);
            assert_eq!(client.ask().by, endpoint);
        }
    });
}
