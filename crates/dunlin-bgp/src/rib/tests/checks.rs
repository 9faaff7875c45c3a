//! What must hold when all has settled.

use dunlin_net::{Afi, IpNet, PeerId, PerFamily, V4, V6};

use super::harness::{FIRST_V6, Harness, NETS, PEERS, group_key, info, net};
use super::model::decode;
use super::naive::RouteKey;
use super::world::*;
use crate::batch::{BatchItem, NextHop};
use crate::rib::{FibRoute, PathView, RibCounts, SourceId};
use crate::wire::{UpdateWriter, encode_attrs};

impl Harness {
    fn expected_told(&self, peer: u8, group: u8) -> Vec<(IpNet, Vec<u8>, NextHop)> {
        let key = group_key(group);
        let plain = (key.encoding.peer_type, PerFamily::default());
        let encode = |number: u8| {
            let key = &key;
            move |route: &crate::wire::Outgoing<'_>| {
                let mut bytes = Vec::new();
                let mut attrs = Vec::new();
                let writer = UpdateWriter::new(&key.encoding);
                match afi_of(number, FIRST_V6) {
                    Afi::Ipv4 => {
                        encode_attrs::<V4>(route, &key.encoding, &mut attrs);
                        let nets = [V4::test_net(number)];
                        writer
                            .announce::<V4>(&attrs, &route.next_hop, nets, &mut bytes)
                            .unwrap();
                    }
                    Afi::Ipv6 => {
                        encode_attrs::<V6>(route, &key.encoding, &mut attrs);
                        let nets = [V6::test_net(number)];
                        writer
                            .announce::<V6>(&attrs, &route.next_hop, nets, &mut bytes)
                            .unwrap();
                    }
                }
                let (batch, _) = decode(plain, &bytes);
                let Some(BatchItem::Announce {
                    next_hop, attrs, ..
                }) = batch.items.first()
                else {
                    panic!("an announcement reads as one");
                };
                let bytes = &batch.attr_bytes[attrs.start as usize..attrs.end as usize];
                (bytes.to_vec(), *next_hop)
            }
        };
        let mut expected = Vec::new();
        for number in 0..NETS {
            let (own, afi) = (self.own_source(peer), afi_of(number, FIRST_V6));
            if !*key.families.get(afi) {
                continue;
            }
            let (naive, net) = (&self.naive, net(number));
            let told = if *key.encoding.add_path.get(afi) {
                naive.told_paths(&self.facts, &key, own, net, encode(number))
            } else {
                let told = naive.told(&self.facts, &key, own, net, encode(number));
                told.into_iter().collect()
            };
            expected.extend(told.into_iter().map(|(bytes, hop)| (net, bytes, hop)));
        }
        expected
    }

    pub(super) fn check(&self) {
        for number in 0..NETS {
            match afi_of(number, FIRST_V6) {
                Afi::Ipv4 => self.check_net::<V4>(V4::test_net(number)),
                Afi::Ipv6 => self.check_net::<V6>(V6::test_net(number)),
            }
        }
        for (&peer, member) in &self.members {
            let expected = self.expected_told(peer, member.group);
            let told = member.far.told.iter();
            let mut told: Vec<_> = told
                .map(|(path, (bytes, hop))| (path.0, bytes.clone(), *hop))
                .collect();
            told.sort();
            assert_eq!(told, expected, "what peer {peer} knows");
            assert_eq!(
                member.spurious,
                [],
                "withdrawn from peer {peer} without need"
            );
            let families = group_key(member.group).families;
            let once = |negotiated| u32::from(negotiated);
            assert_eq!(
                member.far.end_of_rib.v4,
                once(families.v4),
                "End-of-RIB to {peer}"
            );
            assert_eq!(
                member.far.end_of_rib.v6,
                once(families.v6),
                "End-of-RIB to {peer}"
            );
            for afi in Afi::ALL {
                let told = member
                    .far
                    .told
                    .keys()
                    .filter(|told| Afi::of_net(told.0) == afi);
                let counted = self.rib.advertised(PeerId(peer.into()), afi);
                assert_eq!(counted as usize, told.count(), "advertised to {peer}");
                if *families.get(afi) {
                    assert!(self.rib.is_told_all(PeerId(peer.into()), afi));
                }
            }
        }
        assert_eq!(self.leaked, [], "withdrawn through a shut gate");
        self.check_counts();
    }

    fn check_net<F: TestFamily>(&self, prefix: F::Net) {
        let net: IpNet = prefix.into();
        let best = self.naive.best(&self.facts, net);
        let view = self.rib.lookup::<F>(prefix);
        let best_of_view = view
            .as_ref()
            .and_then(|view| view.paths.iter().find(|p| p.best));
        assert_eq!(
            best_of_view.map(|path| {
                let bytes = path.used.unwrap().as_bytes().to_vec();
                (path.source, path.path_id, bytes)
            }),
            best.as_ref()
                .map(|best| (best.source, best.path_id, best.bytes.clone())),
            "best path of {net}"
        );
        let fib = self.fib.get(&net);
        match &best {
            None => assert_eq!(fib, None, "{net}"),
            Some(best) if best.source == self.local => {
                assert_eq!(fib, Some(&FibRoute::Local(self.local)), "{net}");
            }
            Some(best) => {
                let Some(FibRoute::Via(via, backup)) = fib else {
                    panic!("{net} is not forwarded");
                };
                let via: Vec<_> = via.iter().map(|hop| hop.next_hop).collect();
                assert_eq!(via, best.ecmp.iter().copied().collect::<Vec<_>>(), "{net}");
                let backup = backup.as_ref().map(|hop| hop.next_hop);
                let second = match *via {
                    [only] => self.naive.best_without(&self.facts, net, Some(only)),
                    _ => None,
                };
                assert_eq!(backup, second.map(|best| best.next_hop), "backup of {net}");
            }
        }
        let known: Vec<(SourceId, Option<u32>)> = self
            .naive
            .routes
            .keys()
            .filter(|k| k.0 == net)
            .map(|k| (k.1, k.2))
            .collect();
        let mut paths: Vec<_> = view.iter().flat_map(|v| &v.paths).collect();
        paths.sort_by_key(|path| (path.source, path.path_id));
        let place = |path: &&PathView<'_>| (path.source, path.path_id);
        assert_eq!(paths.iter().map(place).collect::<Vec<_>>(), known);
        for path in paths {
            assert_eq!(
                path.stale,
                self.naive.routes[&(net, path.source, path.path_id)].stale
            );
            let took_part = path.used.is_ok();
            assert_eq!(
                took_part,
                path.best || path.lost.is_some(),
                "{net} {path:?}"
            );
        }
    }

    fn check_counts(&self) {
        for &id in self.naive.sources.keys() {
            for afi in Afi::ALL {
                let here = |net: &IpNet| Afi::of_net(*net) == afi;
                let of_source: Vec<RouteKey> = self
                    .naive
                    .routes
                    .keys()
                    .filter(|key| key.1 == id && here(&key.0))
                    .copied()
                    .collect();
                let counts = self.rib.source_counts(id, afi);
                assert_eq!(counts.received as usize, of_source.len());
                let fresh = self
                    .naive
                    .routes
                    .iter()
                    .filter(|(key, route)| key.1 == id && here(&key.0) && !route.stale);
                assert_eq!(counts.fresh as usize, fresh.count());
                assert_eq!(counts.fresh + counts.stale, counts.received);
                let accepted = of_source
                    .iter()
                    .filter(|&&key| self.naive.accepted(&self.facts, key).is_some());
                assert_eq!(counts.accepted as usize, accepted.count());
                let best = of_source.iter().filter(|key| {
                    self.naive
                        .best(&self.facts, key.0)
                        .is_some_and(|best| (best.source, best.path_id) == (id, key.2))
                });
                assert_eq!(counts.best as usize, best.count());
                let rejected: u32 = self
                    .rib
                    .rejected(id, afi)
                    .iter()
                    .map(|reason| reason.1)
                    .sum();
                assert_eq!(rejected, counts.received - counts.accepted);
            }
        }
    }

    /// Takes everything back; nothing may be left.
    pub(super) fn empty(&mut self) {
        for source in 1..=4 {
            let id = self.ids[&source];
            self.rib.unregister(id);
            self.naive.routes.retain(|key, _| key.1 != id);
        }
        for number in 0..NETS {
            self.withdraw_origination(number);
        }
        self.settle();
        for (peer, member) in &self.members {
            assert!(
                member.far.told.is_empty(),
                "peer {peer} knows {:?}",
                member.far.told
            );
        }
        assert!(self.fib.is_empty());
        assert_eq!(self.rib.counts(), RibCounts::default(), "something leaked");
        for peer in 1..=PEERS {
            self.leave(peer);
        }
        let id = self.rib.register(info(1)).unwrap();
        assert!(id.0 <= 4, "ids of sources that are gone are given again");
    }
}
