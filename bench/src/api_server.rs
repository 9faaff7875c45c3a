//! The API in memory on a port of a namespace, and the file that says where it is.

use std::net::{SocketAddr, TcpListener};

use anyhow::Result;
use dunlin_fakeapi::FakeApi;

use crate::netns::Netns;
use crate::process::Scratch;

/// A server in a thread of its own, until dropped.
pub(crate) struct Server {
    kubeconfig: String,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    /// Serves on `lo` of the namespace.
    pub(crate) fn start(api: FakeApi, namespace: &Netns, scratch: &Scratch) -> Result<Server> {
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:0"))??;
        let kubeconfig = scratch.write("kubeconfig", &kubeconfig(listener.local_addr()?))?;
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        listener.set_nonblocking(true)?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = api.serve(listener) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Server {
            kubeconfig,
            end: Some(end),
        })
    }

    /// The file's path.
    pub(crate) fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
    }
}

fn kubeconfig(server: SocketAddr) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: bench
contexts:
- name: bench
  context: {{cluster: bench, user: bench}}
clusters:
- name: bench
  cluster: {{server: \"http://{server}\"}}
users:
- name: bench
  user: {{}}
"
    )
}
