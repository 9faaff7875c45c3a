//! The tables' shape: which sets, chains and rules there are. Constant, but for what sizes and times need.
//!
//! A packet that begins a connection to where frontends are goes from `prerouting` by `arriving`, or from `output`, to
//! `inside`; where it comes from elsewhere, through `outside` before. Both drop what no endpoint is for, and go on to
//! `choose_…`, where one is chosen. What has been translated meets `translated` and `remember_…` on its way out; what has not,
//! `refuse`. What few clusters need costs nothing where it is not: its rules come with its first element.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dunlin_dataplane::mark;
pub(super) use dunlin_dataplane::proxy::names::{
    AFFINITY, ALLOWED, HAIRPIN, NEAR, SERVED, slots_map as slots, view_name,
};
use dunlin_dataplane::proxy::{FrontendSet, random_slots};
use dunlin_net::Afi;
use dunlin_net::service::View;

use super::typeof_data;
use crate::nft::{Chain, ChainBase, DataType, Expr, Family, MapData, Set, Table};

/// Changes when sets, chains or rules do: a table with another number is made anew.
const VERSION: u32 = 4;

/// At most so many clients are remembered, of all frontends of a family; those beyond are not.
pub(super) const AFFINITY_SIZE: u32 = 262_144;

/// The table of a family.
pub fn table(afi: Afi) -> Table {
    Table {
        family: match afi {
            Afi::Ipv4 => Family::Ip,
            Afi::Ipv6 => Family::Ip6,
        },
        name: mark::NFT_PROXY_TABLE,
    }
}

fn view_of(name: &str) -> Option<View> {
    View::ALL.into_iter().find(|view| view_name(*view) == name)
}

/// The name of a set of frontends.
pub(super) fn set_name(set: FrontendSet) -> String {
    set.to_string()
}

/// The set with a name that [`set_name`] gives.
pub(super) fn set_of(name: &str) -> Option<FrontendSet> {
    let words: Vec<&str> = name.split('_').collect();
    let set = match words[..] {
        ["refused"] => FrontendSet::Refused,
        ["guarded"] => FrontendSet::Guarded,
        ["masqueraded"] => FrontendSet::Masqueraded,
        ["counted"] => FrontendSet::Counted,
        ["dropped", view] => FrontendSet::Dropped {
            view: view_of(view)?,
        },
        ["random", view, slots] => FrontendSet::Random {
            view: view_of(view)?,
            slots: slots.parse().ok()?,
        },
        ["hashed", view, slots] => FrontendSet::Hashed {
            view: view_of(view)?,
            slots: slots.parse().ok()?,
        },
        ["sticky", secs] => FrontendSet::Sticky {
            secs: secs.parse().ok()?,
        },
        _ => return None,
    };
    // Others can make sets in our tables, and give them any name.
    (is_possible(set) && set_name(set) == name).then_some(set)
}

/// Whether there can be a set of these numbers.
pub(super) fn is_possible(set: FrontendSet) -> bool {
    match set {
        FrontendSet::Random { slots, .. } => random_slots(slots as usize) == slots,
        FrontendSet::Hashed { slots, .. } => slots > 0,
        FrontendSet::Sticky { secs } => secs > 0,
        _ => true,
    }
}

/// Whether a set is made when something is first to be in it, with its rules.
pub(super) fn on_demand(set: FrontendSet) -> bool {
    match set {
        FrontendSet::Random { .. }
        | FrontendSet::Hashed { .. }
        | FrontendSet::Sticky { .. }
        | FrontendSet::Dropped { .. }
        | FrontendSet::Masqueraded
        | FrontendSet::Counted => true,
        FrontendSet::Refused | FrontendSet::Guarded => false,
    }
}

/// The sets of frontends that are always there.
pub(super) const FIXED: [FrontendSet; 2] = [FrontendSet::Refused, FrontendSet::Guarded];

/// A rule: where it stands and what it does.
pub(super) struct Rule {
    pub chain: String,
    pub comment: String,
    pub exprs: Vec<Expr>,
    /// Made on demand, it stands before all that are there; else behind them.
    pub first: bool,
}

impl Rule {
    pub(super) fn first(self) -> Rule {
        Rule {
            first: true,
            ..self
        }
    }
}

/// By the comment a table is recognised: it says what the rule is for, so that two of one chain differ.
pub(super) fn rule(chain: &str, what: &str, exprs: Vec<Expr>) -> Rule {
    Rule {
        chain: chain.to_owned(),
        comment: format!("dunlin services {VERSION}: {what}"),
        exprs,
        first: false,
    }
}

/// The chain in which an endpoint is chosen.
pub(super) fn choose(view: View) -> &'static str {
    match view {
        View::Inside => "choose_inside",
        View::Outside => "choose_outside",
    }
}

pub(super) fn address_type(afi: Afi) -> DataType {
    match afi {
        Afi::Ipv4 => DataType::Ipv4Addr,
        Afi::Ipv6 => DataType::Ipv6Addr,
    }
}

/// Address, protocol, port, and more.
fn key(afi: Afi, more: &[DataType]) -> Vec<DataType> {
    let mut key = vec![
        address_type(afi),
        DataType::InetProto,
        DataType::InetService,
    ];
    key.extend_from_slice(more);
    key
}

pub(super) fn frontend_set(afi: Afi, set: FrontendSet) -> Set {
    Set {
        name: set_name(set),
        key: key(afi, &[]),
        counter: set == FrontendSet::Counted,
        ..Set::default()
    }
}

/// The sets and maps that are always there.
pub(super) fn fixed_sets(afi: Afi) -> Vec<Set> {
    let address = address_type(afi);
    let endpoint = Some(MapData::Values(vec![address, DataType::InetService]));
    let mut sets: Vec<Set> = FIXED.iter().map(|set| frontend_set(afi, *set)).collect();
    sets.extend(View::ALL.map(|view| Set {
        name: slots(view).to_owned(),
        key: key(afi, &[DataType::Integer]),
        data: endpoint.clone(),
        userdata: typeof_data::slots(afi),
        ..Set::default()
    }));
    sets.push(Set {
        name: ALLOWED.to_owned(),
        key: key(afi, &[address]),
        interval: true,
        ..Set::default()
    });
    sets.push(Set {
        name: HAIRPIN.to_owned(),
        key: vec![address, address],
        ..Set::default()
    });
    sets.push(Set {
        name: NEAR.to_owned(),
        key: vec![address],
        interval: true,
        ..Set::default()
    });
    sets.push(Set {
        name: SERVED.to_owned(),
        key: vec![address],
        ..Set::default()
    });
    sets.push(Set {
        name: AFFINITY.to_owned(),
        key: key(afi, &[address]),
        data: endpoint,
        dynamic: true,
        size: Some(AFFINITY_SIZE),
        ..Set::default()
    });
    sets
}

/// Before the usual filters, and so before the table of rules drops what nobody translated.
const REFUSE_PRIORITY: i32 = -1;
/// Before sources are rewritten.
const REMEMBER_PRIORITY: i32 = 90;
const SOURCE_NAT: i32 = 100;
const DESTINATION_NAT: i32 = -100;

/// Name, kind, hook (`NF_INET_…`) and priority of a chain where packets come in.
type Base = (&'static str, &'static str, u32, i32);

/// Those that are always there.
const BASES: [Base; 6] = [
    ("prerouting", "nat", 0, DESTINATION_NAT),
    ("output", "nat", 3, DESTINATION_NAT),
    ("postrouting", "nat", 4, SOURCE_NAT),
    ("refuse_input", "filter", 1, REFUSE_PRIORITY),
    ("refuse_forward", "filter", 2, REFUSE_PRIORITY),
    ("refuse_output", "filter", 3, REFUSE_PRIORITY),
];

/// Those that come with the first service that has clients come back: each packet goes through them.
const REMEMBERING: [Base; 2] = [
    ("remember_leaving", "filter", 4, REMEMBER_PRIORITY),
    ("remember_local", "filter", 1, REMEMBER_PRIORITY),
];

/// The chains that are always there; those that others lead to come first.
pub(super) fn fixed_chains() -> Vec<Chain> {
    let inner = [
        choose(View::Inside),
        choose(View::Outside),
        "inside",
        "outside",
        "arriving",
        "through",
        "translated",
        "answer",
        "refuse",
    ];
    let inner = inner.into_iter().map(plain_chain);
    inner.chain(BASES.map(base_chain)).collect()
}

/// The chains that lead to those which remember clients.
pub(super) fn remembering_chains() -> [Chain; 2] {
    REMEMBERING.map(base_chain)
}

fn base_chain((name, kind, hook, priority): Base) -> Chain {
    Chain {
        name: name.to_owned(),
        base: Some(ChainBase {
            kind,
            hook,
            priority,
        }),
    }
}

pub(super) fn plain_chain(name: impl Into<String>) -> Chain {
    Chain {
        name: name.into(),
        base: None,
    }
}

pub(super) fn last_address(afi: Afi) -> IpAddr {
    match afi {
        Afi::Ipv4 => Ipv4Addr::BROADCAST.into(),
        Afi::Ipv6 => Ipv6Addr::from_bits(u128::MAX).into(),
    }
}
