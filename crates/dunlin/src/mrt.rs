//! `dunlin mrt`: a table of routes as an MRT dump.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use dunlin_api::{Client, DumpRequest, DumpedTable};

#[derive(Debug, Args)]
#[command(
    after_help = "The dump is TABLE_DUMP_V2 (RFC 6396; RFC 8050 for paths with identifiers), which bgpdump, bgpscanner, pybgpstream and
others read. It is made piece by piece while the agent goes on: what changes meanwhile is in it or not.

Examples:
  dunlin mrt routes.mrt
  dunlin mrt --table loc-rib - | bgpdump -m -"
)]
pub(crate) struct MrtOptions {
    /// Which table: what all peers told, before import policy; or the best paths after it, with what the node originates.
    #[arg(long, value_enum, value_name = "TABLE", default_value = "adj-rib-in")]
    table: TableName,
    /// The file to write, which appears when all is written; `-` for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TableName {
    AdjRibIn,
    LocRib,
}

pub(crate) fn run(client: &Client, options: &MrtOptions, out: &mut dyn Write) -> Result<bool> {
    let request = DumpRequest {
        table: match options.table {
            TableName::AdjRibIn => DumpedTable::AdjRibIn,
            TableName::LocRib => DumpedTable::LocRib,
        },
    };
    if options.file == Path::new("-") {
        let terminal = io::stdout().is_terminal();
        ensure!(
            !terminal,
            "a dump is nothing to read: give a file's name, or send it to a program"
        );
        client.dump_blocking(&request, out)??;
        return Ok(true);
    }
    let mut part = options.file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let done = to_file(client, &request, &part).and_then(|()| {
        fs::rename(&part, &options.file)
            .with_context(|| format!("cannot make {}", options.file.display()))
    });
    if done.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&part);
    }
    done.map(|()| true)
}

fn to_file(client: &Client, request: &DumpRequest, path: &Path) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(what)?);
    client
        .dump_blocking(request, &mut file)?
        .with_context(what)?;
    file.flush().with_context(what)
}
