//! Requests to the API, with their deadlines.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connect::chain;
use super::health::Health;
use super::items::{Items, ListMeta, ListReader, MAX_OBJECT_OCTETS};
use super::trouble::{Status, Trouble};
use crate::object::Resource;

/// Objects a page.
const PAGE: u32 = 500;

/// How long a list may pause.
const LIST_SILENCE: Duration = Duration::from_secs(30);

/// How long a watch may be silent beyond the time after which the server ends it.
const WATCH_GRACE: Duration = Duration::from_secs(10);

/// How long watches last: where a ping notices a dead connection, minutes; else short, so that silence tells.
const WATCH_SECS: u64 = 360;
const WATCH_SECS_WITHOUT_PING: u64 = 40;

/// The most octets kept of an error's text.
const MAX_ERROR_OCTETS: usize = 64 << 10;

/// The way to the API, shared by all who ask.
#[derive(Clone)]
pub(super) struct Exchange {
    client: Client,
    shared: Arc<Shared>,
    health: Health,
}

struct Shared {
    /// Pings notice a dead connection (HTTP/2).
    has_ping: AtomicBool,
    /// Whether lists can be streamed: a [`Streaming`].
    streaming: AtomicU8,
}

/// Whether the server can stream a list as the beginning of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Streaming {
    Unknown = 0,
    Yes = 1,
    No = 2,
}

/// The objects asked for.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) resource: Resource,
    /// One object alone: its namespace and name.
    pub(super) only: Option<(String, String)>,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource.full_name())?;
        match &self.only {
            Some((namespace, name)) => write!(f, " {namespace}/{name}"),
            None => Ok(()),
        }
    }
}

impl Selection {
    fn url(&self, query: &[(&str, &str)]) -> String {
        let namespace = self.only.as_ref().map(|(namespace, _)| namespace.as_str());
        let mut url = self.resource.path(namespace);
        let mut mark = '?';
        let mut add = |name: &str, value: &str| {
            url.push(mark);
            url.push_str(name);
            url.push('=');
            encode(value, &mut url);
            mark = '&';
        };
        if let Some((_, name)) = &self.only {
            add("fieldSelector", &format!("metadata.name={name}"));
        }
        for (name, value) in query {
            add(name, value);
        }
        url
    }
}

/// Percent-encodes all but what RFC 3986 leaves unreserved.
fn encode(value: &str, url: &mut String) {
    for octet in value.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(octet));
        } else {
            url.push_str(&format!("%{octet:02X}"));
        }
    }
}

/// Which version of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// What the server has at hand.
    Any,
    /// No older than this.
    NotOlderThan(String),
    /// The newest, which costs the server a read of its storage.
    Newest,
}

/// An event of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WatchEvent<'a> {
    pub(super) kind: &'a str,
    /// The object's text, which need not be whole.
    pub(super) object: &'a [u8],
}

impl<'a> WatchEvent<'a> {
    /// Takes a line apart.
    pub(super) fn read(line: &'a [u8]) -> Result<WatchEvent<'a>, String> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        if let Some(event) = WatchEvent::as_written(line) {
            return Ok(event);
        }
        let event: Event<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        Ok(WatchEvent {
            kind: event.kind,
            object: event.object.get().as_bytes(),
        })
    }

    /// The same for a line as API servers write it: the object is not gone through to find its end.
    fn as_written(line: &'a [u8]) -> Option<WatchEvent<'a>> {
        let rest = line.strip_prefix(b"{\"type\":\"")?;
        let kind = rest.split(|octet| *octet == b'"').next()?;
        let rest = rest.get(kind.len()..)?;
        let object = rest.strip_prefix(b"\",\"object\":")?;
        let object = object.trim_ascii_end().strip_suffix(b"}")?;
        let is_object = object.starts_with(b"{") && object.ends_with(b"}");
        is_object.then_some(WatchEvent {
            kind: std::str::from_utf8(kind).ok()?,
            object,
        })
    }
}

impl Exchange {
    pub(super) fn new(client: Client, health: Health) -> Exchange {
        let shared = Shared {
            has_ping: AtomicBool::new(false),
            streaming: AtomicU8::new(Streaming::Unknown as u8),
        };
        Exchange {
            client,
            shared: Arc::new(shared),
            health,
        }
    }

    /// Asks the server for its version, which says whether it can stream lists.
    pub(super) async fn learn_version(&self) -> Result<(), Trouble> {
        self.version().await.map(drop)
    }

    /// The same, and tells it.
    pub(super) async fn version(&self) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Info {
            major: String,
            minor: String,
        }
        let mut body = self.get("/version".to_owned()).await?;
        let text = body.all(MAX_ERROR_OCTETS).await?;
        let info: Info =
            serde_json::from_slice(&text).map_err(|error| Trouble::Garbage(error.to_string()))?;
        let digits = |text: &str| -> u32 {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            text.get(..end)
                .and_then(|text| text.parse().ok())
                .unwrap_or(0)
        };
        // From 1.34 on it is there unless somebody turned it off.
        let version = (digits(&info.major), digits(&info.minor));
        let able = version >= (1, 34);
        self.set_streaming(if able { Streaming::Yes } else { Streaming::No });
        Ok(format!("{}.{}", version.0, version.1))
    }

    /// Whether a resource can be listed.
    pub(super) async fn probe(&self, resource: &Resource) -> Result<(), Trouble> {
        let mut body = self.get(format!("{}?limit=1", resource.path(None))).await?;
        body.all(MAX_ERROR_OCTETS).await.map(drop)
    }

    pub(super) fn streaming(&self) -> Streaming {
        match self.shared.streaming.load(Ordering::Relaxed) {
            1 => Streaming::Yes,
            2 => Streaming::No,
            _ => Streaming::Unknown,
        }
    }

    pub(super) fn set_streaming(&self, streaming: Streaming) {
        self.shared
            .streaming
            .store(streaming as u8, Ordering::Relaxed);
    }

    /// How long the next watch is to last; spread, so that not all end at once.
    pub(super) fn watch_secs(&self, chance: f64) -> u64 {
        let most = match self.shared.has_ping.load(Ordering::Relaxed) {
            true => WATCH_SECS,
            false => WATCH_SECS_WITHOUT_PING,
        };
        // Between three quarters and all of it.
        most - (most as f64 / 4.0 * chance) as u64
    }

    /// Begins to read one page of a list.
    pub(super) async fn list(
        &self,
        selection: &Selection,
        fresh: &Fresh,
        continue_from: &str,
        paged: bool,
    ) -> Result<Page, Trouble> {
        let limit = PAGE.to_string();
        let mut query = Vec::new();
        // Servers without streaming read pages of a version from their storage, and the whole of it from memory.
        let from_memory = continue_from.is_empty() && matches!(fresh, Fresh::NotOlderThan(_));
        if paged && !from_memory {
            query.push(("limit", limit.as_str()));
        }
        if !continue_from.is_empty() {
            // The token says the version.
            query.push(("continue", continue_from));
        } else {
            match fresh {
                Fresh::Any => query.push(("resourceVersion", "0")),
                Fresh::NotOlderThan(version) => {
                    query.push(("resourceVersion", version.as_str()));
                    query.push(("resourceVersionMatch", "NotOlderThan"));
                }
                Fresh::Newest => {}
            }
        }
        let body = self.get(selection.url(&query)).await?;
        Ok(Page {
            body,
            reader: ListReader::default(),
            items: Items::default(),
        })
    }

    /// Begins a watch from a version.
    pub(super) async fn watch(
        &self,
        selection: &Selection,
        version: &str,
        secs: u64,
    ) -> Result<Lines, Trouble> {
        let secs_text = secs.to_string();
        let query = [
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", secs_text.as_str()),
            ("resourceVersion", version),
        ];
        self.lines(selection.url(&query), secs).await
    }

    /// Begins a watch that first tells all there is.
    pub(super) async fn stream(
        &self,
        selection: &Selection,
        fresh: &Fresh,
        secs: u64,
    ) -> Result<Lines, Trouble> {
        let secs_text = secs.to_string();
        let mut query = vec![
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", secs_text.as_str()),
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
        ];
        match fresh {
            Fresh::Any => query.push(("resourceVersion", "0")),
            Fresh::NotOlderThan(version) => query.push(("resourceVersion", version.as_str())),
            Fresh::Newest => query.push(("resourceVersion", "")),
        }
        self.lines(selection.url(&query), secs).await
    }

    async fn lines(&self, url: String, secs: u64) -> Result<Lines, Trouble> {
        let mut body = self.get(url).await?;
        // A watch may have nothing to say for long.
        body.health.reached();
        body.silence = Duration::from_secs(secs) + WATCH_GRACE;
        Ok(Lines {
            body,
            held: Vec::new(),
            begin: 0,
        })
    }

    async fn get(&self, url: String) -> Result<Text, Trouble> {
        let request = Request::get(url)
            .header(header::ACCEPT, "application/json")
            .body(Body::empty())
            .map_err(|error| Trouble::Refused(error.to_string()))?;
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => {
                let trouble = Trouble::Unreachable(plain(&error));
                self.health.unreachable(&trouble);
                return Err(trouble);
            }
        };
        let has_ping = response.version() == Version::HTTP_2;
        self.shared.has_ping.store(has_ping, Ordering::Relaxed);
        Text::of(response, self.health.clone()).await
    }
}

/// An error of the client without the names of its layers.
fn plain(error: &kube::Error) -> String {
    match error {
        kube::Error::Service(error) => chain(&**error),
        other => chain(other),
    }
}

/// The text of an answer.
pub(super) struct Text {
    body: Body,
    silence: Duration,
    health: Health,
}

impl Text {
    async fn of(response: Response<Body>, health: Health) -> Result<Text, Trouble> {
        let (head, body) = response.into_parts();
        let mut text = Text {
            body,
            silence: LIST_SILENCE,
            health,
        };
        if head.status.is_success() {
            return Ok(text);
        }
        let said = text.all(MAX_ERROR_OCTETS).await.unwrap_or_default();
        Err(Trouble::of_answer(
            head.status.as_u16(),
            &head.headers,
            &said,
        ))
    }

    /// The next piece; nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = match tokio::time::timeout(self.silence, self.body.frame()).await {
                Ok(frame) => frame,
                Err(_) => {
                    let silence = format!("silent for {} s", self.silence.as_secs());
                    let trouble = Trouble::Unreachable(silence);
                    self.health.unreachable(&trouble);
                    return Err(trouble);
                }
            };
            if matches!(frame, None | Some(Ok(_))) {
                self.health.reached();
            }
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    // Trailers say nothing to us.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Trouble::Unreachable(chain(&error))),
            }
        }
    }

    async fn all(&mut self, most: usize) -> Result<Vec<u8>, Trouble> {
        let mut text = Vec::new();
        while let Some(piece) = self.next().await? {
            text.extend_from_slice(piece.get(..most - text.len()).unwrap_or(&piece));
            if text.len() >= most {
                break;
            }
        }
        Ok(text)
    }
}

/// A page of a list, being read.
pub(super) struct Page {
    body: Text,
    reader: ListReader,
    items: Items,
}

impl Page {
    /// The next items, in portions; nothing at the end of the page.
    pub(super) async fn items(&mut self) -> Result<Option<&Items>, Trouble> {
        let Some(piece) = self.body.next().await? else {
            return Ok(None);
        };
        self.items.clear();
        self.reader
            .push(&piece, &mut self.items)
            .map_err(Trouble::Garbage)?;
        Ok(Some(&self.items))
    }

    /// What the page says of itself.
    pub(super) fn finish(self) -> Result<ListMeta, Trouble> {
        self.reader.finish().map_err(Trouble::Garbage)
    }
}

/// The lines of a watch.
pub(super) struct Lines {
    body: Text,
    held: Vec<u8>,
    /// Where in `held` the next line begins.
    begin: usize,
}

impl Lines {
    /// The next line; nothing when the server ends the watch.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, Trouble> {
        let mut looked = self.begin;
        let end = loop {
            let fresh = self.held.get(looked..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|octet| *octet == b'\n') {
                break looked + at;
            }
            // What was told is let go of before more is taken in.
            self.held.drain(..self.begin);
            self.begin = 0;
            looked = self.held.len();
            if looked > MAX_OBJECT_OCTETS {
                return Err(Trouble::Garbage(format!(
                    "an event has more than {MAX_OBJECT_OCTETS} octets"
                )));
            }
            match self.body.next().await? {
                Some(piece) => self.held.extend_from_slice(&piece),
                None => return Ok(None),
            }
        };
        let line = self.begin..end;
        self.begin = end + 1;
        if self.held.capacity() > 256 << 10 && self.held.len() < 64 << 10 {
            self.held.shrink_to(64 << 10);
        }
        Ok(Some(self.held.get(line).unwrap_or_default()))
    }
}

/// What an ERROR of a watch means.
pub(super) fn watch_error(object: &[u8]) -> Trouble {
    let status: Status = serde_json::from_slice(object).unwrap_or_default();
    Trouble::of_answer(status.code.unwrap_or(500), &HeaderMap::new(), object)
}

#[cfg(test)]
mod tests;
