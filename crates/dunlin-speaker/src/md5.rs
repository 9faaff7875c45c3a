//! What the kernel drops before a connection is accepted.

use std::fs;

/// Segments that the kernel dropped in this network namespace for their TCP MD5 signature (RFC 2385). Such a connection is
/// never accepted and its dial gets no answer, so these counters are the only trace of two ends that differ in passwords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Md5Mismatches {
    /// Unsigned, though a password is configured here.
    pub unsigned: u64,
    /// Signed, though no password is configured here.
    pub unexpected: u64,
    /// Signed with another password.
    pub wrong: u64,
}

impl Md5Mismatches {
    /// Reads the kernel's counters (`TcpExt` in `/proc/net/netstat`); zero where there are none.
    pub(crate) fn read() -> Md5Mismatches {
        let netstat = fs::read_to_string("/proc/thread-self/net/netstat");
        netstat.map_or_else(
            |_| Md5Mismatches::default(),
            |text| Md5Mismatches::parse(&text),
        )
    }

    /// The file has pairs of lines: names, then values in the same order.
    fn parse(netstat: &str) -> Md5Mismatches {
        let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            return Md5Mismatches::default();
        };
        let mut mismatches = Md5Mismatches::default();
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            let counter = match name {
                "TCPMD5NotFound" => &mut mismatches.unsigned,
                "TCPMD5Unexpected" => &mut mismatches.unexpected,
                "TCPMD5Failure" => &mut mismatches.wrong,
                _ => continue,
            };
            *counter = value.parse().unwrap_or(0);
        }
        mismatches
    }
}

#[cfg(test)]
mod tests;
