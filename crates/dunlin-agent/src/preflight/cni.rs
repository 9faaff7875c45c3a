use std::path::Path;

use dunlin_intent::cni::FILE_NAME;

use super::{Finding, Machine};

/// The plugins our configuration calls.
const PLUGINS: [&str; 4] = ["ptp", "host-local", "portmap", "bandwidth"];

/// Where runtimes look for plugins: containerd's and CRI-O's defaults, and where distributions put them.
const PLACES: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

pub(super) fn check(machine: &Machine, conf_dir: &Path) -> Vec<Finding> {
    vec![plugins(machine), configuration(machine, conf_dir)]
}

fn plugins(machine: &Machine) -> Finding {
    const CHECK: &str = "cni-plugins";
    let missing_in = |place: &str| -> Vec<&str> {
        let there = |plugin: &&str| machine.path(place).join(plugin).exists();
        PLUGINS
            .into_iter()
            .filter(|plugin| !there(plugin))
            .collect()
    };
    // One place has to have them all: a runtime is told of one.
    let places = PLACES.map(|place| (place, missing_in(place)));
    match places.iter().min_by_key(|(_, missing)| missing.len()) {
        Some((place, missing)) if missing.is_empty() => {
            Finding::ok(CHECK, format!("{} are in {place}", PLUGINS.join(", ")))
        }
        Some((place, missing)) if missing.len() < PLUGINS.len() => Finding::fail(
            CHECK,
            format!("{place} lacks {}", missing.join(", ")),
            "install a release of the CNI plugins that has them",
        ),
        _ => Finding::fail(
            CHECK,
            format!("no CNI plugins in {}", PLACES.join(", ")),
            "install the package containernetworking-plugins, or unpack a release of the CNI plugins to /opt/cni/bin",
        ),
    }
}

/// Runtimes take the first configuration by name.
fn configuration(machine: &Machine, conf_dir: &Path) -> Finding {
    const CHECK: &str = "cni-conf";
    let is_configuration = |name: &String| {
        [".conf", ".conflist", ".json"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    let before: Vec<String> = machine
        .list(conf_dir)
        .into_iter()
        .filter(is_configuration)
        .filter(|name| name.as_str() < FILE_NAME)
        .collect();
    if before.is_empty() {
        return Finding::ok(
            CHECK,
            format!(
                "nothing in {} stands before {FILE_NAME}",
                conf_dir.display()
            ),
        );
    }
    Finding::fail(
        CHECK,
        format!(
            "{} in {} is taken before {FILE_NAME}",
            before.join(", "),
            conf_dir.display()
        ),
        "remove what is left of another network plugin: runtimes take the first file by name",
    )
}
