//! `dunlin manifests`: the objects that put an agent on every node of a cluster.
//!
//! They are the Helm chart's templates, rendered here with the chart's own values, so that the chart and `deploy/dunlin.yaml`
//! cannot say different things.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum as _};
use serde_json::{Value, json};

use crate::args::ServiceProxyMode;

mod template;

/// The chart's defaults.
const VALUES: &str = include_str!("../../../deploy/helm/dunlin/values.yaml");

/// The chart's templates, in the order they are applied.
const TEMPLATES: [&str; 2] = [
    include_str!("../../../deploy/helm/dunlin/templates/rbac.yaml"),
    include_str!("../../../deploy/helm/dunlin/templates/daemonset.yaml"),
];

const CLEANUP: &str = include_str!("manifests/cleanup.yaml");

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dunlin manifests --image registry.example.org/dunlin:0.1.0 | kubectl apply -f -
  dunlin manifests --api-server 192.0.2.10:6443 > dunlin.yaml
  dunlin manifests --api-server 192.0.2.10:6443 --service-proxy on      for a cluster without kube-proxy
  dunlin manifests --cleanup | kubectl apply -f -     after `kubectl delete` of the rest: leaves the nodes clean")]
pub(crate) struct ManifestOptions {
    /// The namespace of what is namespaced.
    #[arg(long, value_name = "NAME", default_value = "kube-system")]
    namespace: String,
    /// The image to run, as REPOSITORY:TAG.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// An address, HOST:PORT, at which nodes reach the API server without the `kubernetes` service; may be given several
    /// times.
    #[arg(long = "api-server", value_name = "ADDR:PORT")]
    api_servers: Vec<String>,
    /// Whether the agents deliver services, in place of kube-proxy: `dunlin agent --help` says what the values mean. Needs
    /// --api-server.
    #[arg(long, value_enum, value_name = "ON|OFF|TAKE-OVER")]
    service_proxy: Option<ServiceProxyMode>,
    /// Where the agents serve /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_addr: Option<std::net::SocketAddr>,
    /// The only Secrets of kube-system that the agents may read; may be given several times. Without it, all of them.
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// The nodes' directory of CNI configurations.
    #[arg(long, value_name = "PATH")]
    cni_conf_dir: Option<PathBuf>,
    /// The nodes' directory of CNI plugins.
    #[arg(long, value_name = "PATH")]
    cni_bin_dir: Option<PathBuf>,
    /// How many nodes an upgrade takes at once, as a number or a share.
    #[arg(long, value_name = "NUMBER|PERCENT")]
    max_unavailable: Option<String>,
    /// What the agents log: a level, or levels by module.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// A further argument of `dunlin agent`; may be given several times.
    #[arg(long = "agent-arg", value_name = "ARG", allow_hyphen_values = true)]
    agent_args: Vec<String>,
    /// Leave the definitions of our kinds out; `dunlin crds` prints them.
    #[arg(long)]
    no_crds: bool,
    /// Print the DaemonSet that removes from every node what the agents made there, instead of the rest.
    #[arg(long)]
    cleanup: bool,
}

/// Prints the objects.
pub(crate) fn run(options: &ManifestOptions, out: &mut dyn Write) -> Result<bool> {
    let data = data(options)?;
    let templates: &[&str] = if options.cleanup {
        &[CLEANUP]
    } else {
        &TEMPLATES
    };
    let mut documents = Vec::new();
    if !options.cleanup && !options.no_crds {
        documents.extend(dunlin_kube::crd::yaml().into_iter().map(|(_, text)| text));
    }
    for template in templates {
        documents.push(template::render(template, &data)?);
    }
    out.write_all(documents.join("---\n").as_bytes())?;
    Ok(true)
}

/// What templates refer to: the chart's defaults with what was asked for over them.
fn data(options: &ManifestOptions) -> Result<Value> {
    let mut values: Value = serde_saphyr::from_str(VALUES)
        .context("the chart's values.yaml, built into this program")?;
    if let Some(image) = &options.image {
        let (repository, tag) = split_image(image)?;
        values["image"]["repository"] = json!(repository);
        values["image"]["tag"] = json!(tag);
    }
    values["apiServers"] = json!(options.api_servers);
    if let Some(mode) = options.service_proxy {
        if mode != ServiceProxyMode::Off && options.api_servers.is_empty() {
            bail!(
                "--service-proxy: the `kubernetes` service is not there before the agents have programmed it: give the API \
                 servers' own addresses, as --api-server 192.0.2.10:6443"
            );
        }
        values["serviceProxy"] = json!(mode.to_possible_value().map(|v| v.get_name().to_owned()));
    }
    if let Some(addr) = options.metrics_addr {
        // The kubelet asks from the node itself.
        let probe = match addr.ip() {
            ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
            ip => ip.to_string(),
        };
        let address = match addr.ip() {
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            ip => ip.to_string(),
        };
        values["metrics"] = json!({ "address": address, "port": addr.port(), "probeHost": probe });
    }
    values["secretNames"] = json!(options.secrets);
    if let Some(dir) = &options.cni_conf_dir {
        values["cniConfDir"] = json!(dir);
    }
    if let Some(dir) = &options.cni_bin_dir {
        values["cniBinDir"] = json!(dir);
    }
    if let Some(most) = &options.max_unavailable {
        let number = most.strip_suffix('%').unwrap_or(most);
        if !number.parse::<u32>().is_ok_and(|n| n > 0) {
            bail!("--max-unavailable {most}: give a number above 0, or a share as 10%");
        }
        values["maxUnavailable"] = json!(most);
    }
    if let Some(log) = &options.log {
        values["log"] = json!(log);
    }
    values["extraArgs"] = json!(options.agent_args);
    Ok(json!({ "Release": { "Namespace": options.namespace }, "Values": values }))
}

/// The tag stands after the last colon, unless that colon belongs to the registry's port. A digest has to come with a tag:
/// the chart's values have no place of its own for it.
fn split_image(image: &str) -> Result<(&str, &str)> {
    match image.split_once(':') {
        Some(_) if image.contains('@') => {
            // repository:tag@sha256:...: all after the first colon that follows the last slash is the tag.
            let name = image.rfind('/').map_or(0, |at| at + 1);
            let end = image.find('@').unwrap_or(image.len());
            match image[name..end].find(':') {
                Some(at) => Ok((&image[..name + at], &image[name + at + 1..])),
                None => bail!("--image {image}: give a tag before the digest"),
            }
        }
        _ => match image.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') && !tag.is_empty() => {
                Ok((repository, tag))
            }
            _ => bail!("--image {image}: give a tag, as {image}:0.1.0"),
        },
    }
}

#[cfg(test)]
mod tests;
