use std::fs;

use super::{Finding, Machine};

const CHECK: &str = "port";

/// The BGP port (RFC 4271 section 4).
const PORT: u16 = 179;

pub(super) fn check(machine: &Machine, agent_runs: bool) -> Vec<Finding> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| machine.read(path).unwrap_or_default());
    if tables.iter().all(String::is_empty) {
        return vec![Finding::warn(
            CHECK,
            "/proc/net/tcp cannot be read",
            "is /proc mounted?",
        )];
    }
    let inodes: Vec<u64> = tables.iter().flat_map(|table| listeners(table)).collect();
    if inodes.is_empty() {
        return vec![if agent_runs {
            Finding::warn(
                CHECK,
                format!("nobody listens on port {PORT}, although an agent runs"),
                "see `dunlin status`",
            )
        } else {
            Finding::ok(CHECK, format!("port {PORT} is free"))
        }];
    }
    if agent_runs {
        return vec![Finding::ok(
            CHECK,
            format!("port {PORT} is held, as it should be while an agent runs"),
        )];
    }
    let owner = owner(machine, &inodes).unwrap_or_else(|| "another program".into());
    vec![Finding::fail(
        CHECK,
        format!("port {PORT} is taken by {owner}"),
        "stop it, or give the agents another `listenPort` in the BGPConfiguration",
    )]
}

/// Inodes of the sockets that listen on the port, from /proc/net/tcp (proc_pid_net(5)).
fn listeners(table: &str) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let listener = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let port = fields.get(1)?.rsplit_once(':')?.1;
        let on_port = u16::from_str_radix(port, 16).ok()? == PORT && *fields.get(3)? == LISTEN;
        if on_port {
            fields.get(9)?.parse().ok()
        } else {
            None
        }
    };
    table.lines().skip(1).filter_map(listener).collect()
}

/// Whose the sockets are: what a process calls itself, and its number.
fn owner(machine: &Machine, inodes: &[u64]) -> Option<String> {
    let wanted: Vec<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = machine
        .list("/proc")
        .into_iter()
        .filter(|name| name.parse::<u32>().is_ok());
    for process in processes {
        let dir = format!("/proc/{process}/fd");
        let holds = |fd: &String| {
            let link = fs::read_link(machine.path(&dir).join(fd));
            link.is_ok_and(|target| wanted.iter().any(|w| target.as_os_str() == w.as_str()))
        };
        if machine.list(&dir).iter().any(holds) {
            let name = machine
                .read(format!("/proc/{process}/comm"))
                .unwrap_or_default();
            return Some(format!("{} (process {process})", name.trim()));
        }
    }
    None
}
