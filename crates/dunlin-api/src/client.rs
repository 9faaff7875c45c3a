//! The client: one HTTP request over the agent's Unix socket.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::{
    Answer, DumpRequest, ErrorBody, MRT_PATH, PLAN_PATH, Plan, PlanRequest, QUERY_PATH, Query,
};

/// Where an agent listens unless it was told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/dunlin/agent.sock";

/// The largest answer taken: 10,000 routes of many paths stay well below it.
const ANSWER_LIMIT_BYTES: usize = 256 << 20;

/// Why a query got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach the agent at {}: {}: {}", .socket.display(), plain(.cause), hint(.cause))]
    Unreachable {
        /// The socket tried.
        socket: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The agent took the request and did not answer in time.
    #[error("the agent at {} did not answer within {} s: it may be overloaded; its log tells", .socket.display(), .after.as_secs())]
    TimedOut {
        /// The socket asked.
        socket: PathBuf,
        /// How long was waited.
        after: Duration,
    },
    /// The agent refused the request.
    #[error("the agent at {} refused the request ({status}): {message}", .socket.display())]
    Refused {
        /// The socket asked.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// What the agent said.
        message: String,
    },
    /// What came back is not an answer: another program, or another version of the agent.
    #[error("what answers at {} does not speak as a dunlin agent of this version ({}): {message}", .socket.display(), env!("CARGO_PKG_VERSION"))]
    Garbled {
        /// The socket asked.
        socket: PathBuf,
        /// What was wrong with it.
        message: String,
    },
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such socket".into(),
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "run this as root, or as a member of the socket's group",
        _ => {
            "is `dunlin agent` running on this node? (--socket names another place, or DUNLIN_SOCKET)"
        }
    }
}

/// Asks one agent.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Client {
    /// A client of the agent at `socket`; each request may take ten seconds.
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client {
            socket: socket.into(),
            timeout: Duration::from_secs(10),
        }
    }

    /// The same, with another limit on the time a request may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// The socket asked.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, on a connection of its own.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ask(&self, query: &Query) -> Result<Answer, ClientError> {
        self.post(QUERY_PATH, query).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        match tokio::time::timeout(self.timeout, self.exchange(path, request)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::TimedOut {
                socket: self.socket.clone(),
                after: self.timeout,
            }),
        }
    }

    /// As [`Client::ask`], for callers without a runtime.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn ask_blocking(&self, query: &Query) -> Result<Answer, ClientError> {
        self.post_blocking(QUERY_PATH, query)
    }

    /// Asks what a change would come to, for callers without a runtime.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn plan_blocking(&self, request: &PlanRequest) -> Result<Plan, ClientError> {
        self.post_blocking(PLAN_PATH, request)
    }

    /// Writes an MRT dump as it comes, for callers without a runtime. The inner result is that of writing. The limit on time is
    /// that between two pieces.
    ///
    /// # Errors
    /// See [`ClientError`]. What was written until then is no whole dump.
    pub fn dump_blocking(
        &self,
        request: &DumpRequest,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>, ClientError> {
        self.runtime()?.block_on(self.dump(request, out))
    }

    fn post_blocking<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.runtime()?.block_on(self.post(path, request))
    }

    fn runtime(&self) -> Result<Runtime, ClientError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|cause| self.unreachable(cause))
    }

    fn unreachable(&self, cause: io::Error) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            cause,
        }
    }

    fn garbled(&self, error: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled {
            socket: self.socket.clone(),
            message: error.to_string(),
        }
    }

    async fn exchange<A: DeserializeOwned>(
        &self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<A, ClientError> {
        self.converse(path, request, async |response| {
            let status = response.status();
            let body = self.whole(response.into_body()).await?;
            self.decode(status, &body)
        })
        .await
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let whole = Limited::new(body, ANSWER_LIMIT_BYTES).collect().await;
        Ok(whole.map_err(|e| self.garbled(e))?.to_bytes())
    }

    async fn dump(
        &self,
        request: &DumpRequest,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>, ClientError> {
        let late = |_| ClientError::TimedOut {
            socket: self.socket.clone(),
            after: self.timeout,
        };
        self.converse(MRT_PATH, request, async |response| {
            let status = response.status();
            let mut body = response.into_body();
            if !status.is_success() {
                let body = self.whole(body).await?;
                return Err(self.refusal(status, &body));
            }
            while let Some(frame) = tokio::time::timeout(self.timeout, body.frame())
                .await
                .map_err(late)?
            {
                let frame = frame.map_err(|e| self.garbled(e))?;
                if let Some(data) = frame.data_ref()
                    && let Err(error) = out.write_all(data)
                {
                    return Ok(Err(error));
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// Sends a request on a connection of its own, and hands its response on.
    async fn converse<T>(
        &self,
        path: &str,
        request: &impl Serialize,
        take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|cause| self.unreachable(cause))?;
        let body = serde_json::to_vec(request).map_err(|e| self.garbled(e))?;
        let request = Request::post(path)
            .header(hyper::header::HOST, "dunlin")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .header(hyper::header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.garbled(e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.garbled(e))?;
        // The connection is driven beside the request, so that no task outlives this call.
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|e| self.garbled(e))?;
            take(response).await
        };
        let drive = async {
            // Its outcome shows in the request; here it only has to be polled.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = answer => result,
            () = drive => Err(self.garbled("the connection ended")),
        }
    }

    fn decode<A: DeserializeOwned>(
        &self,
        status: StatusCode,
        body: &[u8],
    ) -> Result<A, ClientError> {
        if status.is_success() {
            return serde_json::from_slice(body).map_err(|e| self.garbled(e));
        }
        Err(self.refusal(status, body))
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let message = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.error,
            Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
        };
        ClientError::Refused {
            socket: self.socket.clone(),
            status: status.as_u16(),
            message,
        }
    }
}
