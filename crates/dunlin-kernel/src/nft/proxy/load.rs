use std::cmp::Reverse;
use std::collections::BTreeMap;

use dunlin_dataplane::KernelError;
use dunlin_dataplane::proxy::{Batch, Element, FrontendSet, Op};
use dunlin_net::Afi;
use dunlin_net::service::View;

use super::octets::Encoded;
use super::{Failed, rules, shape};
use crate::Error;
use crate::netlink::Refusal;
use crate::nft::transaction::ELEMENTS;
use crate::nft::{Nft, Transaction};

/// So many elements a transaction where it may be several: the kernel's hash tables grow between transactions, and one of
/// a hundred thousand elements takes it eight times as long as these.
const CHUNK: usize = 5_000;
const WHAT: &str = "writing the nf_tables tables of services";

/// Where an element stands. Those that make the others count come last: without them no endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Slots(View),
    Allowed,
    Hairpin,
    Near,
    Member(FrontendSet),
    /// Those that lead to endpoints: outside first, where inside counts if nothing else is said.
    Decides(Reverse<View>, FrontendSet),
    Served,
}

impl Place {
    fn of(element: &Element) -> Place {
        match *element {
            Element::Member { set, .. } => match set {
                FrontendSet::Random { view, .. } | FrontendSet::Hashed { view, .. } => {
                    Place::Decides(Reverse(view), set)
                }
                _ => Place::Member(set),
            },
            Element::Slot { view, .. } => Place::Slots(view),
            Element::Allowed { .. } => Place::Allowed,
            Element::Hairpin(_) => Place::Hairpin,
            Element::Near(_) => Place::Near,
            Element::Served(_) => Place::Served,
        }
    }

    fn name(self) -> String {
        match self {
            Place::Slots(view) => shape::slots(view).to_owned(),
            Place::Allowed => shape::ALLOWED.to_owned(),
            Place::Hairpin => shape::HAIRPIN.to_owned(),
            Place::Near => shape::NEAR.to_owned(),
            Place::Served => shape::SERVED.to_owned(),
            Place::Member(set) | Place::Decides(_, set) => shape::set_name(set),
        }
    }
}

/// A batch on its way into messages.
pub(super) struct Load {
    /// Full ones first.
    transactions: Vec<Part>,
    current: Part,
    /// How much one transaction may hold, in octets and in elements.
    limit: usize,
    elements: usize,
}

#[derive(Default)]
struct Part {
    transaction: Transaction,
    /// What messages are about, by the number of the first.
    about: Vec<(u32, About)>,
    elements: usize,
}

/// What some messages are about.
#[derive(Clone, Debug)]
struct About {
    add: bool,
    afi: Afi,
    place: Place,
    count: usize,
}

impl Load {
    /// `limit`: as [`Nft::limit`]; what does not fit takes more than one transaction. `whole`: else it takes no more than
    /// one.
    pub(super) fn new(limit: usize, whole: bool) -> Load {
        Load {
            transactions: Vec::new(),
            current: Part::default(),
            limit,
            elements: if whole { usize::MAX } else { CHUNK },
        }
    }

    /// Both tables anew, with all that is always there.
    pub(super) fn build(&mut self) {
        let transaction = &mut self.current.transaction;
        for afi in Afi::ALL {
            let table = shape::table(afi);
            // So that there is one to delete.
            transaction.add_table(table);
            transaction.delete_table(table);
            transaction.add_table(table);
            for chain in shape::fixed_chains() {
                transaction.add_chain(table, &chain);
            }
            for set in shape::fixed_sets(afi) {
                transaction.add_set(table, &set);
            }
            for rule in rules::fixed_rules(afi) {
                transaction.add_rule(table, &rule.chain, &rule.comment, &rule.exprs);
            }
        }
    }

    /// A set that is made on demand, in both tables.
    pub(super) fn make(&mut self, set: FrontendSet) {
        let transaction = &mut self.current.transaction;
        for afi in Afi::ALL {
            let table = shape::table(afi);
            transaction.add_set(table, &shape::frontend_set(afi, set));
            let (chains, rules) = rules::demanded(afi, set);
            for chain in chains {
                transaction.add_chain(table, &chain);
            }
            for rule in rules {
                if rule.first {
                    transaction.insert_rule(table, &rule.chain, &rule.comment, &rule.exprs);
                } else {
                    transaction.add_rule(table, &rule.chain, &rule.comment, &rule.exprs);
                }
            }
        }
    }

    /// The batch's operations, by where they are done: in one transaction only the order within a set counts.
    pub(super) fn fill(&mut self, batch: &Batch) {
        let mut places: BTreeMap<(Place, Afi), Vec<&Op>> = BTreeMap::new();
        for op in &batch.ops {
            let (Op::Add(element) | Op::Remove(element)) = op;
            let place = (Place::of(element), element.afi());
            places.entry(place).or_default().push(op);
        }
        for ((place, afi), ops) in places {
            let name = place.name();
            let adds = |op: &&Op| matches!(op, Op::Add(_));
            for run in ops.chunk_by(|one, other| adds(one) == adds(other)) {
                let add = run.first().is_some_and(adds);
                self.change(add, afi, place, &name, run);
            }
        }
    }

    fn change(&mut self, add: bool, afi: Afi, place: Place, name: &str, ops: &[&Op]) {
        // A range may take two.
        for some in ops.chunks(ELEMENTS / 2) {
            let full = self.current.elements >= self.elements;
            if full || self.current.transaction.len() > self.limit / 2 {
                self.transactions.push(std::mem::take(&mut self.current));
            }
            let about = About {
                add,
                afi,
                place,
                count: some.len(),
            };
            let table = shape::table(afi);
            let transaction = &mut self.current.transaction;
            let seq = transaction.change_elements(add, table, name, |list| {
                for op in some {
                    let (Op::Add(element) | Op::Remove(element)) = op;
                    Encoded::of(element).each(|one| list.push(one));
                }
            });
            self.current.about.push((seq, about));
            self.current.elements += some.len();
        }
    }

    /// Sends what there is.
    pub(super) fn commit(mut self, nft: &mut Nft) -> Result<(), Failed> {
        self.transactions.push(self.current);
        for (at, part) in self.transactions.into_iter().enumerate() {
            let begun = at > 0;
            match nft.attempt(WHAT, part.transaction) {
                Ok(None) => {}
                Ok(Some((seq, refusal))) => {
                    return Err(Failed {
                        error: refused(&part.about, seq, refusal),
                        unsure: begun,
                    });
                }
                Err(error) => {
                    return Err(Failed {
                        error: KernelError::from(&error),
                        // Without an answer it may have been done.
                        unsure: begun || !matches!(error, Error::TooLarge { .. }),
                    });
                }
            }
        }
        Ok(())
    }
}

fn refused(about: &[(u32, About)], seq: u32, Refusal { errno, message }: Refusal) -> KernelError {
    let what = match about.iter().find(|(of, _)| *of == seq) {
        None => WHAT.to_owned(),
        Some((_, about)) => {
            let (verb, word) = if about.add {
                ("adding", "to")
            } else {
                ("deleting", "from")
            };
            let (count, set) = (about.count, about.place.name());
            let table = shape::table(about.afi);
            let family = match about.afi {
                Afi::Ipv4 => "ip",
                Afi::Ipv6 => "ip6",
            };
            format!(
                "{verb} {count} elements {word} set {set} of the nf_tables table {family} {}",
                table.name
            )
        }
    };
    let cause = std::io::Error::from_raw_os_error(errno);
    let words = message.map_or(String::new(), |words| format!(": {words}"));
    KernelError {
        errno,
        message: format!("{what}: {cause}{words}"),
    }
}
