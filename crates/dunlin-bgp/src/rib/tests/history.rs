//! Whatever happens in whatever order, and however slowly members take what they are told: in the end the tables are
//! what the plain model computes from the routes and facts that are left, and every member knows exactly that.

use dunlin_net::{PeerId, V4};
use proptest::prelude::*;

use super::harness::{Harness, PEERS, group_key, info};
use super::operations::op;
use super::world::*;
use crate::attrs;
use crate::batch::{BatchItem, RouteBatch};
use crate::rib::{Resolution, Rib};

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
        rib.set_next_hops([(V4::test_hop(1), Resolution::DIRECT)]);
        let mut all = Vec::new();
        while let Some(output) = rib.poll_output(&facts, 100) {
            all.push(output.bytes.to_vec());
        }
        all
    };
    assert!(!told(1).is_empty());
    assert_eq!(told(1), told(2));
}
