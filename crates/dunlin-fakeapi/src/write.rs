//! Create, update, patch and delete.

use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::merge;
use crate::request::{Target, parameter, place};
use crate::server::Settings;
use crate::store::Store;

/// A change that a request asks for.
pub(crate) struct Write<'a> {
    pub(crate) target: &'a Target,
    pub(crate) query: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a [u8],
}

impl Write<'_> {
    pub(crate) fn create(&self, store: &mut Store, settings: &Settings) -> Answer {
        let mut object = match self.object() {
            Ok(object) => object,
            Err(refusal) => return *refusal,
        };
        if self.target.plural == "selfsubjectaccessreviews" {
            let asked = object["spec"]["resourceAttributes"]["resource"].as_str();
            let denied = asked.is_some_and(|plural| settings.denied.iter().any(|d| d == plural));
            object["status"] = json!({"allowed": !denied});
            return answer::json(201, &object);
        }
        let meta = &mut object["metadata"];
        if meta["name"].is_null()
            && let Some(prefix) = meta["generateName"].as_str()
        {
            meta["name"] = format!("{prefix}{}", store.version).into();
        }
        if let Some(namespace) = &self.target.namespace {
            meta["namespace"] = namespace.clone().into();
        }
        let Some(name) = meta["name"].as_str().map(str::to_owned) else {
            return answer::failure(422, "Invalid", "metadata.name: Required value");
        };
        let place = place(self.target.namespace.as_deref(), &name);
        if store.get(&self.target.collection, &place).is_some() {
            let message = format!("{} {name:?} already exists", self.target.plural);
            return answer::failure(409, "AlreadyExists", &message);
        }
        answer::json(201, &store.put(&self.target.collection, &place, object))
    }

    pub(crate) fn update(&self, store: &mut Store, name: &str) -> Answer {
        let object = match self.object() {
            Ok(object) => object,
            Err(refusal) => return *refusal,
        };
        let place = self.target.place(name);
        let Some(before) = store.get(&self.target.collection, &place).cloned() else {
            return answer::not_found(&format!("{} {name:?}", self.target.plural));
        };
        if let Some(refusal) = self.conflict(&before, &object, name) {
            return refusal;
        }
        let mut after = object;
        match self.target.subresource.as_deref() {
            Some(part) => {
                let mut whole = (*before).clone();
                whole[part] = after[part].take();
                after = whole;
            }
            None if after["status"].is_null() && !before["status"].is_null() => {
                after["status"] = before["status"].clone();
            }
            None => {}
        }
        self.finish(store, &place, &before, after)
    }

    pub(crate) fn patch(&self, store: &mut Store, name: &str) -> Answer {
        let patch = match self.object() {
            Ok(patch) => patch,
            Err(refusal) => return *refusal,
        };
        let place = self.target.place(name);
        let is_apply = self.content_type.starts_with("application/apply-patch");
        let before = store.get(&self.target.collection, &place).cloned();
        let Some(before) = before else {
            if !is_apply || self.target.subresource.is_some() {
                return answer::not_found(&format!("{} {name:?}", self.target.plural));
            }
            let mut object = json!({});
            merge::apply(&mut object, &patch, &self.manager());
            object["metadata"]["name"] = name.into();
            if let Some(namespace) = &self.target.namespace {
                object["metadata"]["namespace"] = namespace.clone().into();
            }
            return answer::json(201, &store.put(&self.target.collection, &place, object));
        };
        if let Some(refusal) = self.conflict(&before, &patch, name) {
            return refusal;
        }
        let only = |patch: &Value| match self.target.subresource.as_deref() {
            Some(part) => json!({ part: patch[part] }),
            None => patch.clone(),
        };
        let mut after = (*before).clone();
        match self.content_type {
            _ if is_apply => merge::apply(&mut after, &only(&patch), &self.manager()),
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                merge::merge(&mut after, &only(&patch));
            }
            other => {
                let message = format!("content type {other:?} is not taken here");
                return answer::failure(415, "UnsupportedMediaType", &message);
            }
        }
        self.finish(store, &place, &before, after)
    }

    pub(crate) fn delete(&self, store: &mut Store, name: &str) -> Answer {
        match store.delete(&self.target.collection, &self.target.place(name)) {
            Some(object) => answer::json(200, &object),
            None => answer::not_found(&format!("{} {name:?}", self.target.plural)),
        }
    }

    /// A write that changes nothing makes no version.
    fn finish(&self, store: &mut Store, place: &str, before: &Value, mut after: Value) -> Answer {
        after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        if after == *before {
            return answer::json(200, &after);
        }
        answer::json(200, &store.put(&self.target.collection, place, after))
    }

    fn conflict(&self, before: &Value, object: &Value, name: &str) -> Option<Answer> {
        let asked = object["metadata"]["resourceVersion"].as_str()?;
        let current = before["metadata"]["resourceVersion"].as_str();
        (current != Some(asked)).then(|| {
            let message = format!(
                "Operation cannot be fulfilled on {} {name:?}: the object has been modified",
                self.target.plural
            );
            answer::failure(409, "Conflict", &message)
        })
    }

    fn manager(&self) -> String {
        parameter(self.query, "fieldManager").unwrap_or_default()
    }

    fn object(&self) -> Result<Value, Box<Answer>> {
        match serde_json::from_slice::<Value>(self.body) {
            Ok(object) if object.is_object() => Ok(object),
            Ok(_) => Err(Box::new(answer::failure(400, "BadRequest", "no object"))),
            Err(error) => {
                let why = error.to_string();
                Err(Box::new(answer::failure(400, "BadRequest", &why)))
            }
        }
    }
}
