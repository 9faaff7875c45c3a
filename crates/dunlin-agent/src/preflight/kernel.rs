use super::{Finding, Machine};

const CHECK: &str = "kernel";

/// Nexthop objects came with 5.3, and what nf_tables needs was there before; 5.10 is the oldest that is still maintained.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let release = machine
        .read("/proc/sys/kernel/osrelease")
        .unwrap_or_default();
    let release = release.trim();
    match version(release) {
        Some(version) if version >= OLDEST => vec![Finding::ok(CHECK, format!("Linux {release}"))],
        Some(_) => vec![Finding::fail(
            CHECK,
            format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1),
            "use a newer kernel: nexthop objects are needed",
        )],
        None => vec![Finding::warn(
            CHECK,
            "the kernel's version cannot be read",
            "is /proc mounted?",
        )],
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
