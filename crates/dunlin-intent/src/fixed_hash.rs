//! A hash that all agents agree on, whatever their version.

/// A hash of a name that never changes with the program's version: FNV-1a of 64 bits over the name and the attempt, mixed.
pub(crate) fn fixed_hash(name: &str, attempt: u32) -> u64 {
    let octets = name.bytes().chain([0]).chain(attempt.to_be_bytes());
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
