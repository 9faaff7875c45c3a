//! Tables for consistent hashing: D. E. Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer",
//! NSDI 2016, section 3.4. Each endpoint has its own order of preference over all slots, and they take turns until none is
//! left: shares differ by little, and an endpoint that comes or goes moves little that is not its own.
//!
//! All nodes must make the same table of the same endpoints: nothing in here may ever depend on a seed, on the order of
//! events or on what the table was before.

use std::net::{IpAddr, SocketAddr};

/// The size of tables if nobody says another: at most one percent uneven for 10 endpoints.
pub const DEFAULT_TABLE_SLOTS: u32 = 1021;
/// The largest table.
pub const MAX_TABLE_SLOTS: u32 = 65_537;

/// The size of the table that is made where `slots` are asked for: the next prime, at most [`MAX_TABLE_SLOTS`].
pub fn table_slots(slots: u32) -> u32 {
    (slots.max(2)..MAX_TABLE_SLOTS)
        .find(|candidate| is_prime(*candidate))
        .unwrap_or(MAX_TABLE_SLOTS)
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

/// The endpoint (by index) of each of `slots` slots, a prime. Empty for no endpoints.
pub(super) fn table(endpoints: &[SocketAddr], slots: u32) -> Vec<u32> {
    const FREE: u32 = u32::MAX;
    if endpoints.is_empty() || slots < 2 {
        return Vec::new();
    }
    let modulus = u64::from(slots);
    // Where each looks next, and by how much it goes on from there.
    let mut turns: Vec<(u64, u64)> = endpoints
        .iter()
        .map(|endpoint| {
            let hash = hash(endpoint);
            (mix(hash) % modulus, mix(hash ^ SKIP) % (modulus - 1) + 1)
        })
        .collect();
    let mut table = vec![FREE; slots as usize];
    let mut left = table.len();
    loop {
        for (index, (next, skip)) in (0..).zip(turns.iter_mut()) {
            // The skip and the prime have no common divisor: all slots are visited before one is again.
            loop {
                let slot = &mut table[*next as usize];
                *next = (*next + *skip) % modulus;
                if *slot == FREE {
                    *slot = index;
                    break;
                }
            }
            left -= 1;
            if left == 0 {
                return table;
            }
        }
    }
}

/// Tells the second hash of an endpoint from the first: the digits of pi.
const SKIP: u64 = 0x243F_6A88_85A3_08D3;

/// FNV-1a over address and port.
fn hash(endpoint: &SocketAddr) -> u64 {
    let octet = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01B3);
    let addr = match endpoint.ip() {
        IpAddr::V4(addr) => addr.octets().iter().fold(0xCBF2_9CE4_8422_2325, octet),
        IpAddr::V6(addr) => addr.octets().iter().fold(0xCBF2_9CE4_8422_2325, octet),
    };
    endpoint.port().to_be_bytes().iter().fold(addr, octet)
}

/// The finalizer of `SplitMix64`: neighbouring addresses come to lie anywhere.
fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
