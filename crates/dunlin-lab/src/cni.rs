//! Runs CNI plugins as a container runtime does (CNI specification 1.0, sections 3 and 4).

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::netns::Netns;
use crate::process::LAB_VARIABLE;

/// Where distributions put the plugins.
const PLUGIN_DIRS: [&str; 3] = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];
const INTERFACE: &str = "eth0";

/// A list of plugins that are run one after another.
#[derive(Clone, Debug)]
pub struct Chain {
    name: String,
    version: Value,
    plugins: Vec<Map<String, Value>>,
}

/// What the plugins act on.
#[derive(Clone, Debug)]
pub struct Container {
    /// `CNI_CONTAINERID`.
    pub id: String,
    /// `CNI_NETNS`.
    pub netns: PathBuf,
    /// The lab whose mark the plugins carry.
    pub lab: String,
}

impl Chain {
    /// Reads a `.conflist`.
    ///
    /// # Errors
    /// If it cannot be read or is no list of plugins.
    pub fn read(path: &Path) -> Result<Chain> {
        let what = || format!("{} is no CNI plugin list", path.display());
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut list: Map<String, Value> = serde_json::from_slice(&text).with_context(what)?;
        let name = list
            .get("name")
            .and_then(Value::as_str)
            .with_context(what)?;
        let name = name.to_owned();
        let version = list.remove("cniVersion").with_context(what)?;
        let plugins: Vec<Map<String, Value>> =
            serde_json::from_value(list.remove("plugins").with_context(what)?)
                .with_context(what)?;
        Ok(Chain {
            name,
            version,
            plugins,
        })
    }

    /// The plugins' names, in order.
    pub fn plugins(&self) -> Vec<&str> {
        let kind = |plugin| Map::get(plugin, "type").and_then(Value::as_str);
        self.plugins.iter().filter_map(kind).collect()
    }

    /// The plugin programs, IPAM's included, that are installed nowhere.
    pub fn missing(&self) -> Vec<&str> {
        let inner = self
            .plugins
            .iter()
            .filter_map(|plugin| plugin.get("ipam")?.get("type")?.as_str());
        self.plugins()
            .into_iter()
            .chain(inner)
            .filter(|kind| program(kind).is_none())
            .collect()
    }

    /// Attaches a container in the namespace of its node; returns the addresses it got.
    ///
    /// # Errors
    /// If a plugin is missing or fails.
    pub fn add(&self, node: &Netns, container: &Container) -> Result<Vec<IpAddr>> {
        let mut result: Option<Value> = None;
        for plugin in &self.plugins {
            result = self.run(node, container, plugin, "ADD", result.as_ref())?;
        }
        let result = result.unwrap_or_default();
        let ips = result.get("ips").and_then(Value::as_array);
        let addresses = ips.into_iter().flatten().filter_map(|ip| {
            let net: IpNet = ip.get("address")?.as_str()?.parse().ok()?;
            Some(net.addr())
        });
        Ok(addresses.collect())
    }

    /// Detaches a container.
    ///
    /// # Errors
    /// If a plugin is missing or fails.
    pub fn del(&self, node: &Netns, container: &Container) -> Result<()> {
        for plugin in self.plugins.iter().rev() {
            self.run(node, container, plugin, "DEL", None)?;
        }
        Ok(())
    }

    fn run(
        &self,
        node: &Netns,
        container: &Container,
        plugin: &Map<String, Value>,
        verb: &str,
        previous: Option<&Value>,
    ) -> Result<Option<Value>> {
        let kind = plugin.get("type").and_then(Value::as_str).unwrap_or("");
        let path = program(kind).with_context(|| {
            format!("CNI plugin `{kind}` is not installed (containernetworking-plugins)")
        })?;
        let mut config = plugin.clone();
        // A capability turns into runtimeConfig only when the runtime has something to say; the lab has not.
        config.remove("capabilities");
        config.insert("name".into(), json!(self.name));
        config.insert("cniVersion".into(), self.version.clone());
        if let Some(previous) = previous {
            config.insert("prevResult".into(), previous.clone());
        }
        let search = std::env::join_paths(PLUGIN_DIRS).context("plugin directories")?;
        let mut child = node
            .command(&path)
            .env(LAB_VARIABLE, &container.lab)
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &container.id)
            .env("CNI_NETNS", &container.netns)
            .env("CNI_IFNAME", INTERFACE)
            .env("CNI_PATH", search)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", path.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            let text = serde_json::to_vec(&config)?;
            // A plugin that ends early says why on its standard output.
            let _ = stdin.write_all(&text);
        }
        let output = child.wait_with_output()?;
        let said: Option<Value> = serde_json::from_slice(&output.stdout).ok();
        if !output.status.success() {
            let reason = said
                .as_ref()
                .and_then(|v| v.get("msg"))
                .and_then(Value::as_str)
                .map_or_else(
                    || String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                    str::to_owned,
                );
            bail!("CNI plugin {kind} {verb} {}: {reason}", container.id);
        }
        Ok(said)
    }
}

/// Where a plugin is installed.
fn program(kind: &str) -> Option<PathBuf> {
    // The name comes from a file: it must stay inside the plugin directories.
    if kind.is_empty() || kind.contains('/') {
        return None;
    }
    PLUGIN_DIRS
        .iter()
        .map(|directory| Path::new(directory).join(kind))
        .find(|path| path.is_file())
}
