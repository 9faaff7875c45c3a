use std::fmt;

use dunlin_net::Asn;

/// How the AS numbers of a segment are ordered (RFC 4271 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentKind {
    /// AS_SET: unordered.
    Set = 1,
    /// AS_SEQUENCE: nearest first.
    Sequence = 2,
}

impl SegmentKind {
    /// The kind a segment type octet stands for. Confederation segments (RFC 5065) are not ours to see.
    pub fn from_octet(octet: u8) -> Option<SegmentKind> {
        match octet {
            1 => Some(SegmentKind::Set),
            2 => Some(SegmentKind::Sequence),
            _ => None,
        }
    }
}

/// A segment of an AS_PATH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its kind.
    pub kind: SegmentKind,
    asns: &'a [[u8; 4]],
}

impl<'a> Segment<'a> {
    /// Its AS numbers.
    pub fn asns(
        &self,
    ) -> impl DoubleEndedIterator<Item = Asn> + ExactSizeIterator + Clone + use<'a> {
        self.asns
            .iter()
            .map(|octets| Asn(u32::from_be_bytes(*octets)))
    }
}

/// The value of an AS_PATH attribute with four-octet AS numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AsPath<'a>(&'a [u8]);

impl<'a> AsPath<'a> {
    /// A view of an attribute's value. Segments end where it does not parse any more.
    pub fn new(value: &'a [u8]) -> AsPath<'a> {
        AsPath(value)
    }

    /// The attribute's value.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there is no AS number in it: a route of the own AS.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its segments.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + Clone + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let &[kind, count, ref tail @ ..] = rest else {
                return None;
            };
            let (asns, tail) = tail.split_at_checked(usize::from(count) * 4)?;
            rest = tail;
            Some(Segment {
                kind: SegmentKind::from_octet(kind)?,
                asns: asns.as_chunks().0,
            })
        })
    }

    /// All AS numbers in order, sets included.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + use<'a> {
        self.segments().flat_map(|segment| segment.asns())
    }

    /// The length the decision process compares: an AS_SET counts 1 (RFC 4271 9.1.2.2).
    pub fn path_len(&self) -> u16 {
        self.segments().fold(0_u16, |len, segment| {
            len.saturating_add(match segment.kind {
                SegmentKind::Set => 1,
                SegmentKind::Sequence => segment.asns.len() as u16, // at most 255
            })
        })
    }

    /// The neighbouring AS: the first of a path that begins with an AS_SEQUENCE. `None` for an empty path and one that
    /// begins with a set: then the route counts as the own AS's (RFC 4271 9.1.2.2 c).
    pub fn neighbour(&self) -> Option<Asn> {
        match self.segments().next()? {
            segment if segment.kind == SegmentKind::Sequence => segment.asns().next(),
            _ => None,
        }
    }

    /// The AS that originated the route: the last of a path that ends with an AS_SEQUENCE.
    pub fn origin(&self) -> Option<Asn> {
        match self.segments().last()? {
            segment if segment.kind == SegmentKind::Sequence => segment.asns().next_back(),
            _ => None,
        }
    }

    /// Whether `asn` is in it, in a set or a sequence.
    pub fn contains(&self, asn: Asn) -> bool {
        self.count(asn) > 0
    }

    /// How often `asn` is in it.
    pub fn count(&self, asn: Asn) -> usize {
        let octets = asn.0.to_be_bytes();
        self.segments()
            .map(|segment| segment.asns.iter().filter(|it| **it == octets).count())
            .sum()
    }

    /// Whether the path begins with these, nearest first; sets match nothing.
    pub fn starts_with(&self, prefix: &[Asn]) -> bool {
        let mut asns = self
            .segments()
            .take_while(|segment| segment.kind == SegmentKind::Sequence)
            .flat_map(|segment| segment.asns());
        prefix.iter().all(|asn| asns.next() == Some(*asn))
    }
}

impl fmt::Display for AsPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for segment in self.segments() {
            let (open, separator, close) = match segment.kind {
                SegmentKind::Set => ("{", ",", "}"),
                SegmentKind::Sequence => ("", " ", ""),
            };
            if !first {
                f.write_str(" ")?;
            }
            first = false;
            f.write_str(open)?;
            for (index, asn) in segment.asns().enumerate() {
                if index > 0 {
                    f.write_str(separator)?;
                }
                write!(f, "{asn}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}

impl fmt::Debug for AsPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsPath({self})")
    }
}

/// Appends the value of an AS_PATH with `asn` prepended `count` times (RFC 4271 5.1.2 b): to a leading AS_SEQUENCE
/// while it has room, else in a new one.
pub(crate) fn prepend(path: &[u8], asn: Asn, count: u8, out: &mut Vec<u8>) {
    const SEQUENCE: u8 = SegmentKind::Sequence as u8;
    let (held, tail) = match *path {
        [SEQUENCE, held, ref tail @ ..] => (held, tail),
        _ => (0, path),
    };
    let joined = count.min(u8::MAX - held);
    for (times, held) in [(count - joined, 0), (joined, held)] {
        if times > 0 || held > 0 {
            out.extend_from_slice(&[SEQUENCE, times + held]);
        }
        for _ in 0..times {
            out.extend_from_slice(&asn.0.to_be_bytes());
        }
    }
    out.extend_from_slice(tail);
}
