//! etcd, kube-apiserver and kube-controller-manager, as processes that can be ended and started again.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dunlin_lab::netns::Netns;
use dunlin_lab::process::{self, ProcessId, start_daemon};

use crate::kubectl::{Kubectl, write_kubeconfig};
use crate::network::{self, CONTROL};
use crate::wait_for;
use serde_json::{Value, json};

/// The port of the API server.
pub const API_PORT: u16 = 6443;
/// What the controller manager cuts pod subnets from.
pub const POD_RANGES: [&str; 2] = ["10.244.0.0/16", "fd44::/48"];
/// What the API server takes service addresses from.
pub const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd96::/112"];

/// Before the process id in the name of its directory.
const HOME: &str = "dunlin-e2e-";
/// The tokens of the API server's file are names; nobody else can reach it.
const ADMIN: &str = "admin";
/// Two weeks.
const LONG_SECS: u32 = 14 * 24 * 3600;

/// A program of the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
}

impl Component {
    /// In the order in which they start.
    pub const ALL: [Component; 3] = [
        Component::Etcd,
        Component::ApiServer,
        Component::ControllerManager,
    ];

    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Component::Etcd => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::ControllerManager => "kube-controller-manager",
        }
    }
}

/// A running control plane; its processes and files are gone when it is dropped.
///
/// The processes also end with the thread that started them, whatever ends it.
#[derive(Debug)]
pub struct ControlPlane {
    program: PathBuf,
    netns: Netns,
    home: PathBuf,
    running: BTreeMap<Component, ProcessId>,
}

impl ControlPlane {
    /// Starts one on the host [`CONTROL`] and waits until its API answers.
    ///
    /// # Panics
    /// If it does not.
    pub fn start(program: PathBuf, netns: Netns) -> ControlPlane {
        // etcd writes everything twice: in memory, that costs nothing.
        let memory = Path::new("/dev/shm");
        let parent = match memory.is_dir() {
            true => memory.to_owned(),
            false => std::env::temp_dir(),
        };
        remove_leftovers(&parent);
        let home = parent.join(format!("{HOME}{}", std::process::id()));
        fs::create_dir_all(&home).expect("a directory");
        let mut plane = ControlPlane {
            program,
            netns,
            home,
            running: BTreeMap::new(),
        };
        plane.make_keys(LONG_SECS);
        // User, uid, groups.
        let tokens = format!("{ADMIN},{ADMIN},{ADMIN},system:masters\n");
        fs::write(plane.path("tokens.csv"), tokens).expect("a file");
        plane.write_kubeconfig(&plane.admin(), &json!({ "token": ADMIN }));
        for component in Component::ALL {
            plane.run(component);
        }
        plane.await_ready();
        plane
    }

    /// Gives the API server a new certificate, valid for so many seconds, by the same authority. It reads it by itself
    /// within a minute, or when it starts.
    ///
    /// # Panics
    /// If that fails.
    pub fn make_keys(&self, valid_secs: u32) {
        let mut command = self.command("keys");
        command.arg(&self.home).arg(valid_secs.to_string());
        // The service `kubernetes` has the first address of the range.
        command.args(["127.0.0.1", "10.96.0.1", "fd96::1"]);
        command.args(network::addresses(CONTROL).map(|address| address.to_string()));
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
    }

    /// Runs a tool of the control plane's program, as an administrator: `populate`, `churn`.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn tool(&self, name: &str, numbers: &[u32]) {
        let mut command = self.command(name);
        command.args(numbers.iter().map(u32::to_string));
        command.env("KUBECONFIG", self.admin());
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
    }

    fn path(&self, file: &str) -> PathBuf {
        self.home.join(file)
    }

    /// A directory in memory, for the tests' own files too.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The file of the authority that signed the API server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// The API server's URL.
    pub fn server(&self) -> String {
        let [address, _] = network::addresses(CONTROL);
        format!("https://{address}:{API_PORT}")
    }

    /// The kubeconfig file of an administrator.
    pub fn admin(&self) -> PathBuf {
        self.path("admin.conf")
    }

    /// `kubectl` of an administrator.
    pub fn kubectl(&self) -> Kubectl {
        self.kubectl_as(&self.admin())
    }

    /// `kubectl` of whom a kubeconfig file says.
    pub fn kubectl_as(&self, kubeconfig: &Path) -> Kubectl {
        Kubectl::new(
            self.program.clone(),
            self.netns.clone(),
            kubeconfig.to_owned(),
            self.path("kubectl-cache"),
        )
    }

    /// `kubectl` of an administrator on another host, which reaches the API at an address of its own.
    pub fn kubectl_from(&self, host: Netns, server: SocketAddr) -> Kubectl {
        let path = self.path("from.conf");
        let url = format!("https://{server}");
        write_kubeconfig(&path, &url, &self.ca(), &json!({ "token": ADMIN }));
        let cache = self.path("kubectl-cache-from");
        Kubectl::new(self.program.clone(), host, path, cache)
    }

    /// Writes a kubeconfig file with a token of a service account, from the API's TokenRequest.
    ///
    /// # Panics
    /// If the account does not exist.
    #[track_caller]
    pub fn kubeconfig_of(&self, namespace: &str, account: &str, file: &str) -> PathBuf {
        let token = self
            .kubectl()
            .ok(&["create", "token", account, "--namespace", namespace]);
        self.kubeconfig(file, &json!({ "token": token.trim() }))
    }

    /// A token of a service account that ends with a Secret, which is made for it.
    ///
    /// # Panics
    /// If the account does not exist.
    #[track_caller]
    pub fn token_until_deleted(&self, namespace: &str, account: &str, secret: &str) -> String {
        let kubectl = self.kubectl();
        let namespace = format!("--namespace={namespace}");
        kubectl.ok(&["create", "secret", "generic", secret, &namespace]);
        let bound = format!("--bound-object-name={secret}");
        let kind = "--bound-object-kind=Secret";
        let token = kubectl.ok(&["create", "token", account, &namespace, kind, &bound]);
        token.trim().to_owned()
    }

    /// Writes a kubeconfig file for a user, as such a file describes one.
    ///
    /// # Panics
    /// If that fails.
    pub fn kubeconfig(&self, file: &str, user: &Value) -> PathBuf {
        let path = self.path(file);
        self.write_kubeconfig(&path, user);
        path
    }

    fn write_kubeconfig(&self, path: &Path, user: &Value) {
        write_kubeconfig(path, &self.server(), &self.ca(), user);
    }

    fn command(&self, what: &str) -> Command {
        let mut command = self.netns.command(&self.program);
        command.arg(what).current_dir(&self.home);
        command
    }

    fn log(&self, component: Component) -> PathBuf {
        self.path(&format!("{}.log", component.name()))
    }

    /// Starts a program that does not run. Waits for nothing.
    ///
    /// # Panics
    /// If it runs, or cannot be started.
    pub fn run(&mut self, component: Component) {
        assert!(!self.is_running(component), "{} runs", component.name());
        let mut command = self.command(component.name());
        match component {
            Component::Etcd => self.etcd_args(&mut command),
            Component::ApiServer => self.api_server_args(&mut command),
            Component::ControllerManager => self.controller_args(&mut command),
        }
        let process = start_daemon(&mut command, &self.log(component), true).expect("it starts");
        self.running.insert(component, process);
    }

    fn etcd_args(&self, command: &mut Command) {
        command.arg("--data-dir").arg(self.path("etcd"));
        command.args([
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]);
    }

    fn api_server_args(&self, command: &mut Command) {
        let [address, _] = network::addresses(CONTROL);
        let tokens_key = self.path("tokens.key");
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        command.args([
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            format!("--advertise-address={address}"),
            format!("--secure-port={API_PORT}"),
            format!("--service-cluster-ip-range={}", SERVICE_RANGES.join(",")),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Pods here are objects alone: none has a token to mount.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            file("tls-cert-file", self.path("apiserver.crt")),
            file("tls-private-key-file", self.path("apiserver.key")),
            file("token-auth-file", self.path("tokens.csv")),
            file("service-account-key-file", tokens_key.clone()),
            file("service-account-signing-key-file", tokens_key),
        ]);
    }

    fn controller_args(&self, command: &mut Command) {
        command
            .arg("--kubeconfig")
            .arg(self.admin())
            .arg(format!("--cluster-cidr={}", POD_RANGES.join(",")))
            .arg(format!(
                "--service-cluster-ip-range={}",
                SERVICE_RANGES.join(",")
            ));
        command.args([
            "--allocate-node-cidrs=true",
            "--leader-elect=false",
            "--controllers=node-ipam-controller,endpointslice-controller,namespace-controller,\
             serviceaccount-controller,garbage-collector-controller",
            "--bind-address=127.0.0.1",
        ]);
    }

    /// Whether a program runs.
    pub fn is_running(&self, component: Component) -> bool {
        self.running
            .get(&component)
            .is_some_and(|process| process.is_alive())
    }

    /// Ends a program as the kernel would, when memory is short.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, component: Component) {
        let process = self.running.remove(&component).expect("it was started");
        assert!(process::kill(process), "{} had ended", component.name());
    }

    /// Waits until the API server says that it is ready.
    ///
    /// # Panics
    /// If it does not within three minutes, or a program of the control plane has ended.
    pub fn await_ready(&self) {
        let kubectl = self.kubectl();
        wait_for(
            "the API server is ready",
            Duration::from_secs(180),
            || match kubectl.run(&["get", "--raw", "/readyz"]) {
                Ok(_) => Ok(()),
                Err(said) => {
                    for &component in self.running.keys() {
                        assert!(
                            self.is_running(component),
                            "{} has ended: {}",
                            component.name(),
                            self.last_words(component)
                        );
                    }
                    Err(said)
                }
            },
        );
    }

    /// The end of a program's log.
    pub fn last_words(&self, component: Component) -> String {
        let text = fs::read_to_string(self.log(component)).unwrap_or_default();
        let mut lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }
}

/// Takes away the files of test programs that were killed.
fn remove_leftovers(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(HOME));
        let pid = pid.and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| ProcessId::of(pid).is_none()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        let processes: Vec<ProcessId> = self.running.values().copied().collect();
        for process in processes {
            process::kill(process);
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}
