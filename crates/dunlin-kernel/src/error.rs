use std::io;

use dunlin_dataplane::KernelError;

/// Talking to the kernel failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket could not be opened, set up, written or read.
    #[error("{what}: {source}")]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The process may not change the network.
    #[error(
        "the capability CAP_NET_ADMIN is missing in this network namespace: run as root, or grant it \
         (systemd: AmbientCapabilities=CAP_NET_ADMIN; Kubernetes: securityContext.capabilities.add [\"NET_ADMIN\"])"
    )]
    NetAdmin,
    /// The kernel refused a request.
    #[error("{what}: {}{}", errno_text(*.errno), message_text(.message.as_deref()))]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// The positive error number.
        errno: i32,
        /// The kernel's own words, if it gave any.
        message: Option<Box<str>>,
    },
    /// Answers were lost because the receive buffer overflowed, or never came.
    #[error("{what}: the kernel's answer was lost")]
    Lost {
        /// What was attempted.
        what: &'static str,
    },
    /// A message would exceed what netlink can hold.
    #[error("{what}: the message is too large for netlink")]
    TooLarge {
        /// What was attempted.
        what: &'static str,
    },
}

impl Error {
    /// The kernel's positive error number; 0 if it gave none.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Socket { source, .. } => source.raw_os_error().unwrap_or(0),
            Error::Refused { errno, .. } => *errno,
            Error::NetAdmin => libc::EPERM,
            Error::Lost { .. } | Error::TooLarge { .. } => 0,
        }
    }
}

impl From<&Error> for KernelError {
    fn from(error: &Error) -> KernelError {
        KernelError {
            errno: error.errno(),
            message: error.to_string(),
        }
    }
}

fn errno_text(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

fn message_text(message: Option<&str>) -> String {
    message
        .map(|message| format!(": {message}"))
        .unwrap_or_default()
}
