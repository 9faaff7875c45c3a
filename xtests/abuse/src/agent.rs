//! One real agent, and everything that can be asked about it from outside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use dunlin_api::{Answer, Client, Explanation, Neighbor, Query, Status};
use dunlin_lab::netns::Netns;
use rustix::process::{Pid, Signal, kill_process};

use crate::http::{self, METRICS_PORT};
use crate::{PATIENCE, dunlin, wait_for};

/// Where an agent's things are, and as which node it runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// Holds everything of the agent.
    pub home: PathBuf,
    /// The manifest directory.
    pub manifests: PathBuf,
    /// The network namespace it runs in.
    pub netns: Netns,
    /// Further arguments of its agent.
    pub more_args: Vec<String>,
}

impl Place {
    /// The admin socket.
    pub fn socket(&self) -> PathBuf {
        self.home.join("agent.sock")
    }

    /// The directory of what outlives the process.
    pub fn state_dir(&self) -> PathBuf {
        self.home.join("state")
    }

    /// The directory of the CNI configuration.
    pub fn cni_dir(&self) -> PathBuf {
        self.home.join("cni")
    }

    /// The directory of the route protocol's name.
    pub fn protocols(&self) -> PathBuf {
        self.home.join("protocols")
    }

    /// `dunlin` in the namespace, without the environment's own settings.
    pub fn dunlin(&self) -> Command {
        self.program(dunlin())
    }

    /// A program in the namespace.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.netns.command(program);
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"DUNLIN_") {
                command.env_remove(key);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// The arguments of this place's agent.
    pub fn agent_args(&self) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let mut args = vec![
            "agent".to_owned(),
            "--node-name".to_owned(),
            self.node.clone(),
            "--cluster".to_owned(),
            format!("dir:{}", self.manifests.display()),
            "--socket".to_owned(),
            path(self.socket()),
            "--state-dir".to_owned(),
            path(self.state_dir()),
            "--cni-conf-dir".to_owned(),
            path(self.cni_dir()),
            "--protocol-names".to_owned(),
            path(self.protocols()),
            "--metrics-addr".to_owned(),
            format!("127.0.0.1:{METRICS_PORT}"),
        ];
        args.extend(self.more_args.iter().cloned());
        args
    }

    /// Starts the agent and waits until it answers.
    ///
    /// # Panics
    /// If it ends, or does not answer.
    #[track_caller]
    pub fn start(&self) -> Agent {
        let mut command = self.dunlin();
        command.args(self.agent_args());
        let mut agent = self.spawn(command);
        wait_for("the agent answers", PATIENCE, || {
            if let Some(status) = agent.child.try_wait().expect("wait") {
                panic!("the agent ended with {status}: {}", agent.log());
            }
            agent.try_status().map(drop)
        });
        agent
    }

    /// Starts a command as this place's agent, its output in the log; waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, mut command: Command) -> Agent {
        let log = self.home.join("log");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("a log");
        command.stdout(file.try_clone().expect("a descriptor"));
        command.stderr(file);
        self.spawn_as_it_is(command)
    }

    /// The same, with what it writes going where the command says.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn_as_it_is(&self, mut command: Command) -> Agent {
        Agent {
            place: self.clone(),
            log: self.home.join("log"),
            child: command.spawn().expect("dunlin starts"),
        }
    }

    /// Runs the agent where it is expected to give up by itself; gives its exit code and what it said.
    ///
    /// # Panics
    /// If it goes on instead.
    #[track_caller]
    pub fn fails(&self, mut command: Command) -> (i32, String) {
        let stderr = self.home.join(format!("stderr-{}", unique_number()));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(File::create(&stderr).expect("a file"))
            .spawn()
            .expect("dunlin starts");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait") {
                break status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                let said = fs::read_to_string(&stderr).unwrap_or_default();
                panic!("it should have given up: {said}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = fs::read_to_string(&stderr).expect("what it said");
        (status.code().unwrap_or(-1), said)
    }
}

fn unique_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// `VmRSS`, KiB.
    pub resident_kib: u64,
    /// Open files.
    pub files: usize,
    /// Threads.
    pub threads: usize,
    /// User and system time.
    pub cpu: Duration,
}

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    /// Where it runs.
    pub place: Place,
    log: PathBuf,
    child: Child,
}

impl Agent {
    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has logged this.
    #[track_caller]
    pub fn logged(&self, text: &str) {
        wait_for(text, PATIENCE, || {
            let log = self.log();
            log.contains(text).then_some(()).ok_or(log)
        });
    }

    /// The reading end of its standard error, if that is a pipe.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If the kernel cannot be asked.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a process");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the agent ends", PATIENCE, || {
            self.child
                .try_wait()
                .expect("wait")
                .ok_or_else(|| fs::read_to_string(&self.log).unwrap_or_default())
        })
    }

    /// Kills it as the kernel would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Runs `dunlin` with these arguments against it.
    ///
    /// # Panics
    /// If the program cannot be run.
    pub fn dunlin(&self, args: &[&str]) -> Output {
        let mut command = self.place.dunlin();
        command.arg("--socket").arg(self.place.socket()).args(args);
        command.output().expect("dunlin runs")
    }

    /// What a `dunlin` command prints as JSON, whatever its exit code.
    ///
    /// # Panics
    /// If it prints something else.
    #[track_caller]
    pub fn json<T: for<'a> serde::Deserialize<'a>>(&self, args: &[&str]) -> T {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let output = self.dunlin(&args);
        match serde_json::from_slice(&output.stdout) {
            Ok(value) => value,
            Err(error) => panic!("dunlin {args:?}: {error}: {output:?}"),
        }
    }

    /// `dunlin get neighbors --peer NAME`.
    ///
    /// # Panics
    /// If there is none, or several.
    #[track_caller]
    pub fn neighbor(&self, name: &str) -> Neighbor {
        let mut found: Vec<Neighbor> = self.json(&["get", "neighbors", "--peer", name]);
        assert_eq!(found.len(), 1, "neighbors called {name}");
        found.remove(0)
    }

    /// `dunlin explain`.
    #[track_caller]
    pub fn explain(&self, subject: &str) -> Explanation {
        self.json(&["explain", subject])
    }

    /// Its status, over the socket.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn try_status(&self) -> Result<Status, String> {
        match Client::new(self.place.socket()).ask_blocking(&Query::Status) {
            Ok(Answer::Status(status)) => Ok(*status),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Its status.
    #[track_caller]
    pub fn status(&self) -> Status {
        self.try_status().expect("a status")
    }

    /// Its neighbors, over the socket.
    #[track_caller]
    pub fn neighbors(&self) -> Vec<Neighbor> {
        match Client::new(self.place.socket()).ask_blocking(&Query::Neighbors) {
            Ok(Answer::Neighbors(neighbors)) => neighbors,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until its status is as wanted.
    #[track_caller]
    pub fn await_status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        wait_for(what, PATIENCE, || {
            let status = self.try_status()?;
            if wanted(&status) {
                Ok(status)
            } else {
                Err(format!("{status:#?}"))
            }
        })
    }

    /// Waits until its status has a problem of this reason about this object; gives the message.
    #[track_caller]
    pub fn await_problem(&self, reason: &str, object: &str) -> String {
        let has = |status: &Status| {
            let mut problems = status.problems.iter();
            let found = problems.find(|p| p.reason == reason && p.object.contains(object));
            found.map(|p| p.message.clone())
        };
        let status = self.await_status(&format!("problem {reason} of {object}"), |status| {
            has(status).is_some()
        });
        has(&status).unwrap_or_default()
    }

    /// Waits until its status has no problem at all.
    #[track_caller]
    pub fn await_no_problem(&self) {
        self.await_status("no problem", |status| status.problems.is_empty());
    }

    /// `/metrics`.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let response = http::get(&self.place.netns, "/metrics");
        assert_eq!(response.status, 200, "{}", response.body);
        response.body
    }

    /// The value of a series, written as in the exposition: `name{label="value"}`. Zero if there is none.
    ///
    /// # Panics
    /// If its metric is not served at all.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let name = series.split('{').next().unwrap_or(series);
        let declared = name.strip_suffix("_total").unwrap_or(name);
        assert!(
            text.contains(&format!("# TYPE {declared} ")),
            "no metric {declared}: {text}"
        );
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// What its process holds.
    ///
    /// # Panics
    /// If `/proc` does not tell.
    #[track_caller]
    pub fn usage(&self) -> Usage {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()));
        let status = fs::read_to_string(proc.join("status")).expect("a process");
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.split_whitespace().next());
            value.and_then(|v| v.parse().ok()).expect("a field")
        };
        let stat = fs::read_to_string(proc.join("stat")).expect("a process");
        let fields = stat.rsplit_once(')').expect("a name").1;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|t| t.parse::<u64>().expect("ticks")).sum();
        Usage {
            resident_kib: field("VmRSS:"),
            threads: usize::try_from(field("Threads:")).expect("few threads"),
            files: count(&proc.join("fd")),
            cpu: Duration::from_secs(ticks)
                / u32::try_from(rustix::param::clock_ticks_per_second()).expect("ticks"),
        }
    }

    /// Waits until it holds no more open files than this. Count what it held before only once it is at rest:
    /// it answers before all its own sockets are open.
    ///
    /// # Panics
    /// If some stay.
    #[track_caller]
    pub fn await_files(&self, at_most: usize) {
        wait_for("the connections are closed", PATIENCE, || {
            let now = self.usage().files;
            (now <= at_most)
                .then_some(())
                .ok_or(format!("{now} files, at most {at_most} wanted"))
        });
    }
}

fn count(dir: &Path) -> usize {
    fs::read_dir(dir).expect("a directory").count()
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.place.node, self.log());
        }
        self.kill();
    }
}
