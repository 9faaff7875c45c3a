use std::fs::OpenOptions;

use dunlin_kernel::sysctl::OF_HOST;

use super::{Finding, Machine};

/// The sysctls without which a node does not forward.
const FORWARDING: [&str; 2] = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

pub(super) fn check(machine: &Machine, agent_runs: bool) -> Vec<Finding> {
    let mut findings: Vec<Finding> = FORWARDING
        .iter()
        .map(|name| forwarding(machine, name, agent_runs))
        .collect();
    findings.push(reverse_path(machine));
    findings
}

fn forwarding(machine: &Machine, name: &str, agent_runs: bool) -> Finding {
    const CHECK: &str = "forwarding";
    let file = format!("/proc/sys/{name}");
    let shown = name.replace('/', ".");
    let value = match machine.read(&file) {
        Ok(value) => value,
        Err(_) if name.contains("ipv6") => {
            return Finding::ok(
                CHECK,
                "this kernel has no IPv6, so nothing of it is forwarded",
            );
        }
        Err(error) => {
            return Finding::fail(
                CHECK,
                format!("{shown} cannot be read: {error}"),
                "is /proc mounted?",
            );
        }
    };
    if value.trim() == "1" {
        return Finding::ok(CHECK, format!("{shown} is on"));
    }
    if agent_runs {
        return Finding::fail(
            CHECK,
            format!("{shown} is off, although an agent runs"),
            format!("something turned it off: look into /etc/sysctl.d, then `sysctl -w {shown}=1`"),
        );
    }
    // Opened for writing and nothing written: only whether it could be.
    let of_host = machine.path(format!("{OF_HOST}/{name}"));
    let place = if of_host.exists() {
        of_host
    } else {
        machine.path(&file)
    };
    if let Err(error) = OpenOptions::new().write(true).open(place) {
        return Finding::fail(
            CHECK,
            format!("{shown} is off and cannot be turned on: {error}"),
            "run as root, with /proc/sys writable (give a container the host's /proc/sys/net at /host/proc/sys/net)",
        );
    }
    Finding::ok(CHECK, format!("{shown} is off; the agent turns it on"))
}

/// Strict reverse path filtering drops what comes in by another way than answers would go out (RFC 3704 section 2.2).
fn reverse_path(machine: &Machine) -> Finding {
    const CHECK: &str = "rp_filter";
    let conf = "/proc/sys/net/ipv4/conf";
    let value = |name: &str| -> u8 {
        let text = machine
            .read(format!("{conf}/{name}/rp_filter"))
            .unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    // The greater of `all` and the interface's own counts (ip-sysctl).
    let all = value("all");
    let strict: Vec<String> = machine
        .list(conf)
        .into_iter()
        .filter(|name| !matches!(name.as_str(), "all" | "default" | "lo"))
        .filter(|name| all.max(value(name)) == 1)
        .collect();
    if strict.is_empty() {
        return Finding::ok(CHECK, "no interface filters by strict reverse path");
    }
    let more = if strict.len() > 5 {
        format!(" and {} more", strict.len() - 5)
    } else {
        String::new()
    };
    let shown: Vec<&str> = strict.iter().take(5).map(String::as_str).collect();
    Finding::warn(
        CHECK,
        format!(
            "strict reverse path filtering on {}{more}",
            shown.join(", ")
        ),
        "packets that come in by another way than answers go out are dropped; with several uplinks use \
         `sysctl -w net.ipv4.conf.all.rp_filter=2`",
    )
}
