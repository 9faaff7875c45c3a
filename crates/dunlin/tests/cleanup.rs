//! `dunlin cleanup` in a network namespace of its own, among routes of others.
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

#[test]
fn cleanup_removes_exactly_what_is_ours() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to make network namespaces");
        return;
    }
    let home = Dir(std::env::temp_dir().join(format!("dunlin-cleanup-{}", std::process::id())));
    let path = |name: &str| home.0.join(name).display().to_string();
    for dir in ["cni", "protocols", "state"] {
        fs::create_dir_all(home.0.join(dir)).unwrap();
    }
    fs::write(
        path("cni/10-dunlin.conflist"),
        r#"{"name":"dunlin","plugins":[]}"#,
    )
    .unwrap();
    fs::write(
        path("cni/20-other.conflist"),
        r#"{"name":"other","plugins":[]}"#,
    )
    .unwrap();
    fs::write(path("protocols/dunlin.conf"), "68 dunlin\n").unwrap();
    for dir in ["secrets", "bin", "image"] {
        fs::create_dir_all(home.0.join(dir)).unwrap();
    }
    for file in [
        "state/boot-id",
        "state/cluster.redb",
        "secrets/passwords",
        "bin/bridge",
    ] {
        fs::write(path(file), "x").unwrap();
    }
    for plugin in ["ptp", "host-local", "portmap", "bandwidth", "loopback"] {
        fs::write(home.0.join("image").join(plugin), "x").unwrap();
    }
    // Ours: protocol 68 at metric 512, or 1024 and worse for blackholes of our own subnet; nexthops of our ids.
    let script = r#"set -e
        ip link add v0 type veth peer name v1
        ip link set v0 up; ip link set v1 up
        ip address add 192.0.2.1/24 dev v0
        ip nexthop add id 218103809 via 192.0.2.2 dev v0 proto 68
        ip nexthop add id 7 via 192.0.2.3 dev v0
        ip route add 10.244.2.0/24 nhid 218103809 proto 68 metric 512
        ip route add 10.244.3.0/24 via 192.0.2.2 proto 68 metric 20
        ip route add 10.9.0.0/16 via 192.0.2.2 proto static metric 512
        ip -6 route add 2001:db8:2::/64 dev v0 proto 68 metric 512
        nft add table inet dunlin
        nft add table inet other
        "$DUNLIN" install-cni --from "$HOME_DIR/image" --to "$HOME_DIR/bin" >&2
        "$DUNLIN" cleanup
        echo == would
        ip route show 10.244.2.0/24 | grep -q nhid
        "$DUNLIN" cleanup --yes --cni-bin-dir "$HOME_DIR/bin"
        echo == done
        ip -N route show; ip -N -6 route show proto 68; ip -N nexthop show; nft list tables
        echo == again
        "$DUNLIN" cleanup --yes"#;
    let output = in_namespace(script)
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
    assert!(output.status.success(), "{text}\n{error}");
    let (_, rest) = text.split_once("== would\n").unwrap();
    let (said, rest) = rest.split_once("== done\n").unwrap();
    let (left, again) = rest.split_once("== again\n").unwrap();
    for line in [
        "removed 2 routes",
        "removed 1 nexthop object",
        "removed the nf_tables table inet dunlin",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}: {said}");
    }
    assert!(
        !left.contains("10.244.2.0/24")
            && !left.contains("2001:db8:2::")
            && !left.contains("218103809"),
        "{left}"
    );
    assert!(!left.contains("inet dunlin"), "{left}");
    for foreign in ["10.244.3.0/24", "10.9.0.0/16", "id 7 ", "inet other"] {
        assert!(left.contains(foreign), "{foreign} went too: {left}");
    }
    assert_eq!(again, "nothing of ours is here\n");
    assert!(
        !home.0.join("cni/10-dunlin.conflist").exists()
            && home.0.join("cni/20-other.conflist").exists()
    );
    assert!(!home.0.join("protocols/dunlin.conf").exists());
    for gone in ["state", "secrets", "bin/ptp", "bin/loopback"] {
        assert!(!home.0.join(gone).exists(), "{gone}");
    }
    assert!(home.0.join("bin/bridge").exists(), "another's plugin");
}

#[test]
fn what_another_service_proxy_left_goes_and_nothing_else() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root, to make network namespaces");
        return;
    }
    let script = r#"set -e
        "$DUNLIN" cleanup --kube-proxy
        nft add table ip6 kube-proxy
        nft add table ip dunlin_services; nft add table ip6 dunlin_services
        nft add table inet dunlin
        iptables-nft -t nat -N KUBE-SERVICES; iptables-nft -t nat -A PREROUTING -j KUBE-SERVICES
        iptables-nft -N KUBE-FIREWALL; iptables-nft -A INPUT -j KUBE-FIREWALL
        iptables-nft -t nat -N KUBE-HOSTPORTS; iptables-nft -t nat -N KUBE-MARK-MASQ
        iptables-nft -t nat -A KUBE-HOSTPORTS -j KUBE-MARK-MASQ
        echo == would
        "$DUNLIN" cleanup --kube-proxy --dry-run
        nft list table ip6 kube-proxy > /dev/null
        echo == done
        "$DUNLIN" cleanup --kube-proxy --yes
        echo == left
        nft list tables; iptables-nft-save | grep -v '^#'"#;
    let output = in_namespace(script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{error}");
    let (nothing, rest) = text.split_once("== would\n").unwrap();
    assert_eq!(nothing, "nothing of another service proxy is here\n");
    let (would, rest) = rest.split_once("== done\n").unwrap();
    let (done, left) = rest.split_once("== left\n").unwrap();
    let what = [
        "the nf_tables table ip6 kube-proxy",
        "1 chain of iptables and 1 rule that leads there, in the table nat of ip in nf_tables",
    ];
    for what in what {
        assert!(would.contains(what), "{would}");
        assert!(done.contains(&format!("removed {what}\n")), "{done}");
    }
    let stays = "the chain KUBE-MARK-MASQ of the table nat: KUBE-HOSTPORTS";
    assert!(would.contains(&format!("and leaves {stays}")), "{would}");
    assert!(done.contains(&format!("left {stays}")), "{done}");
    assert!(
        !left.contains("kube-proxy") && !left.contains("KUBE-SERVICES"),
        "{left}"
    );
    for foreign in [
        "dunlin_services",
        "inet dunlin",
        "-A INPUT -j KUBE-FIREWALL",
        "-j KUBE-MARK-MASQ",
    ] {
        assert!(left.contains(foreign), "{foreign} went too: {left}");
    }
}
