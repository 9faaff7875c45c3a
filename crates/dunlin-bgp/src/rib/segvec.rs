//! A vector in segments of equal length: growing it moves nothing, so a table of a million prefixes never holds two
//! copies of itself.

const BITS: u32 = 12;
const SEGMENT: usize = 1 << BITS;

/// A growing array of plain values, addressed by `u32`.
#[derive(Debug, Clone)]
pub(super) struct SegVec<T> {
    segments: Vec<Vec<T>>,
    len: u32,
}

impl<T> Default for SegVec<T> {
    fn default() -> Self {
        SegVec {
            segments: Vec::new(),
            len: 0,
        }
    }
}

impl<T> SegVec<T> {
    /// How many values there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Appends a value and returns its index.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        if index as usize >> BITS == self.segments.len() {
            // The first segment grows as a small table needs it; later ones are of full length at once.
            let capacity = if index == 0 { 16 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(capacity));
        }
        self.segments[index as usize >> BITS].push(value);
        self.len += 1;
        index
    }

    /// The value at an index this vector gave out.
    #[inline]
    pub(super) fn get(&self, index: u32) -> &T {
        &self.segments[index as usize >> BITS][index as usize & (SEGMENT - 1)]
    }

    /// The value at an index this vector gave out.
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.segments[index as usize >> BITS][index as usize & (SEGMENT - 1)]
    }

    /// Appends copies of `value` until there are `len`.
    pub(super) fn grow_to(&mut self, len: u32, value: T)
    where
        T: Copy,
    {
        while self.len < len {
            self.push(value);
        }
    }
}
