//! A `BFDProfile` by itself: what is wrong with it, and what it asks for.

use std::time::Duration;

use crate::fact::BfdProfileFact;
use crate::intent::BfdIntent;
use crate::problem::{ObjectKind, ObjectRef, Problem};
use crate::settings::Faults;

/// Either interval unless said otherwise, in milliseconds.
const DEFAULT_INTERVAL_MILLIS: u32 = 300;

/// The multiplier unless said otherwise.
const DEFAULT_MULTIPLIER: u8 = 3;

/// The least and the most that an interval may be, in milliseconds.
const INTERVALS_MILLIS: [u32; 2] = [10, 60_000];

/// What a `BFDProfile` asks for, or why it is refused.
pub(crate) fn profile(fact: &BfdProfileFact) -> Result<BfdIntent, Vec<Problem>> {
    let mut faults = Faults::new(ObjectRef::new(ObjectKind::BfdProfile, &fact.name));
    let mut interval = |given: Option<u32>, field: &str| {
        let millis = given.unwrap_or(DEFAULT_INTERVAL_MILLIS);
        let [least, most] = INTERVALS_MILLIS;
        if !(least..=most).contains(&millis) {
            faults.invalid(
                field,
                format!("{millis} ms is out of range: give {least} to {most}"),
            );
        }
        Duration::from_millis(millis.into())
    };
    let transmit_interval = interval(fact.transmit_interval_millis, "spec.transmitIntervalMillis");
    let receive_interval = interval(fact.receive_interval_millis, "spec.receiveIntervalMillis");
    if fact.detect_multiplier == Some(0) {
        faults.invalid("spec.detectMultiplier", "0 misses nothing: give 1 to 255");
    }
    if fact.minimum_ttl == Some(0) {
        faults.invalid("spec.minimumTTL", "0 is no TTL: give 1 to 255");
    }
    if !faults.problems.is_empty() {
        return Err(faults.problems);
    }
    Ok(BfdIntent {
        transmit_interval,
        receive_interval,
        detect_multiplier: fact.detect_multiplier.unwrap_or(DEFAULT_MULTIPLIER),
        passive: fact.passive.unwrap_or(false),
        minimum_ttl: fact.minimum_ttl,
    })
}
