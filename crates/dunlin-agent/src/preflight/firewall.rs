use serde_json::Value;

use super::{Finding, Machine};

const CHECK: &str = "firewall";

/// A base chain that drops what it does not accept cannot be overruled from another table, so whoever made it has to let
/// pods through.
pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = match (machine.run)(&["nft", "-j", "list", "chains"]) {
        Ok(text) => judge(&text),
        Err(error) => vec![Finding::warn(
            CHECK,
            format!("whether a firewall drops forwarded packets cannot be seen: nft: {error}"),
            "run as root, with nftables installed, to have it checked",
        )],
    };
    // The old iptables has rules of its own that nft does not list.
    for (table, program) in [
        ("/proc/net/ip_tables_names", "iptables-legacy"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy"),
    ] {
        let in_use = machine
            .read(table)
            .is_ok_and(|text| text.lines().any(|line| line == "filter"));
        if in_use {
            findings.push(Finding::warn(
                CHECK,
                format!("there are rules made with {program}, which nft does not list"),
                format!("see `{program} -S FORWARD`: it has to let the pod subnets through"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            "no chain drops forwarded packets by its policy",
        ));
    }
    findings
}

fn judge(text: &str) -> Vec<Finding> {
    let parsed: Value = match serde_json::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            return vec![Finding::warn(
                CHECK,
                format!("what nft prints is not understood: {error}"),
                "use a newer nft",
            )];
        }
    };
    let chains = parsed["nftables"].as_array().into_iter().flatten();
    let chains = chains.map(|entry| &entry["chain"]);
    let drops = chains.filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop");
    drops
        .map(|chain| {
            let text = |key: &str| chain[key].as_str().unwrap_or("?");
            let (family, table, name) = (text("family"), text("table"), text("name"));
            let who = match (table, name) {
                ("filter", "FORWARD") => "Docker or a firewall has set it: ",
                ("firewalld", _) => "firewalld: `firewall-cmd --permanent --zone=trusted --add-source=POD-SUBNET`, or ",
                _ => "",
            };
            Finding::fail(
                CHECK,
                format!("chain {name} of table {family} {table} drops forwarded packets by its policy"),
                format!(
                    "{who}let the cluster's pod subnets through there, for instance `nft insert rule {family} {table} {name} \
                     {} saddr POD-SUBNETS accept` and the same with daddr",
                    if family == "ip6" { "ip6" } else { "ip" }
                ),
            )
        })
        .collect()
}
