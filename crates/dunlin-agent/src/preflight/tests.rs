use std::io;
use std::path::Path;

use super::{
    Finding, Level, Machine, cni, firewall, kernel, manifests, networkd, others, ports, routes,
    sysctls,
};
use crate::fake_engine::Dir;

/// A machine made of files, with programs that print what a test says.
struct Fake {
    dir: Dir,
    machine: Machine,
}

impl Fake {
    fn new(name: &str, run: fn(&[&str]) -> io::Result<String>) -> Fake {
        let dir = Dir::new(&format!("preflight-{name}"));
        let machine = Machine {
            root: dir.0.clone(),
            run,
            other_proxy: || Ok(None),
        };
        Fake { dir, machine }
    }

    fn file(self, path: &str, text: &str) -> Fake {
        let path = self.dir.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn directory(self, path: &str) -> Fake {
        std::fs::create_dir_all(self.dir.0.join(path)).unwrap();
        self
    }
}

fn no_programs(_: &[&str]) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn levels(findings: &[Finding]) -> Vec<Level> {
    findings.iter().map(|finding| finding.level).collect()
}

const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:00B3 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
";

#[test]
fn a_taken_port_is_named_with_its_owner() {
    let fake = Fake::new("port", no_programs)
        .file("proc/net/tcp", TCP)
        .file("proc/17/comm", "bird\n")
        .directory("proc/17/fd");
    std::os::unix::fs::symlink("socket:[4711]", fake.dir.0.join("proc/17/fd/3")).unwrap();
    let findings = ports::check(&fake.machine, false);
    assert_eq!(levels(&findings), [Level::Fail]);
    assert_eq!(findings[0].text, "port 179 is taken by bird (process 17)");
    assert_eq!(
        levels(&ports::check(&fake.machine, true)),
        [Level::Ok],
        "by our own agent"
    );
}

#[test]
fn a_connection_from_the_port_does_not_take_it() {
    let connected: String = TCP
        .lines()
        .filter(|line| !line.contains(" 0A "))
        .map(|l| format!("{l}\n"))
        .collect();
    let fake = Fake::new("port-free", no_programs).file("proc/net/tcp", &connected);
    assert_eq!(levels(&ports::check(&fake.machine, false)), [Level::Ok]);
}

#[test]
fn forwarding_that_the_agent_can_turn_on_is_fine_until_it_runs() {
    let fake = Fake::new("forwarding", no_programs)
        .file("proc/sys/net/ipv4/ip_forward", "0\n")
        .file("proc/sys/net/ipv6/conf/all/forwarding", "1\n");
    let before = sysctls::check(&fake.machine, false);
    assert_eq!(levels(&before), [Level::Ok, Level::Ok, Level::Ok]);
    assert_eq!(
        before[0].text,
        "net.ipv4.ip_forward is off; the agent turns it on"
    );
    let running = sysctls::check(&fake.machine, true);
    assert_eq!(levels(&running), [Level::Fail, Level::Ok, Level::Ok]);
}

#[test]
fn strict_reverse_path_filtering_is_named_by_interface() {
    let fake = Fake::new("rp", no_programs)
        .file("proc/sys/net/ipv4/ip_forward", "1\n")
        .file("proc/sys/net/ipv4/conf/all/rp_filter", "0\n")
        .file("proc/sys/net/ipv4/conf/lo/rp_filter", "1\n")
        .file("proc/sys/net/ipv4/conf/eth0/rp_filter", "1\n")
        .file("proc/sys/net/ipv4/conf/eth1/rp_filter", "2\n");
    let finding = sysctls::check(&fake.machine, false).pop().unwrap();
    assert_eq!(
        (finding.level, finding.text.as_str()),
        (Level::Warn, "strict reverse path filtering on eth0")
    );
    let fake = fake.file("proc/sys/net/ipv4/conf/all/rp_filter", "2\n");
    let finding = sysctls::check(&fake.machine, false).pop().unwrap();
    assert_eq!(finding.level, Level::Ok, "the greater value counts");
}

#[test]
fn route_owners_that_get_in_the_way_are_told_apart() {
    fn run(line: &[&str]) -> io::Result<String> {
        Ok(if line.contains(&"-4") {
            r#"[{"dst":"default","gateway":"10.0.0.254","protocol":"3","flags":[]},
                {"dst":"10.244.2.0/24","protocol":"68","metric":512,"flags":[]},
                {"type":"blackhole","dst":"10.244.1.0/24","protocol":"68","metric":4096,"flags":[]},
                {"dst":"10.9.0.0/16","protocol":"68","metric":20,"flags":[]},
                {"dst":"10.8.0.0/16","protocol":"186","metric":512,"flags":[]}]"#
        } else {
            ""
        }
        .into())
    }
    let fake = Fake::new("routes", run);
    let findings = routes::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Fail, Level::Warn]);
    assert!(findings[0].text.ends_with(": 10.9.0.0/16"), "{findings:?}");
    assert!(findings[1].text.ends_with(": 10.8.0.0/16"), "{findings:?}");
    let blind = Fake::new("routes-blind", no_programs);
    assert_eq!(levels(&routes::check(&blind.machine)), [Level::Warn]);
}

#[test]
fn networkd_has_to_be_told_to_leave_foreign_routes_alone() {
    let fake = Fake::new("networkd", no_programs).directory("run/systemd/netif/links");
    assert_eq!(
        levels(&networkd::check(&fake.machine)),
        [Level::Ok],
        "it does not run"
    );
    let fake = fake.file("proc/300/comm", "systemd-network\n");
    assert_eq!(
        levels(&networkd::check(&fake.machine)),
        [Level::Fail],
        "the default"
    );
    let fake = fake.file(
        "usr/lib/systemd/networkd.conf.d/50.conf",
        "[Network]\nManageForeignRoutes = no\n",
    );
    assert_eq!(levels(&networkd::check(&fake.machine)), [Level::Ok]);
    let fake = fake.file(
        "etc/systemd/networkd.conf.d/60.conf",
        "[Network]\nManageForeignRoutes=yes\n",
    );
    assert_eq!(
        levels(&networkd::check(&fake.machine)),
        [Level::Fail],
        "a later file says otherwise"
    );
    let fake = fake.file(
        "etc/systemd/networkd.conf.d/60.conf",
        "[DHCPv4]\nManageForeignRoutes=yes\n",
    );
    assert_eq!(
        levels(&networkd::check(&fake.machine)),
        [Level::Ok],
        "another section says nothing"
    );
}

#[test]
fn a_forward_chain_that_drops_by_policy_is_named() {
    fn docker(_: &[&str]) -> io::Result<String> {
        Ok(r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},
            {"chain":{"family":"ip","table":"filter","name":"FORWARD","handle":1,"type":"filter","hook":"forward","prio":0,"policy":"drop"}},
            {"chain":{"family":"ip","table":"filter","name":"INPUT","handle":2,"type":"filter","hook":"input","prio":0,"policy":"drop"}},
            {"chain":{"family":"inet","table":"dunlin","name":"forward","handle":3,"type":"filter","hook":"forward","prio":0,"policy":"accept"}},
            {"chain":{"family":"ip","table":"filter","name":"DOCKER","handle":4}}]}"#
            .into())
    }
    let fake = Fake::new("firewall", docker);
    let findings = firewall::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Fail]);
    assert_eq!(
        findings[0].text,
        "chain FORWARD of table ip filter drops forwarded packets by its policy"
    );
    let fake = Fake::new("firewall-legacy", |_| Ok(r#"{"nftables":[]}"#.into()))
        .file("proc/net/ip_tables_names", "nat\nfilter\n");
    assert_eq!(levels(&firewall::check(&fake.machine)), [Level::Warn]);
}

#[test]
fn another_pod_network_is_named_by_its_interfaces() {
    let fake = Fake::new("others", no_programs).directory("sys/class/net/eth0");
    assert_eq!(levels(&others::check(&fake.machine)), [Level::Ok]);
    let fake = fake
        .directory("sys/class/net/cali0123456789a")
        .directory("sys/class/net/vxlan.calico")
        .directory("sys/class/net/kube-bridge");
    let findings = others::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Warn]);
    assert_eq!(
        findings[0].text,
        "another pod network is here, or its remains: kube-router (kube-bridge), Calico (cali0123456789a)"
    );
}

#[test]
fn a_kubernetes_node_without_a_service_proxy_is_told_so() {
    let nothing: fn(&[&str]) -> io::Result<String> = |_| Ok(r#"{"nftables":[]}"#.into());
    let fake = Fake::new("proxy", nothing);
    assert_eq!(
        others::check(&fake.machine).len(),
        1,
        "this is no Kubernetes node"
    );
    let fake = fake.directory("var/lib/kubelet");
    assert_eq!(
        levels(&others::check(&fake.machine)),
        [Level::Ok, Level::Warn]
    );
    let mut fake = fake;
    fake.machine.other_proxy = || Ok(Some("the interface kube-ipvs0".into()));
    let findings = others::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Ok, Level::Ok]);
    assert!(findings[1].text.contains("kube-ipvs0"), "{findings:?}");
    fake.machine.other_proxy = || Err("no right".into());
    assert_eq!(levels(&others::check(&fake.machine)), [Level::Ok]);
    let fake = Fake::new("proxy-own", |_| {
        Ok(r#"{"nftables":[{"chain":{"family":"ip","table":"dunlin_services","name":"known","handle":4}}]}"#.into())
    })
    .directory("var/lib/kubelet");
    let findings = others::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Ok, Level::Ok]);
    assert_eq!(findings[1].text, "Dunlin delivers services");
    let mut fake = fake;
    fake.machine.other_proxy = || Ok(Some("the nf_tables table ip kube-proxy".into()));
    let findings = others::check(&fake.machine);
    assert_eq!(levels(&findings), [Level::Ok, Level::Warn]);
}

#[test]
fn the_cni_plugins_have_to_be_in_one_place_and_our_file_has_to_come_first() {
    let conf = Path::new("/etc/cni/net.d");
    let mut fake = Fake::new("cni", no_programs);
    assert_eq!(
        levels(&cni::check(&fake.machine, conf)),
        [Level::Fail, Level::Ok]
    );
    for plugin in ["ptp", "host-local", "portmap"] {
        fake = fake.file(&format!("usr/lib/cni/{plugin}"), "");
    }
    fake = fake.file("opt/cni/bin/bandwidth", "");
    let findings = cni::check(&fake.machine, conf);
    assert_eq!(findings[0].text, "/usr/lib/cni lacks bandwidth");
    let fake = fake
        .file("usr/lib/cni/bandwidth", "")
        .file("etc/cni/net.d/10-dunlin.conflist", "")
        .file("etc/cni/net.d/99-bridge.conf", "")
        .file("etc/cni/net.d/05-old.conflist", "")
        .file("etc/cni/net.d/00-README", "");
    let findings = cni::check(&fake.machine, conf);
    assert_eq!(levels(&findings), [Level::Ok, Level::Fail]);
    assert!(
        findings[1].text.starts_with("05-old.conflist in "),
        "{findings:?}"
    );
}

#[test]
fn manifests_are_judged_as_an_agent_would() {
    let node = |name: &str, n: u8| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nspec: {{podCIDRs: [10.244.{n}.0/24]}}\n\
             status: {{addresses: [{{type: InternalIP, address: 10.0.0.{n}}}]}}\n"
        )
    };
    let dir = Path::new("/cluster");
    let fake = Fake::new("manifests", no_programs);
    assert_eq!(
        levels(&manifests::check(&fake.machine, dir, "n1")),
        [Level::Fail],
        "no directory"
    );
    let fake = fake
        .file("cluster/n1.yaml", &node("n1", 1))
        .file("cluster/.n1.yaml.swp", "\u{0}");
    let findings = manifests::check(&fake.machine, dir, "n1");
    assert_eq!(levels(&findings), [Level::Ok], "{findings:?}");
    let findings = manifests::check(&fake.machine, dir, "n9");
    assert!(
        findings[0].text.starts_with("there is no Node n9"),
        "{findings:?}"
    );
    let fake = fake
        .file("cluster/n2.yaml", &node("n2", 1))
        .file("cluster/n3.yaml", "kind: Node\n  metadata: [\n");
    let findings = manifests::check(&fake.machine, dir, "n1");
    assert!(
        findings.iter().all(|finding| finding.level == Level::Fail),
        "{findings:?}"
    );
    assert!(
        findings[0].text.starts_with("/cluster/n3.yaml: line 2"),
        "{findings:?}"
    );
    assert!(
        findings[1..].iter().any(|f| f.text.contains("Node/n2")),
        "{findings:?}"
    );
}

#[test]
fn kernels_are_compared_by_number_and_not_by_text() {
    for (release, level) in [
        ("6.18.44\n", Level::Ok),
        ("5.10.0-28-amd64\n", Level::Ok),
        ("5.9.16\n", Level::Fail),
        ("4.19-rc1\n", Level::Fail),
        ("", Level::Warn),
    ] {
        let fake = Fake::new("kernel", no_programs).file("proc/sys/kernel/osrelease", release);
        assert_eq!(levels(&kernel::check(&fake.machine)), [level], "{release}");
    }
}

#[test]
fn this_machine_is_looked_at_without_a_change_or_a_panic() {
    let options = super::Preflight {
        api: None,
        cni_conf_dir: "/etc/cni/net.d".into(),
        manifests: None,
        agent_runs: false,
    };
    let checks: Vec<&str> = super::run(&options)
        .iter()
        .map(|finding| finding.check)
        .collect();
    for check in [
        "privileges",
        "kernel",
        "port",
        "forwarding",
        "rp_filter",
        "routes",
        "networkd",
        "firewall",
        "cni-plugins",
        "networks",
    ] {
        assert!(checks.contains(&check), "{check} in {checks:?}");
    }
}
