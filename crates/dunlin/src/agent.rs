//! `dunlin agent`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use dunlin_agent::config::{AgentConfig, KubeOptions, LogFormat};

use dunlin_net::service::ProxyOptions;

use crate::args::{AgentOptions, LogFormatName, Switch};

pub(crate) fn run(options: AgentOptions, socket: PathBuf) -> Result<ExitCode> {
    let node_name = node_name(options.node_name.as_ref())?;
    let config = AgentConfig {
        node_name,
        cluster: options.cluster,
        kube: KubeOptions {
            api: options.api.into(),
            secrets_dir: options.secrets_dir,
            namespace: options.namespace,
            default_class: options.default_load_balancer_class == Switch::On,
        },
        socket,
        metrics_addr: options.metrics_addr.0,
        cni_conf_dir: options.cni_conf_dir,
        protocol_names: options.protocol_names,
        state_dir: options.state_dir,
        service_proxy: options.service_proxy.into(),
        proxy_options: ProxyOptions {
            masquerade_all: options.masquerade_all == Switch::On,
            count_connections: options.service_counters == Switch::On,
            node_ports: options.node_port_addresses.0,
        },
        log: options.log,
        log_format: match options.log_format {
            LogFormatName::Text => LogFormat::Text,
            LogFormatName::Json => LogFormat::Json,
        },
    };
    dunlin_agent::run(&config)?;
    Ok(ExitCode::SUCCESS)
}

/// The name given, or the host name as a kubelet makes a node name of it.
pub(crate) fn node_name(given: Option<&String>) -> Result<String> {
    if let Some(name) = given {
        return Ok(name.clone());
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("no --node-name, and the host name cannot be read")?;
    Ok(name.trim().to_lowercase())
}
