//! BIRD and FRR as the other end of BFD sessions.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Program};
use std::time::Duration;

use crate::support::eventually;
use crate::support::netns::{Netns, output, run};

/// Whose BFD it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bird,
    Frr,
}

impl Kind {
    /// What must be on the machine.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Kind::Bird => &["/usr/sbin/bird"],
            Kind::Frr => &["/usr/lib/frr/bfdd", "/usr/lib/frr/zebra", "/usr/bin/vtysh"],
        }
    }
}

/// One session as they are told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    pub(crate) multihop: bool,
}

pub(crate) struct Daemon {
    kind: Kind,
    dir: PathBuf,
    tell: Vec<Told>,
    running: Vec<Child>,
}

impl Daemon {
    /// Starts it in there, with these sessions, all of which send and receive as often as `interval`.
    pub(crate) fn start(
        kind: Kind,
        name: &str,
        there: &Netns,
        tell: &[Told],
        interval: Duration,
        mult: u8,
    ) -> Daemon {
        let pid = std::process::id();
        let dir = std::env::temp_dir().join(format!("dunlin-bfd-{pid}-{kind:?}-{name}"));
        std::fs::create_dir_all(&dir).expect("a directory");
        let mut daemon = Daemon {
            kind,
            dir,
            tell: tell.to_vec(),
            running: Vec::new(),
        };
        let millis = interval.as_millis();
        match kind {
            Kind::Bird => daemon.write("bird.conf", &bird_conf(tell, millis, mult)),
            Kind::Frr => {
                daemon.write("zebra.conf", "hostname peer\n");
                daemon.write("bfdd.conf", &frr_conf(tell, millis, mult));
                // The daemons give up root at once and read and write everything as their own user.
                run(&format!("chown -R frr:frr {}", daemon.dir.display()));
            }
        }
        daemon.launch(there);
        daemon
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).expect("a file");
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(crate) fn launch(&mut self, there: &Netns) {
        match self.kind {
            Kind::Bird => {
                let (conf, ctl) = (self.path("bird.conf"), self.path("ctl"));
                self.run(there, "/usr/sbin/bird", &["-f", "-c", &conf, "-s", &ctl]);
            }
            Kind::Frr => {
                let socket = self.path("zserv.api");
                let _ = std::fs::remove_file(&socket);
                self.run_frr(there, "zebra", &[]);
                eventually("zebra has a socket", || Path::new(&socket).exists());
                eventually("zebra knows the link", || {
                    let mut ask = Program::new("/usr/bin/vtysh");
                    ask.args(["--vty_socket", &self.path(""), "-d", "zebra"]);
                    let said = ask.args(["-c", "show interface theirs"]).output();
                    let said = said.expect("it runs").stdout;
                    String::from_utf8_lossy(&said).contains("is up")
                });
                let control = self.path("bfdd.sock");
                self.run_frr(there, "bfdd", &["--bfdctl", &control]);
            }
        }
        eventually("it answers", || {
            self.ask(&["show bfd sessions", "show bfd peers"]).is_some()
        });
    }

    fn run_frr(&mut self, there: &Netns, name: &str, more: &[&str]) {
        let (dir, conf) = (self.path(""), self.path(&format!("{name}.conf")));
        let (pid, socket) = (self.path(&format!("{name}.pid")), self.path("zserv.api"));
        // Port 0: no TCP console.
        let mut words = vec!["-P", "0", "--log", "stdout", "--vty_socket", &dir];
        words.extend(["-z", &socket, "-f", &conf, "-i", &pid]);
        words.extend(more);
        self.run(there, &format!("/usr/lib/frr/{name}"), &words);
    }

    fn run(&mut self, there: &Netns, program: &str, words: &[&str]) {
        let name = Path::new(program).file_name().expect("a name");
        let log = |end: &str| {
            let name = format!("{}.{end}", name.to_string_lossy());
            std::fs::File::create(self.dir.join(name)).expect("a file")
        };
        let (out, err) = (log("out"), log("err"));
        let mut command = there.command(program);
        command.args(words).stdout(out).stderr(err);
        self.running.push(command.spawn().expect("it runs"));
    }

    /// What it answers to the question in its own words: BIRD's, FRR's.
    pub(crate) fn ask(&self, questions: &[&str; 2]) -> Option<String> {
        let mut program = match self.kind {
            Kind::Bird => {
                let mut program = Program::new("birdc");
                program.args(["-s", &self.path("ctl"), questions[0]]);
                program
            }
            Kind::Frr => {
                let mut program = self.vtysh();
                program.args(["-c", questions[1]]);
                program
            }
        };
        let said = program.output().expect("it runs");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let failed = text.contains("Unable to connect") || text.contains("failed to connect");
        (said.status.success() && !failed).then_some(text)
    }

    fn vtysh(&self) -> Program {
        let mut program = Program::new("/usr/bin/vtysh");
        program.args(["--vty_socket", &self.path(""), "-d", "bfdd"]);
        program
    }

    /// Whether its session with us is up, and for how long a silence is allowed.
    pub(crate) fn session(&self, ours: &str) -> Option<(bool, Duration)> {
        let text = self.ask(&["show bfd sessions", "show bfd peers"])?;
        match self.kind {
            Kind::Bird => {
                let mut lines = text.lines().map(str::split_whitespace);
                let mut words =
                    lines.find_map(|mut words| (words.next() == Some(ours)).then_some(words))?;
                let state = words.nth(1)?;
                let timeout: f64 = words.last()?.parse().ok()?;
                Some((state == "Up", Duration::from_secs_f64(timeout)))
            }
            Kind::Frr => {
                let from = text.find(&format!("peer {ours} "))?;
                let about = text.get(from..)?;
                let until = about
                    .get(5..)?
                    .find("\tpeer ")
                    .map_or(about.len(), |at| at + 5);
                let about = about.get(..until)?;
                let number = |block: &str, name: &str| -> Option<u32> {
                    let block = about.split(block).nth(1)?;
                    let rest = block.split(name).nth(1)?.trim_start_matches(':');
                    let digits: String = rest
                        .trim_start()
                        .chars()
                        .take_while(char::is_ascii_digit)
                        .collect();
                    digits.parse().ok()
                };
                let remote = "Remote timers:";
                let mult = number(remote, "Detect-multiplier")?;
                let receive = number("Local timers:", "Receive interval")?;
                let transmit = number(remote, "Transmission interval")?;
                let silence = Duration::from_millis(receive.max(transmit).into()) * mult;
                Some((about.contains("Status: up"), silence))
            }
        }
    }

    pub(crate) fn is_up(&self, ours: &str) -> bool {
        self.session(ours).is_some_and(|(up, _)| up)
    }

    /// Switches its sessions off or on on purpose; FRR alone can.
    pub(crate) fn shut(&self, shut: bool) {
        assert_eq!(self.kind, Kind::Frr, "BIRD cannot");
        for told in &self.tell {
            let mut program = self.vtysh();
            program.args(["-c", "configure terminal", "-c", "bfd"]);
            program.args(["-c", &frr_peer(told)]);
            program.args(["-c", if shut { "shutdown" } else { "no shutdown" }]);
            output(program);
        }
    }

    /// Dies without a word.
    pub(crate) fn kill(&mut self) {
        for mut child in self.running.drain(..).rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn bird_conf(tell: &[Told], millis: u128, mult: u8) -> String {
    let timers = format!(
        "min rx interval {millis} ms; min tx interval {millis} ms; idle tx interval 1 s; multiplier {mult};"
    );
    let mut text = format!(
        "router id 10.9.0.2;
        log stderr all;
        protocol device {{ scan time 1; }}
        protocol bfd {{
          interface \"*\" {{ {timers} }};
          multihop {{ {timers} }};\n"
    );
    for told in tell {
        let Told { ours, theirs, .. } = told;
        let _ = match told.multihop {
            true => writeln!(text, "  neighbor {ours} local {theirs} multihop on;"),
            false => writeln!(text, "  neighbor {ours} dev \"theirs\" local {theirs};"),
        };
    }
    text + "}\n"
}

fn frr_peer(told: &Told) -> String {
    let Told { ours, theirs, .. } = told;
    match told.multihop {
        true => format!("peer {ours} multihop local-address {theirs}"),
        false => format!("peer {ours} local-address {theirs} interface theirs"),
    }
}

fn frr_conf(tell: &[Told], millis: u128, mult: u8) -> String {
    let mut text = "hostname peer\nbfd\n".to_owned();
    for told in tell {
        let _ = writeln!(
            text,
            " {}\n  detect-multiplier {mult}\n  receive-interval {millis}\n  transmit-interval {millis}",
            frr_peer(told)
        );
        if told.multihop {
            text += "  minimum-ttl 250\n";
        }
        text += "  no shutdown\n exit\n";
    }
    text + "exit\n"
}
