//! Which chains of `iptables` are a service proxy's, and what has to go with them.

use std::collections::{BTreeMap, BTreeSet};

/// By what a rule is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// The kernel's number.
    Handle(u64),
    /// What follows `-A CHAIN` where it is listed.
    Text(String),
}

/// A rule, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) id: Id,
    /// The chain it leads to.
    pub(crate) to: Option<String>,
    /// It looks at what IPVS did.
    pub(crate) ipvs: bool,
}

/// A chain and its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Packets come in here.
    pub(crate) base: bool,
    pub(crate) rules: Vec<Rule>,
}

/// A table of `iptables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) table: &'static str,
    pub(crate) chains: BTreeMap<String, Chain>,
}

/// What has to go from a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) table: &'static str,
    /// Rules of base chains, with their chain.
    pub(crate) rules: Vec<(String, Id)>,
    /// Chains with all their rules.
    pub(crate) chains: Vec<String>,
    /// Chains of theirs that stay, and why.
    pub(crate) kept: Vec<String>,
}

impl Plan {
    pub(crate) fn is_anything(&self) -> bool {
        !self.rules.is_empty() || !self.chains.is_empty()
    }
}

/// kube-proxy's in any mode, and kube-router's for services. kubelet's are `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`,
/// `KUBE-MARK-DROP` and, in `filter`, `KUBE-FIREWALL`; kube-router's `KUBE-ROUTER-INPUT` and so on are of network policies.
const NAMES: [(&str, &[&str]); 3] = [
    (
        "nat",
        &[
            "KUBE-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-POSTROUTING",
            MARK_CHAIN,
            "KUBE-LOAD-BALANCER",
            "KUBE-NODE-PORT",
            "KUBE-FIREWALL",
            "KUBE-PROXY-CANARY",
            "KUBE-ROUTER-HAIRPIN",
        ],
    ),
    (
        "filter",
        &[
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-FORWARD",
            "KUBE-PROXY-FIREWALL",
            "KUBE-SOURCE-RANGES-FIREWALL",
            "KUBE-NODE-PORT",
            "KUBE-IPVS-FILTER",
            "KUBE-IPVS-OUT-FILTER",
            "KUBE-PROXY-CANARY",
            "KUBE-ROUTER-SERVICES",
        ],
    ),
    ("mangle", &["KUBE-PROXY-CANARY"]),
];
/// A chain for each service or endpoint, in `nat`.
const PREFIXES: [&str; 6] = [
    "KUBE-SVC-",
    "KUBE-SVL-",
    "KUBE-SEP-",
    "KUBE-FW-",
    "KUBE-XLB-",
    "KUBE-EXT-",
];
/// Others have led packets here that are to be masqueraded, which the other chain does.
const MARK_CHAIN: &str = "KUBE-MARK-MASQ";
const MASQUERADE_CHAIN: &str = "KUBE-POSTROUTING";

fn is_theirs(table: &str, chain: &str) -> bool {
    let named = NAMES.iter().find(|(name, _)| *name == table);
    named.is_some_and(|(_, chains)| chains.contains(&chain))
        || table == "nat" && PREFIXES.iter().any(|prefix| chain.starts_with(prefix))
}

/// What has to go; `None` where nothing here has a name of theirs.
pub(crate) fn plan(rules: Rules) -> Option<Plan> {
    let Rules { table, chains } = rules;
    let theirs = |name: &str| is_theirs(table, name);
    let kube_router = chains.contains_key("KUBE-ROUTER-HAIRPIN");
    if !chains.keys().any(|name| theirs(name)) {
        return None;
    }
    let kept = kept(table, &chains);
    let mut plan = Plan {
        table,
        rules: Vec::new(),
        chains: Vec::new(),
        kept: Vec::new(),
    };
    for (name, chain) in chains {
        if theirs(&name) {
            match kept.get(&name) {
                Some(by) => plan.kept.push(format!(
                    "the chain {name} of the table {table}: {by}, which is not of a service proxy, leads there"
                )),
                None => plan.chains.push(name),
            }
            continue;
        }
        // What leads there from a chain that is not a base chain keeps it.
        for rule in chain.rules.into_iter().filter(|_| chain.base) {
            let leads = rule
                .to
                .as_deref()
                .is_some_and(|to| theirs(to) && !(to == MASQUERADE_CHAIN && kept.contains_key(to)));
            if leads || rule.ipvs && kube_router {
                plan.rules.push((name.clone(), rule.id));
            }
        }
    }
    Some(plan)
}

/// The chains of theirs that others lead to, and what those lead to; with the chain that does.
fn kept(table: &str, chains: &BTreeMap<String, Chain>) -> BTreeMap<String, String> {
    let targets = |chain: &Chain| -> BTreeSet<String> {
        let to = chain.rules.iter().filter_map(|rule| rule.to.clone());
        to.filter(|to| is_theirs(table, to)).collect()
    };
    let mut kept: BTreeMap<String, String> = BTreeMap::new();
    let mut again: Vec<(String, String)> = Vec::new();
    for (name, chain) in chains {
        if !chain.base && !is_theirs(table, name) {
            again.extend(targets(chain).into_iter().map(|to| (to, name.clone())));
        }
    }
    while let Some((to, by)) = again.pop() {
        if kept.contains_key(&to) {
            continue;
        }
        if let Some(chain) = chains.get(&to) {
            again.extend(targets(chain).into_iter().map(|to| (to, by.clone())));
        }
        // What is marked there is masqueraded here.
        if to == MARK_CHAIN && chains.contains_key(MASQUERADE_CHAIN) {
            again.push((MASQUERADE_CHAIN.to_owned(), by.clone()));
        }
        kept.insert(to, by);
    }
    kept
}

#[cfg(test)]
mod tests;
