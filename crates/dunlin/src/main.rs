//! The `dunlin` command.
#![forbid(unsafe_code)]

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::output::Style;

mod agent;
mod args;
mod output;
mod query;
mod show;
mod table;
mod words;

/// How a command ended, other than by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Fine,
    /// The command worked and found a problem.
    Problem,
}

fn main() -> ExitCode {
    // Usage errors, --help and --version end here, with 2 and 0.
    let cli = Cli::parse();
    let mut out = io::stdout().lock();
    let outcome = run(cli, &mut out).and_then(|outcome| {
        out.flush()?;
        Ok(outcome)
    });
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Problem) => ExitCode::from(1),
        // Whoever read the output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dunlin: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: Cli, out: &mut dyn Write) -> Result<Outcome> {
    let style = Style::new(cli.color, io::stdout().is_terminal());
    let client = dunlin_api::Client::new(&cli.socket);
    match cli.command {
        Command::Agent(options) => agent::run(options, cli.socket),
        Command::Status(options) => query::status(&client, options, style, out),
        Command::Get(get) => query::get(&client, get, style, out),
        Command::Explain(options) => query::explain(&client, &options, style, out),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "dunlin", &mut &mut *out);
            Ok(Outcome::Fine)
        }
    }
}
