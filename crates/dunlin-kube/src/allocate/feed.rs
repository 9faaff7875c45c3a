//! What the API server tells the one who gives out addresses: a list that is no older than the question, and what follows it.

use dunlin_intent::Kind;
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::Value;

use crate::object::Resource;

/// The kinds that are watched by the one who gives out addresses, and by no other agent for this.
pub(super) const KINDS: [Kind; 3] = [Kind::Pool, Kind::Namespace, Kind::Service];

/// How long a watch lasts; a connection that died in silence is noticed by then.
const WATCH_SECS: u32 = 60;

/// One step of what is told of a kind.
#[derive(Debug)]
pub(super) enum Told {
    /// A list begins.
    Begin,
    /// An object, of the list or changed since.
    Object(Value),
    /// The list is complete: what it did not name is gone.
    Complete,
    /// An object is gone.
    Gone(Value),
    /// It does not work; it is tried again.
    Trouble(String),
}

/// All that is told.
pub(super) type Feed = SelectAll<BoxStream<'static, (Kind, Told)>>;

/// Lists everything, consistently, and watches on. Forgets what it told: that is the reader's business.
pub(super) fn open(client: &Client) -> Feed {
    KINDS
        .into_iter()
        .map(|kind| of_kind(client, kind))
        .collect()
}

fn of_kind(client: &Client, kind: Kind) -> BoxStream<'static, (Kind, Told)> {
    let resource = Resource::of(kind);
    let api: Api<DynamicObject> = Api::all_with(
        client.clone(),
        &ApiResource {
            group: resource.group.to_owned(),
            version: resource.version.to_owned(),
            api_version: resource.api_version(),
            kind: resource.kind.as_str().to_owned(),
            plural: resource.plural.to_owned(),
        },
    );
    // By default a list without resourceVersion, which the server reads from its storage: nothing written before is missing.
    let config = watcher::Config::default().timeout(WATCH_SECS);
    steps(watcher(api, config).default_backoff())
        .map(move |told| (kind, told))
        .boxed()
}

fn steps(
    events: impl Stream<Item = watcher::Result<Event<DynamicObject>>> + Send + 'static,
) -> impl Stream<Item = Told> + Send {
    let value = |object: DynamicObject| serde_json::to_value(object).unwrap_or_default();
    events.map(move |event| match event {
        Ok(Event::Init) => Told::Begin,
        Ok(Event::InitApply(object) | Event::Apply(object)) => Told::Object(value(object)),
        Ok(Event::InitDone) => Told::Complete,
        Ok(Event::Delete(object)) => Told::Gone(value(object)),
        Err(error) => Told::Trouble(error.to_string()),
    })
}
