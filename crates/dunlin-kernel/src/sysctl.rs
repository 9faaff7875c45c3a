//! Sysctls of the network namespace, through `/proc/sys`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::rtnl::Reader;

/// A sysctl could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// The file could not be read or written.
    #[error("sysctl {name}: {source}{hint}")]
    Io {
        /// The sysctl, with dots.
        name: String,
        /// The system's answer.
        source: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// The links with an advertised default route could not be read.
    #[error("looking for advertised default routes: {0}")]
    Netlink(#[from] crate::Error),
}

/// A sysctl that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysctlChange {
    /// Its name, with dots.
    pub name: String,
    /// The value before.
    pub from: String,
    /// The value now.
    pub to: String,
}

/// `/proc/sys`, or a copy of its shape.
#[derive(Clone, Debug)]
pub struct Sysctl {
    root: PathBuf,
}

/// Where an unprivileged container is given the host's `/proc/sys/net`; its own is read-only.
pub const OF_HOST: &str = "/host/proc/sys";

impl Default for Sysctl {
    /// The kernel's own, through [`OF_HOST`] if that is there.
    fn default() -> Sysctl {
        let of_host = Path::new(OF_HOST);
        let root = if of_host.join("net/ipv4").is_dir() {
            of_host
        } else {
            Path::new("/proc/sys")
        };
        Sysctl::at(root)
    }
}

const READ_ONLY: &str = " (/proc/sys is read-only here: set it on the host, or mount the host's /proc/sys/net at \
                         /host/proc/sys/net)";
const NO_FAMILY: &str = " (the kernel was booted without this address family, or it is disabled)";

impl Sysctl {
    /// At another place.
    pub fn at(root: &Path) -> Sysctl {
        Sysctl {
            root: root.to_owned(),
        }
    }

    /// Reads one; `path` has slashes.
    pub fn read(&self, path: &str) -> Result<String, SysctlError> {
        fs::read_to_string(self.root.join(path))
            .map(|value| value.trim_end().to_owned())
            .map_err(|source| error(path, source))
    }

    /// Makes one be `value`; tells the change if there was one.
    pub fn set(&self, path: &str, value: &str) -> Result<Option<SysctlChange>, SysctlError> {
        let from = self.read(path)?;
        if from == value {
            return Ok(None);
        }
        fs::write(self.root.join(path), value).map_err(|source| error(path, source))?;
        Ok(Some(SysctlChange {
            name: path.replace('/', "."),
            from,
            to: value.to_owned(),
        }))
    }

    /// Turns forwarding of IPv4 on.
    pub fn forward_ipv4(&self) -> Result<Vec<SysctlChange>, SysctlError> {
        Ok(self.set("net/ipv4/ip_forward", "1")?.into_iter().collect())
    }

    /// Turns forwarding of IPv6 on. A forwarding host ignores router advertisements unless told otherwise, so first the links
    /// whose default route came from one (and that listen: `accept_ra` 1, not a network manager in user space) get
    /// `accept_ra` 2. Tells the changes in order.
    pub fn forward_ipv6(&self) -> Result<Vec<SysctlChange>, SysctlError> {
        let mut reader = Reader::open()?;
        let advertised = reader.advertised_default_links()?;
        let mut names = Vec::new();
        reader.links(|link| {
            if advertised.contains(&link.ifindex) {
                names.push(link.name);
            }
        })?;
        self.forward_ipv6_keeping(&names)
    }

    fn forward_ipv6_keeping(&self, links: &[String]) -> Result<Vec<SysctlChange>, SysctlError> {
        let mut changes = Vec::new();
        for link in links {
            let path = format!("net/ipv6/conf/{link}/accept_ra");
            if self.read(&path)? == "1" {
                changes.extend(self.set(&path, "2")?);
            }
        }
        changes.extend(self.set("net/ipv6/conf/all/forwarding", "1")?);
        Ok(changes)
    }
}

fn error(path: &str, source: io::Error) -> SysctlError {
    let hint = match source.raw_os_error() {
        Some(libc::EROFS | libc::EACCES | libc::EPERM) => READ_ONLY,
        Some(libc::ENOENT) => NO_FAMILY,
        _ => "",
    };
    SysctlError::Io {
        name: path.replace('/', "."),
        source,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fake(files: &[(&str, &str)]) -> (PathBuf, Sysctl) {
        let name = format!(
            "dunlin-sysctl-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let root = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        for (path, value) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        (root.clone(), Sysctl::at(&root))
    }

    #[test]
    fn advertisements_stay_accepted_where_the_kernel_listened() {
        let (root, sysctl) = fake(&[
            ("net/ipv6/conf/all/forwarding", "0\n"),
            ("net/ipv6/conf/eth0/accept_ra", "1\n"),
            ("net/ipv6/conf/eth1/accept_ra", "0\n"),
        ]);
        let changes = sysctl
            .forward_ipv6_keeping(&["eth0".into(), "eth1".into()])
            .unwrap();
        let names: Vec<&str> = changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "net.ipv6.conf.eth0.accept_ra",
                "net.ipv6.conf.all.forwarding"
            ]
        );
        assert_eq!(sysctl.read("net/ipv6/conf/eth0/accept_ra").unwrap(), "2");
        assert!(
            sysctl
                .forward_ipv6_keeping(&["eth0".into()])
                .unwrap()
                .is_empty()
        );
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_absent_family_says_so() {
        let (root, sysctl) = fake(&[("net/x", "0")]);
        let text = sysctl.forward_ipv4().unwrap_err().to_string();
        assert!(
            text.contains("net.ipv4.ip_forward") && text.contains("address family"),
            "{text}"
        );
        fs::remove_dir_all(root).unwrap();
    }
}
