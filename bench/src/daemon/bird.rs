use anyhow::Result;

use super::{ADDRESS, LOCAL_AS, Launch};
use crate::process::Processes;

pub(super) fn start(launch: &Launch<'_>, processes: &mut Processes) -> Result<()> {
    let mut config = format!(
        "router id {ADDRESS};\nlog stderr {{ error, fatal, bug }};\nprotocol device {{}}\n"
    );
    if launch.router.install {
        config += "protocol kernel { learn off; ipv4 { import none; export all; }; }\n";
    }
    config += &format!(
        "template bgp transit {{\n  local {ADDRESS} as {LOCAL_AS};\n  passive yes;\n  \
         error wait time 1, 2;\n  ipv4 {{ import all; export all; }};\n}}\n"
    );
    config += &launch.for_each_peer(|peer| {
        let name = u32::from(peer.address);
        format!(
            "protocol bgp p{name} from transit {{ neighbor {} as {}; }}\n",
            peer.address, peer.asn
        )
    });
    let config = launch.scratch.write("bird.conf", &config)?;
    let [socket, pid] = ["bird.ctl", "bird.pid"].map(|name| launch.path(name));
    let socket_path = launch.scratch.path().join("bird.ctl");
    launch.run(
        processes,
        &format!("-f -c {config} -s {socket} -P {pid}"),
        Some(&socket_path),
    )
}
