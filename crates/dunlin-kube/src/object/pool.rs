use std::net::IpAddr;

use dunlin_intent::{AddressRange, PoolFact};
use dunlin_net::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cel;
use super::meta::Meta;
use super::shared::SelectorSpec;
use super::value::Values;

/// Addresses that Services of type LoadBalancer are given.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    /// Prefixes, such as 192.0.2.0/24, and ranges, such as 192.0.2.10-192.0.2.20, of either family.
    #[schemars(required, length(min = 1, max = 256), with = "Vec<cel::Range>")]
    addresses: Option<Vec<String>>,
    /// The Services that may have one of the addresses. Default all.
    service_selector: Option<SelectorSpec>,
    /// The Namespaces, by their labels, whose Services may have one of the addresses. Default all.
    namespace_selector: Option<SelectorSpec>,
    /// Whether Services are given an address of this pool without asking for the pool or one of its addresses. Default true.
    auto_assign: Option<bool>,
    /// Whether the first and the last address of each IPv4 prefix are left out. Default false.
    avoid_first_last: Option<bool>,
}

impl Spec {
    pub(super) fn into_fact(self, metadata: Meta) -> PoolFact {
        let mut values = Values::default();
        let addresses = self.addresses.unwrap_or_default();
        PoolFact {
            created: metadata.created(&mut values),
            name: metadata.name,
            addresses: values.each("spec.addresses", &addresses, |values, field, text| {
                range(text)
                    .map_err(|message| values.fault(field, message))
                    .ok()
            }),
            service_selector: self.service_selector.map(Into::into),
            namespace_selector: self.namespace_selector.map(Into::into),
            auto_assign: self.auto_assign.unwrap_or(true),
            avoid_first_last: self.avoid_first_last.unwrap_or(false),
            malformed: values.malformed,
        }
    }
}

/// Reads `192.0.2.0/24` or `192.0.2.10-192.0.2.20`.
fn range(text: &str) -> Result<AddressRange, String> {
    let is_cidr = !text.contains('-');
    let ends = match text.split_once('-') {
        Some((first, last)) => {
            let end = |text: &str| text.trim().parse::<IpAddr>().ok();
            end(first).zip(end(last))
        }
        None => match text.parse::<IpNet>() {
            Ok(net) if net.trunc() != net => {
                return Err(format!(
                    "{text} has bits beyond its length: write {}",
                    net.trunc()
                ));
            }
            net => net.ok().map(|net| (net.network(), net.broadcast())),
        },
    };
    let Some((first, last)) = ends else {
        return Err(format!(
            "{text:?} is neither a prefix nor a range: write 192.0.2.0/24 or 192.0.2.10-192.0.2.20"
        ));
    };
    let mapped = |addr| matches!(addr, IpAddr::V6(addr) if addr.to_ipv4_mapped().is_some());
    if first.is_ipv4() != last.is_ipv4() {
        Err(format!("{text} has ends of two families"))
    } else if first > last {
        Err(format!(
            "{text} ends before it begins: write {last}-{first}"
        ))
    } else if mapped(first) || mapped(last) {
        Err(format!(
            "{text} is of IPv4 written as IPv6: write it as IPv4"
        ))
    } else {
        Ok(AddressRange {
            first,
            last,
            is_cidr,
        })
    }
}

#[cfg(test)]
mod tests;
