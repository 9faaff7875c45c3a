//! The tables of the service proxy: made, changed, read back and removed.
//!
//! A service is elements of constant sets and maps; [`shape`] says which there are and what their rules do. Tables are
//! recognised by the comments of their rules, which carry a version.

mod counters;
mod forget;
mod found;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod load;
mod octets;
mod rules;
pub mod shape;
mod typeof_data;

use std::collections::BTreeSet;

use dunlin_dataplane::KernelError;
use dunlin_dataplane::proxy::{Batch, BatchDone, Element, FrontendSet, Op};
use dunlin_net::Afi;

use self::load::Load;
use super::{Generation, Nft, Transaction};
use crate::Error;
use crate::conntrack::Conntrack;

/// The tables, by an open socket. Knows which sets it has made, so that a change costs its elements only.
#[derive(Debug)]
pub struct ProxyTables {
    nft: Nft,
    /// Opened when first something is to be forgotten.
    conntrack: Option<Conntrack>,
    /// The sets made on demand that are there; `None`: unknown.
    made: Option<BTreeSet<FrontendSet>>,
    /// See [`dunlin_dataplane::proxy::Found::flows`].
    told_flows: bool,
}

/// Whether the tables of both families are there, whatever is in them.
pub fn present() -> Result<bool, Error> {
    let mut nft = Nft::open()?;
    let there = Afi::ALL.map(|afi| nft.has_table(shape::table(afi)));
    Ok(there
        .into_iter()
        .collect::<Result<Vec<bool>, Error>>()?
        .into_iter()
        .all(|there| there))
}

/// Why a batch was not done.
struct Failed {
    error: KernelError,
    /// See [`BatchDone::unsure`].
    unsure: bool,
}

impl Failed {
    fn nothing_done(error: impl Into<KernelError>) -> Failed {
        Failed {
            error: error.into(),
            unsure: false,
        }
    }
}

impl ProxyTables {
    /// Opens a socket; reads nothing yet.
    pub fn open() -> Result<ProxyTables, Error> {
        Ok(ProxyTables {
            nft: Nft::open()?,
            conntrack: None,
            made: None,
            told_flows: false,
        })
    }

    /// The port that notifications of our own changes carry.
    pub fn port(&self) -> u32 {
        self.nft.port()
    }

    /// Somebody else may have changed the tables.
    pub fn distrust(&mut self) {
        self.made = None;
    }

    /// How often any nf_tables have changed, by us and by others.
    pub fn generation(&mut self) -> Result<Generation, Error> {
        self.nft.generation()
    }

    /// Executes a batch.
    pub fn apply(&mut self, batch: &Batch) -> BatchDone {
        let failed = self.write(batch).err();
        let forgotten = match &failed {
            None => self.forget_all(&batch.forget),
            Some(_) => Ok(()),
        };
        if failed.as_ref().is_some_and(|failed| failed.unsure) {
            self.distrust();
        }
        BatchDone {
            number: batch.number,
            unsure: failed.as_ref().is_some_and(|failed| failed.unsure),
            result: failed.map_or(Ok(()), |failed| Err(failed.error)),
            forgotten,
        }
    }

    /// Removes both tables. Gives whether one was there.
    pub fn remove(&mut self) -> Result<bool, Error> {
        let mut transaction = Transaction::new();
        for afi in Afi::ALL {
            if self.nft.has_table(shape::table(afi))? {
                transaction.delete_table(shape::table(afi));
            }
        }
        let any = !transaction.is_empty();
        self.distrust();
        let what = "removing the nf_tables tables of services";
        self.nft.commit(what, transaction)?;
        Ok(any)
    }

    fn write(&mut self, batch: &Batch) -> Result<(), Failed> {
        let mut made = match self.made.take() {
            _ if batch.rebuild => BTreeSet::new(),
            Some(made) => made,
            None => self.learn()?,
        };
        let wanted = demanded(&batch.ops).map_err(Failed::nothing_done)?;
        let new: Vec<FrontendSet> = wanted.difference(&made).copied().collect();
        let mut load = Load::new(self.nft.limit(), self.is_whole(batch)?);
        if batch.rebuild {
            load.build();
        }
        for set in &new {
            load.make(*set);
        }
        load.fill(batch);
        let done = load.commit(&mut self.nft);
        if done.is_ok() {
            made.extend(new);
            self.made = Some(made);
        } else if !batch.rebuild {
            // As it was; where that is not sure, the caller drops it.
            self.made = Some(made);
        }
        done
    }

    /// Whether nobody may meet half of a batch. Where nothing is yet, or things are only added, half of it is better than
    /// none, as what leads to endpoints comes last.
    fn is_whole(&mut self, batch: &Batch) -> Result<bool, Failed> {
        let adds = batch.ops.iter().all(|op| matches!(op, Op::Add(_)));
        let mut replaces = false;
        if adds && batch.rebuild {
            for afi in Afi::ALL {
                let there = self.nft.has_table(shape::table(afi));
                replaces |= there.map_err(|error| Failed::nothing_done(&error))?;
            }
        }
        Ok(!adds || replaces)
    }

    /// Finds out which sets are there.
    fn learn(&mut self) -> Result<BTreeSet<FrontendSet>, Failed> {
        let shape = self.read_shape();
        let shape = shape.map_err(|error| Failed::nothing_done(&error))?;
        shape.made.ok_or_else(|| {
            Failed::nothing_done(KernelError {
                errno: 0,
                message: "the tables of services are not there as this version makes them: \
                          they must be made anew"
                    .to_owned(),
            })
        })
    }
}

/// The sets that must be made for what is added, where they are not there.
fn demanded(ops: &[Op]) -> Result<BTreeSet<FrontendSet>, KernelError> {
    let mut wanted = BTreeSet::new();
    for op in ops {
        let Op::Add(Element::Member { set, frontend }) = op else {
            continue;
        };
        if !shape::is_possible(*set) {
            return Err(KernelError {
                errno: libc::EINVAL,
                message: format!("{frontend} cannot be in {}", shape::set_name(*set)),
            });
        }
        if shape::on_demand(*set) {
            wanted.insert(*set);
        }
    }
    Ok(wanted)
}
