use std::collections::BTreeMap;

use dunlin_intent::{Secret, SecretFact, SecretRef};
use serde::Deserialize;

use super::meta::{Meta, namespaced};

/// The key that holds a password, as in Secrets of type `kubernetes.io/basic-auth`.
const KEY: &str = "password";

/// A Secret; only its password is kept. Not `Debug`: its content must not be shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SecretObject {
    metadata: Meta,
    data: Option<BTreeMap<String, String>>,
    string_data: Option<BTreeMap<String, String>>,
}

impl SecretObject {
    pub(super) fn into_fact(mut self) -> SecretFact {
        let plain = self.string_data.as_mut().and_then(|data| data.remove(KEY));
        let encoded = self.data.as_mut().and_then(|data| data.remove(KEY));
        // As the API server does it: stringData wins.
        let password = match (plain, encoded) {
            (Some(plain), _) => Some(Secret::new(plain.into_bytes())),
            (None, Some(encoded)) => decode_base64(&encoded).map(Secret::new),
            (None, None) => None,
        };
        let at = namespaced(self.metadata.namespace, self.metadata.name);
        SecretFact {
            at: SecretRef::new(&*at.namespace, &*at.name),
            password,
        }
    }
}

/// Base64 with padding (RFC 4648 section 4); line breaks are skipped.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let symbols: Vec<u8> = text
        .bytes()
        .filter(|c| !matches!(c, b'\n' | b'\r'))
        .collect();
    if !symbols.len().is_multiple_of(4) {
        return None;
    }
    let padding = symbols.iter().rev().take_while(|c| **c == b'=').count();
    let (symbols, _) = symbols.split_at(symbols.len() - padding);
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(symbols.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0u32);
    for symbol in symbols {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xFFFF;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held & 0xFF) as u8);
        }
    }
    // What is left over of the last symbol is zero in a canonical encoding.
    (bits & ((1 << held) - 1) == 0).then_some(out)
}

#[cfg(test)]
mod tests;
