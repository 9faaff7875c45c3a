use super::{Finding, Machine};

const CHECK: &str = "networkd";

/// Where drop-ins lie; a file in an earlier place hides one of the same name in a later (networkd.conf(5)).
const PLACES: [&str; 4] = [
    "/etc/systemd/networkd.conf.d",
    "/run/systemd/networkd.conf.d",
    "/usr/local/lib/systemd/networkd.conf.d",
    "/usr/lib/systemd/networkd.conf.d",
];

/// systemd-networkd removes routes it did not make, unless it is told to leave them.
pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    if !runs(machine) {
        return vec![Finding::ok(CHECK, "systemd-networkd does not run here")];
    }
    let routes = setting(machine, "ManageForeignRoutes");
    if routes.as_deref().is_some_and(is_no) {
        return vec![Finding::ok(
            CHECK,
            "systemd-networkd leaves the routes of others alone",
        )];
    }
    vec![Finding::fail(
        CHECK,
        "systemd-networkd deletes routes it did not make, ours among them, whenever it restarts",
        "write \"[Network]\", \"ManageForeignRoutes=no\" and \"ManageForeignNextHops=no\" to \
         /etc/systemd/networkd.conf.d/10-dunlin.conf, and restart systemd-networkd",
    )]
}

/// Whether it runs, or will after the next boot. (`/run/systemd/netif` is there in any case.)
fn runs(machine: &Machine) -> bool {
    // The kernel cuts the names of processes at 15 octets.
    let is_networkd = |process: &String| {
        let name = machine.read(format!("/proc/{process}/comm"));
        name.is_ok_and(|name| name.trim() == "systemd-network")
    };
    let enabled = "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service";
    machine.path(enabled).is_symlink() || machine.list("/proc").iter().any(is_networkd)
}

fn is_no(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "no" | "false" | "0" | "off" | "n" | "f"
    )
}

/// The last value given to a key of section Network: the main file first, then drop-ins by name.
fn setting(machine: &Machine, key: &str) -> Option<String> {
    let mut drop_ins: Vec<(String, String)> = Vec::new();
    for place in PLACES {
        for name in machine.list(place) {
            if name.ends_with(".conf") && !drop_ins.iter().any(|(known, _)| *known == name) {
                let path = format!("{place}/{name}");
                drop_ins.push((name, path));
            }
        }
    }
    drop_ins.sort();
    let main = "/etc/systemd/networkd.conf".to_owned();
    let files = std::iter::once(main).chain(drop_ins.into_iter().map(|(_, path)| path));
    files
        .filter_map(|path| value(&machine.read(path).ok()?, key))
        .next_back()
}

fn value(text: &str, key: &str) -> Option<String> {
    let mut section = "";
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[Network]"
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            found = Some(value.trim().to_owned());
        }
    }
    found
}
