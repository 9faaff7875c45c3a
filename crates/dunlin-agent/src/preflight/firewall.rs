use serde_json::Value;

use super::{Finding, Machine};

const CHECK: &str = "firewall";

/// Prefixes of somebody's rules that are shown.
const SHOWN: usize = 6;

/// A base chain that drops what it does not accept cannot be overruled from another table, so whoever made it has to let
/// pods through.
pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = match (machine.run)(&["nft", "-j", "list", "chains"]) {
        Ok(text) => match parse(&text) {
            Ok(entries) => forward_chains(&entries)
                .iter()
                .filter_map(|chain| judge(machine, chain))
                .collect(),
            Err(finding) => vec![finding],
        },
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
        findings.push(Finding::ok(CHECK, "no chain drops forwarded packets"));
    }
    findings
}

/// What `nft -j` lists.
pub(super) fn parse(text: &str) -> Result<Vec<Value>, Finding> {
    match serde_json::from_str::<Value>(text) {
        Ok(mut parsed) => match parsed["nftables"].take() {
            Value::Array(entries) => Ok(entries),
            _ => Ok(Vec::new()),
        },
        Err(error) => Err(Finding::warn(
            CHECK,
            format!("what nft prints is not understood: {error}"),
            "use a newer nft",
        )),
    }
}

/// A chain that sees forwarded packets.
struct Chain {
    family: String,
    table: String,
    name: String,
    drops_by_policy: bool,
}

fn forward_chains(entries: &[Value]) -> Vec<Chain> {
    let chains = entries.iter().map(|entry| &entry["chain"]);
    let ours = |chain: &&Value| chain["table"] == "dunlin" && chain["family"] == "inet";
    chains
        .filter(|chain| chain["hook"] == "forward" && !ours(chain))
        .filter_map(|chain| {
            let text = |key: &str| Some(chain[key].as_str()?.to_owned());
            Some(Chain {
                family: text("family")?,
                table: text("table")?,
                name: text("name")?,
                drops_by_policy: chain["policy"] == "drop",
            })
        })
        .collect()
}

fn judge(machine: &Machine, chain: &Chain) -> Option<Finding> {
    let (family, table, name) = (&chain.family, &chain.table, &chain.name);
    let listed = (machine.run)(&["nft", "-j", "list", "chain", family, table, name]);
    let entries = listed
        .ok()
        .and_then(|text| parse(&text).ok())
        .unwrap_or_default();
    let rules: Vec<&Value> = entries
        .iter()
        .map(|entry| &entry["rule"]["expr"])
        .filter(|expr| expr.is_array())
        .collect();
    let how = match (chain.drops_by_policy, rules.last()) {
        (true, _) => "by its policy",
        (false, Some(last)) if refuses_everything(last) => "by its last rule",
        _ => return None,
    };
    let text = format!("chain {name} of table {family} {table} drops forwarded packets {how}");
    let who = match (table.as_str(), name.as_str()) {
        ("filter", "FORWARD") => "Docker or a firewall has set it: ",
        ("firewalld", _) => {
            "firewalld: `firewall-cmd --permanent --zone=trusted --add-source=POD-SUBNETS`, or "
        }
        _ => "",
    };
    let protocol = if family == "ip6" { "ip6" } else { "ip" };
    let advice = format!(
        "{who}let the cluster's pod subnets through there, for instance `nft insert rule {family} {table} {name} {protocol} \
         saddr POD-SUBNETS accept` and the same with daddr"
    );
    let accepted = accepted_prefixes(&rules);
    if accepted.is_empty() {
        return Some(Finding::fail(CHECK, text, advice));
    }
    // Whether these are the pod subnets is not known here.
    let more = if accepted.len() > SHOWN {
        " and others"
    } else {
        ""
    };
    let shown = accepted[..accepted.len().min(SHOWN)].join(", ");
    Some(Finding::warn(
        CHECK,
        format!("{text}, after accepting {shown}{more}"),
        format!(
            "the cluster's pod subnets have to be among these, as source and as destination; if not, {advice}"
        ),
    ))
}

/// Whether a rule drops or rejects whatever comes to it. Rules made with iptables-nft name their target beside native parts.
fn refuses_everything(expr: &Value) -> bool {
    let parts = expr.as_array().into_iter().flatten();
    let silent = |part: &&Value| {
        ["counter", "log", "limit"]
            .iter()
            .any(|key| part.get(key).is_some())
    };
    let parts: Vec<&Value> = parts.filter(|part| !silent(part)).collect();
    let [only] = parts.as_slice() else {
        return false;
    };
    only.get("drop").is_some()
        || only.get("reject").is_some()
        || (only["xt"]["type"] == "target" && only["xt"]["name"] == "REJECT")
}

/// The prefixes that rules of this chain accept as a source or destination, in order.
fn accepted_prefixes(rules: &[&Value]) -> Vec<String> {
    let mut accepted = Vec::new();
    for expr in rules {
        let parts: Vec<&Value> = expr.as_array().into_iter().flatten().collect();
        if !parts.iter().any(|part| part.get("accept").is_some()) {
            continue;
        }
        for part in parts {
            let matched = &part["match"];
            let field = matched["left"]["payload"]["field"].as_str();
            if matched["op"] != "==" || !matches!(field, Some("saddr" | "daddr")) {
                continue;
            }
            for prefix in prefixes(&matched["right"]) {
                if !accepted.contains(&prefix) {
                    accepted.push(prefix);
                }
            }
        }
    }
    accepted
}

fn prefixes(value: &Value) -> Vec<String> {
    if let Some(list) = value["set"].as_array() {
        return list.iter().flat_map(prefixes).collect();
    }
    let prefix = &value["prefix"];
    match (prefix["addr"].as_str(), prefix["len"].as_u64()) {
        (Some(addr), Some(len)) => vec![format!("{addr}/{len}")],
        _ => Vec::new(),
    }
}
