use std::path::Path;

use anyhow::Result;

use super::{ADDRESS, LOCAL_AS, Launch};
use crate::process::Processes;

pub(super) fn start(launch: &Launch<'_>, processes: &mut Processes) -> Result<()> {
    let fib_update = if launch.router.install { "yes" } else { "no" };
    let mut config = format!(
        "AS {LOCAL_AS}\nrouter-id {ADDRESS}\nlisten on {ADDRESS}\nfib-update {fib_update}\n"
    );
    config += &launch.for_each_peer(|peer| {
        format!(
            "neighbor {} {{\n  remote-as {}\n  passive\n}}\n",
            peer.address, peer.asn
        )
    });
    config += "allow from any\nallow to any\n";
    let config = launch.scratch.write("bgpd.conf", &config)?;
    // Its control socket is in the private /run, so its listening is what the driver waits for.
    launch.run(processes, &format!("-d -f {config}"), None::<&Path>)
}
