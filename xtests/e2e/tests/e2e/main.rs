//! A cluster with a real control plane. One world serves all tests, one after the other, each of which leaves it as it was.
//!
//! The tests run on the main thread: the control plane's processes end with the thread that started them.
#![allow(clippy::print_stderr)]

mod control_plane;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::world::World;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&mut World));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let tests = control_plane::TESTS.iter();
    let trials = tests.map(|&(name, test)| Trial::test(name, move || run(test)));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world::end();
    conclusion.exit_code()
}

fn run(test: fn(&mut World)) -> Result<(), Failed> {
    let program = match dunlin_e2e::control_plane() {
        Ok(program) => program,
        Err(lack) if std::env::var_os("DUNLIN_ALLOW_SKIP").is_some() => {
            // The name of the test stands on this line.
            eprintln!("\nskipped: {lack}");
            return Ok(());
        }
        Err(lack) => {
            return Err(format!(
                "{lack}; this test must not be skipped (DUNLIN_ALLOW_SKIP=1 lets it)"
            )
            .into());
        }
    };
    world::with(program, test);
    Ok(())
}
