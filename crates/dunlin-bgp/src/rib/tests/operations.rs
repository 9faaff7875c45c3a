//! What can happen to a RIB.

use proptest::prelude::*;

use super::harness::{GROUPS, HOPS, NETS, PEERS};
use super::world::ATTR_VARIANTS;

#[derive(Debug, Clone)]
pub(super) enum Op {
    Announce {
        source: u8,
        first: u8,
        count: u8,
        attrs: u8,
        hop: u8,
        path_id: u32,
    },
    Withdraw {
        source: u8,
        first: u8,
        count: u8,
        path_id: u32,
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
        marks: bool,
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

/// Any of them, about as often as they happen.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let source = 1..=4u8;
    let peer = 1..=PEERS;
    let any_net = 0..NETS;
    prop_oneof![
        8 => (source.clone(), any_net.clone(), 1..6u8, 0..ATTR_VARIANTS, 0..HOPS, 0..5u32)
            .prop_map(|(source, first, count, attrs, hop, path_id)| Op::Announce { source, first, count, attrs, hop, path_id }),
        3 => (source.clone(), any_net.clone(), 1..8u8, 0..5u32)
            .prop_map(|(source, first, count, path_id)| Op::Withdraw { source, first, count, path_id }),
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
        2 => (peer.clone(), any::<(bool, bool)>())
            .prop_map(|(peer, (v6, marks))| Op::Refresh { peer, v6, marks }),
        3 => (peer, 1..400u16).prop_map(|(peer, octets)| Op::Credit { peer, octets }),
        1 => any::<bool>().prop_map(|end_of_rib| Op::OpenGate { end_of_rib }),
        2 => (1..12u8).prop_map(|budget| Op::Work { budget }),
        5 => (1..6u8, 1..300u16).prop_map(|(count, budget)| Op::Output { count, budget }),
        2 => (1..6u8).prop_map(|count| Op::Fib { count }),
        2 => Just(Op::NextHops),
    ]
}
