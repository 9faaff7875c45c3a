//! Services in numbers, without looking at what is behind each.

use std::collections::BTreeMap;

use super::{Cluster, WithheldReason};

/// Services in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// Services known.
    pub known: usize,
    /// Addresses that are announced; one that several Services have counts for each.
    pub announced: usize,
    /// Addresses that are not, by reason.
    pub withheld: BTreeMap<WithheldReason, usize>,
}

impl Cluster {
    /// Services in numbers, as of the last poll.
    pub fn service_counts(&self) -> ServiceCounts {
        let services = &self.services.services;
        let mut counts = ServiceCounts {
            known: services.len(),
            ..ServiceCounts::default()
        };
        for (_, service) in services.iter() {
            for verdict in &service.verdicts {
                match verdict {
                    None => counts.announced += 1,
                    Some(reason) => *counts.withheld.entry(*reason).or_default() += 1,
                }
            }
        }
        counts
    }
}
