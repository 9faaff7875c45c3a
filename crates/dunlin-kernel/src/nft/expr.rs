use super::{DATA_VALUE, DATA_VERDICT};
use crate::netlink::AttrWriter;

/// A register of the rule machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(pub u32);

/// The registers by their names.
pub mod reg {
    use super::Register;

    /// Where verdicts go.
    pub const VERDICT: Register = Register(0);
    /// The first of the four registers of 16 octets.
    pub const R1: Register = Register(1);
    /// The second.
    pub const R2: Register = Register(2);
    /// The third.
    pub const R3: Register = Register(3);
    /// The fourth.
    pub const R4: Register = Register(4);

    /// One of the sixteen registers of four octets (0 to 15), of which concatenations are made.
    pub const fn r32(number: u32) -> Register {
        Register(8 + number)
    }
}

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cmp {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Neq = 1,
    /// Less.
    Lt = 2,
    /// Less or equal.
    Lte = 3,
    /// Greater.
    Gt = 4,
    /// Greater or equal.
    Gte = 5,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On, past this hook.
    Accept,
    /// Away.
    Drop,
    /// To a chain, and back.
    Jump(String),
    /// To a chain.
    Goto(String),
    /// Back to where the chain was jumped to from.
    Return,
}

/// What conntrack knows of a packet's connection (`NFT_CT_…`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CtKey {
    /// A bit for the state: see [`ct::NEW`].
    State = 0,
    /// `IPS_…` bits: see [`ct::DST_NAT`].
    Status = 2,
    /// The source port of a direction.
    ProtoSrc = 11,
    /// The destination port of a direction.
    ProtoDst = 12,
    /// The IPv4 source of a direction.
    SrcIp = 19,
    /// The IPv4 destination of a direction.
    DstIp = 20,
    /// The IPv6 source of a direction.
    SrcIp6 = 21,
    /// The IPv6 destination of a direction.
    DstIp6 = 22,
}

/// Bits of [`CtKey::State`] and [`CtKey::Status`], in the machine's order.
pub mod ct {
    /// The packet may begin a connection.
    pub const NEW: u32 = 8;
    /// The destination is rewritten.
    pub const DST_NAT: u32 = 0x20;
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As its first packet.
    Original = 0,
    /// As the answers to it.
    Reply = 1,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// With a TCP reset.
    TcpReset,
    /// With an ICMP or ICMPv6 message of type "unreachable" and this code. For tables of one family.
    Unreachable(u8),
}

/// An expression of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Loads `NFT_META_NFPROTO`: 2 for IPv4, 10 for IPv6.
    Nfproto {
        /// Where to.
        dreg: Register,
    },
    /// Loads `NFT_META_L4PROTO`.
    L4proto {
        /// Where to.
        dreg: Register,
    },
    /// Loads octets of the network header.
    NetworkHeader {
        /// From here.
        offset: u32,
        /// So many.
        len: u32,
        /// Where to.
        dreg: Register,
    },
    /// Loads octets of the transport header.
    TransportHeader {
        /// From here.
        offset: u32,
        /// So many.
        len: u32,
        /// Where to.
        dreg: Register,
    },
    /// Ends the rule unless the comparison holds.
    Cmp {
        /// What is compared.
        sreg: Register,
        /// How.
        op: Cmp,
        /// With what.
        value: Vec<u8>,
    },
    /// Ends the rule unless the set has the key (or, inverted, has it not); a map loads what it maps to.
    Lookup {
        /// The set's name.
        set: String,
        /// The key.
        sreg: Register,
        /// For a map.
        dreg: Option<Register>,
        /// Whether the key must not be there.
        invert: bool,
    },
    /// Loads a value.
    Immediate {
        /// Where to.
        dreg: Register,
        /// What.
        value: Vec<u8>,
    },
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Counts packets and octets.
    Counter,
    /// Rewrites the source to the address of the link the packet leaves by.
    Masquerade,
    /// Loads a random number, in the machine's order.
    Random {
        /// It is below this.
        modulus: u32,
        /// Where to.
        dreg: Register,
    },
    /// Loads a hash, in the machine's order.
    Jhash {
        /// Of what.
        sreg: Register,
        /// So many octets.
        len: u32,
        /// It is below this.
        modulus: u32,
        /// Makes it another hash.
        seed: u32,
        /// Where to.
        dreg: Register,
    },
    /// Rewrites the destination.
    Dnat {
        /// `AF_INET` or `AF_INET6`.
        family: u8,
        /// The address.
        addr: Register,
        /// The port.
        port: Register,
    },
    /// Loads what conntrack knows.
    Ct {
        /// What.
        key: CtKey,
        /// Of which direction, where there are two.
        direction: Option<Direction>,
        /// Where to.
        dreg: Register,
    },
    /// Keeps some bits of a register.
    And {
        /// Which register.
        register: Register,
        /// Which bits, and so how many octets.
        mask: Vec<u8>,
    },
    /// Puts an element into a dynamic map, or puts off the end of one that is there; its value stays then.
    Update {
        /// The map.
        set: String,
        /// The key.
        key: Register,
        /// The value.
        data: Register,
        /// After this the element goes.
        timeout_msecs: u64,
    },
    /// Ends the rule, drops the packet and tells its sender.
    Reject(Reject),
}

impl Expr {
    pub(super) fn write(&self, attrs: &mut AttrWriter<'_>) {
        const NAME: u16 = 1;
        const DATA: u16 = 2;
        attrs.put_str(NAME, self.name());
        attrs.nest(DATA, |attrs| self.write_data(attrs));
    }

    fn name(&self) -> &'static str {
        match self {
            Expr::Nfproto { .. } | Expr::L4proto { .. } => "meta",
            Expr::NetworkHeader { .. } | Expr::TransportHeader { .. } => "payload",
            Expr::Cmp { .. } => "cmp",
            Expr::Lookup { .. } => "lookup",
            Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
            Expr::Counter => "counter",
            Expr::Masquerade => "masq",
            Expr::Random { .. } => "numgen",
            Expr::Jhash { .. } => "hash",
            Expr::Dnat { .. } => "nat",
            Expr::Ct { .. } => "ct",
            Expr::And { .. } => "bitwise",
            Expr::Update { .. } => "dynset",
            Expr::Reject(_) => "reject",
        }
    }

    fn write_data(&self, attrs: &mut AttrWriter<'_>) {
        match self {
            Expr::Nfproto { dreg } => meta(attrs, 15, *dreg),
            Expr::L4proto { dreg } => meta(attrs, 16, *dreg),
            Expr::NetworkHeader { offset, len, dreg } => payload(attrs, 1, *offset, *len, *dreg),
            Expr::TransportHeader { offset, len, dreg } => payload(attrs, 2, *offset, *len, *dreg),
            Expr::Cmp { sreg, op, value } => {
                attrs.put_be32(1, sreg.0);
                attrs.put_be32(2, *op as u32);
                attrs.nest(3, |attrs| attrs.put(DATA_VALUE, value));
            }
            Expr::Lookup {
                set,
                sreg,
                dreg,
                invert,
            } => {
                attrs.put_str(1, set);
                attrs.put_be32(2, sreg.0);
                if let Some(dreg) = dreg {
                    attrs.put_be32(3, dreg.0);
                }
                if *invert {
                    attrs.put_be32(5, 1);
                }
            }
            Expr::Immediate { dreg, value } => {
                attrs.put_be32(1, dreg.0);
                attrs.nest(2, |attrs| attrs.put(DATA_VALUE, value));
            }
            Expr::Verdict(verdict) => {
                attrs.put_be32(1, reg::VERDICT.0);
                attrs.nest(2, |attrs| write_verdict(attrs, verdict));
            }
            Expr::Counter | Expr::Masquerade => {}
            _ => self.write_more(attrs),
        }
    }

    /// What translation of destinations needs.
    fn write_more(&self, attrs: &mut AttrWriter<'_>) {
        match self {
            Expr::Random { modulus, dreg } => {
                const RANDOM: u32 = 1;
                attrs.put_be32(1, dreg.0);
                attrs.put_be32(2, *modulus);
                attrs.put_be32(3, RANDOM);
                attrs.put_be32(4, 0);
            }
            Expr::Jhash {
                sreg,
                len,
                modulus,
                seed,
                dreg,
            } => {
                const JENKINS: u32 = 0;
                attrs.put_be32(1, sreg.0);
                attrs.put_be32(2, dreg.0);
                attrs.put_be32(3, *len);
                attrs.put_be32(4, *modulus);
                attrs.put_be32(5, *seed);
                attrs.put_be32(7, JENKINS);
            }
            Expr::Dnat { family, addr, port } => {
                const DNAT: u32 = 1;
                attrs.put_be32(1, DNAT);
                attrs.put_be32(2, u32::from(*family));
                attrs.put_be32(3, addr.0);
                attrs.put_be32(5, port.0);
            }
            Expr::Ct {
                key,
                direction,
                dreg,
            } => {
                attrs.put_be32(1, dreg.0);
                attrs.put_be32(2, *key as u32);
                if let Some(direction) = direction {
                    attrs.put(3, &[*direction as u8]);
                }
            }
            Expr::And { register, mask } => {
                attrs.put_be32(1, register.0);
                attrs.put_be32(2, register.0);
                attrs.put_be32(3, mask.len() as u32);
                attrs.nest(4, |attrs| attrs.put(DATA_VALUE, mask));
                attrs.nest(5, |attrs| attrs.put(DATA_VALUE, &vec![0; mask.len()]));
            }
            Expr::Update {
                set,
                key,
                data,
                timeout_msecs,
            } => {
                const UPDATE: u32 = 1;
                attrs.put_str(1, set);
                attrs.put_be32(3, UPDATE);
                attrs.put_be32(4, key.0);
                attrs.put_be32(5, data.0);
                attrs.put_be64(6, *timeout_msecs);
            }
            Expr::Reject(Reject::TcpReset) => attrs.put_be32(1, 1),
            Expr::Reject(Reject::Unreachable(code)) => {
                attrs.put_be32(1, 0);
                attrs.put(2, &[*code]);
            }
            _ => {}
        }
    }
}

fn meta(attrs: &mut AttrWriter<'_>, key: u32, dreg: Register) {
    attrs.put_be32(1, dreg.0);
    attrs.put_be32(2, key);
}

fn payload(attrs: &mut AttrWriter<'_>, base: u32, offset: u32, len: u32, dreg: Register) {
    attrs.put_be32(1, dreg.0);
    attrs.put_be32(2, base);
    attrs.put_be32(3, offset);
    attrs.put_be32(4, len);
}

/// The content of a data attribute.
pub(super) fn write_verdict(attrs: &mut AttrWriter<'_>, verdict: &Verdict) {
    const CODE: u16 = 1;
    const CHAIN: u16 = 2;
    let (code, chain): (i32, _) = match verdict {
        Verdict::Drop => (0, None),
        Verdict::Accept => (1, None),
        Verdict::Jump(chain) => (-3, Some(chain)),
        Verdict::Goto(chain) => (-4, Some(chain)),
        Verdict::Return => (-5, None),
    };
    attrs.nest(DATA_VERDICT, |attrs| {
        attrs.put_be32(CODE, code.cast_unsigned());
        if let Some(chain) = chain {
            attrs.put_str(CHAIN, chain);
        }
    });
}
