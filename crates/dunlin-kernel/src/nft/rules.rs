use dunlin_dataplane::mark;
use dunlin_dataplane::rules::{Outcome, Range, Ranges, Role, Rules, SetName};
use dunlin_net::Afi;

use super::expr::{Cmp, Expr, Verdict, reg};
use super::{Chain, DataType, Element, Family, Nft, Set, Table, Transaction};
use crate::Error;

/// The table that [`RuleKeeper`] keeps.
pub const RULES_TABLE: Table = Table {
    family: Family::Inet,
    name: mark::NFT_TABLE,
};
const TABLE: Table = RULES_TABLE;

/// A chain of ours: one rule for each family.
struct Rule {
    chain: &'static str,
    /// Tells by which rules a table was written: change it when they change.
    comment: &'static str,
    at: fn(&str) -> Chain,
    exprs: fn(Afi) -> Vec<Expr>,
}

const RULES: [Rule; 2] = [
    Rule {
        chain: "pod_egress",
        comment: "dunlin pod egress 1",
        at: Chain::source_nat,
        exprs: pod_egress,
    },
    Rule {
        chain: "service_drop",
        comment: "dunlin service drop 1",
        at: Chain::late_forward,
        exprs: service_drop,
    },
];

/// Keeps our table as wanted. Knows what the kernel holds, so that a change costs its elements only.
#[derive(Debug)]
pub struct RuleKeeper {
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
    Ours(Rules),
}

impl RuleKeeper {
    /// Opens a socket; reads nothing yet.
    pub fn open() -> Result<RuleKeeper, Error> {
        Ok(RuleKeeper {
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
    pub fn apply(&mut self, wanted: Option<&Rules>) -> Result<Outcome, Error> {
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
        for rule in &RULES {
            let comments = self.nft.rule_comments(TABLE, rule.chain)?;
            let ours = |comment: &String| comment == rule.comment;
            if comments.len() != Afi::ALL.len() || !comments.iter().all(ours) {
                return Ok(State::Strange);
            }
        }
        let mut found = Rules::default();
        for set in SetName::all() {
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
            .commit("removing the nf_tables table", transaction)?;
        Ok(Outcome {
            rebuilt: true,
            ..Outcome::default()
        })
    }

    fn change(&mut self, has: &Rules, wanted: &Rules) -> Result<Outcome, Error> {
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
    fn build(&mut self, wanted: &Rules) -> Result<Outcome, Error> {
        let mut outcome = Outcome {
            rebuilt: true,
            ..Outcome::default()
        };
        let mut writer = Writer::new(&mut self.nft);
        writer.transaction.add_table(TABLE);
        writer.transaction.delete_table(TABLE);
        writer.transaction.add_table(TABLE);
        for set in SetName::all() {
            let key = vec![address_type(set.afi)];
            let name = set.name().to_owned();
            writer.transaction.add_set(
                TABLE,
                &Set {
                    name,
                    key,
                    interval: true,
                    ..Set::default()
                },
            );
        }
        for set in SetName::all() {
            let ranges = wanted.ranges(set).as_slice();
            outcome.added += ranges.len();
            writer.add(set, ranges)?;
        }
        // Rules last: where the sets need several transactions, nothing is rewritten before they are full.
        for rule in &RULES {
            let chain = (rule.at)(rule.chain);
            writer.transaction.add_chain(TABLE, &chain);
            for afi in Afi::ALL {
                let exprs = (rule.exprs)(afi);
                writer
                    .transaction
                    .add_rule(TABLE, rule.chain, rule.comment, &exprs);
            }
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
                self.nft.commit("writing the nf_tables sets", full)?;
            }
        }
        Ok(())
    }

    fn commit(self) -> Result<(), Error> {
        self.nft
            .commit("writing the nf_tables rules", self.transaction)
    }
}

/// `ip saddr @pods4 ip daddr != @cluster4 masquerade`, or the same for IPv6.
fn pod_egress(afi: Afi) -> Vec<Expr> {
    let mut exprs = of_family(afi);
    exprs.extend(address_in(afi, Address::Source, Role::Pods, false));
    exprs.extend(address_in(afi, Address::Destination, Role::Cluster, true));
    exprs.push(Expr::Masquerade);
    exprs
}

/// `ip daddr @services4 counter drop`, or the same for IPv6. What was translated has another destination by then.
fn service_drop(afi: Afi) -> Vec<Expr> {
    let mut exprs = of_family(afi);
    exprs.extend(address_in(afi, Address::Destination, Role::Services, false));
    exprs.push(Expr::Counter);
    exprs.push(Expr::Verdict(Verdict::Drop));
    exprs
}

fn of_family(afi: Afi) -> Vec<Expr> {
    let family = match afi {
        Afi::Ipv4 => libc::AF_INET,
        Afi::Ipv6 => libc::AF_INET6,
    };
    vec![
        Expr::Nfproto { dreg: reg::R1 },
        Expr::Cmp {
            sreg: reg::R1,
            op: Cmp::Eq,
            value: vec![family as u8],
        },
    ]
}

/// An address of a packet.
#[derive(Clone, Copy)]
enum Address {
    Source,
    Destination,
}

fn address_in(afi: Afi, which: Address, role: Role, invert: bool) -> [Expr; 2] {
    let offset = match (afi, which) {
        (Afi::Ipv4, Address::Source) => 12,
        (Afi::Ipv4, Address::Destination) => 16,
        (Afi::Ipv6, Address::Source) => 8,
        (Afi::Ipv6, Address::Destination) => 24,
    };
    [
        Expr::NetworkHeader {
            offset,
            len: u32::from(afi.bits() / 8),
            dreg: reg::R1,
        },
        Expr::Lookup {
            set: SetName { afi, role }.name().to_owned(),
            sreg: reg::R1,
            dreg: None,
            invert,
        },
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
pub(super) fn elements(afi: Afi, ranges: &[Range]) -> Vec<Element> {
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
pub(super) fn ranges(afi: Afi, elements: Vec<Element>) -> Option<Ranges> {
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
            let nets = nets.map(|net| net.parse().unwrap());
            let of_both = dunlin_dataplane::rules::ranges(nets);
            let has = of_both.get(afi);
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
