use std::path::Path;

use anyhow::{Context, Result};

use super::{ADDRESS, LOCAL_AS, Launch};
use crate::fleet::Identity;
use crate::netns::DRIVER_RANGE;
use crate::process::Processes;

/// One passive peer for the driver's whole half of the subnet.
fn manifests(install: bool, outsider: Option<&Identity>) -> String {
    let range = match outsider {
        Some(_) => LOCAL_AS.to_string(),
        None => "external".to_owned(),
    };
    let outsider = outsider.map_or_else(String::new, |Identity { address, asn }| {
        format!(
            "---\napiVersion: dunlin.dev/v1alpha1\nkind: BGPPeer\nmetadata:\n  name: outsider\nspec:\n  \
             peerAddress: {address}\n  peerASN: {asn}\n  importFilter: accept-all\n  \
             exportFilter: accept-all\n"
        )
    });
    let install = if install { "Kernel" } else { "None" };
    format!(
        "apiVersion: v1
kind: Node
metadata:
  name: r1
spec: {{}}
status:
  addresses:
  - {{type: InternalIP, address: {ADDRESS}}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPConfiguration
metadata:
  name: default
spec:
  asn: {LOCAL_AS}
  topology: {{mode: None}}
  routeInstallation: {install}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPFilter
metadata:
  name: accept-all
spec:
  rules:
  - {{action: Accept}}
---
apiVersion: dunlin.dev/v1alpha1
kind: BGPPeer
metadata:
  name: driver
spec:
  peerRange: {DRIVER_RANGE}
  peerASN: {range}
  importFilter: accept-all
  exportFilter: accept-all
{outsider}"
    )
}

pub(super) fn start(launch: &Launch<'_>, processes: &mut Processes) -> Result<()> {
    for name in ["manifests", "state", "cni"] {
        let path = launch.scratch.path().join(name);
        std::fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    launch.scratch.write(
        "manifests/router.yaml",
        &manifests(launch.router.install, launch.outsider()),
    )?;
    let dir = launch.scratch.path().display();
    let args = format!(
        "agent --node-name r1 --cluster dir:{dir}/manifests --socket {dir}/agent.sock \
         --state-dir {dir}/state --cni-conf-dir {dir}/cni --metrics-addr 127.0.0.1:9179 \
         --service-proxy off --log warn"
    );
    launch.run(processes, &args, None::<&Path>)
}
