//! A cluster with a real control plane. One world serves all tests, one after the other, each of which leaves it as it was.
//!
//! The tests run on the main thread: the control plane's processes end with the thread that started them.
#![allow(clippy::print_stderr)]

mod control_plane;
mod drain;
mod install;
mod nodes;
mod objects;
mod outage;
mod peers;
mod pools;
mod service_proxy;
mod services;
mod sharing;
mod status;
mod tokens;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use dunlin_e2e::world::World;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&mut World));

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let without_agents = [control_plane::TESTS, install::TESTS, objects::TESTS]
        .into_iter()
        .flatten();
    let with_agents = [
        nodes::TESTS,
        services::TESTS,
        service_proxy::TESTS,
        peers::TESTS,
        pools::TESTS,
        sharing::TESTS,
        drain::TESTS,
        status::TESTS,
        outage::TESTS,
        tokens::TESTS,
    ]
    .into_iter()
    .flatten();
    let trials = without_agents
        .map(|&(name, test)| Trial::test(name, move || run(test, &[])))
        .chain(with_agents.map(|&(name, test)| {
            Trial::test(name, move || run(test, &[dunlin_e2e::router::installed]))
        }));
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    world::end();
    conclusion.exit_code()
}

fn run(test: fn(&mut World), needs: &[fn() -> Result<(), String>]) -> Result<(), Failed> {
    let lack = needs.iter().find_map(|need| need().err());
    let program = match lack.map_or_else(dunlin_e2e::control_plane, Err) {
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

/// Tells a figure.
pub(crate) fn say(figure: &str) {
    eprintln!("\n{figure}");
}
