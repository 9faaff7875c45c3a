use super::{Finding, Machine, firewall};

/// Interfaces by which another pod network is known: the beginning of their names, and whose they are.
const INTERFACES: [(&str, &str); 12] = [
    ("kube-bridge", "kube-router"),
    ("cali", "Calico"),
    ("vxlan.calico", "Calico"),
    ("flannel", "flannel"),
    ("cni0", "flannel, or another network of the plugin bridge"),
    ("cilium_host", "Cilium"),
    ("lxc_health", "Cilium"),
    ("antrea-gw0", "Antrea"),
    ("weave", "Weave Net"),
    ("kube-ovn", "Kube-OVN"),
    ("ovn0", "Kube-OVN"),
    ("dummy-knd", "kindnet"),
];

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![networks(machine)];
    findings.extend(service_proxy(machine));
    findings
}

/// Another pod network, or what is left of it.
fn networks(machine: &Machine) -> Finding {
    const CHECK: &str = "networks";
    let interfaces = machine.list("/sys/class/net");
    let mut found: Vec<String> = Vec::new();
    for (beginning, whose) in INTERFACES {
        if found.iter().any(|said| said.starts_with(whose)) {
            continue;
        }
        if let Some(name) = interfaces.iter().find(|name| name.starts_with(beginning)) {
            found.push(format!("{whose} ({name})"));
        }
    }
    if found.is_empty() {
        return Finding::ok(CHECK, "no interface of another pod network");
    }
    Finding::warn(
        CHECK,
        format!(
            "another pod network is here, or its remains: {}",
            found.join(", ")
        ),
        "a node has one pod network: remove the other, and make its pods anew; docs/migrate and docs/beside say how",
    )
}

/// Only on a Kubernetes node: elsewhere nobody misses one.
fn service_proxy(machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "service-proxy";
    if !machine.path("/var/lib/kubelet").is_dir() {
        return None;
    }
    // Without the right to look, nothing is said.
    let other = (machine.other_proxy)().ok()?;
    let text = (machine.run)(&["nft", "-j", "list", "chains"]).unwrap_or_default();
    let entries = firewall::parse(&text).unwrap_or_default();
    let mut chains = entries.iter().map(|entry| &entry["chain"]);
    let ours = chains.any(|chain| chain["table"] == dunlin_dataplane::mark::NFT_PROXY_TABLE);
    match (ours, other) {
        (true, None) => return Some(Finding::ok(CHECK, "Dunlin delivers services")),
        (false, Some(what)) => {
            let text = format!("another service proxy delivers services: {what}");
            return Some(Finding::ok(CHECK, text));
        }
        (true, Some(what)) => {
            return Some(Finding::warn(
                CHECK,
                format!(
                    "Dunlin delivers services, and what another service proxy has is here: {what}"
                ),
                "stop the other; an agent with --service-proxy take-over removes it then, or `dunlin cleanup --kube-proxy --yes`",
            ));
        }
        (false, None) => {}
    }
    Some(Finding::warn(
        CHECK,
        "nothing here delivers services: there are no rules of a service proxy",
        "install kube-proxy or another service proxy, or give the agents --service-proxy on: docs/service-proxy.md",
    ))
}
