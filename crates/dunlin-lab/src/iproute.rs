//! Drives iproute2: one `ip -batch` process for many commands in a namespace.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::netns::Netns;
use crate::process::LAB_VARIABLE;

/// Commands of `ip`, one a line, to be run in one namespace by one process.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    lines: String,
    lab: Option<String>,
}

impl Batch {
    /// No commands yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// The same, run by a process that carries the mark of the lab called `name`: one that builds it.
    pub(crate) fn of_lab(name: &str) -> Batch {
        Batch {
            lab: Some(name.to_owned()),
            ..Batch::default()
        }
    }

    /// Adds a command, without the leading `ip`.
    pub fn push(&mut self, line: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.lines, "{line}");
    }

    /// Runs the commands in order in `netns`, up to the first that fails.
    ///
    /// # Errors
    /// If `ip` is not installed, or a command fails: its text, and what `ip` said.
    pub fn run(&self, netns: &Netns) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let mut command = netns.command(ip_program());
        if let Some(lab) = &self.lab {
            command.env(LAB_VARIABLE, lab);
        }
        let mut child = command
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| missing("ip", "iproute2"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // `ip` stops reading at the first failure; its exit status tells more than our broken pipe.
            let _ = stdin.write_all(self.lines.as_bytes());
        }
        let output = child.wait_with_output().context("cannot wait for ip")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "in namespace {}: ip {}: {}",
            netns.name(),
            failed_line(&self.lines, &said).unwrap_or("-batch"),
            said.lines().next().unwrap_or("failed").trim()
        );
    }
}

/// `Command failed -:12` names the line.
fn failed_line<'a>(lines: &'a str, said: &str) -> Option<&'a str> {
    let number: usize = said
        .lines()
        .find_map(|line| line.strip_prefix("Command failed -:"))?
        .trim()
        .parse()
        .ok()?;
    lines.lines().nth(number.checked_sub(1)?)
}

/// What `ip ARGS` prints in `netns`.
///
/// # Errors
/// If it cannot run or fails.
pub fn output(netns: &Netns, args: &[&str]) -> Result<String> {
    let mut command = netns.command(ip_program());
    command.args(args);
    text_of(&mut command).with_context(|| format!("in namespace {}", netns.name()))
}

/// What a command prints on its standard output.
///
/// # Errors
/// If it cannot run or fails: what it said on standard error.
pub fn text_of(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {} {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// An ordinary user's PATH often lacks /usr/sbin.
pub(crate) fn ip_program() -> &'static str {
    ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or("ip")
}

/// "cannot run X: install Y".
pub(crate) fn missing(program: &str, package: &str) -> String {
    format!("cannot run `{program}`: install the package {package}")
}
