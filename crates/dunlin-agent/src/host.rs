//! What the agent sets on its machine besides routes: forwarding, the route protocol's name, the CNI configuration.

use std::path::PathBuf;

use anyhow::Result;
use dunlin_intent::cni::{CniConfig, FILE_NAME, render};
use dunlin_kernel::protocol_name;
use dunlin_kernel::sysctl::{Sysctl, SysctlError};
use dunlin_kube::cni_file;
use dunlin_net::Afi;

use crate::config::AgentConfig;
use crate::engine_handle::PodNetwork;

/// The places that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    cni_conf_dir: PathBuf,
    /// Where `host-local` keeps what it has given out.
    cni_data_dir: PathBuf,
    /// Where iproute2 looks for the names of route protocols.
    protocol_names: PathBuf,
    sysctl: Sysctl,
}

impl Host {
    pub(crate) fn new(config: &AgentConfig) -> Host {
        Host {
            cni_conf_dir: config.cni_conf_dir.clone(),
            cni_data_dir: config.state_dir.join("cni"),
            protocol_names: config.protocol_names.clone(),
            sysctl: Sysctl::default(),
        }
    }

    /// Names our route protocol for people who type `ip route show proto dunlin`. Nothing depends on it.
    pub(crate) fn name_protocol(&self) {
        if let Err(error) = protocol_name::write(&self.protocol_names) {
            let dir = self.protocol_names.display();
            tracing::info!(%dir, %error, "cannot name our route protocol: `ip route` shows it by number");
        }
    }

    /// The core has this done as soon as it is wanted; here it is done again where somebody else undid it.
    fn forward(&self, afi: Afi) -> Result<(), SysctlError> {
        let changes = match afi {
            Afi::Ipv4 => self.sysctl.forward_ipv4()?,
            Afi::Ipv6 => self.sysctl.forward_ipv6()?,
        };
        for change in changes {
            tracing::info!(
                sysctl = change.name,
                from = change.from,
                to = change.to,
                "set"
            );
        }
        Ok(())
    }

    /// Makes the machine carry pods of this network; gives the CNI configuration's path. What is there already is left
    /// alone.
    pub(crate) fn carry_pods(&self, network: &PodNetwork) -> Result<PathBuf> {
        for afi in Afi::ALL {
            if network.pod_cidrs.iter().any(|net| Afi::of_net(*net) == afi) {
                self.forward(afi)?;
            }
        }
        let content = render(&CniConfig {
            subnets: network.pod_cidrs.clone(),
            mtu: network.mtu,
            data_dir: self.cni_data_dir.display().to_string(),
        });
        cni_file::write(&self.cni_conf_dir, &content)?;
        Ok(self.cni_conf_dir.join(FILE_NAME))
    }
}
