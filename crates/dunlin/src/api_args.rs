//! Where the Kubernetes API is, as every command that reads it is told.

use std::path::PathBuf;

use clap::Args;
use dunlin_agent::config::{ApiConfig, ApiServer};

#[derive(Clone, Debug, Args)]
pub(crate) struct ApiOptions {
    /// The kubeconfig for the Kubernetes API. Without one: the pod's service account, else what kubectl would take.
    #[arg(long, env = "DUNLIN_KUBECONFIG", value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// An API server, as 192.0.2.1:6443 or an https URL; may be given several times, and they are tried in turn. Needed
    /// where the Service `kubernetes` is not reachable from the host.
    #[arg(
        long = "api-server",
        env = "DUNLIN_API_SERVER",
        value_name = "ADDR",
        value_delimiter = ','
    )]
    pub(crate) api_servers: Vec<ApiServer>,
}

impl From<ApiOptions> for ApiConfig {
    fn from(options: ApiOptions) -> ApiConfig {
        ApiConfig {
            kubeconfig: options.kubeconfig,
            servers: options.api_servers,
        }
    }
}
