//! The CNI configuration file: written whole or not at all, and only over one of our own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dunlin_intent::cni::{FILE_NAME, NETWORK_NAME};

/// What writing or removing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The file is now as wanted.
    Changed,
    /// It was already.
    Unchanged,
}

/// Why the file was not written or removed.
#[derive(Debug, thiserror::Error)]
pub enum CniFileError {
    /// A file of this name is there and is not ours.
    #[error("{}: is not a file of ours (its network is not named {NETWORK_NAME}); move it away or give another --cni-conf-dir", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {error}; check that --cni-conf-dir exists and can be written", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// Puts `content` at [`FILE_NAME`] in `dir`, by rename, so that a runtime sees the old file or the new one and nothing between.
///
/// # Errors
/// If a foreign file is in the way, or the file system refuses.
pub fn write(dir: &Path, content: &str) -> Result<Outcome, CniFileError> {
    let path = dir.join(FILE_NAME);
    if let Some(before) = read_ours(&path)?
        && before == content
    {
        return Ok(Outcome::Unchanged);
    }
    // Runtimes read only names that end in .conf, .conflist or .json.
    let temporary = dir.join(format!(".{FILE_NAME}.new"));
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, &path));
    if let Err(error) = written {
        // Nothing of ours stays behind; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
        return Err(CniFileError::Io { path, error });
    }
    sync_dir(dir)?;
    Ok(Outcome::Changed)
}

/// Removes the file, if it is ours.
///
/// # Errors
/// If the file is foreign, or the file system refuses.
pub fn remove(dir: &Path) -> Result<Outcome, CniFileError> {
    let path = dir.join(FILE_NAME);
    if read_ours(&path)?.is_none() {
        return Ok(Outcome::Unchanged);
    }
    fs::remove_file(&path).map_err(|error| CniFileError::Io { path, error })?;
    sync_dir(dir)?;
    Ok(Outcome::Changed)
}

fn write_new(path: &Path, content: &str) -> io::Result<()> {
    // A rest of a crashed attempt is replaced, never written through.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

fn sync_dir(dir: &Path) -> Result<(), CniFileError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| CniFileError::Io {
            path: dir.to_owned(),
            error,
        })
}

/// The content of the file that is there: `None` if there is none.
fn read_ours(path: &Path) -> Result<Option<String>, CniFileError> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(CniFileError::Io {
                path: path.to_owned(),
                error,
            });
        }
    };
    let network: Option<serde_json::Value> = serde_json::from_slice(&content).ok();
    let is_ours = network.is_some_and(|network| network["name"] == NETWORK_NAME);
    match String::from_utf8(content) {
        Ok(content) if is_ours => Ok(Some(content)),
        _ => Err(CniFileError::Foreign {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
