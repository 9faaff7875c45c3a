//! Our objects as the API has them: who writes their conditions has to know which version of each there is and what is said
//! of it already. Only the one agent that writes them watches this.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_intent::ObjectKind;
use futures::stream::{self, BoxStream, StreamExt};
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};

use super::write::{api_resource, conditions, ours};
use crate::crd::status::{ACCEPTED, Condition};

/// An object of one of our kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The condition Accepted as it stands.
    pub accepted: Option<Condition>,
}

/// What the API says of our objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectNews {
    /// All objects of a kind are about to be told.
    Listing(ObjectKind),
    /// An object is there.
    Is(ObjectKind, String, Observed),
    /// An object is gone.
    Gone(ObjectKind, String),
    /// All objects of a kind have been told.
    Listed(ObjectKind),
}

/// Lists and watches the objects of all our kinds, for as long as it is asked for more. What fails is tried again with
/// pauses that grow.
pub fn watch_objects(client: &Client) -> BoxStream<'static, ObjectNews> {
    let streams = ours().map(|resource| {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &api_resource(&resource));
        let kind = resource.kind;
        watcher(api, watcher::Config::default())
            .default_backoff()
            .filter_map(move |event| {
                let news = match event {
                    Ok(event) => Some(news(kind, &event)),
                    Err(error) => {
                        tracing::debug!(%kind, %error, "the objects to write conditions of");
                        None
                    }
                };
                std::future::ready(news)
            })
            .boxed()
    });
    stream::select_all(streams).boxed()
}

fn news(kind: ObjectKind, event: &Event<DynamicObject>) -> ObjectNews {
    match event {
        Event::Init => ObjectNews::Listing(kind),
        Event::InitDone => ObjectNews::Listed(kind),
        Event::Delete(object) => ObjectNews::Gone(kind, object.name_any()),
        Event::Apply(object) | Event::InitApply(object) => {
            let accepted = conditions(object);
            let observed = Observed {
                uid: object.metadata.uid.clone(),
                generation: object.metadata.generation,
                accepted: accepted.into_iter().find(|c| c.kind == ACCEPTED),
            };
            ObjectNews::Is(kind, object.name_any(), observed)
        }
    }
}

/// The objects known. Bounded by what the API holds of our kinds.
#[derive(Debug, Default)]
pub struct ObservedObjects {
    objects: BTreeMap<(ObjectKind, String), Observed>,
    /// What a list under way has not told yet.
    missing: BTreeMap<ObjectKind, BTreeSet<String>>,
}

impl ObservedObjects {
    /// Takes in what the API says.
    pub fn take(&mut self, news: ObjectNews) {
        match news {
            ObjectNews::Listing(kind) => {
                let known = self.objects.keys().filter(|(of, _)| *of == kind);
                let known = known.map(|(_, name)| name.clone()).collect();
                self.missing.insert(kind, known);
            }
            ObjectNews::Is(kind, name, observed) => {
                if let Some(missing) = self.missing.get_mut(&kind) {
                    missing.remove(&name);
                }
                self.objects.insert((kind, name), observed);
            }
            ObjectNews::Gone(kind, name) => {
                self.objects.remove(&(kind, name));
            }
            ObjectNews::Listed(kind) => {
                for name in self.missing.remove(&kind).unwrap_or_default() {
                    self.objects.remove(&(kind, name));
                }
            }
        }
    }

    /// All of them, by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectKind, &str, &Observed)> {
        self.objects
            .iter()
            .map(|((kind, name), observed)| (*kind, name.as_str(), observed))
    }

    /// One of them.
    pub fn get(&self, kind: ObjectKind, name: &str) -> Option<&Observed> {
        self.objects.get(&(kind, name.to_owned()))
    }

    /// An object's condition has been written.
    pub fn wrote(&mut self, kind: ObjectKind, name: &str, condition: Condition) {
        if let Some(observed) = self.objects.get_mut(&(kind, name.to_owned())) {
            observed.accepted = Some(condition);
        }
    }

    /// An object turned out to be gone.
    pub fn lost(&mut self, kind: ObjectKind, name: &str) {
        self.objects.remove(&(kind, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::{ObjectNews, Observed, ObservedObjects};
    use dunlin_intent::ObjectKind::{BgpFilter, BgpPeer};

    fn is(name: &str, generation: i64) -> ObjectNews {
        let observed = Observed {
            uid: None,
            generation: Some(generation),
            accepted: None,
        };
        ObjectNews::Is(BgpPeer, name.into(), observed)
    }

    fn names(objects: &ObservedObjects) -> Vec<&str> {
        objects.iter().map(|(_, name, _)| name).collect()
    }

    #[test]
    fn what_a_list_leaves_out_is_gone_and_other_kinds_stay() {
        let mut objects = ObservedObjects::default();
        let filter = Observed {
            uid: None,
            generation: None,
            accepted: None,
        };
        objects.take(ObjectNews::Is(BgpFilter, "f".into(), filter));
        for news in [
            ObjectNews::Listing(BgpPeer),
            is("a", 1),
            is("b", 1),
            ObjectNews::Listed(BgpPeer),
        ] {
            objects.take(news);
        }
        assert_eq!(names(&objects), ["a", "b", "f"]);
        // A list that is broken off and begun again.
        for news in [
            ObjectNews::Listing(BgpPeer),
            is("b", 2),
            ObjectNews::Listing(BgpPeer),
            is("c", 1),
            ObjectNews::Listed(BgpPeer),
        ] {
            objects.take(news);
        }
        assert_eq!(names(&objects), ["c", "f"]);
        objects.take(ObjectNews::Gone(BgpPeer, "c".into()));
        assert_eq!(names(&objects), ["f"]);
    }
}
