//! A set of dense ids as a bitmap of two levels: setting is one store, finding the next costs little however sparse it is.

/// A set of `u32` ids.
#[derive(Debug, Default, Clone)]
pub(super) struct IdSet {
    words: Vec<u64>,
    /// One bit for each word that is not zero.
    summary: Vec<u64>,
    len: usize,
    /// No id lies in an earlier word.
    first: usize,
}

impl IdSet {
    /// Whether it holds none.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many it holds.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds an id; whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, id: u32) -> bool {
        let word = id as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
            self.summary.resize(word / 64 + 1, 0);
        }
        let bit = 1u64 << (id % 64);
        if self.words[word] & bit != 0 {
            return false;
        }
        self.words[word] |= bit;
        self.first = self.first.min(word);
        self.summary[word / 64] |= 1 << (word % 64);
        self.len += 1;
        true
    }

    /// Adds all ids below `end`.
    pub(super) fn fill(&mut self, end: u32) {
        let end = end as usize;
        let (whole, rest) = (end / 64, end % 64);
        *self = IdSet {
            words: vec![!0; whole],
            summary: Vec::new(),
            len: end,
            first: 0,
        };
        if rest > 0 {
            self.words.push((1 << rest) - 1);
        }
        let words = self.words.len();
        self.summary = vec![!0; words / 64];
        if !words.is_multiple_of(64) {
            self.summary.push((1 << (words % 64)) - 1);
        }
    }

    /// Removes an id; whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let word = id as usize / 64;
        let bit = 1u64 << (id % 64);
        match self.words.get_mut(word) {
            Some(bits) if *bits & bit != 0 => {
                *bits &= !bit;
                if *bits == 0 {
                    self.summary[word / 64] &= !(1 << (word % 64));
                }
                self.len -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether it holds an id.
    #[inline]
    pub(super) fn contains(&self, id: u32) -> bool {
        let bits = self.words.get(id as usize / 64).copied().unwrap_or(0);
        bits & (1 << (id % 64)) != 0
    }

    /// The least id not below `from`.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let word = from as usize / 64;
        let bits = self.words.get(word)? & (!0 << (from % 64));
        if bits != 0 {
            return Some((word * 64) as u32 + bits.trailing_zeros());
        }
        let next = word + 1;
        let mut group = next / 64;
        let mut heads = self.summary.get(group)? & (!0 << (next % 64));
        while heads == 0 {
            group += 1;
            heads = *self.summary.get(group)?;
        }
        let word = group * 64 + heads.trailing_zeros() as usize;
        Some((word * 64) as u32 + self.words[word].trailing_zeros())
    }

    /// Removes the least id. Emptying the set so goes over it once.
    pub(super) fn pop_first(&mut self) -> Option<u32> {
        let id = self.next((self.first * 64) as u32)?;
        self.first = id as usize / 64;
        self.remove(id);
        Some(id)
    }

    /// All ids, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let id = self.next(from?)?;
            from = id.checked_add(1);
            Some(id)
        })
    }

    /// Empties the set, giving the memory back.
    pub(super) fn take(&mut self) -> IdSet {
        std::mem::take(self)
    }
}
