//! A sorted map without slack, for what there are a hundred thousand of.
//!
//! The nodes of the standard library's B-tree stay half empty where keys come in ascending order, as they do in a list of an
//! API server. Here they are full then, and at least half full otherwise. What lies where something was last found, or just
//! behind it, is found again without a search: lists are taken in in their order.

use std::cell::Cell;
use std::cmp::Ordering;
use std::fmt;

/// The most entries of a chunk: more would have an insertion move more, fewer would leave more chunks to go through.
const CHUNK: usize = 64;

/// Keys and values in order of the keys, in chunks. No chunk is empty.
#[derive(Clone)]
pub(crate) struct DenseMap<K, V> {
    chunks: Vec<Vec<(K, V)>>,
    /// Where something was last found: chunk, and place in it. Nothing need be there any more.
    last: Cell<(usize, usize)>,
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for DenseMap<K, V> {
    /// Where something was last found is nothing that it holds: looking changes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.chunks).finish()
    }
}

impl<K, V> Default for DenseMap<K, V> {
    fn default() -> DenseMap<K, V> {
        DenseMap {
            chunks: Vec::new(),
            last: Cell::default(),
        }
    }
}

/// Room for a chunk, all of it at once: what grows by and by leaves holes behind in the process's memory, as large together as
/// the map.
fn room<T>() -> Vec<T> {
    Vec::with_capacity(CHUNK)
}

impl<K: Ord, V> DenseMap<K, V> {
    /// The chunk where a key is or would be; none only if there is no chunk.
    fn chunk_of(&self, key: &K) -> Option<usize> {
        let begins_before = |chunk: &Vec<(K, V)>| chunk.first().is_some_and(|(k, _)| k <= key);
        let after = self.chunks.partition_point(begins_before);
        (!self.chunks.is_empty()).then(|| after.saturating_sub(1))
    }

    /// Where a key is, or else where it would be.
    fn find(&self, key: &K) -> Result<(usize, usize), (usize, usize)> {
        let found = self.near(key).unwrap_or_else(|| self.search(key));
        let (Ok(place) | Err(place)) = found;
        self.last.set(place);
        found
    }

    fn search(&self, key: &K) -> Result<(usize, usize), (usize, usize)> {
        let chunk = self.chunk_of(key).ok_or((0, 0))?;
        match self.chunks[chunk].binary_search_by(|(k, _)| k.cmp(key)) {
            Ok(at) => Ok((chunk, at)),
            Err(at) => Err((chunk, at)),
        }
    }

    /// The same, if it is where something was last found, or just behind it.
    fn near(&self, key: &K) -> Option<Result<(usize, usize), (usize, usize)>> {
        let (chunk, at) = self.last.get();
        let entries = self.chunks.get(chunk)?;
        // A place where something would have been is behind the last one.
        let at = at.min(entries.len().checked_sub(1)?);
        match entries[at].0.cmp(key) {
            Ordering::Equal => return Some(Ok((chunk, at))),
            Ordering::Greater => return None,
            Ordering::Less => {}
        }
        let (next, place) = match entries.get(at + 1) {
            Some(next) => (Some(next), (chunk, at + 1)),
            None => (
                self.chunks.get(chunk + 1).and_then(|next| next.first()),
                (chunk + 1, 0),
            ),
        };
        match next.map(|(next, _)| next.cmp(key)) {
            Some(Ordering::Equal) => Some(Ok(place)),
            Some(Ordering::Less) => None,
            Some(Ordering::Greater) | None => Some(Err((chunk, at + 1))),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    pub(crate) fn get_key_value(&self, key: &K) -> Option<(&K, &V)> {
        let (chunk, at) = self.find(key).ok()?;
        let (key, value) = &self.chunks[chunk][at];
        Some((key, value))
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let (chunk, at) = self.find(key).ok()?;
        Some(&mut self.chunks[chunk][at].1)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.find(key).is_ok()
    }

    /// Puts a value in, and gives back the one that was there. The key that was there stays.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok((chunk, at)) => Some(std::mem::replace(&mut self.chunks[chunk][at].1, value)),
            Err((chunk, at)) => {
                self.insert_at(chunk, at, key, value);
                None
            }
        }
    }

    /// The value of a key, which is made if it is not there.
    pub(crate) fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let (chunk, at) = match self.find(&key) {
            Ok(found) => found,
            Err((chunk, at)) => self.insert_at(chunk, at, key, V::default()),
        };
        &mut self.chunks[chunk][at].1
    }

    fn insert_at(&mut self, chunk: usize, at: usize, key: K, value: V) -> (usize, usize) {
        let Some(entries) = self.chunks.get_mut(chunk) else {
            self.chunks.push(vec![(key, value)]);
            return (chunk, 0);
        };
        if entries.len() < CHUNK {
            entries.insert(at, (key, value));
            return (chunk, at);
        }
        if at == entries.len() {
            // What ascends fills chunk after chunk.
            let mut next = room();
            next.push((key, value));
            self.chunks.insert(chunk + 1, next);
            return (chunk + 1, 0);
        }
        let mut upper = room();
        upper.extend(entries.drain(CHUNK / 2..));
        self.chunks.insert(chunk + 1, upper);
        let (chunk, at) = match at.checked_sub(CHUNK / 2) {
            Some(above) if above > 0 => (chunk + 1, above),
            _ => (chunk, at),
        };
        self.chunks[chunk].insert(at, (key, value));
        (chunk, at)
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (chunk, at) = self.find(key).ok()?;
        let (_, value) = self.chunks[chunk].remove(at);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        } else if !self.merge(chunk) && chunk > 0 {
            self.merge(chunk - 1);
        }
        Some(value)
    }

    /// Makes one of a chunk and the next, if they fill only half of one.
    fn merge(&mut self, chunk: usize) -> bool {
        let Some([one, next]) = self.chunks.get_mut(chunk..chunk + 2) else {
            return false;
        };
        if one.len() + next.len() > CHUNK / 2 {
            return false;
        }
        one.append(next);
        self.chunks.remove(chunk + 1);
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// All entries, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.chunks
            .iter()
            .flatten()
            .map(|(key, value)| (key, value))
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The entries from a key on, in order.
    pub(crate) fn starting_at<'a>(
        &'a self,
        key: &K,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V> {
        let (chunk, at) = self.find(key).unwrap_or_else(|place| place);
        let first = self.chunks.get(chunk).and_then(|entries| entries.get(at..));
        let rest = self.chunks.iter().skip(chunk + 1).flatten();
        let entries = first.into_iter().flatten().chain(rest);
        entries.map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests;
