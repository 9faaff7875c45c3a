//! What is shown of services that a real agent has programmed into a real kernel, in a network namespace of its own.
#![allow(clippy::print_stderr)]

mod support;

use std::fs;
use std::path::PathBuf;

use support::in_namespace;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  type: LoadBalancer
  clusterIPs: ["10.96.0.10"]
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [198.51.100.0/24]
  sessionAffinity: ClientIP
  ports: [{name: http, protocol: TCP, port: 80, nodePort: 30080}]
status: {loadBalancer: {ingress: [{ip: 203.0.113.80}]}}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  type: ClusterIP
  clusterIPs: ["10.96.0.11"]
  ports: [{protocol: UDP, port: 53}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, protocol: TCP, port: 8080}]
endpoints:
- {addresses: ["10.244.1.2"], nodeName: n1, conditions: {ready: true}}
- {addresses: ["10.244.2.2"], nodeName: n2, conditions: {ready: true}}
- {addresses: ["10.244.2.3"], nodeName: n2, conditions: {ready: false}}
"#;

/// Waits for what is programmed, shows it in all ways, ends the agent and shows it again; then spoils the tables.
const SCRIPT: &str = r#"
    ip link set lo up
    ip link add v0 type veth peer name v1
    ip address add 192.0.2.1/24 dev v0
    ip link set v0 up; ip link set v1 up
    ip route add default dev v0
    "$DUNLIN" nft; echo "rc $?"
    "$DUNLIN" agent --node-name n1 --cluster "dir:$HOME_DIR/objects" --service-proxy on --service-counters on --metrics-addr 127.0.0.1:9179 \
        2>"$HOME_DIR/log" &
    agent=$!
    trap 'kill -KILL $agent 2>/dev/null' EXIT
    tries=0
    until "$DUNLIN" nft 2>/dev/null | grep -q 10.244.2.2; do
        tries=$((tries + 1))
        if [ $tries -gt 1200 ] || ! kill -0 $agent; then cat "$HOME_DIR/log" >&2; exit 1; fi
        sleep 0.1
    done
    # Refused each time: a connection is what is new to conntrack.
    for one in 1 2 3; do bash -c 'echo x >/dev/udp/10.96.0.11/53'; done
    echo == nft; "$DUNLIN" nft; echo "rc $?"
    echo == wide; "$DUNLIN" nft --service shop/web -o wide
    echo == services; "$DUNLIN" get services -o wide
    echo == explain; "$DUNLIN" explain shop/web | tee "$HOME_DIR/explained"
    "$DUNLIN" status >"$HOME_DIR/status"
    grep -o "\(random\|sticky\|slots\|guarded\|allowed\|refused\|dropped\)[a-z_0-9]* { .* }" "$HOME_DIR/explained" |
        while read -r element; do
            nft get element ip dunlin_services $element >/dev/null || echo "nft does not find $element"
        done
    echo == status; grep programmed "$HOME_DIR/status"
    kill -KILL $agent; wait $agent 2>/dev/null
    echo == dead; "$DUNLIN" nft --address 10.96.0.10; echo "rc $?"
    "$DUNLIN" nft --service shop/web 2>&1; echo "rc $?"
    "$DUNLIN" nft --limit 1 2>&1 >/dev/null
    echo == faulty
    nft delete element ip dunlin_services served '{ 10.96.0.0 }'
    "$DUNLIN" nft --address 10.96.0.10; echo "rc $?"
    echo == spoilt
    nft flush chain ip dunlin_services prerouting
    "$DUNLIN" nft; echo "rc $?"
"#;

#[test]
fn what_is_programmed_is_shown_with_and_without_an_agent() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to make network namespaces");
        return;
    }
    let home = Dir(std::env::temp_dir().join(format!("dunlin-nft-{}", std::process::id())));
    let path = |name: &str| home.0.join(name).display().to_string();
    for dir in ["objects", "cni", "protocols", "state"] {
        fs::create_dir_all(home.0.join(dir)).unwrap();
    }
    fs::write(path("objects/all.yaml"), OBJECTS).unwrap();
    let output = in_namespace(SCRIPT)
        .env("DUNLIN_SOCKET", path("agent.sock"))
        .env("DUNLIN_CNI_CONF_DIR", path("cni"))
        .env("DUNLIN_PROTOCOL_NAMES", path("protocols"))
        .env("DUNLIN_STATE_DIR", path("state"))
        .env("DUNLIN_SECRETS_DIR", path("secrets"))
        .env("HOME_DIR", &home.0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let (before, rest) = text
        .split_once("== nft\n")
        .unwrap_or_else(|| panic!("{text}\n{error}"));
    assert!(before.starts_with("nothing is programmed"), "{before}");
    assert!(before.ends_with("rc 0\n"), "{before}");
    let parts: Vec<&str> = rest.split("== ").collect();
    let [nft, wide, services, explained, status, dead, faulty, spoilt] = parts[..] else {
        panic!("{text}\n{error}");
    };
    let holds = |part: &str, lines: &[&str]| {
        let plain = part.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in lines {
            assert!(plain.contains(line), "{line}: {part}\n{error}");
        }
    };
    holds(
        nft,
        &[
            "4 frontends",
            "shop/empty 10.96.0.11:53/UDP all refused 3 yes",
            "shop/web 10.96.0.10:80/TCP all random 10.244.1.2:8080 0 yes sticky for 3h00m 10.244.2.2:8080",
            "outside random 10.244.1.2:8080 only 198.51.100.0/24",
            "rc 0",
        ],
    );
    holds(
        wide,
        &[
            "nft get element ip dunlin_services allowed { 203.0.113.80 . tcp . 80 . 198.51.100.0/24 }",
        ],
    );
    assert!(!wide.contains("shop/empty"), "{wide}");
    holds(
        services,
        &[
            "30080/TCP yes 0 10.244.1.2:8080 (n1), 10.244.2.2:8080 (inside only), 10.244.2.3:8080 (not ready)",
            "53/UDP yes 3 refused",
        ],
    );
    holds(
        explained,
        &[
            "10.96.0.10:80/TCP (ClusterIP, port http) is programmed",
            "from elsewhere only 198.51.100.0/24 may come",
            "to 1 endpoint (externalTrafficPolicy Local: all that are ready on this node)",
        ],
    );
    assert!(
        !explained.contains("nft does not find"),
        "{explained}\n{error}"
    );
    holds(status, &["programmed: 4 of 4 frontends of 2 services"]);
    holds(
        dead,
        &[
            "no agent answers",
            "10.96.0.10:80/TCP all random",
            "give --address",
            "there are 3 more",
        ],
    );
    holds(faulty, &["not among the served", "rc 1"]);
    holds(
        spoilt,
        &["not as this version of dunlin makes them", "rc 1"],
    );
}
