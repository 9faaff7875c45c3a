//! What the agent sets on its machine besides routes: forwarding, the route protocol's name, the CNI configuration.

use std::path::PathBuf;

use anyhow::Result;
use dunlin_intent::cni::{CniConfig, FILE_NAME, render};
use dunlin_kube::cni_file;

use crate::config::AgentConfig;
use crate::engine_handle::PodNetwork;

/// The places that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    cni_conf_dir: PathBuf,
    /// Where `host-local` keeps what it has given out.
    cni_data_dir: PathBuf,
}

impl Host {
    pub(crate) fn new(config: &AgentConfig) -> Host {
        Host {
            cni_conf_dir: config.cni_conf_dir.clone(),
            cni_data_dir: config.state_dir.join("cni"),
        }
    }

    /// Makes the machine carry pods of this network; gives the CNI configuration's path. What is there already is left
    /// alone.
    pub(crate) fn carry_pods(&self, network: &PodNetwork) -> Result<PathBuf> {
        let content = render(&CniConfig {
            subnets: network.pod_cidrs.clone(),
            mtu: network.mtu,
            data_dir: self.cni_data_dir.display().to_string(),
        });
        cni_file::write(&self.cni_conf_dir, &content)?;
        Ok(self.cni_conf_dir.join(FILE_NAME))
    }
}
