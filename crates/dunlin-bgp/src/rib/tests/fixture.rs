//! A RIB with far ends attached, for tests of one behaviour each.

use std::collections::BTreeMap;

use dunlin_net::{PeerId, V4};

use super::model::{FarEnd, Kind};
use super::world::*;
use crate::batch::{NextHop, RouteBatch};
use crate::policy::PeerType;
use crate::rib::{GroupKey, Resolution, Rib, RibConfig, SourceId, SourceInfo};

pub(super) struct Fixture {
    pub(super) rib: Rib,
    pub(super) facts: Facts,
    pub(super) far: BTreeMap<PeerId, (Kind, FarEnd)>,
    /// Octets are taken as soon as they are sent.
    pub(super) eager: bool,
    pub(super) outputs: usize,
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        Fixture::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut RibConfig)) -> Fixture {
        let mut config = config();
        change(&mut config);
        Fixture {
            rib: Rib::new(config),
            facts: Facts::new(),
            far: BTreeMap::new(),
            eager: true,
            outputs: 0,
        }
    }

    pub(super) fn source(&mut self, number: u8, kind: PeerType) -> SourceId {
        self.register(peer(number, kind))
    }

    pub(super) fn register(&mut self, info: SourceInfo) -> SourceId {
        self.rib.register(info).unwrap()
    }

    pub(super) fn announce(&mut self, source: SourceId, bytes: &[u8], hop: NextHop, nets: &[u8]) {
        let mut batch = RouteBatch::default();
        let nets: Vec<_> = nets.iter().map(|&number| V4::test_net(number)).collect();
        announce::<V4>(&mut batch, bytes, hop, &nets);
        self.rib.apply(&self.facts, source, &batch);
    }

    pub(super) fn withdraw(&mut self, source: SourceId, nets: &[u8]) {
        let mut batch = RouteBatch::default();
        let nets: Vec<_> = nets.iter().map(|&number| V4::test_net(number)).collect();
        withdraw::<V4>(&mut batch, &nets);
        self.rib.apply(&self.facts, source, &batch);
    }

    pub(super) fn reachable(&mut self, hop: u8, igp_metric: u32) {
        let resolution = Resolution {
            igp_metric,
            ..Resolution::DIRECT
        };
        self.rib.set_next_hops([(V4::test_hop(hop), resolution)]);
    }

    pub(super) fn join(
        &mut self,
        number: u32,
        source: Option<SourceId>,
        key: &GroupKey,
        credit: usize,
    ) {
        self.rib.join(PeerId(number), source, key, credit);
        let far = (kind(key), FarEnd::default());
        self.far.insert(PeerId(number), far);
    }

    /// Sends all there is to send now.
    pub(super) fn flush(&mut self) {
        while let Some(output) = self.rib.poll_output(&self.facts, 4_000) {
            self.outputs += 1;
            for peer in output.members() {
                let (kind, far) = self.far.get_mut(&peer).unwrap();
                far.receive(*kind, &output.bytes, |_, _| {});
                if self.eager {
                    self.rib.on_credit(peer, output.bytes.len());
                }
            }
        }
    }

    pub(super) fn far(&self, number: u32) -> &FarEnd {
        &self.far[&PeerId(number)].1
    }

    /// The numbers of the IPv4 prefixes a peer knows.
    pub(super) fn knows(&self, number: u32) -> Vec<u8> {
        let known = &self.far(number).told;
        (0..=255)
            .filter(|&number| {
                known
                    .keys()
                    .any(|told| told.0 == V4::test_net(number).into())
            })
            .collect()
    }

    pub(super) fn best(&self, number: u8) -> Option<SourceId> {
        let view = self.rib.lookup::<V4>(V4::test_net(number))?;
        view.paths
            .iter()
            .find(|path| path.best)
            .map(|path| path.source)
    }
}
