use dunlin_dataplane::mark;
use dunlin_dataplane::masquerade::{Masquerade, Outcome, Range, Ranges, Role, SetName};
use dunlin_net::Afi;

use super::expr::{Cmp, Expr, reg};
use super::{Chain, DataType, Element, Nft, Set, Transaction};
use crate::Error;

const CHAIN: &str = "pod_egress";
const TABLE: &str = mark::NFT_TABLE;
/// Tells by which rules a table was written: change it when they change.
const COMMENT: &str = "dunlin pod egress 1";

/// Keeps the masquerade rules as wanted. Knows what the kernel holds, so that a change costs its elements only.
#[derive(Debug)]
pub struct Masquerader {
    nft: Nft,
    /// `None`: unknown.
    believed: Option<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// There is no table.
    Absent,
    /// There is a table with something else in it.
    Strange,
    Ours(Masquerade),
}

impl Masquerader {
    /// Opens a socket; reads nothing yet.
    pub fn open() -> Result<Masquerader, Error> {
        Ok(Masquerader {
            nft: Nft::open()?,
            believed: None,
        })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.nft.port()
    }

    /// Somebody else may have changed the table.
    pub fn forget(&mut self) {
        self.believed = None;
    }

    /// Makes the kernel hold exactly this; `None`: no table. What is there already is left alone.
    pub fn apply(&mut self, wanted: Option<&Masquerade>) -> Result<Outcome, Error> {
        let believed = match self.believed.take() {
            Some(believed) => believed,
            None => self.read()?,
        };
        // Until it is done, what is there is unknown.
        let outcome = match (&believed, wanted) {
            (State::Absent, None) => Outcome::default(),
            (State::Strange | State::Ours(_), None) => self.remove()?,
            (State::Ours(has), Some(wanted)) => self.change(has, wanted)?,
            (State::Absent | State::Strange, Some(wanted)) => self.build(wanted)?,
        };
        self.believed = Some(wanted.map_or(State::Absent, |wanted| State::Ours(wanted.clone())));
        Ok(outcome)
    }

    fn read(&mut self) -> Result<State, Error> {
        if !self.nft.has_table(TABLE)? {
            return Ok(State::Absent);
        }
        let comments = self.nft.rule_comments(TABLE, CHAIN)?;
        if comments.len() != Afi::ALL.len() || comments.iter().any(|comment| comment != COMMENT) {
            return Ok(State::Strange);
        }
        let mut found = Masquerade::default();
        for set in SetName::ALL {
            let Some(elements) = self.nft.elements(TABLE, set.name())? else {
                return Ok(State::Strange);
            };
            let Some(ranges) = ranges(set.afi, elements) else {
                return Ok(State::Strange);
            };
            *found.ranges_mut(set) = ranges;
        }
        Ok(State::Ours(found))
    }

    fn remove(&mut self) -> Result<Outcome, Error> {
        let mut transaction = Transaction::new();
        transaction.delete_table(TABLE);
        self.nft
            .commit("removing the masquerade rules", transaction)?;
        Ok(Outcome {
            rebuilt: true,
            ..Outcome::default()
        })
    }

    fn change(&mut self, has: &Masquerade, wanted: &Masquerade) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let mut writer = Writer::new(&mut self.nft);
        // What must not be rewritten grows before sources do.
        let mut changes = has.changes(wanted);
        changes.sort_by_key(|change| change.set.role == Role::Pods);
        for change in changes {
            outcome.removed += change.remove.len();
            outcome.added += change.add.len();
            let elements = elements(change.set.afi, &change.remove);
            writer
                .transaction
                .delete_elements(TABLE, change.set.name(), &elements);
            writer.add(change.set, &change.add)?;
        }
        writer.commit()?;
        Ok(outcome)
    }

    /// From nothing, or in place of whatever is there.
    fn build(&mut self, wanted: &Masquerade) -> Result<Outcome, Error> {
        let mut outcome = Outcome {
            rebuilt: true,
            ..Outcome::default()
        };
        let mut writer = Writer::new(&mut self.nft);
        writer.transaction.add_table(TABLE);
        writer.transaction.delete_table(TABLE);
        writer.transaction.add_table(TABLE);
        for set in SetName::ALL {
            let key = vec![address_type(set.afi)];
            let name = set.name().to_owned();
            writer.transaction.add_set(
                TABLE,
                &Set {
                    name,
                    key,
                    interval: true,
                    data: None,
                },
            );
        }
        for set in SetName::ALL {
            let ranges = wanted.ranges(set).as_slice();
            outcome.added += ranges.len();
            writer.add(set, ranges)?;
        }
        // Rules last: where the sets need several transactions, nothing is rewritten before they are full.
        writer
            .transaction
            .add_chain(TABLE, &Chain::source_nat(CHAIN));
        for afi in Afi::ALL {
            writer
                .transaction
                .add_rule(TABLE, CHAIN, COMMENT, &rule(afi));
        }
        writer.commit()?;
        Ok(outcome)
    }
}

/// Fills transactions, and commits one where the next elements might not fit.
struct Writer<'a> {
    nft: &'a mut Nft,
    transaction: Transaction,
    limit: usize,
}

/// Ranges encoded at a time.
const RANGES: usize = 500;

impl Writer<'_> {
    fn new(nft: &mut Nft) -> Writer<'_> {
        let limit = nft.limit();
        Writer {
            nft,
            transaction: Transaction::new(),
            limit,
        }
    }

    fn add(&mut self, set: SetName, ranges: &[Range]) -> Result<(), Error> {
        for some in ranges.chunks(RANGES) {
            self.transaction
                .add_elements(TABLE, set.name(), &elements(set.afi, some));
            if self.transaction.len() > self.limit / 2 {
                let full = std::mem::take(&mut self.transaction);
                self.nft.commit("writing the masquerade sets", full)?;
            }
        }
        Ok(())
    }

    fn commit(self) -> Result<(), Error> {
        self.nft
            .commit("writing the masquerade rules", self.transaction)
    }
}

/// `ip saddr @pods4 ip daddr != @cluster4 masquerade`, or the same for IPv6.
fn rule(afi: Afi) -> [Expr; 7] {
    let (family, source, destination) = match afi {
        Afi::Ipv4 => (libc::AF_INET, 12, 16),
        Afi::Ipv6 => (libc::AF_INET6, 8, 24),
    };
    let len = u32::from(afi.bits() / 8);
    let lookup = |role, invert| Expr::Lookup {
        set: SetName { afi, role }.name().to_owned(),
        sreg: reg::R1,
        dreg: None,
        invert,
    };
    [
        Expr::Nfproto { dreg: reg::R1 },
        Expr::Cmp {
            sreg: reg::R1,
            op: Cmp::Eq,
            value: vec![family as u8],
        },
        Expr::NetworkHeader {
            offset: source,
            len,
            dreg: reg::R1,
        },
        lookup(Role::Pods, false),
        Expr::NetworkHeader {
            offset: destination,
            len,
            dreg: reg::R1,
        },
        lookup(Role::Cluster, true),
        Expr::Masquerade,
    ]
}

fn address_type(afi: Afi) -> DataType {
    match afi {
        Afi::Ipv4 => DataType::Ipv4Addr,
        Afi::Ipv6 => DataType::Ipv6Addr,
    }
}

fn last_address(afi: Afi) -> u128 {
    u128::MAX >> (128 - u32::from(afi.bits()))
}

/// Two elements a range: its first address, and the first beyond it unless there is none.
fn elements(afi: Afi, ranges: &[Range]) -> Vec<Element> {
    let octets = usize::from(afi.bits() / 8);
    let key = |bits: u128| {
        bits.to_be_bytes()
            .get(16 - octets..)
            .unwrap_or_default()
            .to_vec()
    };
    let mut elements = Vec::with_capacity(ranges.len() * 2);
    for range in ranges {
        elements.push(Element {
            key: key(range.first),
            end: false,
            data: None,
        });
        if range.last < last_address(afi) {
            elements.push(Element {
                key: key(range.last + 1),
                end: true,
                data: None,
            });
        }
    }
    elements
}

/// The ranges that a set's elements make. `None` if they make no ranges.
fn ranges(afi: Afi, elements: Vec<Element>) -> Option<Ranges> {
    let octets = usize::from(afi.bits() / 8);
    let mut marks = Vec::with_capacity(elements.len());
    for element in elements {
        if element.key.len() != octets {
            return None;
        }
        let bits = element
            .key
            .iter()
            .fold(0u128, |bits, octet| bits << 8 | u128::from(*octet));
        // At the same place, one ends before the next begins.
        marks.push((bits, !element.end));
    }
    marks.sort_unstable();
    let (mut ranges, mut open) = (Vec::new(), None);
    for (bits, begins) in marks {
        match (begins, open) {
            (true, None) => open = Some(bits),
            (false, Some(first)) => {
                ranges.push(Range {
                    first,
                    last: bits.checked_sub(1)?,
                });
                open = None;
            }
            // Some kernels and `nft` mark the start of the gap before the first range.
            (false, None) if ranges.is_empty() => {}
            _ => return None,
        }
    }
    if let Some(first) = open {
        ranges.push(Range {
            first,
            last: last_address(afi),
        });
    }
    let merged = Ranges::new(ranges.iter().copied());
    // Ranges that touch were not written by us as such, and could not be removed as one.
    (merged.as_slice() == ranges).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_survive_their_encoding() {
        for (afi, nets) in [
            (Afi::Ipv4, ["10.0.0.0/8", "192.0.2.1/32", "240.0.0.0/4"]),
            (Afi::Ipv6, ["::/8", "fd00::/64", "ff00::/8"]),
        ] {
            let model = Masquerade::new(Vec::new(), nets.map(|net| net.parse().unwrap()));
            let has = model.cluster.get(afi);
            let mut elements = elements(afi, has.as_slice());
            elements.reverse();
            assert_eq!(ranges(afi, elements).as_ref(), Some(has));
        }
    }

    #[test]
    fn elements_that_are_no_ranges_are_strange() {
        let at = |key: u8, end| Element {
            key: vec![10, 0, 0, key],
            end,
            data: None,
        };
        assert!(ranges(Afi::Ipv4, vec![at(1, false), at(2, false)]).is_none());
        assert!(ranges(Afi::Ipv4, vec![at(1, false), at(2, true), at(3, true)]).is_none());
        assert!(ranges(Afi::Ipv4, vec![at(0, true), at(1, false), at(2, true)]).is_some());
        assert!(ranges(Afi::Ipv6, vec![at(1, false)]).is_none());
    }
}
