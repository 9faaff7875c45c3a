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
