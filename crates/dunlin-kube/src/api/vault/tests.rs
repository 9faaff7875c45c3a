use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dunlin_intent::{Secret, SecretFact, SecretRef};

use super::{Vault, is_memory};

struct Dir(PathBuf);

impl Dir {
    fn new(within: &Path, name: &str) -> Dir {
        let path = within.join(format!("dunlin-vault-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Dir(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn secret(name: &str) -> SecretFact {
    SecretFact {
        at: SecretRef::new("kube-system", name),
        password: Some(Secret::new(*b"pa\xFFss")),
    }
}

#[test]
fn passwords_come_back_and_only_their_owner_reads_them() {
    let dir = Dir::new(Path::new("/dev/shm"), "kept");
    let vault = Vault::new(Some(dir.0.clone()));
    assert!(vault.recall().is_empty());
    let secrets = [secret("one"), secret("two")];
    vault.keep(secrets.iter()).expect("a tmpfs");
    assert_eq!(vault.recall(), secrets);
    let mode = std::fs::metadata(dir.0.join("passwords")).expect("a file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    vault.keep([].iter()).expect("a tmpfs");
    assert!(vault.recall().is_empty());
    std::fs::write(dir.0.join("passwords"), b"garbage").expect("written");
    assert!(vault.recall().is_empty());
}

#[test]
fn a_disk_is_refused() {
    let disk = [
        std::env::temp_dir(),
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    ]
    .into_iter()
    .find(|dir| rustix::fs::statfs(dir).is_ok_and(|system| !is_memory(system.f_type)));
    let dir = Dir::new(&disk.expect("a directory that is not memory"), "disk");
    let why = Vault::new(Some(dir.0.clone())).keep([secret("one")].iter());
    assert!(
        why.as_ref().is_err_and(|why| why.contains("tmpfs")),
        "{why:?}"
    );
    assert!(!dir.0.join("passwords").exists());
}
