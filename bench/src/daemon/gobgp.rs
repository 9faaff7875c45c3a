use anyhow::Result;

use super::{ADDRESS, LOCAL_AS, Launch};
use crate::process::Processes;

pub(super) fn start(launch: &Launch<'_>, processes: &mut Processes) -> Result<()> {
    let mut config = format!(
        "[global.config]\nas = {LOCAL_AS}\nrouter-id = \"{ADDRESS}\"\n\
         local-address-list = [\"{ADDRESS}\"]\n"
    );
    config += &launch.for_each_peer(|peer| {
        format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             [neighbors.transport.config]\npassive-mode = true\n",
            peer.address, peer.asn
        )
    });
    let config = launch.scratch.write("gobgpd.toml", &config)?;
    launch.run(
        processes,
        &format!("-t toml -f {config} --api-hosts 127.0.0.1:50051 -l error"),
        None,
    )
}
