//! The capabilities the agent needs, and giving up all others.

use anyhow::{Context, Result, bail};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What the agent needs, with what for.
pub(crate) const NEEDED: [(CapabilitySet, &str, &str); 3] = [
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "routes, nf_tables and sysctls",
    ),
    (
        CapabilitySet::NET_RAW,
        "CAP_NET_RAW",
        "binding sockets to interfaces and hearing router advertisements",
    ),
    (
        CapabilitySet::NET_BIND_SERVICE,
        "CAP_NET_BIND_SERVICE",
        "port 179",
    ),
];

/// What the agent keeps if it is given it, with what for: it works without.
pub(crate) const USEFUL: (CapabilitySet, &str, &str) = (
    CapabilitySet::SYS_NICE,
    "CAP_SYS_NICE",
    "BFD in time on a busy node",
);

/// The capabilities of `NEEDED` this process does not have.
pub(crate) fn missing() -> Result<Vec<(&'static str, &'static str)>> {
    let sets =
        rustix::thread::capabilities(None).context("cannot read the process's capabilities")?;
    Ok(NEEDED
        .iter()
        .filter(|(flag, _, _)| !sets.effective.contains(*flag))
        .map(|(_, name, purpose)| (*name, *purpose))
        .collect())
}

/// Whether this process has the one of `USEFUL`.
pub(crate) fn has_useful() -> Result<bool> {
    let sets =
        rustix::thread::capabilities(None).context("cannot read the process's capabilities")?;
    Ok(sets.effective.contains(USEFUL.0))
}

/// Refuses to go on without the capabilities the agent needs.
pub(crate) fn require() -> Result<()> {
    let missing = missing()?;
    let Some((name, purpose)) = missing.first() else {
        return Ok(());
    };
    bail!(
        "{name} is missing (needed for {purpose}): run the agent as root, or give the container \
         `securityContext.capabilities.add: [NET_ADMIN, NET_RAW, NET_BIND_SERVICE, SYS_NICE]`"
    );
}

/// Gives up everything but what is needed or useful, for this thread and those it starts later. Nothing is executed by the agent,
/// and nothing it could execute would gain a privilege.
pub(crate) fn drop_others() -> Result<()> {
    let needed = NEEDED
        .iter()
        .fold(CapabilitySet::empty(), |all, (flag, _, _)| all | *flag);
    let needed = match has_useful()? {
        true => needed | USEFUL.0,
        false => needed,
    };
    let sets = CapabilitySets {
        effective: needed,
        permitted: needed,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    rustix::thread::clear_ambient_capability_set().context("cannot clear ambient capabilities")?;
    rustix::thread::set_capabilities(None, sets).context("cannot drop capabilities")
}
