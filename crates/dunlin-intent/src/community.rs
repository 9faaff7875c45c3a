//! Communities as people write them.

use dunlin_bgp::policy::CommunityValue;

/// The well-known communities by name (IANA "BGP Well-known Communities"), in the order that people are told them in.
pub const WELL_KNOWN: [(&str, u32); 6] = [
    ("no-export", 0xFFFF_FF01),
    ("no-advertise", 0xFFFF_FF02),
    ("no-export-subconfed", 0xFFFF_FF03),
    ("no-peer", 0xFFFF_FF04),
    ("blackhole", 0xFFFF_029A),
    ("graceful-shutdown", 0xFFFF_0000),
];

/// Reads a community of any form: `64512:100`, `64512:1:2` or a name such as `no-export`.
///
/// # Errors
/// Says what was read and what forms there are.
pub fn parse(text: &str) -> Result<CommunityValue, String> {
    if let Ok(value) = parse_well_known(text) {
        return Ok(value);
    }
    match text.split(':').count() {
        2 => parse_standard(text),
        3 => parse_large(text),
        _ => Err(format!(
            "{text:?} is no community: write 64512:100, 64512:1:2 or one of {}",
            names()
        )),
    }
}

/// Reads a standard community (RFC 1997), `asn:value`, both of 16 bits.
///
/// # Errors
/// Says what was read and what was expected.
pub fn parse_standard(text: &str) -> Result<CommunityValue, String> {
    let fault = || {
        format!(
            "{text:?} is no standard community: write two numbers of 16 bits, such as 64512:100"
        )
    };
    let (asn, value) = text.split_once(':').ok_or_else(fault)?;
    let asn: u16 = number(asn).ok_or_else(fault)?;
    let value: u16 = number(value).ok_or_else(fault)?;
    Ok(CommunityValue::Standard(
        u32::from(asn) << 16 | u32::from(value),
    ))
}

/// Reads a large community (RFC 8092), `global:local1:local2`, each of 32 bits.
///
/// # Errors
/// Says what was read and what was expected.
pub fn parse_large(text: &str) -> Result<CommunityValue, String> {
    let mut parts = text.split(':').map(number::<u32>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(global)), Some(Some(local1)), Some(Some(local2)), None) => {
            Ok(CommunityValue::Large(global, local1, local2))
        }
        _ => Err(format!(
            "{text:?} is no large community: write three numbers of 32 bits, such as 64512:1:2"
        )),
    }
}

/// Reads the name of a well-known community.
///
/// # Errors
/// Lists the names there are.
pub fn parse_well_known(text: &str) -> Result<CommunityValue, String> {
    WELL_KNOWN
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|&(_, value)| CommunityValue::Standard(value))
        .ok_or_else(|| {
            format!(
                "{text:?} is no well-known community: use one of {}",
                names()
            )
        })
}

fn names() -> String {
    WELL_KNOWN.map(|(name, _)| name).join(", ")
}

/// A decimal number without sign, so that what is read prints the same again.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let decimal = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    decimal.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
