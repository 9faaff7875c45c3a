use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

/// The port of API servers where none is given.
const DEFAULT_PORT: u16 = 6443;

/// Where the API is and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiConfig {
    /// A kubeconfig file. Without one: the pod's service account, and outside of a pod what `kubectl` would take
    /// (`KUBECONFIG`, `~/.kube/config`).
    pub kubeconfig: Option<PathBuf>,
    /// Servers to use in place of the one that the kubeconfig or the pod's environment names; tried in turn.
    pub servers: Vec<ApiServer>,
}

/// An API server's address.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiServer(Uri);

impl ApiServer {
    /// Its URL: scheme, host, port, and the path that all others follow.
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address, if it is not a name.
    pub fn address(&self) -> Option<IpAddr> {
        host_address(&self.0)
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.trim_end_matches('/'))
    }
}

impl FromStr for ApiServer {
    type Err = String;

    fn from_str(text: &str) -> Result<ApiServer, String> {
        const USAGE: &str =
            "give ADDRESS, ADDRESS:PORT or an https URL, as 192.0.2.1:6443 or [2001:db8::1]:6443";
        let full = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{}", with_port(text)),
        };
        let uri: Uri = full
            .parse()
            .map_err(|error| format!("{text:?}: {error}: {USAGE}"))?;
        let host = uri.host().unwrap_or_default();
        let is_loopback =
            host == "localhost" || host_address(&uri).is_some_and(|addr| addr.is_loopback());
        match uri.scheme_str() {
            _ if host.is_empty() => Err(format!("{text:?} names no host: {USAGE}")),
            Some("https") => Ok(ApiServer(uri)),
            Some("http") if is_loopback => Ok(ApiServer(uri)),
            Some("http") => Err(format!(
                "{text:?}: everybody on the way could read our token: {USAGE}"
            )),
            _ => Err(format!("{text:?}: {USAGE}")),
        }
    }
}

/// The same with a port, if it has none.
fn with_port(text: &str) -> String {
    if let Ok(addr) = text.parse::<IpAddr>() {
        return match addr {
            IpAddr::V4(addr) => format!("{addr}:{DEFAULT_PORT}"),
            IpAddr::V6(addr) => format!("[{addr}]:{DEFAULT_PORT}"),
        };
    }
    let after_host = text.rsplit_once(']').map_or(text, |(_, rest)| rest);
    match after_host.contains(':') {
        true => text.to_owned(),
        false => format!("{text}:{DEFAULT_PORT}"),
    }
}

/// The host of a URL, if it is an address.
pub(super) fn host_address(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests;
