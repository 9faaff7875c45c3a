//! What could keep this machine from being a node, found before (or while) the agent runs. Nothing is changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dunlin_kube::api::ApiConfig;
use serde::Serialize;

mod api;
mod cni;
mod firewall;
mod kernel;
mod manifests;
mod networkd;
mod others;
mod ports;
mod routes;
mod sysctls;

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at: `port`, `forwarding`.
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It may do harm, or could not be found out.
    Warn,
    /// A node will not work like this.
    Fail,
}

impl Finding {
    /// All is well with it.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            check,
            level: Level::Ok,
            text: text.into(),
            advice: None,
        }
    }

    /// It may do harm, or could not be found out.
    pub fn warn(
        check: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            level: Level::Warn,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }

    /// A node will not work like this.
    pub fn fail(
        check: &'static str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            level: Level::Fail,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Preflight {
    /// The directory for the CNI configuration.
    pub cni_conf_dir: PathBuf,
    /// The manifest directory, and the node whose agent would read it.
    pub manifests: Option<(PathBuf, String)>,
    /// The Kubernetes API, if that is the source.
    pub api: Option<ApiConfig>,
    /// Whether an agent runs here: then it holds the port, and has set what it sets.
    pub agent_runs: bool,
}

/// Looks at this machine.
pub fn run(options: &Preflight) -> Vec<Finding> {
    let machine = Machine::this();
    let mut findings = privileges();
    findings.extend(kernel::check(&machine));
    findings.extend(ports::check(&machine, options.agent_runs));
    findings.extend(sysctls::check(&machine, options.agent_runs));
    findings.extend(routes::check(&machine));
    findings.extend(networkd::check(&machine));
    findings.extend(firewall::check(&machine));
    findings.extend(cni::check(&machine, &options.cni_conf_dir));
    findings.extend(others::check(&machine));
    if let Some((dir, node)) = &options.manifests {
        findings.extend(manifests::check(&machine, dir, node));
    }
    if let Some(config) = &options.api {
        findings.extend(api::check(config));
    }
    findings
}

fn privileges() -> Vec<Finding> {
    const CHECK: &str = "privileges";
    match crate::privileges::missing() {
        Ok(missing) if missing.is_empty() => {
            let mut findings = vec![Finding::ok(
                CHECK,
                "CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE are here",
            )];
            let (_, name, purpose) = crate::privileges::USEFUL;
            if let Ok(false) = crate::privileges::has_useful() {
                findings.push(Finding::warn(
                    CHECK,
                    format!("{name} is missing (for {purpose})"),
                    "run as root, or with this capability, where peers are watched by BFD",
                ));
            }
            findings
        }
        Ok(missing) => missing
            .into_iter()
            .map(|(name, purpose)| {
                Finding::fail(
                    CHECK,
                    format!("{name} is missing (for {purpose})"),
                    "run as root, or with this capability; the checks below may see less than there is",
                )
            })
            .collect(),
        Err(error) => vec![Finding::warn(CHECK, format!("{error:#}"), "run as root")],
    }
}

/// The machine as it is seen through its files and programs.
struct Machine {
    root: PathBuf,
    run: fn(&[&str]) -> io::Result<String>,
    /// What another service proxy translates with; an error where that cannot be seen.
    other_proxy: fn() -> Result<Option<String>, String>,
}

impl Machine {
    fn this() -> Machine {
        Machine {
            root: "/".into(),
            run: run_program,
            other_proxy: || {
                dunlin_kernel::others::service_proxy().map_err(|error| error.to_string())
            },
        }
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        fs::read_to_string(self.path(path))
    }

    /// The names in a directory, sorted; none if it cannot be read.
    fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(path))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

/// A program's output; an error if it is not there or failed.
fn run_program(line: &[&str]) -> io::Result<String> {
    let (program, args) = line.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(program)
        .args(args)
        // An ordinary user's path lacks the directories of administration.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(
            text.lines().next().unwrap_or("it failed").to_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests;
