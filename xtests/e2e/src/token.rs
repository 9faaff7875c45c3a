//! A service account's token in a file, as the kubelet puts it into a pod.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The link that the kubelet turns to the newest files.
const NEWEST: &str = "..data";

/// A directory with a token, which can be exchanged for another in one step.
#[derive(Clone, Debug)]
pub struct TokenFile {
    directory: PathBuf,
}

impl TokenFile {
    /// Makes the directory, with a token.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(directory: PathBuf, token: &str) -> TokenFile {
        fs::create_dir_all(&directory).expect("a directory");
        let file = TokenFile { directory };
        file.put(token);
        symlink(Path::new(NEWEST).join("token"), file.path()).expect("a link");
        file
    }

    /// The file's name, which stays the same.
    pub fn path(&self) -> PathBuf {
        self.directory.join("token")
    }

    /// What is in it.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn token(&self) -> String {
        fs::read_to_string(self.path()).expect("a token")
    }

    /// Puts another token in its place.
    ///
    /// # Panics
    /// If that fails.
    pub fn put(&self, token: &str) {
        let newest = self.directory.join(NEWEST);
        let before = fs::read_link(&newest).ok();
        let versions = (0..).map(|number| PathBuf::from(format!("..{number}")));
        let mut unused = versions.filter(|name| !self.directory.join(name).exists());
        let name = unused.next().expect("numbers do not end");
        let version = self.directory.join(&name);
        fs::create_dir(&version).expect("a directory");
        fs::write(version.join("token"), token).expect("a file");
        let next = self.directory.join("..data_tmp");
        symlink(&name, &next).expect("a link");
        fs::rename(&next, &newest).expect("the link turns");
        if let Some(before) = before {
            fs::remove_dir_all(self.directory.join(before)).expect("the old one goes");
        }
    }
}
