//! Whatever happens in whatever order, and however slowly members take what they are told: in the end the tables are
//! what the plain model computes from the routes and facts that are left, and every member knows exactly that.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_net::{Afi, IpNet, PeerId, V4, V6};
use proptest::prelude::*;

use super::model::{FarEnd, Told, decode};
use super::naive::{Naive, Route};
use super::world::*;
use crate::attrs;
use crate::batch::{BatchItem, NextHop, RouteBatch};
use crate::policy::PeerType;
use crate::rib::{
    FibRoute, GroupKey, NextHopEvent, Resolution, Rib, RibCounts, RibFamily, SourceId, SourceInfo,
};
use crate::wire::{UpdateWriter, encode_attrs};

const NETS: u8 = 24;
const FIRST_V6: u8 = 16;
const HOPS: u8 = 3;
const PEERS: u8 = 5;
const GROUPS: u8 = 4;

#[derive(Debug, Clone)]
enum Op {
    Announce {
        source: u8,
        first: u8,
        count: u8,
        attrs: u8,
        hop: u8,
    },
    Withdraw {
        source: u8,
        first: u8,
        count: u8,
    },
    Originate {
        net: u8,
        attrs: u8,
    },
    WithdrawOrigination {
        net: u8,
    },
    Hop {
        hop: u8,
        reachable: bool,
        metric: u32,
    },
    Stale {
        source: u8,
    },
    Sweep {
        source: u8,
        v6: bool,
    },
    Drop {
        source: u8,
    },
    Reregister {
        source: u8,
    },
    ImportFact {
        net: u8,
        edit: bool,
        all: bool,
    },
    ExportFact {
        net: u8,
        edit: bool,
        all: bool,
    },
    Client {
        source: u8,
        client: bool,
    },
    Join {
        peer: u8,
        group: u8,
        credit: u16,
    },
    Leave {
        peer: u8,
    },
    Refresh {
        peer: u8,
        v6: bool,
    },
    Credit {
        peer: u8,
        octets: u16,
    },
    OpenGate {
        end_of_rib: bool,
    },
    Work {
        budget: u8,
    },
    Output {
        count: u8,
        budget: u16,
    },
    Fib {
        count: u8,
    },
    NextHops,
}

fn op() -> impl Strategy<Value = Op> {
    let source = 1..=4u8;
    let peer = 1..=PEERS;
    let any_net = 0..NETS;
    prop_oneof![
        8 => (source.clone(), any_net.clone(), 1..6u8, 0..ATTR_VARIANTS, 0..HOPS)
            .prop_map(|(source, first, count, attrs, hop)| Op::Announce { source, first, count, attrs, hop }),
        3 => (source.clone(), any_net.clone(), 1..8u8)
            .prop_map(|(source, first, count)| Op::Withdraw { source, first, count }),
        1 => (any_net.clone(), 0..4u8).prop_map(|(net, attrs)| Op::Originate { net, attrs }),
        1 => any_net.clone().prop_map(|net| Op::WithdrawOrigination { net }),
        2 => (0..HOPS, any::<bool>(), 0..3u32)
            .prop_map(|(hop, reachable, metric)| Op::Hop { hop, reachable, metric }),
        1 => source.clone().prop_map(|source| Op::Stale { source }),
        1 => (source.clone(), any::<bool>()).prop_map(|(source, v6)| Op::Sweep { source, v6 }),
        1 => source.clone().prop_map(|source| Op::Drop { source }),
        1 => source.clone().prop_map(|source| Op::Reregister { source }),
        1 => (any_net.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(net, edit, all)| Op::ImportFact { net, edit, all }),
        1 => (any_net, any::<bool>(), any::<bool>())
            .prop_map(|(net, edit, all)| Op::ExportFact { net, edit, all }),
        1 => (source, any::<bool>()).prop_map(|(source, client)| Op::Client { source, client }),
        2 => (peer.clone(), 0..GROUPS, 0..600u16)
            .prop_map(|(peer, group, credit)| Op::Join { peer, group, credit }),
        1 => peer.clone().prop_map(|peer| Op::Leave { peer }),
        1 => (peer.clone(), any::<bool>()).prop_map(|(peer, v6)| Op::Refresh { peer, v6 }),
        3 => (peer, 1..400u16).prop_map(|(peer, octets)| Op::Credit { peer, octets }),
        1 => any::<bool>().prop_map(|end_of_rib| Op::OpenGate { end_of_rib }),
        2 => (1..12u8).prop_map(|budget| Op::Work { budget }),
        5 => (1..6u8, 1..300u16).prop_map(|(count, budget)| Op::Output { count, budget }),
        2 => (1..6u8).prop_map(|count| Op::Fib { count }),
        2 => Just(Op::NextHops),
    ]
}

fn net(number: u8) -> IpNet {
    match afi_of(number, FIRST_V6) {
        Afi::Ipv4 => V4::test_net(number).into(),
        Afi::Ipv6 => V6::test_net(number).into(),
    }
}

fn hop(afi: Afi, number: u8) -> NextHop {
    match afi {
        Afi::Ipv4 => V4::test_hop(number),
        Afi::Ipv6 => V6::test_hop(number),
    }
}

fn group_key(number: u8) -> GroupKey {
    match number {
        0 => key(0, PeerType::External, false),
        1 => key(1, PeerType::Internal, false),
        2 => key(1, PeerType::Internal, true),
        _ => {
            let mut key = key(2, PeerType::External, false);
            key.families.v6 = false;
            key
        }
    }
}

struct Member {
    group: u8,
    far: FarEnd,
    /// Withdrawn though unknown: nothing may be.
    spurious: Vec<IpNet>,
}

/// Everything outside the RIB.
struct Harness {
    rib: Rib,
    naive: Naive,
    facts: Facts,
    local: SourceId,
    ids: BTreeMap<u8, SourceId>,
    members: BTreeMap<u8, Member>,
    fib: BTreeMap<IpNet, FibRoute>,
    gate_withdrawals: bool,
    /// What each source ever offered.
    offered: BTreeSet<(IpNet, SourceId)>,
    /// Prefixes withdrawn while the gate was shut from a member that never offered them itself: one whose own path
    /// became the best has to forget the other's at once, or packets could go in circles.
    leaked: Vec<IpNet>,
}

fn info(source: u8) -> SourceInfo {
    let kind = if source <= 2 {
        PeerType::External
    } else {
        PeerType::Internal
    };
    peer(source, kind)
}

impl Harness {
    fn new(gate_withdrawals: bool) -> Harness {
        let mut rib = Rib::new(config());
        rib.set_gate(gate_withdrawals, gate_withdrawals);
        let mut naive = Naive::default();
        let local_info = SourceInfo::local(router_id(254), US);
        let local = rib.register(local_info.clone()).unwrap();
        naive.sources.insert(local, local_info);
        let mut harness = Harness {
            rib,
            naive,
            facts: Facts::new(),
            local,
            ids: BTreeMap::new(),
            members: BTreeMap::new(),
            fib: BTreeMap::new(),
            gate_withdrawals,
            offered: BTreeSet::new(),
            leaked: Vec::new(),
        };
        for source in 1..=4 {
            harness.register(source);
        }
        harness
    }

    fn register(&mut self, source: u8) {
        let id = self.rib.register(info(source)).unwrap();
        assert!(
            !self.naive.sources.contains_key(&id),
            "an id in use is not given again"
        );
        self.ids.insert(source, id);
        self.naive.sources.insert(id, info(source));
    }

    fn each_net(first: u8, count: u8) -> impl Iterator<Item = u8> {
        (0..count).map(move |step| (first + step) % NETS)
    }

    fn apply(&mut self, source: u8, batch: &RouteBatch) {
        self.rib.apply(&self.facts, self.ids[&source], batch);
    }

    fn announce(&mut self, source: u8, first: u8, count: u8, variant: u8, hop_number: u8) {
        let mut batch = RouteBatch::default();
        let bytes = attrs(variant);
        for number in Self::each_net(first, count) {
            let afi = afi_of(number, FIRST_V6);
            match afi {
                Afi::Ipv4 => {
                    announce::<V4>(
                        &mut batch,
                        &bytes,
                        hop(afi, hop_number),
                        &[V4::test_net(number)],
                    );
                }
                Afi::Ipv6 => {
                    announce::<V6>(
                        &mut batch,
                        &bytes,
                        hop(afi, hop_number),
                        &[V6::test_net(number)],
                    );
                }
            }
            let route = Route {
                bytes: bytes.clone(),
                next_hop: hop(afi, hop_number),
                stale: false,
            };
            self.offered.insert((net(number), self.ids[&source]));
            self.naive
                .routes
                .insert((net(number), self.ids[&source]), route);
        }
        self.apply(source, &batch);
    }

    fn withdraw(&mut self, source: u8, first: u8, count: u8) {
        let mut batch = RouteBatch::default();
        for number in Self::each_net(first, count) {
            match afi_of(number, FIRST_V6) {
                Afi::Ipv4 => withdraw::<V4>(&mut batch, &[V4::test_net(number)]),
                Afi::Ipv6 => withdraw::<V6>(&mut batch, &[V6::test_net(number)]),
            }
            self.naive.routes.remove(&(net(number), self.ids[&source]));
        }
        self.apply(source, &batch);
    }

    fn originate(&mut self, number: u8, variant: u8) {
        let bytes = attrs(variant);
        let done = match afi_of(number, FIRST_V6) {
            Afi::Ipv4 => self
                .rib
                .originate::<V4>(self.local, V4::test_net(number), &bytes),
            Afi::Ipv6 => self
                .rib
                .originate::<V6>(self.local, V6::test_net(number), &bytes),
        };
        assert!(done);
        let next_hop = NextHop::new(router_id(254).0.into());
        let route = Route {
            bytes,
            next_hop,
            stale: false,
        };
        self.naive.routes.insert((net(number), self.local), route);
    }

    fn withdraw_origination(&mut self, number: u8) {
        match afi_of(number, FIRST_V6) {
            Afi::Ipv4 => self
                .rib
                .withdraw_origination::<V4>(self.local, V4::test_net(number)),
            Afi::Ipv6 => self
                .rib
                .withdraw_origination::<V6>(self.local, V6::test_net(number)),
        }
        self.naive.routes.remove(&(net(number), self.local));
    }

    fn set_hop(&mut self, number: u8, resolution: Resolution) {
        for afi in Afi::ALL {
            self.naive.hops.insert(hop(afi, number), resolution);
            self.rib.set_next_hop(&hop(afi, number), resolution);
        }
    }

    fn next_hops(&mut self) {
        while let Some(event) = self.rib.poll_next_hop() {
            if let NextHopEvent::Wanted(next_hop) = event {
                let resolution = self.naive.hops.get(&next_hop).copied().unwrap_or_default();
                self.rib.set_next_hop(&next_hop, resolution);
            }
        }
    }

    fn import_fact(&mut self, number: u8, edit: bool, all: bool) {
        let facts = &mut self.facts;
        let set = if edit {
            &mut facts.import_edits
        } else {
            &mut facts.import_rejects
        };
        if !set.remove(&net(number)) {
            set.insert(net(number));
        }
        let facts = &self.facts;
        match afi_of(number, FIRST_V6) {
            _ if all => self.rib.rejudge_all(),
            Afi::Ipv4 => self
                .rib
                .rejudge_prefixes::<V4, _>(facts, [V4::test_net(number)]),
            Afi::Ipv6 => self
                .rib
                .rejudge_prefixes::<V6, _>(facts, [V6::test_net(number)]),
        }
    }

    fn export_fact(&mut self, number: u8, edit: bool, all: bool) {
        let facts = &mut self.facts;
        let set = if edit {
            &mut facts.export_edits
        } else {
            &mut facts.export_rejects
        };
        if !set.remove(&net(number)) {
            set.insert(net(number));
        }
        match afi_of(number, FIRST_V6) {
            _ if all => {
                for &peer in self.members.keys() {
                    if let Some(group) = self.rib.group_of(PeerId(peer.into())) {
                        self.rib.reexport(group);
                    }
                }
            }
            Afi::Ipv4 => self.rib.reexport_prefixes::<V4>([V4::test_net(number)]),
            Afi::Ipv6 => self.rib.reexport_prefixes::<V6>([V6::test_net(number)]),
        }
    }

    fn own_source(&self, peer: u8) -> Option<SourceId> {
        self.ids.get(&peer).copied()
    }

    fn join(&mut self, peer: u8, group: u8, credit: usize) {
        let own = self.own_source(peer);
        self.rib
            .join(PeerId(peer.into()), own, &group_key(group), credit);
        let member = Member {
            group,
            far: FarEnd::default(),
            spurious: Vec::new(),
        };
        self.members.insert(peer, member);
    }

    fn leave(&mut self, peer: u8) {
        self.rib.leave(PeerId(peer.into()));
        self.members.remove(&peer);
    }

    fn output(&mut self, budget: usize) -> bool {
        let Some(output) = self.rib.poll_output(&self.facts, budget) else {
            return false;
        };
        let (shut, offered, ids) = (self.gate_withdrawals, &self.offered, &self.ids);
        for peer in output.members() {
            let number = peer.0 as u8;
            let Some(member) = self.members.get_mut(&number) else {
                continue;
            };
            let kind = group_key(member.group).encoding.peer_type;
            let (spurious, leaked) = (&mut member.spurious, &mut self.leaked);
            member.far.receive(kind, &output.bytes, |net, known| {
                if !known {
                    spurious.push(net);
                }
                let own = ids.get(&number).copied();
                let offers = own.is_some_and(|own| offered.contains(&(net, own)));
                if shut && !offers {
                    leaked.push(net);
                }
            });
        }
        true
    }

    fn fib_of<F: RibFamily>(&mut self) -> bool {
        let Some((net, route)) = self.rib.poll_fib::<F>() else {
            return false;
        };
        let net: IpNet = net.into();
        match route {
            Some(route) => self.fib.insert(net, route),
            None => self.fib.remove(&net),
        };
        true
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Announce {
                source,
                first,
                count,
                attrs,
                hop,
            } => {
                self.announce(source, first, count, attrs, hop);
            }
            Op::Withdraw {
                source,
                first,
                count,
            } => self.withdraw(source, first, count),
            Op::Originate { net, attrs } => self.originate(net, attrs),
            Op::WithdrawOrigination { net } => self.withdraw_origination(net),
            Op::Hop {
                hop,
                reachable,
                metric,
            } => self.set_hop(
                hop,
                Resolution {
                    reachable,
                    igp_metric: metric,
                    ifindex: 0,
                },
            ),
            Op::Stale { source } => {
                let id = self.ids[&source];
                self.rib.mark_stale(id);
                self.naive
                    .routes
                    .retain(|key, route| key.1 != id || !route.stale);
                for (_, route) in self.naive.routes.iter_mut().filter(|(key, _)| key.1 == id) {
                    route.stale = true;
                }
            }
            Op::Sweep { source, v6 } => {
                let id = self.ids[&source];
                let afi = if v6 { Afi::Ipv6 } else { Afi::Ipv4 };
                self.rib.sweep_stale(id, afi);
                self.naive
                    .routes
                    .retain(|key, route| key.1 != id || !route.stale || Afi::of_net(key.0) != afi);
            }
            Op::Drop { source } => {
                let id = self.ids[&source];
                self.rib.drop_source(id);
                self.naive.routes.retain(|key, _| key.1 != id);
            }
            Op::Reregister { source } => self.reregister(source),
            Op::ImportFact { net, edit, all } => self.import_fact(net, edit, all),
            Op::ExportFact { net, edit, all } => self.export_fact(net, edit, all),
            Op::Client { source, client } => self.client(source, client),
            Op::Join {
                peer,
                group,
                credit,
            } => self.join(peer, group, credit.into()),
            Op::Leave { peer } => self.leave(peer),
            Op::Refresh { peer, v6 } => {
                let afi = if v6 { Afi::Ipv6 } else { Afi::Ipv4 };
                self.rib.refresh(PeerId(peer.into()), afi);
            }
            Op::Credit { peer, octets } => {
                self.rib.on_credit(PeerId(peer.into()), octets.into());
            }
            Op::OpenGate { end_of_rib } => {
                self.gate_withdrawals = false;
                self.rib.set_gate(false, !end_of_rib);
            }
            Op::Work { budget } => {
                self.rib.poll_work(&self.facts, budget.into());
            }
            Op::Output { count, budget } => {
                for _ in 0..count {
                    self.output(budget.into());
                }
            }
            Op::Fib { count } => {
                for _ in 0..count {
                    self.fib_of::<V4>();
                    self.fib_of::<V6>();
                }
            }
            Op::NextHops => self.next_hops(),
        }
    }

    /// A peer goes for good and comes back as another source; its session with us is a new one too.
    fn reregister(&mut self, source: u8) {
        let id = self.ids[&source];
        self.leave(source);
        self.rib.unregister(id);
        self.naive.routes.retain(|key, _| key.1 != id);
        self.naive.sources.remove(&id);
        self.register(source);
    }

    /// Whether routes of an internal peer are reflected to other internal peers.
    fn client(&mut self, source: u8, client: bool) {
        let id = self.ids[&source];
        let mut info = info(source);
        info.reflector_client = client;
        self.rib.update_source(id, info.clone());
        self.naive.sources.insert(id, info);
        // What a source is decides what of it is told: the core says so to the groups.
        for &peer in self.members.keys() {
            if let Some(group) = self.rib.group_of(PeerId(peer.into())) {
                self.rib.reexport(group);
            }
        }
    }

    fn settle(&mut self) {
        self.gate_withdrawals = false;
        self.rib.set_gate(false, false);
        self.next_hops();
        while self.rib.poll_work(&self.facts, 4) {}
        for round in 0.. {
            assert!(round < 1_000, "output does not come to an end");
            for &peer in self.members.keys() {
                self.rib.on_credit(PeerId(peer.into()), 1_000);
            }
            let mut any = false;
            while self.output(120) {
                any = true;
            }
            if !any {
                break;
            }
        }
        while self.fib_of::<V4>() || self.fib_of::<V6>() {}
    }

    fn expected_told(&self, peer: u8, group: u8) -> Told {
        let key = group_key(group);
        let kind = key.encoding.peer_type;
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
                let (batch, _) = decode(kind, &bytes);
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
        (0..NETS)
            .filter(|&number| *key.families.get(afi_of(number, FIRST_V6)))
            .filter_map(|number| {
                let own = self.own_source(peer);
                let told = self
                    .naive
                    .told(&self.facts, &key, own, net(number), encode(number))?;
                Some((net(number), told))
            })
            .collect()
    }

    fn check(&self) {
        for number in 0..NETS {
            match afi_of(number, FIRST_V6) {
                Afi::Ipv4 => self.check_net::<V4>(V4::test_net(number)),
                Afi::Ipv6 => self.check_net::<V6>(V6::test_net(number)),
            }
        }
        for (&peer, member) in &self.members {
            let expected = self.expected_told(peer, member.group);
            assert_eq!(member.far.told, expected, "what peer {peer} knows");
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
                    .filter(|&&net| Afi::of_net(net) == afi);
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
            best_of_view.map(|path| (path.source, path.used.unwrap().as_bytes().to_vec())),
            best.as_ref().map(|best| (best.source, best.bytes.clone())),
            "best path of {net}"
        );
        let fib = self.fib.get(&net);
        match &best {
            None => assert_eq!(fib, None, "{net}"),
            Some(best) if best.source == self.local => {
                assert_eq!(fib, Some(&FibRoute::Local(self.local)), "{net}");
            }
            Some(best) => {
                let Some(FibRoute::Via(via)) = fib else {
                    panic!("{net} is not forwarded");
                };
                let via: Vec<_> = via.iter().map(|hop| hop.next_hop).collect();
                assert_eq!(via, best.ecmp.iter().copied().collect::<Vec<_>>(), "{net}");
            }
        }
        let known: Vec<SourceId> = self
            .naive
            .routes
            .keys()
            .filter(|k| k.0 == net)
            .map(|k| k.1)
            .collect();
        let mut paths: Vec<_> = view.iter().flat_map(|v| &v.paths).collect();
        paths.sort_by_key(|path| path.source);
        assert_eq!(
            paths.iter().map(|path| path.source).collect::<Vec<_>>(),
            known
        );
        for path in paths {
            assert_eq!(path.stale, self.naive.routes[&(net, path.source)].stale);
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
                let of_source: Vec<IpNet> = self
                    .naive
                    .routes
                    .keys()
                    .filter(|key| key.1 == id && here(&key.0))
                    .map(|key| key.0)
                    .collect();
                let counts = self.rib.source_counts(id, afi);
                assert_eq!(counts.received as usize, of_source.len());
                let accepted = of_source
                    .iter()
                    .filter(|&&net| self.naive.accepted(&self.facts, net, id).is_some());
                assert_eq!(counts.accepted as usize, accepted.count());
                let best = of_source.iter().filter(|&&net| {
                    self.naive
                        .best(&self.facts, net)
                        .is_some_and(|best| best.source == id)
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
    fn empty(&mut self) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_in_what_is_left_of_it(shut: bool, ops in prop::collection::vec(op(), 1..90)) {
        let mut harness = Harness::new(shut);
        for op in &ops {
            harness.run(op);
        }
        harness.settle();
        harness.check();
        harness.empty();
    }

    #[test]
    fn a_group_gone_with_its_last_member_leaves_nothing(shut: bool, ops in prop::collection::vec(op(), 1..60)) {
        let mut harness = Harness::new(shut);
        for op in &ops {
            harness.run(op);
        }
        for peer in 1..=PEERS {
            harness.leave(peer);
        }
        harness.settle();
        harness.check();
        harness.empty();
    }
}

#[test]
fn hashes_decide_nothing() {
    let told = |seed: u64| {
        let mut config = config();
        config.seed = seed;
        let mut rib = Rib::new(config);
        let source = rib.register(info(1)).unwrap();
        rib.set_gate(false, false);
        rib.join(PeerId(9), None, &group_key(0), 1 << 20);
        let facts = Facts::new();
        for number in 0..12 {
            let mut batch = RouteBatch::default();
            let bytes = super::world::attrs(number % 3);
            let next_hop = V4::test_hop(1);
            announce::<V4>(&mut batch, &bytes, next_hop, &[V4::test_net(number)]);
            if let Some(BatchItem::Announce { hash, .. }) = batch.items.first_mut() {
                *hash = attrs::hash(seed, &bytes, &next_hop);
            }
            rib.apply(&facts, source, &batch);
        }
        rib.set_next_hop(&V4::test_hop(1), Resolution::DIRECT);
        let mut all = Vec::new();
        while let Some(output) = rib.poll_output(&facts, 100) {
            all.push(output.bytes.to_vec());
        }
        all
    };
    assert!(!told(1).is_empty());
    assert_eq!(told(1), told(2));
}
