//! Other service proxies: two that translate the same packets undo each other's work.

use super::{Family, Nft, Table};
use crate::Error;

/// The chain that kube-proxy and its like begin with under iptables.
const IPTABLES_CHAIN: &str = "KUBE-SERVICES";

/// What another service proxy has in the kernel: where it is, for people. Rules of `iptables-legacy` are not seen.
pub fn other_service_proxy() -> Result<Option<String>, Error> {
    let mut nft = Nft::open()?;
    for (family, name) in [(Family::Ip, "ip"), (Family::Ip6, "ip6")] {
        let table = |name| Table { family, name };
        if nft.has_table(table("kube-proxy"))? {
            return Ok(Some(format!("the nf_tables table {name} kube-proxy")));
        }
        if !nft.rule_comments(table("nat"), IPTABLES_CHAIN)?.is_empty() {
            return Ok(Some(format!(
                "the chain {IPTABLES_CHAIN} of the table {name} nat"
            )));
        }
    }
    Ok(None)
}
