use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{ADDRESS, LOCAL_AS, Launch};
use crate::netns::DRIVER_RANGE;
use crate::process::Processes;

pub(super) fn start(launch: &Launch<'_>, processes: &mut Processes) -> Result<()> {
    // Dynamic neighbours: configured ones cost FRR 700 KB each before they say a word.
    let kind = match launch.outsider() {
        Some(_) => "internal",
        None => "external",
    };
    let outsider = launch.outsider().map_or_else(String::new, |peer| {
        let address = peer.address;
        format!(
            " neighbor {address} remote-as {}\n neighbor {address} passive\n",
            peer.asn
        )
    });
    let config = format!(
        "frr defaults traditional\nrouter bgp {LOCAL_AS}\n bgp router-id {ADDRESS}\n \
         no bgp ebgp-requires-policy\n no bgp network import-check\n bgp listen limit 20000\n \
         neighbor drivers peer-group\n neighbor drivers remote-as {kind}\n \
         bgp listen range {DRIVER_RANGE} peer-group drivers\n{outsider}"
    );
    let config = launch.scratch.write("bgpd.conf", &config)?;
    let zebra_config = launch.scratch.write("zebra.conf", "")?;
    let dir = launch.scratch.path().display();
    let zserv = launch.scratch.path().join("zserv.api");
    give_to_frr(launch)?;
    let common = format!("-P 0 --vty_socket {dir} -z {}", zserv.display());
    launch.run_program(
        processes,
        Path::new("/usr/lib/frr/zebra"),
        &format!("{common} -f {zebra_config} -i {dir}/zebra.pid"),
        Some(&zserv),
    )?;
    let no_kernel = if launch.router.install {
        ""
    } else {
        "--no_kernel"
    };
    launch.run(
        processes,
        &format!("{common} -f {config} -i {dir}/bgpd.pid {no_kernel}"),
        Some(&launch.scratch.path().join("bgpd.vty")),
    )
}

/// FRR's daemons give up root at once and read and write everything as their own user.
fn give_to_frr(launch: &Launch<'_>) -> Result<()> {
    let status = Command::new("chown")
        .args(["-R", "frr:frr"])
        .arg(launch.scratch.path())
        .status();
    ensure!(
        status.context("cannot run chown")?.success(),
        "cannot give files to the user frr"
    );
    Ok(())
}
