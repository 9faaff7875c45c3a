use std::net::IpAddr;

use dunlin_dataplane::proxy::{FrontendSet, block};
use dunlin_net::Afi;
use dunlin_net::service::{Protocol, View};

use super::shape::{
    AFFINITY, ALLOWED, HAIRPIN, NEAR, Rule, SERVED, choose, last_address, plain_chain,
    remembering_chains, rule, set_name, slots, view_name,
};
use crate::nft::{Chain, Cmp, CtKey, Direction, Expr, Register, Reject, Verdict, ct, reg};

/// How often a number is drawn out of all slots: as more than half are full, fewer than one connection in four thousand
/// goes on to the smaller numbers, where the first slots have a chance more.
const THROWS: usize = 12;
/// Of the hash that chooses by client: the same on every node, so that a connection that comes in by another one goes on.
const HASH_SEED: u32 = 0x6475_6E6C;

/// Counts what comes first of a connection, and goes on: what is served leaves these chains next.
const COUNTED: &str = "counted";

/// The rules that are always there, chain by chain, in order.
pub(super) fn fixed_rules(afi: Afi) -> Vec<Rule> {
    let goto = |chain: &str| Verdict::Goto(chain.to_owned());
    let mut rules = vec![
        rule("prerouting", "served", served(afi, goto("arriving"))),
        rule("output", "served", served(afi, goto("inside"))),
        rule("arriving", "from elsewhere", from_elsewhere(afi)),
        rule("arriving", "all", vec![Expr::Verdict(goto("inside"))]),
        rule("outside", "allowed sources", allowed(afi)),
    ];
    for view in View::ALL {
        let choose = vec![Expr::Verdict(goto(choose(view)))];
        rules.push(rule(view_name(view), "all", choose));
    }
    rules.push(rule(
        "postrouting",
        "translated",
        [
            ct_any(CtKey::Status, ct::DST_NAT),
            vec![Expr::Verdict(goto("translated"))],
        ]
        .concat(),
    ));
    rules.push(rule("translated", "to itself", hairpin(afi)));
    rules.push(rule("translated", "through", through(afi)));
    for chain in ["refuse_input", "refuse_forward", "refuse_output"] {
        let mut exprs = ct_any(CtKey::State, ct::NEW);
        exprs.extend(ct_none(CtKey::Status, ct::DST_NAT));
        exprs.push(Expr::Verdict(goto("refuse")));
        rules.push(rule(chain, "new", exprs));
    }
    rules.extend(refuse(afi));
    rules
}

/// What a set needs that is made on demand: chains, which may be there for another set, and rules.
pub(super) fn demanded(afi: Afi, set: FrontendSet) -> (Vec<Chain>, Vec<Rule>) {
    let key = Packet::new(afi).key();
    let name = set_name(set);
    let masquerade = |chain: &str| {
        let of = |protocol: Protocol| {
            let what = format!("{name} {protocol}");
            rule(chain, &what, masquerade(afi, protocol, set))
        };
        Protocol::ALL.map(of)
    };
    match set {
        FrontendSet::Random { view, slots } => {
            let chain = format!("pick_{}_{slots}", view_name(view));
            let goto = vec![Expr::Verdict(Verdict::Goto(chain.clone()))];
            let mut rules = vec![rule(choose(view), &name, in_set(&key, set, goto))];
            rules.extend(masquerade("through"));
            for (at, modulus) in throws(slots).into_iter().enumerate() {
                let what = format!("throw {at}");
                rules.push(rule(&chain, &what, pick_random(afi, view, modulus)));
            }
            (vec![plain_chain(chain)], rules)
        }
        FrontendSet::Hashed { view, slots } => {
            let exprs = in_set(&key, set, pick_hashed(afi, view, slots));
            let mut rules = vec![rule(choose(view), &name, exprs)];
            rules.extend(masquerade("through"));
            (Vec::new(), rules)
        }
        FrontendSet::Sticky { secs } => {
            let come_back = |view| rule(choose(view), &name, come_back(afi, set)).first();
            let mut rules: Vec<Rule> = View::ALL.map(come_back).into();
            let chain = format!("remember_{secs}");
            let mut chains = vec![plain_chain(chain.clone())];
            for base in remembering_chains() {
                let mut exprs = ct_any(CtKey::State, ct::NEW);
                exprs.extend(ct_any(CtKey::Status, ct::DST_NAT));
                exprs.push(Expr::Verdict(Verdict::Jump(chain.clone())));
                rules.push(rule(&base.name, &name, exprs));
                chains.push(base);
            }
            rules.extend(Protocol::ALL.map(|protocol| {
                let exprs = remember(afi, protocol, &name, secs);
                rule(&chain, &format!("through {protocol}"), exprs)
            }));
            (chains, rules)
        }
        FrontendSet::Dropped { view } => {
            let drop = in_set(&key, set, vec![Expr::Verdict(Verdict::Drop)]);
            (Vec::new(), vec![rule(view_name(view), &name, drop).first()])
        }
        FrontendSet::Masqueraded => (Vec::new(), masquerade("translated").into()),
        FrontendSet::Counted => {
            let rule = |chain| rule(chain, COUNTED, in_set(&key, set, Vec::new())).first();
            (Vec::new(), ["prerouting", "output"].map(rule).into())
        }
        FrontendSet::Refused | FrontendSet::Guarded => <_>::default(),
    }
}

/// Out of how many slots to draw, one try after the other. The last one always hits.
fn throws(slots: u32) -> Vec<u32> {
    let powers = (0..u32::BITS).rev().map(|exponent| 1 << exponent);
    let smaller = powers.filter(|power| *power < slots);
    let throws = if slots == 1 { 1 } else { THROWS };
    std::iter::repeat_n(slots, throws).chain(smaller).collect()
}

/// Registers of four octets in a row, for the parts of a key.
struct Packet {
    afi: Afi,
}

/// What loads a key from the first register on, and the register behind it.
struct Key {
    exprs: Vec<Expr>,
    next: u32,
}

impl Packet {
    fn new(afi: Afi) -> Packet {
        Packet { afi }
    }

    /// In registers.
    fn address_len(&self) -> u32 {
        u32::from(self.afi.bits() / 32)
    }

    fn source(&self, at: u32) -> Expr {
        self.address([12, 8], at)
    }

    fn destination(&self, at: u32) -> Expr {
        self.address([16, 24], at)
    }

    fn address(&self, [ipv4, ipv6]: [u32; 2], at: u32) -> Expr {
        Expr::NetworkHeader {
            offset: match self.afi {
                Afi::Ipv4 => ipv4,
                Afi::Ipv6 => ipv6,
            },
            len: u32::from(self.afi.bits() / 8),
            dreg: reg::r32(at),
        }
    }

    /// `daddr . meta l4proto . th dport`
    fn key(&self) -> Key {
        let protocol = self.address_len();
        let exprs = vec![
            self.destination(0),
            Expr::L4proto {
                dreg: reg::r32(protocol),
            },
            Expr::TransportHeader {
                offset: 2,
                len: 2,
                dreg: reg::r32(protocol + 1),
            },
        ];
        Key {
            exprs,
            next: protocol + 2,
        }
    }

    fn ct_address(&self, direction: Direction, source: bool, at: u32) -> Expr {
        Expr::Ct {
            key: match (self.afi, source) {
                (Afi::Ipv4, true) => CtKey::SrcIp,
                (Afi::Ipv4, false) => CtKey::DstIp,
                (Afi::Ipv6, true) => CtKey::SrcIp6,
                (Afi::Ipv6, false) => CtKey::DstIp6,
            },
            direction: Some(direction),
            dreg: reg::r32(at),
        }
    }

    /// `ct original daddr . meta l4proto . ct original proto-dst`: the key that the connection began with.
    fn original_key(&self) -> Key {
        let protocol = self.address_len();
        let exprs = vec![
            self.ct_address(Direction::Original, false, 0),
            Expr::L4proto {
                dreg: reg::r32(protocol),
            },
            Expr::Ct {
                key: CtKey::ProtoDst,
                direction: Some(Direction::Original),
                dreg: reg::r32(protocol + 1),
            },
        ];
        Key {
            exprs,
            next: protocol + 2,
        }
    }
}

const FIRST: Register = reg::r32(0);

fn lookup(set: &str, invert: bool) -> Expr {
    Expr::Lookup {
        set: set.to_owned(),
        sreg: FIRST,
        dreg: None,
        invert,
    }
}

/// `KEY @set …`
fn in_set(key: &Key, set: FrontendSet, then: Vec<Expr>) -> Vec<Expr> {
    let mut exprs = key.exprs.clone();
    exprs.push(lookup(&set_name(set), false));
    exprs.extend(then);
    exprs
}

/// `dnat to <what the first registers hold> map @map`
fn translate(afi: Afi, map: &str) -> [Expr; 2] {
    let family = match afi {
        Afi::Ipv4 => libc::AF_INET,
        Afi::Ipv6 => libc::AF_INET6,
    };
    [
        Expr::Lookup {
            set: map.to_owned(),
            sreg: FIRST,
            dreg: Some(FIRST),
            invert: false,
        },
        Expr::Dnat {
            family: family as u8,
            addr: FIRST,
            port: reg::r32(u32::from(afi.bits() / 32)),
        },
    ]
}

/// `daddr & mask @served …`
fn served(afi: Afi, verdict: Verdict) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let mask = match block(last_address(afi)).network() {
        IpAddr::V4(mask) => mask.octets().to_vec(),
        IpAddr::V6(mask) => mask.octets().to_vec(),
    };
    vec![
        packet.destination(0),
        Expr::And {
            register: FIRST,
            mask,
        },
        lookup(SERVED, false),
        Expr::Verdict(verdict),
    ]
}

/// `saddr != @near jump outside`
fn from_elsewhere(afi: Afi) -> Vec<Expr> {
    vec![
        Packet::new(afi).source(0),
        lookup(NEAR, true),
        Expr::Verdict(Verdict::Jump("outside".to_owned())),
    ]
}

/// `KEY @guarded KEY . saddr != @allowed drop`
fn allowed(afi: Afi) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let key = packet.key();
    let mut then = key.exprs.clone();
    then.push(packet.source(key.next));
    then.push(lookup(ALLOWED, true));
    then.push(Expr::Verdict(Verdict::Drop));
    in_set(&key, FrontendSet::Guarded, then)
}

/// `KEY @sticky dnat to KEY . saddr map @affinity`
fn come_back(afi: Afi, set: FrontendSet) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let key = packet.key();
    let mut then = key.exprs.clone();
    then.push(packet.source(key.next));
    then.extend(translate(afi, AFFINITY));
    in_set(&key, set, then)
}

/// `dnat to KEY . numgen random mod … map @slots`
fn pick_random(afi: Afi, view: View, modulus: u32) -> Vec<Expr> {
    let Key { mut exprs, next } = Packet::new(afi).key();
    exprs.push(Expr::Random {
        modulus,
        dreg: reg::r32(next),
    });
    exprs.extend(translate(afi, slots(view)));
    exprs
}

/// `dnat to KEY . jhash saddr . th sport mod … seed … map @slots`
fn pick_hashed(afi: Afi, view: View, modulus: u32) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let Key { mut exprs, next } = packet.key();
    // Beyond the key, and aligned as `nft` has it.
    let hashed = (next + 1).next_multiple_of(4);
    let port = hashed + packet.address_len();
    exprs.push(packet.source(hashed));
    exprs.push(Expr::TransportHeader {
        offset: 0,
        len: 2,
        dreg: reg::r32(port),
    });
    exprs.push(Expr::Jhash {
        sreg: reg::r32(hashed),
        len: (packet.address_len() + 1) * 4,
        modulus,
        seed: HASH_SEED,
        dreg: reg::r32(next),
    });
    exprs.extend(translate(afi, slots(view)));
    exprs
}

/// `saddr . daddr @hairpin masquerade`
fn hairpin(afi: Afi) -> Vec<Expr> {
    let packet = Packet::new(afi);
    vec![
        packet.source(0),
        packet.destination(packet.address_len()),
        lookup(HAIRPIN, false),
        Expr::Masquerade,
    ]
}

/// `meta l4proto …`: without it `nft` does not know what ports of conntrack are.
fn of_protocol(protocol: Protocol) -> [Expr; 2] {
    [
        Expr::L4proto { dreg: FIRST },
        Expr::Cmp {
            sreg: FIRST,
            op: Cmp::Eq,
            value: vec![protocol.number()],
        },
    ]
}

/// `saddr != @near daddr != @near jump through`: answers would not come back by this node, if it was a frontend of ours that
/// was translated.
fn through(afi: Afi) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let mut exprs = Vec::new();
    for address in [packet.source(0), packet.destination(0)] {
        exprs.extend([address, lookup(NEAR, true)]);
    }
    exprs.push(Expr::Verdict(Verdict::Jump("through".to_owned())));
    exprs
}

/// `ORIGINAL-KEY @set masquerade`
fn masquerade(afi: Afi, protocol: Protocol, set: FrontendSet) -> Vec<Expr> {
    let mut exprs = of_protocol(protocol).to_vec();
    let key = Packet::new(afi).original_key();
    exprs.extend(in_set(&key, set, vec![Expr::Masquerade]));
    exprs
}

/// `ORIGINAL-KEY @sticky update @affinity { ORIGINAL-KEY . ct original saddr timeout … : ct reply saddr . ct reply proto-src }`
fn remember(afi: Afi, protocol: Protocol, set: &str, secs: u32) -> Vec<Expr> {
    let packet = Packet::new(afi);
    let key = packet.original_key();
    let client = key.next;
    let endpoint = client + packet.address_len();
    let mut exprs = of_protocol(protocol).to_vec();
    exprs.extend(key.exprs.clone());
    exprs.push(lookup(set, false));
    exprs.extend(key.exprs);
    exprs.push(packet.ct_address(Direction::Original, true, client));
    exprs.push(packet.ct_address(Direction::Reply, true, endpoint));
    exprs.push(Expr::Ct {
        key: CtKey::ProtoSrc,
        direction: Some(Direction::Reply),
        dreg: reg::r32(endpoint + packet.address_len()),
    });
    exprs.push(Expr::Update {
        set: AFFINITY.to_owned(),
        key: FIRST,
        data: reg::r32(endpoint),
        timeout_msecs: u64::from(secs) * 1000,
    });
    exprs
}

/// `KEY @refused goto answer`, and there a reject at once: with a reset where that is known.
fn refuse(afi: Afi) -> [Rule; 3] {
    let unreachable = match afi {
        Afi::Ipv4 => 3,
        Afi::Ipv6 => 4,
    };
    let goto = vec![Expr::Verdict(Verdict::Goto("answer".to_owned()))];
    let refused = in_set(&Packet::new(afi).key(), FrontendSet::Refused, goto);
    let mut tcp = of_protocol(Protocol::Tcp).to_vec();
    tcp.push(Expr::Reject(Reject::TcpReset));
    let others = vec![Expr::Reject(Reject::Unreachable(unreachable))];
    [
        rule("refuse", "refused", refused),
        rule("answer", "tcp", tcp),
        rule("answer", "others", others),
    ]
}

/// `ct … & bits != 0`
fn ct_any(key: CtKey, bits: u32) -> Vec<Expr> {
    ct_bits(key, bits, Cmp::Neq)
}

/// `ct … & bits == 0`
fn ct_none(key: CtKey, bits: u32) -> Vec<Expr> {
    ct_bits(key, bits, Cmp::Eq)
}

fn ct_bits(key: CtKey, bits: u32, op: Cmp) -> Vec<Expr> {
    vec![
        Expr::Ct {
            key,
            direction: None,
            dreg: FIRST,
        },
        Expr::And {
            register: FIRST,
            mask: bits.to_ne_bytes().to_vec(),
        },
        Expr::Cmp {
            sreg: FIRST,
            op,
            value: vec![0; 4],
        },
    ]
}
