//! inotify on a directory.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

/// What has happened since last asked.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Entries that came, went or were written. Bounded by what the kernel queues (`max_queued_events`).
    pub(super) names: BTreeSet<OsString>,
    /// Events were lost or the directory is another one: look at everything.
    pub(super) everything: bool,
}

#[derive(Debug)]
pub(super) struct Watch {
    fd: AsyncFd<OwnedFd>,
    path: PathBuf,
    /// The watch on the directory; none while it does not exist.
    dir: Option<i32>,
    /// The watch on its parent, while the directory does not exist.
    parent: Option<i32>,
}

impl Watch {
    pub(super) fn new(path: &Path) -> io::Result<Watch> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // What the deprecation warns of is a type whose descriptor is not its own; an OwnedFd's is, and the other way to
        // build one is unsafe.
        #[expect(deprecated)]
        let fd = AsyncFd::new(fd)?;
        let mut watch = Watch {
            fd,
            path: path.to_owned(),
            dir: None,
            parent: None,
        };
        watch.dir = Some(watch.add_dir()?);
        Ok(watch)
    }

    /// Waits until something has happened.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await.map(|mut guard| {
            // Reading until nothing is left follows, so the next wait is for something new.
            guard.clear_ready();
        })
    }

    /// All that has happened.
    pub(super) fn drain(&mut self) -> io::Result<Seen> {
        let mut seen = Seen::default();
        let mut gone = false;
        let mut buf = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.fd.get_ref(), &mut buf);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                seen.everything = true;
            } else if Some(event.wd()) == self.dir {
                gone |= flags.intersects(
                    ReadFlags::DELETE_SELF
                        | ReadFlags::MOVE_SELF
                        | ReadFlags::UNMOUNT
                        | ReadFlags::IGNORED,
                );
                if let Some(name) = event.file_name() {
                    let name = OsStr::from_bytes(name.to_bytes());
                    // An ordinary file that was only created is still being written: its closing follows.
                    if flags != ReadFlags::CREATE || self.is_whole(name) {
                        seen.names.insert(name.to_owned());
                    }
                }
            } else if Some(event.wd()) == self.parent {
                gone = true;
            }
        }
        if gone {
            self.follow_dir()?;
            seen.everything = true;
        }
        Ok(seen)
    }

    /// Whether an entry that just came needs no more writing: a link, of either kind.
    fn is_whole(&self, name: &OsStr) -> bool {
        fs::symlink_metadata(self.path.join(name))
            .is_ok_and(|meta| !meta.is_file() || meta.nlink() > 1)
    }

    /// Watches what is at the path now; if nothing is, the parent until something comes.
    fn follow_dir(&mut self) -> io::Result<()> {
        if let Some(dir) = self.dir.take() {
            // It may be gone with its watch.
            let _ = inotify::remove_watch(self.fd.get_ref(), dir);
        }
        if self.parent.is_none() {
            let parent = match self.path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            // Without a parent there is nothing to wait for; what was last held stays.
            self.parent = inotify::add_watch(self.fd.get_ref(), parent, flags).ok();
        }
        // Looked for after the parent is watched, so that it is not missed in between.
        match self.add_dir() {
            Ok(dir) => {
                self.dir = Some(dir);
                if let Some(parent) = self.parent.take() {
                    let _ = inotify::remove_watch(self.fd.get_ref(), parent);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn add_dir(&self) -> io::Result<i32> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        Ok(inotify::add_watch(self.fd.get_ref(), &self.path, flags)?)
    }
}
