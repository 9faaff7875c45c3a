//! The lab alone, without the agent: `dunlin-lab lab up` is `dunlin lab up`. The lab's own tests drive it.

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "dunlin-lab", version)]
enum Command {
    /// A virtual cluster on this machine.
    Lab(dunlin_lab::LabArgs),
}

fn main() -> ExitCode {
    let Command::Lab(args) = Command::parse();
    dunlin_lab::run(args).unwrap_or_else(|error| {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}
