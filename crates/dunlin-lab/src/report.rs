//! What the lab prints: a line for each thing done, with its result and its time.

use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Columns of the label and of the text.
const LABEL: usize = 9;
const TEXT: usize = 74;

/// Prints to standard output; a closed pipe is no error.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    quiet: bool,
    colour: bool,
}

impl Report {
    /// To standard output, in colour on a terminal.
    pub fn new() -> Report {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Report {
            quiet: false,
            colour: !plain && std::io::stdout().is_terminal(),
        }
    }

    /// To nowhere.
    pub fn quiet() -> Report {
        Report {
            quiet: true,
            colour: false,
        }
    }

    fn write(&self, line: &str) {
        if !self.quiet {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// An empty line.
    pub fn gap(&self) {
        self.write("");
    }

    /// A line as it is.
    pub fn plain(&self, line: &str) {
        self.write(line);
    }

    /// A line that stands out.
    pub fn heading(&self, line: &str) {
        self.write(&self.paint("1", line));
    }

    /// Something done, and how long it took.
    pub fn done(&self, label: &str, text: &str, took: Duration) {
        self.write(&self.line(label, text, &time(took)));
    }

    /// Something worth knowing.
    pub fn note(&self, label: &str, text: &str) {
        self.write(self.line(label, text, "").trim_end());
    }

    /// A check that passed.
    pub fn pass(&self, label: &str, text: &str, result: &str) {
        let ok = self.paint("32", "ok");
        self.write(&format!("{}  {ok}", self.line(label, text, result)));
    }

    /// A check that failed, with the reason.
    pub fn fail(&self, label: &str, text: &str, reason: &str) {
        let failed = self.paint("1;31", "FAIL");
        self.write(&format!("{}  {failed}", self.line(label, text, "")));
        self.write(&format!("  {:LABEL$}  {}", "", self.paint("31", reason)));
    }

    fn line(&self, label: &str, text: &str, result: &str) -> String {
        let label = self.paint("36", &format!("{label:LABEL$}"));
        format!("  {label} {text:TEXT$} {result:>8}")
    }
}

impl Default for Report {
    fn default() -> Report {
        Report::new()
    }
}

/// A duration in at most 8 columns.
pub fn time(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 0.001 {
        format!("{:.2} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else {
        format!("{seconds:.1} s")
    }
}

/// `a, b, c`, or `a, b … z` where they are many.
pub fn list(items: &[String]) -> String {
    match items {
        [first, second, .., last] if items.len() > 4 => format!("{first}, {second} … {last}"),
        _ => items.join(", "),
    }
}
