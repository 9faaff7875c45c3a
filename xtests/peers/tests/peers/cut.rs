//! A path that is dead and says nothing.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dunlin_lab::netns::Netns;
use dunlin_lab::plan::Plan;
use dunlin_lab::routes::{Change, PROTOCOL_DUNLIN, RouteWatch, installed_by};
use dunlin_net::Afi;
use ipnet::IpNet;

use crate::bed::{AGENT, DAEMON};
use crate::daemon::link_local;
use crate::support::Spaces;

/// Nobody has this address.
const NOWHERE: &str = "02:00:00:00:00:ee";

/// How often the kernel's words are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// No packet reaches the other side: the links stay up, and no error comes back.
pub(crate) fn cut(spaces: &Spaces) {
    each(spaces, |address| {
        format!("neigh replace {address} lladdr {NOWHERE} dev eth0 nud permanent")
    });
}

/// Packets arrive again.
pub(crate) fn mend(spaces: &Spaces) {
    each(spaces, |address| format!("neigh del {address} dev eth0"));
}

fn each(spaces: &Spaces, line: impl Fn(std::net::IpAddr) -> String) {
    for (space, other) in [(0, DAEMON), (1, AGENT)] {
        let [v4, v6] = Afi::ALL.map(|afi| line(Plan::node_address(other, afi)));
        let local = line(link_local(other).into());
        spaces.ip(space, &[&v4, &v6, &local]);
    }
}

/// Waits until the node's kernel has no forwarding route of ours any more, and says how long after the cut that was.
#[expect(
    clippy::print_stdout,
    reason = "the figure is worth knowing, not only its bound"
)]
pub(crate) fn gone_within(
    node: &Netns,
    watch: &mut RouteWatch,
    cut: Instant,
    most: Duration,
) -> Result<()> {
    let mut gone: BTreeSet<IpNet> = BTreeSet::new();
    let mut last = cut;
    loop {
        for event in watch.events()? {
            let ours = event.route.protocol == PROTOCOL_DUNLIN;
            if event.change == Change::Deleted && ours && event.route.is_unicast_in_main() {
                gone.insert(event.route.prefix);
                last = last.max(event.at);
            }
        }
        if !gone.is_empty() && installed_by(node, PROTOCOL_DUNLIN)?.is_empty() {
            break;
        }
        ensure!(
            cut.elapsed() < most,
            "{gone:?} alone are gone after {most:?}"
        );
        thread::sleep(LOOK_AGAIN);
    }
    let took = last.duration_since(cut);
    println!("{} routes were gone {took:?} after the cut", gone.len());
    ensure!(took <= most, "it took {took:?}");
    Ok(())
}
