//! The `dunlin` command.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command};
use crate::output::Style;

/// Threads hand objects on to each other all the time; with the C library's they would wait for each other at every one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod agent;
mod all_nodes;
mod api_args;
mod args;
mod check;
mod cleanup;
mod crds;
mod drain;
mod install_cni;
mod manifests;
mod migrate;
mod mrt;
mod nft;
mod output;
mod plan;
mod query;
mod reference;
mod show;
mod table;
mod words;

/// The command worked and found a problem.
const PROBLEM: u8 = 1;

fn main() -> ExitCode {
    // Usage errors, --help and --version end here, with 2 and 0.
    let cli = parse();
    match run(cli) {
        Ok(code) => code,
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dunlin: {error:#}");
            ExitCode::from(PROBLEM)
        }
    }
}

/// Parses the arguments. Called as `kubectl-dunlin`, it is `kubectl dunlin` to whoever asks for help.
fn parse() -> Cli {
    let program = std::env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let command = match program == "kubectl-dunlin" {
        true => Cli::command().bin_name("kubectl dunlin"),
        false => Cli::command(),
    };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: Cli) -> Result<ExitCode> {
    let style = Style::new(cli.color, io::stdout().is_terminal());
    let client = dunlin_api::Client::new(&cli.socket);
    match cli.command {
        Command::Agent(options) => agent::run(options, cli.socket),
        Command::Lab(args) => dunlin_lab::run(args),
        Command::Status(options) => print(|out| query::status(&client, &options, style, out)),
        Command::Get(get) => print(|out| query::get(&client, get, style, out)),
        Command::Explain(options) => print(|out| query::explain(&client, &options, style, out)),
        Command::Nft(options) => print(|out| nft::run(&client, &options, style, out)),
        Command::Mrt(options) => print(|out| mrt::run(&client, &options, out)),
        Command::Plan(options) => print(|out| plan::run(&client, &options, style, out)),
        Command::Drain(options) => print(|out| drain::drain(&client, &options, out)),
        Command::Undrain(options) => print(|out| drain::undrain(&client, &options, out)),
        Command::Check(options) => print(|out| check::run(&client, &options, style, out)),
        Command::Cleanup(options) => print(|out| cleanup::run(&options, client.socket(), out)),
        Command::Manifests(options) => print(|out| manifests::run(&options, out)),
        Command::Crds(options) => print(|out| crds::run(&options, out)),
        Command::InstallCni(options) => print(|out| install_cni::run(&options, out)),
        Command::Migrate(command) => print(|out| migrate::run(&command, out)),
        Command::Man(options) => print(|out| reference::man(&options, out)),
        Command::Reference { directory } => print(|out| reference::write(&directory, out)),
        Command::Pause => dunlin_agent::pause().map(|()| ExitCode::SUCCESS),
        Command::Completions { shell } => print(|out| {
            // The generator takes a failed write for impossible.
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut text);
            out.write_all(&text)?;
            Ok(true)
        }),
    }
}

/// Runs a command that prints, and says whether all is well.
fn print(command: impl FnOnce(&mut dyn Write) -> Result<bool>) -> Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let fine = command(&mut out)?;
    out.flush()?;
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(PROBLEM)
    })
}
