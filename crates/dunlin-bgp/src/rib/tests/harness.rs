//! A RIB, the plain model, and everything around them, driven by operations.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_net::{Afi, IpNet, PeerId, PerFamily, V4, V6};

use super::model::FarEnd;
use super::naive::{Naive, Route};
use super::operations::Op;
use super::world::*;
use crate::batch::{NextHop, RouteBatch};
use crate::policy::PeerType;
use crate::rib::{
    FibRoute, GroupKey, NextHopEvent, Resolution, Rib, RibFamily, SourceId, SourceInfo,
};

pub(super) const NETS: u8 = 24;
pub(super) const FIRST_V6: u8 = 16;
pub(super) const HOPS: u8 = 3;
pub(super) const PEERS: u8 = 5;
pub(super) const GROUPS: u8 = 6;
/// Sources from here on give their paths identifiers.
const FIRST_OF_SEVERAL: u8 = 3;

pub(super) fn net(number: u8) -> IpNet {
    match afi_of(number, FIRST_V6) {
        Afi::Ipv4 => V4::test_net(number).into(),
        Afi::Ipv6 => V6::test_net(number).into(),
    }
}

pub(super) fn hop(afi: Afi, number: u8) -> NextHop {
    match afi {
        Afi::Ipv4 => V4::test_hop(number),
        Afi::Ipv6 => V6::test_hop(number),
    }
}

pub(super) fn group_key(number: u8) -> GroupKey {
    match number {
        0 => key(0, PeerType::External, false),
        1 => key(1, PeerType::Internal, false),
        2 => key(1, PeerType::Internal, true),
        4 => {
            let mut key = key(1, PeerType::Internal, true);
            key.encoding.add_path = PerFamily { v4: true, v6: true };
            key
        }
        5 => {
            let mut key = key(0, PeerType::External, false);
            key.encoding.add_path.v4 = true;
            key
        }
        _ => {
            let mut key = key(2, PeerType::External, false);
            key.families.v6 = false;
            key
        }
    }
}

pub(super) struct Member {
    pub(super) group: u8,
    pub(super) far: FarEnd,
    /// Withdrawn though unknown: nothing may be.
    pub(super) spurious: Vec<IpNet>,
}

/// Everything outside the RIB.
pub(super) struct Harness {
    pub(super) rib: Rib,
    pub(super) naive: Naive,
    pub(super) facts: Facts,
    pub(super) local: SourceId,
    pub(super) ids: BTreeMap<u8, SourceId>,
    pub(super) members: BTreeMap<u8, Member>,
    pub(super) fib: BTreeMap<IpNet, FibRoute>,
    pub(super) gate_withdrawals: bool,
    /// What each source ever offered.
    pub(super) offered: BTreeSet<(IpNet, SourceId)>,
    /// Prefixes withdrawn while the gate was shut from a member that never offered them itself: one whose own path
    /// became the best has to forget the other's at once, or packets could go in circles.
    pub(super) leaked: Vec<IpNet>,
}

pub(super) fn info(source: u8) -> SourceInfo {
    let kind = if source <= 2 {
        PeerType::External
    } else {
        PeerType::Internal
    };
    peer(source, kind)
}

/// The prefixes of a batch come with this identifier, if any.
fn identify_all(batch: &mut RouteBatch, path_id: Option<u32>) {
    if let Some(path_id) = path_id {
        identify::<V4>(batch, path_id);
        identify::<V6>(batch, path_id);
    }
}

impl Harness {
    pub(super) fn new(gate_withdrawals: bool) -> Harness {
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

    pub(super) fn register(&mut self, source: u8) {
        let id = self.rib.register(info(source)).unwrap();
        assert!(
            !self.naive.sources.contains_key(&id),
            "an id in use is not given again"
        );
        self.ids.insert(source, id);
        self.naive.sources.insert(id, info(source));
    }

    pub(super) fn each_net(first: u8, count: u8) -> impl Iterator<Item = u8> {
        (0..count).map(move |step| (first + step) % NETS)
    }

    pub(super) fn apply(&mut self, source: u8, batch: &RouteBatch) {
        self.rib.apply(&self.facts, self.ids[&source], batch);
    }

    pub(super) fn announce(
        &mut self,
        source: u8,
        first: u8,
        count: u8,
        variant: u8,
        (hop_number, path_id): (u8, u32),
    ) {
        let mut batch = RouteBatch::default();
        let bytes = attrs(variant);
        let path_id = (source >= FIRST_OF_SEVERAL).then_some(path_id);
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
                .announce((net(number), self.ids[&source], path_id), route);
        }
        identify_all(&mut batch, path_id);
        self.apply(source, &batch);
    }

    pub(super) fn withdraw(&mut self, source: u8, first: u8, count: u8, path_id: u32) {
        let mut batch = RouteBatch::default();
        let path_id = (source >= FIRST_OF_SEVERAL).then_some(path_id);
        for number in Self::each_net(first, count) {
            match afi_of(number, FIRST_V6) {
                Afi::Ipv4 => withdraw::<V4>(&mut batch, &[V4::test_net(number)]),
                Afi::Ipv6 => withdraw::<V6>(&mut batch, &[V6::test_net(number)]),
            }
            let key = (net(number), self.ids[&source], path_id);
            self.naive.routes.remove(&key);
        }
        identify_all(&mut batch, path_id);
        self.apply(source, &batch);
    }

    pub(super) fn originate(&mut self, number: u8, variant: u8) {
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
        self.naive
            .routes
            .insert((net(number), self.local, None), route);
    }

    pub(super) fn withdraw_origination(&mut self, number: u8) {
        match afi_of(number, FIRST_V6) {
            Afi::Ipv4 => self
                .rib
                .withdraw_origination::<V4>(self.local, V4::test_net(number)),
            Afi::Ipv6 => self
                .rib
                .withdraw_origination::<V6>(self.local, V6::test_net(number)),
        }
        self.naive.routes.remove(&(net(number), self.local, None));
    }

    pub(super) fn set_hop(&mut self, number: u8, resolution: Resolution) {
        for afi in Afi::ALL {
            self.naive.hops.insert(hop(afi, number), resolution);
            self.rib.set_next_hops([(hop(afi, number), resolution)]);
        }
    }

    pub(super) fn next_hops(&mut self) {
        let mut known = Vec::new();
        while let Some(event) = self.rib.poll_next_hop() {
            if let NextHopEvent::Wanted(next_hop) = event {
                let resolution = self.naive.hops.get(&next_hop).copied().unwrap_or_default();
                known.push((next_hop, resolution));
            }
        }
        self.rib.set_next_hops(known);
    }

    pub(super) fn import_fact(&mut self, number: u8, edit: bool, all: bool) {
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

    pub(super) fn export_fact(&mut self, number: u8, edit: bool, all: bool) {
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

    pub(super) fn own_source(&self, peer: u8) -> Option<SourceId> {
        self.ids.get(&peer).copied()
    }

    pub(super) fn join(&mut self, peer: u8, group: u8, credit: usize) {
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

    pub(super) fn leave(&mut self, peer: u8) {
        self.rib.leave(PeerId(peer.into()));
        self.members.remove(&peer);
    }

    pub(super) fn output(&mut self, budget: usize) -> bool {
        let Some(output) = self.rib.poll_output(&self.facts, budget) else {
            return false;
        };
        let (shut, offered, ids) = (self.gate_withdrawals, &self.offered, &self.ids);
        for peer in output.members() {
            let number = peer.0 as u8;
            let Some(member) = self.members.get_mut(&number) else {
                continue;
            };
            let kind = kind(&group_key(member.group));
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

    pub(super) fn fib_of<F: RibFamily>(&mut self) -> bool {
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

    // Long because it has an arm for each thing that can happen.
    pub(super) fn run(&mut self, op: &Op) {
        match *op {
            Op::Announce {
                source,
                first,
                count,
                attrs,
                hop,
                path_id,
            } => {
                self.announce(source, first, count, attrs, (hop, path_id));
            }
            Op::Withdraw {
                source,
                first,
                count,
                path_id,
            } => self.withdraw(source, first, count, path_id),
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
                self.rib.mark_stale(id, PerFamily::default());
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
            Op::Refresh { peer, v6, marks } => {
                let afi = if v6 { Afi::Ipv6 } else { Afi::Ipv4 };
                self.rib.refresh(PeerId(peer.into()), afi, marks);
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
    pub(super) fn reregister(&mut self, source: u8) {
        let id = self.ids[&source];
        self.leave(source);
        self.rib.unregister(id);
        self.naive.routes.retain(|key, _| key.1 != id);
        self.naive.sources.remove(&id);
        self.register(source);
    }

    /// Whether routes of an internal peer are reflected to other internal peers.
    pub(super) fn client(&mut self, source: u8, client: bool) {
        let id = self.ids[&source];
        let mut info = info(source);
        info.reflector_client = client;
        self.rib.update_source(id, info.clone());
        self.naive.sources.insert(id, info);
    }

    pub(super) fn settle(&mut self) {
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
}
