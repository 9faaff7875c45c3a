//! What one monitor session has been told, and whether it is what was sent.

use crate::wire::{Fault, Update};

/// How prefixes belong to attribute sets: prefix `n` is sent with set `n / per_set`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expectation {
    /// The daemon's AS, which must lead every AS_PATH.
    pub(crate) local_as: u32,
    pub(crate) per_set: u32,
}

/// The set of prefixes announced and not withdrawn since.
#[derive(Debug)]
pub(crate) struct Table {
    expectation: Expectation,
    bits: Vec<u64>,
    held: u32,
}

impl Table {
    /// An empty table for prefix numbers below `limit`.
    pub(crate) fn new(expectation: Expectation, limit: u32) -> Self {
        Self {
            expectation,
            bits: vec![0; limit.div_ceil(64) as usize],
            held: 0,
        }
    }

    /// How many prefixes are held now.
    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    /// Applies one UPDATE's body.
    pub(crate) fn apply(&mut self, body: &[u8]) -> Result<(), Fault> {
        let update = Update::parse(body, self.expectation.local_as)?;
        let mut fault = None;
        update.for_each_withdrawn(|index| match self.cell(index) {
            Some((word, bit)) => {
                self.held -= u32::from(self.bits[word] & bit != 0);
                self.bits[word] &= !bit;
            }
            None => fault = Some(Fault::Prefix),
        })?;
        update.for_each_announced(|index| match self.cell(index) {
            Some((word, bit)) => {
                if update.set != Some(index / self.expectation.per_set) {
                    fault = Some(Fault::MissingAttribute);
                }
                self.held += u32::from(self.bits[word] & bit == 0);
                self.bits[word] |= bit;
            }
            None => fault = Some(Fault::Prefix),
        })?;
        fault.map_or(Ok(()), Err)
    }

    fn cell(&self, index: u32) -> Option<(usize, u64)> {
        let word = (index / 64) as usize;
        (word < self.bits.len()).then_some((word, 1 << (index % 64)))
    }
}
