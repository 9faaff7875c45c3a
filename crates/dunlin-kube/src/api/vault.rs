//! Passwords for a restart without the API server: in a file that only root can read, on a file system that is memory.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dunlin_intent::{Secret, SecretFact, SecretRef};
use serde::{Deserialize, Serialize};

/// The file systems that are memory (`statfs(2)`).
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58F6;

/// The largest file that is read back: what 256 Secrets of the API's greatest size do not reach in practice.
const MAX_OCTETS: u64 = 4 << 20;

/// Where passwords are kept.
#[derive(Debug)]
pub(super) struct Vault(Option<PathBuf>);

/// A password as it is kept. Not `Debug`.
#[derive(Serialize, Deserialize)]
struct Kept {
    namespace: String,
    name: String,
    password: Option<Vec<u8>>,
}

impl Vault {
    /// A vault in this directory; nothing is kept without one.
    pub(super) fn new(dir: Option<PathBuf>) -> Vault {
        Vault(dir)
    }

    /// Keeps these, and nothing else.
    ///
    /// # Errors
    /// Why they are not kept, in words for people.
    pub(super) fn keep<'a>(
        &self,
        secrets: impl Iterator<Item = &'a SecretFact>,
    ) -> Result<(), String> {
        let Some(dir) = &self.0 else {
            return Ok(());
        };
        let kept: Vec<Kept> = secrets
            .map(|secret| Kept {
                namespace: secret.at.namespace.clone(),
                name: secret.at.name.clone(),
                password: secret.password.as_ref().map(|p| p.expose().to_vec()),
            })
            .collect();
        let mut text = serde_json::to_vec(&kept).map_err(|error| error.to_string())?;
        let written = write(dir, &text);
        text.fill(0);
        written.map_err(|why| {
            format!(
                "{}: {why}: passwords are not kept, and after a restart without the API server sessions with a password \
                 wait for it",
                dir.display()
            )
        })
    }

    /// What was kept; nothing if it cannot be read.
    pub(super) fn recall(&self) -> Vec<SecretFact> {
        let Some(dir) = &self.0 else {
            return Vec::new();
        };
        let path = file(dir);
        match read(&path) {
            Ok(text) => parse(&text).unwrap_or_else(|| {
                tracing::warn!(path = %path.display(), "the kept passwords do not parse, and are left alone");
                Vec::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the kept passwords cannot be read");
                }
                Vec::new()
            }
        }
    }
}

/// What a file says was kept; nothing if it is not as we write it.
pub(super) fn parse(text: &[u8]) -> Option<Vec<SecretFact>> {
    let kept: Vec<Kept> = serde_json::from_slice(text).ok()?;
    let facts = kept.into_iter().map(|kept| SecretFact {
        at: SecretRef::new(kept.namespace, kept.name),
        password: kept.password.map(Secret::new),
    });
    Some(facts.collect())
}

fn file(dir: &Path) -> PathBuf {
    dir.join("passwords")
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_OCTETS {
        return Err(io::Error::other("too large"));
    }
    fs::read(path)
}

fn write(dir: &Path, text: &[u8]) -> Result<(), String> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| error.to_string())?;
    let system = rustix::fs::statfs(dir).map_err(|error| error.to_string())?;
    if !is_memory(system.f_type) {
        return Err(
            "is not on a tmpfs, where a disk would remember them: mount one, or name another with \
                    --secrets-dir"
                .to_owned(),
        );
    }
    let new = dir.join("passwords.new");
    let replace = || {
        let _ = fs::remove_file(&new);
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        out.write_all(text)?;
        fs::rename(&new, file(dir))
    };
    replace().map_err(|error: io::Error| error.to_string())
}

/// Whether a file system of this type keeps nothing on a disk.
fn is_memory(kind: impl TryInto<i64>) -> bool {
    kind.try_into()
        .is_ok_and(|kind| matches!(kind & 0xFFFF_FFFF, TMPFS_MAGIC | RAMFS_MAGIC))
}

#[cfg(test)]
mod tests;
