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
    if machine
        .list("/sys/class/net")
        .iter()
        .any(|name| name == "kube-ipvs0")
    {
        return Some(Finding::ok(CHECK, "kube-proxy delivers services, by IPVS"));
    }
    // Without the right to look, nothing is said.
    let text = (machine.run)(&["nft", "-j", "list", "chains"]).ok()?;
    let entries = firewall::parse(&text).ok()?;
    let mut chains = entries.iter().map(|entry| &entry["chain"]);
    if chains
        .clone()
        .any(|chain| chain["table"] == dunlin_dataplane::mark::NFT_PROXY_TABLE)
    {
        return Some(Finding::ok(CHECK, "Dunlin delivers services"));
    }
    if chains.any(|chain| chain["name"] == "KUBE-SERVICES" || chain["table"] == "kube-proxy") {
        return Some(Finding::ok(CHECK, "kube-proxy delivers services"));
    }
    let legacy = machine.read("/proc/net/ip_tables_names");
    if legacy.is_ok_and(|text| text.lines().any(|line| line == "nat")) {
        return None;
    }
    Some(Finding::warn(
        CHECK,
        "nothing here delivers services: there are no rules of kube-proxy",
        "install kube-proxy or another service proxy, or give the agents --service-proxy on: docs/service-proxy.md",
    ))
}
