//! `kubectl`, on the host of the control plane.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dunlin_lab::netns::Netns;
use serde_json::{Value, json};

/// `kubectl` with one user's credentials.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    netns: Netns,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(
        program: PathBuf,
        netns: Netns,
        kubeconfig: PathBuf,
        cache: PathBuf,
    ) -> Kubectl {
        Kubectl {
            program,
            netns,
            kubeconfig,
            cache,
        }
    }

    /// The command with these arguments, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.netns.command(&self.program);
        command.arg("kubectl").args(args);
        command.env("KUBECONFIG", &self.kubeconfig);
        command.env("KUBECACHEDIR", &self.cache);
        command.env("HOME", &self.cache);
        command
    }

    /// What it prints.
    ///
    /// # Errors
    /// What it says on standard error, if it fails.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&self, args: &[&str]) -> Result<String, String> {
        self.run_with("", args)
    }

    /// The same, with a text on its standard input.
    ///
    /// # Errors
    /// What it says on standard error, if it fails.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run_with(&self, input: &str, args: &[&str]) -> Result<String, String> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        if let Some(mut stdin) = child.stdin.take() {
            // One that fails early reads nothing; its exit code says so.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output().expect("kubectl ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// What it prints, where it cannot fail.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        match self.run(args) {
            Ok(text) => text,
            Err(said) => panic!("kubectl {}: {said}", args.join(" ")),
        }
    }

    /// Applies objects, where that cannot fail.
    ///
    /// # Panics
    /// If the API server refuses them.
    #[track_caller]
    pub fn apply(&self, objects: &str) {
        if let Err(said) = self.try_apply(objects) {
            panic!("kubectl apply: {said}: {objects}");
        }
    }

    /// Applies objects.
    ///
    /// # Errors
    /// What it says.
    pub fn try_apply(&self, objects: &str) -> Result<String, String> {
        self.run_with(objects, &["apply", "--server-side", "--filename=-"])
    }

    /// `kubectl get ... --output=json`.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub fn get(&self, args: &[&str]) -> Result<Value, String> {
        let mut all = vec!["get", "--output=json"];
        all.extend(args);
        let text = self.run(&all)?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Sets the status of an object, by a merge patch.
    ///
    /// # Panics
    /// If the API server refuses it.
    #[track_caller]
    pub fn patch_status(&self, object: &[&str], status: &Value) {
        let patch = json!({ "status": status }).to_string();
        let mut args = vec!["patch", "--subresource=status", "--type=merge", "--patch"];
        args.push(&patch);
        args.extend(object);
        self.ok(&args);
    }
}

/// Writes a kubeconfig file of one cluster and one user.
pub(crate) fn write_kubeconfig(path: &Path, server: &str, ca: &Path, user: &Value) {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tests",
        "clusters": [{"name": "tests", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
    });
    fs::write(path, text.to_string()).expect("a kubeconfig file");
}
