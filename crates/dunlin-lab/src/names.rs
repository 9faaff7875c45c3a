//! The name of our route protocol, as iproute2 knows names: from files in `/etc/iproute2`.
//!
//! An agent writes it there. In a lab it must not: the machine's own files stay as they are. Agents, and commands run in
//! the lab, see a copy in that place, by a mount of their own.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::routes::PROTOCOL_DUNLIN;

const ETC: &str = "/etc/iproute2";
/// Where newer versions keep what `/etc` does not override.
const SHARED: &str = "/usr/share/iproute2/rt_protos";
const SHARED_COPY: &str = "rt_protos";

/// Makes the copy in `directory`, with our name in it.
///
/// # Errors
/// If a file cannot be copied.
pub fn copy_to(directory: &Path) -> Result<()> {
    let ours = format!("{PROTOCOL_DUNLIN} dunlin\n");
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(directory.join("rt_protos.d"))?;
        if Path::new(ETC).is_dir() {
            copy_tree(Path::new(ETC), directory)?;
        } else if let Ok(shared) = fs::read_to_string(SHARED) {
            return fs::write(directory.join(SHARED_COPY), shared + &ours);
        }
        fs::write(directory.join("rt_protos.d/dunlin.conf"), &ours)
    };
    copy().with_context(|| format!("cannot copy {ETC} to {}", directory.display()))
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(from)? {
        let (path, target) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            copy_tree(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Lets the command see the copy where the machine has the original.
pub fn show_to(command: &mut Command, directory: &Path) {
    let (copy, original) = if Path::new(ETC).is_dir() {
        (directory.to_owned(), PathBuf::from(ETC))
    } else if Path::new(SHARED).is_file() {
        (directory.join(SHARED_COPY), PathBuf::from(SHARED))
    } else {
        return;
    };
    let as_c = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (Ok(copy), Ok(original)) = (as_c(&copy), as_c(&original)) else {
        return;
    };
    // SAFETY: the closure runs between fork and exec; it does three system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            // Only a name is at stake: where mounts are forbidden, numbers are shown.
            let _ = unshare_unsafe(UnshareFlags::NEWNS)
                .and_then(|()| mount_change(c"/", private))
                .and_then(|()| mount_bind(copy.as_c_str(), original.as_c_str()));
            Ok(())
        });
    }
}
