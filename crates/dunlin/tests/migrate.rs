//! What `dunlin migrate kube-router` prints is taken by an agent without a complaint.

use std::path::PathBuf;
use std::process::Command;

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const CLUSTER: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-router, namespace: kube-system}
spec:
  template:
    spec:
      containers:
        - name: kube-router
          image: docker.io/cloudnativelabs/kube-router
          args:
            - --run-router=true
            - --run-firewall=true
            - --run-service-proxy=false
            - --enable-overlay=false
            - --cluster-asn=65001
            - --bgp-graceful-restart=true
            - --peer-router-ips=192.0.2.254,2001:db8::fe
            - --peer-router-asns=65010,65010
            - --peer-router-passwords=c2VjcmV0,
            - --advertise-pod-cidr=true
"#;

const NODES: &str = r#"
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {kubernetes.io/hostname: n1}
  annotations:
    kube-router.io/node.bgp.communities: "65001:100,no-export"
    kube-router.io/node.bgp.customimportreject: "10.0.0.0/8"
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
"#;

#[test]
fn an_agent_takes_what_is_printed_without_a_complaint() {
    let home = Dir(std::env::temp_dir().join(format!("dunlin-migrate-{}", std::process::id())));
    let cluster = home.0.join("cluster");
    std::fs::create_dir_all(&cluster).unwrap();
    let old = home.0.join("old.yaml");
    std::fs::write(&old, format!("{CLUSTER}---{NODES}")).unwrap();
    std::fs::write(cluster.join("nodes.yaml"), NODES).unwrap();
    let secrets = cluster.join("secrets.yaml");
    let dunlin = || Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let output = dunlin()
        .args(["migrate", "kube-router", "--secrets-to"])
        .args([&secrets, &old])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(!text.contains("c2VjcmV0"), "{text}");
    std::fs::write(cluster.join("new.yaml"), &text).unwrap();
    let again = dunlin()
        .args(["migrate", "kube-router", "--secrets-to"])
        .args([&secrets, &old])
        .output()
        .unwrap();
    assert!(
        !again.status.success(),
        "a file that is there is not written over"
    );

    let output = dunlin()
        .args(["check", "-o", "json", "--node-name", "n1", "--cluster"])
        .arg(format!("dir:{}", cluster.display()))
        .output()
        .unwrap();
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let judged: Vec<_> = findings
        .iter()
        .filter(|finding| finding["check"] == "manifests")
        .collect();
    assert!(!judged.is_empty());
    for finding in judged {
        assert_eq!(finding["level"], "ok", "{finding} of\n{text}");
    }
}
