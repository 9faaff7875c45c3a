//! Colours, and the machine-readable formats.

use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::{Color, Format};

/// What a piece of text says by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Strong,
    Good,
    Warn,
    Bad,
    Faint,
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    colored: bool,
}

impl Style {
    pub(crate) fn new(color: Color, terminal: bool) -> Style {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Style {
            colored: match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto => terminal && !no_color,
            },
        }
    }

    /// The text in its colour. What came from elsewhere must have gone through [`clean`] before.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colored => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Strong => "1",
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// The text without what would move the cursor or colour the terminal: some of it comes from peers.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Prints `value` as JSON or YAML, or calls `table`, with whether it may be wide.
pub(crate) fn print<T: Serialize>(
    out: &mut dyn Write,
    format: Format,
    value: &T,
    table: impl FnOnce(bool) -> String,
) -> Result<()> {
    match format {
        Format::Table => write!(out, "{}", table(false))?,
        Format::Wide => write!(out, "{}", table(true))?,
        Format::Json => {
            let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
            writeln!(out, "{text}")?;
        }
        Format::Yaml => {
            let text = serde_saphyr::to_string(value).context("cannot write YAML")?;
            writeln!(out, "{}", text.trim_end())?;
        }
    }
    Ok(())
}
