//! Pods by the CNI plugins, from a list such as the agent writes.

mod support;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use dunlin_lab::cni::{Chain, Container};
use dunlin_lab::pods;
use dunlin_lab::probe::icmp;
use support::{Scratch, Spaces, await_reply, installed, is_root};

fn list(data_dir: &Path) -> String {
    format!(
        r#"{{"cniVersion": "1.0.0", "name": "dunlin", "plugins": [
            {{"type": "ptp", "mtu": 1500, "ipam": {{"type": "host-local", "dataDir": "{}",
              "ranges": [[{{"subnet": "10.244.7.0/24"}}], [{{"subnet": "fd44:0:0:7::/64"}}]],
              "routes": [{{"dst": "0.0.0.0/0"}}, {{"dst": "::/0"}}]}}}},
            {{"type": "portmap", "capabilities": {{"portMappings": true}}}},
            {{"type": "bandwidth", "capabilities": {{"bandwidth": true}}}}]}}"#,
        data_dir.display()
    )
}

#[test]
fn pods_are_attached_reachable_detached_and_their_addresses_free_again() {
    if !is_root() || !installed("/usr/lib/cni/ptp", "containernetworking-plugins") {
        return;
    }
    let scratch = Scratch::new("cni");
    fs::write(scratch.0.join("20-other.conflist"), "no JSON").expect("a later list");
    fs::write(scratch.0.join("10-dunlin.conflist"), list(&scratch.0)).expect("the list");
    let chain = pods::chain_in(&scratch.0)
        .expect("readable")
        .expect("the first by name");
    assert_eq!(chain.plugins(), ["ptp", "portmap", "bandwidth"]);
    assert_eq!(chain.missing(), Vec::<&str>::new());
    let spaces = Spaces::new("cni", 3);
    let node = &spaces[0];
    spaces.ip(0, &["link set lo up"]);
    node.sysctls(&[
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
    ])
    .expect("sysctls");
    let container = |index: usize| Container {
        id: spaces[index].name().to_owned(),
        netns: spaces[index].path(),
        lab: support::unique("cni"),
    };
    let first: Vec<IpAddr> = chain.add(node, &container(1)).expect("ADD");
    let second = chain.add(node, &container(2)).expect("ADD");
    assert_eq!((first.len(), second.len()), (2, 2));
    for (address, other) in first.iter().zip(&second) {
        assert_ne!(address, other);
        await_reply(node, *address);
        await_reply(&spaces[1], *other);
    }
    for index in [1, 2] {
        chain.del(node, &container(index)).expect("DEL");
    }
    for address in first.iter().chain(&second) {
        icmp::ping(node, *address, Duration::from_millis(100)).expect_err("it is gone");
        assert!(
            !scratch.0.join("dunlin").join(address.to_string()).exists(),
            "{address} is free"
        );
    }
}

#[test]
fn a_plugin_that_fails_is_named_with_its_reason() {
    if !is_root() || !installed("/usr/lib/cni/ptp", "containernetworking-plugins") {
        return;
    }
    let scratch = Scratch::new("cnierr");
    let path = scratch.0.join("10-dunlin.conflist");
    let text = list(&scratch.0).replace("10.244.7.0/24", "10.244.7.0/33");
    fs::write(&path, text).expect("the list");
    let spaces = Spaces::new("cnierr", 2);
    let container = Container {
        id: "c".into(),
        netns: spaces[1].path(),
        lab: support::unique("cnierr"),
    };
    let chain = Chain::read(&path).expect("a list");
    let error = chain
        .add(&spaces[0], &container)
        .expect_err("no such mask")
        .to_string();
    assert!(
        error.contains("ptp ADD") && error.contains("/33"),
        "{error}"
    );
}

#[test]
fn plugins_that_are_not_installed_are_told_and_none_is_looked_for_elsewhere() {
    let scratch = Scratch::new("cnimiss");
    let path = scratch.0.join("10-dunlin.conflist");
    let text = list(&scratch.0)
        .replace("ptp", "../../bin/sh")
        .replace("portmap", "no-such");
    fs::write(&path, text).expect("the list");
    let chain = Chain::read(&path).expect("a list");
    let missing = chain.missing();
    assert!(
        missing.contains(&"../../bin/sh") && missing.contains(&"no-such"),
        "{missing:?}"
    );
}
