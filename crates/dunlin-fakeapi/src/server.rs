//! The server itself.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::Service;

use crate::answer::{self, Answer};
use crate::body::Streamed;
use crate::faults::{Fault, Faults};
use crate::request::{Target, collection, locate, parameter, place};
use crate::store::Store;
use crate::write::Write;
use crate::{list, watch as watches};

/// Requests that are remembered.
const REMEMBERED: usize = 10_000;

/// A small Kubernetes API server in memory. Clones are the same server.
#[derive(Clone)]
pub struct FakeApi(Arc<Inner>);

/// A request that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub target: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) streaming: bool,
    pub(crate) bookmark_every: Duration,
    pub(crate) denied: Vec<String>,
}

pub(crate) struct Inner {
    store: Mutex<Store>,
    faults: Mutex<Faults>,
    settings: Mutex<Settings>,
    requests: Mutex<VecDeque<Seen>>,
    news: watch::Sender<u64>,
    dropped: watch::Sender<u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }

    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// The latest version, whenever it changes.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Changes when all watches are dropped.
    pub(crate) fn dropped(&self) -> watch::Receiver<u64> {
        self.dropped.subscribe()
    }
}

impl Default for FakeApi {
    fn default() -> FakeApi {
        FakeApi::new()
    }
}

impl FakeApi {
    /// A server without objects.
    pub fn new() -> FakeApi {
        let settings = Settings {
            streaming: false,
            bookmark_every: Duration::from_secs(10),
            denied: Vec::new(),
        };
        FakeApi(Arc::new(Inner {
            store: Mutex::new(Store::new()),
            faults: Mutex::new(Faults::default()),
            settings: Mutex::new(settings),
            requests: Mutex::new(VecDeque::new()),
            news: watch::channel(1).0,
            dropped: watch::channel(0).0,
        }))
    }

    /// The same, and streams lists, as servers from 1.34 on do.
    pub fn with_streaming(self, streaming: bool) -> FakeApi {
        self.0.settings().streaming = streaming;
        self
    }

    /// Watches that ask for them get a bookmark so often.
    pub fn with_bookmarks(self, every: Duration) -> FakeApi {
        self.0.settings().bookmark_every = every;
        self
    }

    /// Puts an object that says its `apiVersion` and `kind`, new or not. Its version.
    ///
    /// # Panics
    /// If it does not say what and where it is.
    pub fn put(&self, object: Value) -> String {
        let (collection, place) = locate(&object).expect("apiVersion, kind and metadata.name");
        let object = self.change(|store| store.put(&collection, &place, object));
        object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Writes the text of all objects, which else the first list has written: for those who measure its reader.
    pub fn write_texts(&self) {
        self.0.store().write_texts();
    }

    /// Deletes an object. Whether it was there.
    pub fn delete(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> bool {
        let collection = collection(api_version, kind);
        let place = place(namespace, name);
        self.change(|store| store.delete(&collection, &place).is_some())
    }

    /// An object as it is now.
    pub fn get(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Value> {
        let store = self.0.store();
        let object = store.get(&collection(api_version, kind), &place(namespace, name));
        object.map(|object| (**object).clone())
    }

    /// All objects of a kind.
    pub fn objects(&self, api_version: &str, kind: &str) -> Vec<Value> {
        let store = self.0.store();
        let objects = store.objects(&collection(api_version, kind));
        objects.map(|object| (**object).clone()).collect()
    }

    /// Takes a kind away, as if its CRD were not installed, or puts it back.
    pub fn set_installed(&self, api_version: &str, kind: &str, installed: bool) {
        let collection = collection(api_version, kind);
        self.change(|store| {
            store.absent.retain(|absent| *absent != collection);
            if !installed {
                store.absent.push(collection);
            }
        });
    }

    /// Forbids everything with a resource: `endpointslices`.
    pub fn deny(&self, plural: &str) {
        self.0.settings().denied.push(plural.to_owned());
    }

    /// Allows everything again.
    pub fn allow_all(&self) {
        self.0.settings().denied.clear();
    }

    /// Forgets all past versions: whoever watches on from one of them is told 410.
    pub fn forget_past(&self) {
        self.change(|store| {
            // A version of its own, as time has it.
            store.version += 1;
            store.forget();
        });
    }

    /// Ends all watches.
    pub fn drop_watches(&self) {
        self.0.dropped.send_modify(|count| *count += 1);
    }

    /// Says what to do wrong.
    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut lock(&self.0.faults));
    }

    /// The requests seen, oldest first; the latest ten thousand.
    pub fn requests(&self) -> Vec<Seen> {
        lock(&self.0.requests).iter().cloned().collect()
    }

    /// Forgets the requests seen.
    pub fn forget_requests(&self) {
        lock(&self.0.requests).clear();
    }

    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.0.store();
        let result = change(&mut store);
        let version = store.version;
        drop(store);
        self.0.news.send_if_modified(|news| {
            let changed = *news != version;
            *news = version;
            changed
        });
        result
    }

    /// Serves HTTP/1.1 on a port, until dropped.
    ///
    /// # Errors
    /// If no connection can be taken.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(self.clone());
            tokio::spawn(async move {
                // A client that goes away is none of our business.
                let _ = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer<B>(self, request: Request<B>) -> io::Result<Answer>
    where
        B: Body<Data = Bytes>,
    {
        let (head, body) = request.into_parts();
        let full = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned();
        {
            let mut requests = lock(&self.0.requests);
            if requests.len() == REMEMBERED {
                requests.pop_front();
            }
            requests.push_back(Seen {
                method: head.method.to_string(),
                target: full.clone(),
            });
        }
        let fault = lock(&self.0.faults).take(&format!("{} {full}", head.method));
        let cut = match fault {
            None => None,
            Some(Fault::Cut { after, clean }) => Some((after, clean)),
            Some(fault) => match self.go_wrong(fault).await? {
                Some(answer) => return Ok(answer),
                None => None,
            },
        };
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let answer = self.right(&head.method, &head.uri, content_type, &body);
        Ok(match cut {
            Some((after, clean)) => answer.map(|body| body.cut(after, clean)),
            None => answer,
        })
    }

    async fn go_wrong(&self, fault: Fault) -> io::Result<Option<Answer>> {
        Ok(match fault {
            Fault::Status(status, after, reason) => {
                let mut answer = answer::failure(status, reason, "this was asked for by a test");
                if let Some(secs) = after {
                    answer
                        .headers_mut()
                        .insert(header::RETRY_AFTER, HeaderValue::from(secs));
                }
                Some(answer)
            }
            Fault::Garbage => Some(answer::text(
                200,
                b"<html>\x00\xff this is no JSON".to_vec(),
            )),
            Fault::Refuse => return Err(io::ErrorKind::ConnectionRefused.into()),
            Fault::Silence => Some(answer::body(200, Streamed::never())),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                None
            }
            Fault::Cut { .. } => None,
        })
    }

    fn right(&self, method: &Method, uri: &http::Uri, content_type: &str, body: &[u8]) -> Answer {
        let query = uri.query().unwrap_or_default();
        if uri.path() == "/version" {
            let minor = if self.0.settings().streaming {
                "34"
            } else {
                "33"
            };
            return answer::json(
                200,
                &json!({"major": "1", "minor": minor, "gitVersion": format!("v1.{minor}.0")}),
            );
        }
        let Some(target) = Target::parse(uri.path()) else {
            return answer::not_found("the path");
        };
        if self.0.store().absent.contains(&target.collection) {
            return answer::text(404, b"404 page not found\n".to_vec());
        }
        let settings = self.0.settings().clone();
        if settings.denied.contains(&target.plural) {
            let message = format!(
                "{} is forbidden: User \"test\" cannot do this",
                target.plural
            );
            return answer::failure(403, "Forbidden", &message);
        }
        let write = Write {
            target: &target,
            query,
            content_type,
            body,
        };
        match (method, &target.name) {
            (&Method::GET, Some(name)) => list::get(&self.0.store(), &target, name),
            (&Method::GET, None) => {
                match matches!(parameter(query, "watch").as_deref(), Some("1" | "true")) {
                    true => watches::watch(&self.0, &target, query),
                    false => list::list(&self.0.store(), &target, query),
                }
            }
            (&Method::POST, None) => self.change(|store| write.create(store, &settings)),
            (&Method::PUT, Some(name)) => self.change(|store| write.update(store, name)),
            (&Method::PATCH, Some(name)) => self.change(|store| write.patch(store, name)),
            (&Method::DELETE, Some(name)) => self.change(|store| write.delete(store, name)),
            _ => answer::failure(
                405,
                "MethodNotAllowed",
                "the server does not allow this method",
            ),
        }
    }
}

impl<B> Service<Request<B>> for FakeApi
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Answer;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Answer, io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
