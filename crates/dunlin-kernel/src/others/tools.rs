//! Programs that own formats we do not write.

use std::io::{self, Write};
use std::process::{Command, Stdio};

/// A program and its first arguments.
fn command(program: &str, args: &[&str]) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command
        .args(args)
        // An ordinary user's path lacks the directories of administration.
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What a program prints, fed with `input`.
pub(super) fn run(program: &str, args: &[&str], input: &str) -> io::Result<String> {
    let mut child = command(program, args).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take();
    let input = input.to_owned();
    // Beside the reading: neither side may wait for the other's full pipe.
    let writer = std::thread::spawn(move || match &mut stdin {
        Some(stdin) => stdin.write_all(input.as_bytes()),
        None => Ok(()),
    });
    let output = child.wait_with_output()?;
    // One that ends early says why itself.
    let _ = writer.join();
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or_default();
    Err(io::Error::other(format!(
        "{program}: {}: {said}",
        output.status
    )))
}

/// The first of these programs that is there.
pub(super) fn first<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let there = |program: &&str| {
        !matches!(
            run(program, &["--version"], ""),
            Err(error) if error.kind() == io::ErrorKind::NotFound
        )
    };
    programs.iter().copied().find(there)
}
