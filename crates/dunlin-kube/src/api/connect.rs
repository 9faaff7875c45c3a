//! A client that finds its way to a server that answers.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{HeaderValue, USER_AGENT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnectorBuilder, ResolveServerName,
};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::Config;
use kube::client::{Body, Client, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::config::{ApiConfig, host_address};
use super::pace::{Pace, Paced};

/// How long a server may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may take until it begins to answer; it may make us wait some seconds on purpose, for its cache to
/// reach the version we ask for.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent may be without acknowledgement for so long, and an idle connection is asked after so long whether it lives.
const DEAD_AFTER: Duration = Duration::from_secs(20);
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 3;

/// Credentials are read again at most so often.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);

/// What certificates of API servers are made out to, besides their addresses.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// Where a pod finds its token.
const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig {}: {error}; correct it, or name another with --kubeconfig", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// The pod's service account cannot be used.
    #[error(
        "the pod's service account: {0}; give the pod one (automountServiceAccountToken), or a --kubeconfig"
    )]
    ServiceAccount(String),
    /// Neither in a pod nor with a kubeconfig.
    #[error(
        "no way to the Kubernetes API: this is not in a pod with a service account, and there is no kubeconfig ({0}); \
         name one with --kubeconfig, or use --cluster dir:PATH"
    )]
    Nowhere(String),
    /// The credentials cannot be used.
    #[error("the credentials for the Kubernetes API cannot be used: {0}")]
    Credentials(String),
}

/// A client for the API. Servers are tried in turn; tokens, certificates and authorities that change in their files are
/// taken up. Nothing is sent yet. Call within the tokio runtime that will use it.
///
/// # Errors
/// If it is not known where the API is, or who we are.
pub async fn connect(config: &ApiConfig) -> Result<Client, ConnectError> {
    client(config, None).await
}

/// The same for one that listens all the time, and reads what comes all the time at a pace.
pub(super) async fn connect_to_listen(
    config: &ApiConfig,
    pace: Pace,
) -> Result<Client, ConnectError> {
    client(config, Some(pace)).await
}

async fn client(config: &ApiConfig, pace: Option<Pace>) -> Result<Client, ConnectError> {
    let (stack, namespace) = Stack::load(config, pace).await?;
    let shared = Shared {
        config: config.clone(),
        pace,
        stack: Mutex::new(Loaded {
            stack,
            number: 0,
            tried: Instant::now(),
        }),
        reading: tokio::sync::Mutex::new(()),
        current: AtomicUsize::new(0),
    };
    Ok(Client::new(Servers(Arc::new(shared)), namespace))
}

/// Sends requests to whichever server answers.
#[derive(Clone)]
struct Servers(Arc<Shared>);

struct Shared {
    config: ApiConfig,
    pace: Option<Pace>,
    stack: Mutex<Loaded>,
    /// Held by whoever reads the credentials again, while others wait for what comes of it.
    reading: tokio::sync::Mutex<()>,
    /// The server that answered last, counted on without end.
    current: AtomicUsize,
}

struct Loaded {
    stack: Stack,
    /// How often other credentials have taken the place of the first.
    number: u64,
    /// When they were last read, or could not be.
    tried: Instant,
}

/// Everything made of one reading of the credentials.
#[derive(Clone)]
struct Stack {
    servers: Arc<[Uri]>,
    send: BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>,
}

impl Service<Request<Body>> for Servers {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Incoming>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move { shared.send(request).await })
    }
}

impl Shared {
    /// Sends a request; once more, if the server does not know us by then but by what our files say now.
    async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        let (head, body) = request.into_parts();
        // A body that cannot be sent twice is none of ours.
        let again = body.try_clone().ok_or("a request's body is a stream")?;
        let (stack, number) = self.credentials();
        let answer = self.send_by(&stack, &head, body).await;
        let unknown = match &answer {
            Ok(response) if response.status() != StatusCode::UNAUTHORIZED => return answer,
            Ok(_) => true,
            Err(_) => false,
        };
        // A certificate of ours that ran out ends connections as well.
        let renewed = self.reload(number).await;
        match unknown && renewed {
            true => self.send_by(&self.credentials().0, &head, again).await,
            false => answer,
        }
    }

    /// Sends a request to whichever server answers, with these credentials.
    async fn send_by(
        &self,
        stack: &Stack,
        head: &Parts,
        body: Body,
    ) -> Result<Response<Incoming>, BoxError> {
        let mut failure: BoxError = "no API server is known".into();
        for _ in 0..stack.servers.len() {
            let turn = self.current.load(Ordering::Relaxed);
            let Some(server) = stack.servers.get(turn % stack.servers.len()) else {
                break;
            };
            let Some(body) = body.try_clone() else {
                return Err("a request's body is a stream".into());
            };
            let mut request = Request::new(body);
            *request.method_mut() = head.method.clone();
            *request.headers_mut() = head.headers.clone();
            *request.uri_mut() = absolute(server, &head.uri)?;
            match attempt(stack.send.clone(), request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    // Whoever else failed at this server has moved on already.
                    let _ = self.current.compare_exchange(
                        turn,
                        turn.wrapping_add(1),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    let never_sent = is_connect(&*error);
                    failure = format!("{}: {}", server, chain(&*error)).into();
                    if !never_sent {
                        break;
                    }
                }
            }
        }
        Err(failure)
    }

    /// Reads the credentials again, unless others have taken the place of the numbered ones already. Whether there are
    /// others now; those in use stay if they cannot be read.
    async fn reload(&self, number: u64) -> bool {
        let _alone = self.reading.lock().await;
        {
            let mut loaded = self.loaded();
            if loaded.number != number {
                return true;
            }
            if loaded.tried.elapsed() < RELOAD_INTERVAL {
                return false;
            }
            loaded.tried = Instant::now();
        }
        match Stack::load(&self.config, self.pace).await {
            Ok((stack, _)) => {
                let mut loaded = self.loaded();
                loaded.stack = stack;
                loaded.number += 1;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the credentials cannot be read again: those of before stay in use");
                false
            }
        }
    }

    fn credentials(&self) -> (Stack, u64) {
        let loaded = self.loaded();
        (loaded.stack.clone(), loaded.number)
    }

    fn loaded(&self) -> MutexGuard<'_, Loaded> {
        // Nothing panics while it is held.
        self.stack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attempt(
    send: BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>,
    request: Request<Body>,
) -> Result<Response<Incoming>, BoxError> {
    match tokio::time::timeout(RESPONSE_TIMEOUT, send.oneshot(request)).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", RESPONSE_TIMEOUT.as_secs()),
        )
        .into()),
    }
}

/// Whether the server never got the request.
fn is_connect(error: &(dyn std::error::Error + 'static)) -> bool {
    error
        .downcast_ref::<legacy::Error>()
        .is_some_and(legacy::Error::is_connect)
}

/// An error with all its causes, of which those that say nothing new are left out.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The URL of a request at a server.
fn absolute(server: &Uri, request: &Uri) -> Result<Uri, http::Error> {
    let base = server.path().trim_end_matches('/');
    let path = request.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut parts = server.clone().into_parts();
    parts.path_and_query = Some(format!("{base}{path}").parse()?);
    Ok(Uri::from_parts(parts)?)
}

impl Stack {
    /// Reads the credentials. With them comes the namespace we are in.
    async fn load(config: &ApiConfig, pace: Option<Pace>) -> Result<(Stack, String), ConnectError> {
        let mut found = credentials(config).await?;
        if found.proxy_url.is_some() {
            return Err(ConnectError::Credentials(
                "the kubeconfig's proxy-url is not supported: remove it, or use --api-server"
                    .to_owned(),
            ));
        }
        if let Ok(agent) = HeaderValue::from_str(concat!("dunlin/", env!("CARGO_PKG_VERSION"))) {
            found.headers.push((USER_AGENT, agent));
        }
        let unusable = |error: kube::Error| ConnectError::Credentials(chain(&error));
        let tls = found.rustls_client_config().map_err(unusable)?;
        let names = Names::new(&found, !config.servers.is_empty())?;
        let tcp = tcp().map_response(move |tcp: TokioIo<TcpStream>| {
            TokioIo::new(Paced::new(tcp.into_inner(), pace))
        });
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .with_server_name_resolver(names)
            .enable_all_versions()
            .wrap_connector(tcp);
        // One HTTP/2 connection carries all watches; a ping notices if nobody is there any more.
        let http: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PROBE_AFTER)
            .http2_keep_alive_timeout(DEAD_AFTER)
            .http2_initial_stream_window_size(1 << 20)
            .http2_initial_connection_window_size(4 << 20)
            .build(connector);
        let service = ServiceBuilder::new()
            .option_layer(found.auth_layer().map_err(unusable)?)
            .layer(found.extra_headers_layer().map_err(unusable)?)
            .map_err(BoxError::from)
            .service(http);
        let servers = match config.servers.is_empty() {
            true => [found.cluster_url.clone()].into(),
            false => config.servers.iter().map(|s| s.uri().clone()).collect(),
        };
        let stack = Stack {
            servers,
            send: BoxCloneSyncService::new(service),
        };
        Ok((stack, found.default_namespace))
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_tcp_user_timeout(Some(DEAD_AFTER));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_INTERVAL));
    tcp.set_keepalive_retries(Some(PROBES));
    tcp
}

/// Whose name a server's certificate must bear.
struct Names {
    /// That of servers given by their addresses.
    of_addresses: Option<FixedServerNameResolver>,
}

impl Names {
    fn new(config: &Config, other_servers: bool) -> Result<Names, ConnectError> {
        let name = match &config.tls_server_name {
            Some(name) => Some(name.clone()),
            // In a pod, certificates of all servers bear the service's name; with a kubeconfig, that of its server.
            None if other_servers && config.root_cert_file.is_some() => {
                Some(SERVER_NAME.to_owned())
            }
            None if other_servers => config.cluster_url.host().map(str::to_owned),
            None => None,
        };
        let bare = |name: String| name.trim_matches(['[', ']']).to_owned();
        let resolver = name.map(bare).map(|name| {
            let parsed = name.clone().try_into().map_err(|error| {
                ConnectError::Credentials(format!("{name:?} is no name of a TLS server: {error}"))
            })?;
            Ok(FixedServerNameResolver::new(parsed))
        });
        Ok(Names {
            of_addresses: resolver.transpose()?,
        })
    }
}

impl ResolveServerName for Names {
    fn resolve(&self, uri: &Uri) -> Result<rustls_pki_types::ServerName<'static>, BoxError> {
        match &self.of_addresses {
            Some(fixed) if host_address(uri).is_some() => fixed.resolve(uri),
            _ => DefaultServerNameResolver::default().resolve(uri),
        }
    }
}

async fn credentials(config: &ApiConfig) -> Result<Config, ConnectError> {
    if let Some(path) = &config.kubeconfig {
        let unusable = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
            path: path.clone(),
            error: chain(&error),
        };
        let file = Kubeconfig::read_from(path).map_err(unusable)?;
        return Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(unusable);
    }
    if std::path::Path::new(TOKEN_FILE).exists() {
        // Servers that are given need no environment that names one.
        let found = match config.servers.is_empty() {
            true => Config::incluster_env(),
            false => Config::incluster_dns(),
        };
        return found.map_err(|error| ConnectError::ServiceAccount(chain(&error)));
    }
    Config::from_kubeconfig(&KubeConfigOptions::default())
        .await
        .map_err(|error| ConnectError::Nowhere(chain(&error)))
}

#[cfg(test)]
mod tests;
