//! `dunlin check` in a network namespace, with firewalls as they are found on machines.
#![allow(clippy::print_stderr)]

mod support;

use support::in_namespace;

/// Runs a script in a network namespace of its own, then `dunlin check`; gives what it says of the firewall.
fn firewall(script: &str) -> Vec<(String, String)> {
    let script = format!("set -e\n{script}\n\"$DUNLIN\" check -o json || true");
    let output = in_namespace(&script)
        .env("DUNLIN_SOCKET", "/nonexistent/agent.sock")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let findings: Vec<serde_json::Value> = match serde_json::from_str(&text) {
        Ok(findings) => findings,
        Err(why) => panic!("{why}: {text}\n{error}"),
    };
    let word = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap().to_owned();
    findings
        .iter()
        .filter(|finding| finding["check"] == "firewall")
        .filter(|finding| !word(finding, "text").contains("legacy"))
        .map(|finding| (word(finding, "level"), word(finding, "text")))
        .collect()
}

fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root, to make network namespaces");
    }
    root
}

fn one(level: &str, text: &str) -> Vec<(String, String)> {
    vec![(level.to_owned(), text.to_owned())]
}

#[test]
fn a_machine_without_a_firewall_is_fine() {
    if can_run() {
        let found = firewall("nft add table inet dunlin");
        // Where only the old iptables is seen, that alone is said.
        assert!(
            found.is_empty() || found == one("ok", "no chain drops forwarded packets"),
            "{found:?}"
        );
    }
}

#[test]
fn dockers_policy_is_named_until_its_rules_accept_prefixes() {
    if !can_run() {
        return;
    }
    let docker = "iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER
                  iptables-nft -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let text = "chain FORWARD of table ip filter drops forwarded packets by its policy";
    assert_eq!(firewall(docker), one("fail", text));
    let opened = format!(
        "{docker}; iptables-nft -I FORWARD -s 10.244.0.0/16 -j ACCEPT; iptables-nft -I FORWARD -d 10.244.0.0/16 -j ACCEPT"
    );
    assert_eq!(
        firewall(&opened),
        one("warn", &format!("{text}, after accepting 10.244.0.0/16"))
    );
    // As the advice says it.
    let advised = format!(
        "{docker}; nft insert rule ip filter FORWARD ip saddr '{{ 10.244.0.0/16, 10.9.0.0/16 }}' accept"
    );
    assert_eq!(
        firewall(&advised),
        one(
            "warn",
            &format!("{text}, after accepting 10.9.0.0/16, 10.244.0.0/16")
        )
    );
}

#[test]
fn a_last_rule_that_rejects_everything_is_named() {
    if !can_run() {
        return;
    }
    let firewalld = "nft 'add table inet firewalld
        add chain inet firewalld filter_FORWARD { type filter hook forward priority 10 ; policy accept ; }
        add rule inet firewalld filter_FORWARD ct state { established, related } accept
        add rule inet firewalld filter_FORWARD reject with icmpx type admin-prohibited'";
    let text =
        "chain filter_FORWARD of table inet firewalld drops forwarded packets by its last rule";
    assert_eq!(firewall(firewalld), one("fail", text));
    let iptables = "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
                    iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited";
    let text = "chain FORWARD of table ip filter drops forwarded packets by its last rule";
    assert_eq!(firewall(iptables), one("fail", text));
    let harmless = "nft 'add table inet x
        add chain inet x y { type filter hook forward priority 0 ; policy accept ; }
        add rule inet x y ip daddr 192.0.2.1 drop'";
    assert!(firewall(harmless).iter().all(|(level, _)| level == "ok"));
}
