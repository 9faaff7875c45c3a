use super::expr::{Verdict, write_verdict};
use super::{
    DATA_VALUE, ELEM_DATA, ELEM_FLAGS, ELEM_INTERVAL_END, ELEM_KEY, ELEM_KEY_END, LIST_ELEM,
    SET_NAME,
};
use crate::netlink::AttrWriter;

/// What a key or a map's value consists of, as `nft` names and numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `integer` of four octets in the machine's order: what `numgen` and `jhash` give. `nft` reads a set that has one
    /// only with [`Set::userdata`].
    Integer,
    /// `ipv4_addr`.
    Ipv4Addr,
    /// `ipv6_addr`.
    Ipv6Addr,
    /// `inet_proto`.
    InetProto,
    /// `inet_service`.
    InetService,
    /// `mark`.
    Mark,
}

impl DataType {
    fn number(self) -> u32 {
        match self {
            DataType::Integer => 4,
            DataType::Ipv4Addr => 7,
            DataType::Ipv6Addr => 8,
            DataType::InetProto => 12,
            DataType::InetService => 13,
            DataType::Mark => 19,
        }
    }

    /// In octets.
    fn len(self) -> u32 {
        match self {
            DataType::Integer | DataType::Ipv4Addr | DataType::Mark => 4,
            DataType::Ipv6Addr => 16,
            DataType::InetProto => 1,
            DataType::InetService => 2,
        }
    }
}

/// What a map maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapData {
    /// A value, or several in a row.
    Values(Vec<DataType>),
    /// A verdict.
    Verdict,
}

/// A set, or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What its keys consist of; more than one is a concatenation, each part padded to four octets.
    pub key: Vec<DataType>,
    /// Keys are ranges: of a concatenation, each part is one.
    pub interval: bool,
    /// For a map.
    pub data: Option<MapData>,
    /// Packets add elements, and elements may have timeouts.
    pub dynamic: bool,
    /// Elements count the packets that look them up.
    pub counter: bool,
    /// At most so many elements.
    pub size: Option<u32>,
    /// What `nft` wants to know beyond that (`typeof`), in its own encoding.
    pub userdata: Vec<u8>,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key; of an interval, its first key, or with `end` the first beyond it.
    pub key: Vec<u8>,
    /// Ends an interval.
    pub end: bool,
    /// For a map.
    pub data: Option<ElementData>,
}

/// What an element maps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementData {
    /// A value.
    Value(Vec<u8>),
    /// A verdict.
    Verdict(Verdict),
}

/// The attributes of an element in octets that live elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ElementRef<'a> {
    pub key: &'a [u8],
    /// The last key of a range, in a set of concatenated ranges.
    pub key_end: Option<&'a [u8]>,
    pub data: Option<&'a [u8]>,
    pub end: bool,
    /// How many packets it has counted, where it does; not written.
    pub packets: Option<u64>,
}

impl ElementRef<'_> {
    pub(super) fn write(&self, attrs: &mut AttrWriter<'_>) {
        attrs.nest(ELEM_KEY, |attrs| attrs.put(DATA_VALUE, self.key));
        if let Some(key_end) = self.key_end {
            attrs.nest(ELEM_KEY_END, |attrs| attrs.put(DATA_VALUE, key_end));
        }
        if let Some(data) = self.data {
            attrs.nest(ELEM_DATA, |attrs| attrs.put(DATA_VALUE, data));
        }
        if self.end {
            attrs.put_be32(ELEM_FLAGS, ELEM_INTERVAL_END);
        }
    }
}

/// `id` tells sets of one transaction apart.
pub(super) fn write_set(attrs: &mut AttrWriter<'_>, set: &Set, id: u32) {
    const FLAGS: u16 = 3;
    const KEY_TYPE: u16 = 4;
    const KEY_LEN: u16 = 5;
    const DATA_TYPE: u16 = 6;
    const DATA_LEN: u16 = 7;
    const ID: u16 = 10;
    const USERDATA: u16 = 13;
    const EXPR: u16 = 17;
    const EXPR_NAME: u16 = 1;
    const INTERVAL: u32 = 0x4;
    const MAP: u32 = 0x8;
    const TIMEOUT: u32 = 0x10;
    const EVAL: u32 = 0x20;
    const CONCAT: u32 = 0x80;
    const VERDICT: u32 = 0xFFFF_FF00;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    attrs.put_str(SET_NAME, &set.name);
    let flags = flag(set.interval, INTERVAL)
        | flag(set.data.is_some(), MAP)
        | flag(set.dynamic, TIMEOUT | EVAL)
        | flag(concatenated_ranges(set), CONCAT);
    attrs.put_be32(FLAGS, flags);
    attrs.put_be32(KEY_TYPE, type_number(&set.key));
    attrs.put_be32(KEY_LEN, type_len(&set.key));
    match &set.data {
        None => {}
        Some(MapData::Verdict) => {
            attrs.put_be32(DATA_TYPE, VERDICT);
            attrs.put_be32(DATA_LEN, 0);
        }
        Some(MapData::Values(types)) => {
            attrs.put_be32(DATA_TYPE, type_number(types));
            attrs.put_be32(DATA_LEN, type_len(types));
        }
    }
    write_description(attrs, set);
    attrs.put_be32(ID, id);
    if !set.userdata.is_empty() {
        attrs.put(USERDATA, &set.userdata);
    }
    if set.counter {
        attrs.nest(EXPR, |attrs| attrs.put_str(EXPR_NAME, "counter"));
    }
}

fn concatenated_ranges(set: &Set) -> bool {
    set.interval && set.key.len() > 1
}

/// How large, and where the parts of concatenated ranges are: the kernel refuses to be told that of other sets.
fn write_description(attrs: &mut AttrWriter<'_>, set: &Set) {
    const DESC: u16 = 9;
    const SIZE: u16 = 1;
    const DESC_CONCAT: u16 = 2;
    const FIELD_LEN: u16 = 1;
    if set.size.is_none() && !concatenated_ranges(set) {
        return;
    }
    attrs.nest(DESC, |attrs| {
        if let Some(size) = set.size {
            attrs.put_be32(SIZE, size);
        }
        if concatenated_ranges(set) {
            attrs.nest(DESC_CONCAT, |attrs| {
                for field in &set.key {
                    attrs.nest(LIST_ELEM, |attrs| attrs.put_be32(FIELD_LEN, field.len()));
                }
            });
        }
    });
}

/// Concatenations are numbered by six bits a part.
fn type_number(types: &[DataType]) -> u32 {
    types
        .iter()
        .fold(0, |number, part| number << 6 | part.number())
}

fn type_len(types: &[DataType]) -> u32 {
    match types {
        [one] => one.len(),
        many => many.iter().map(|part| part.len().next_multiple_of(4)).sum(),
    }
}

pub(super) fn write_element(attrs: &mut AttrWriter<'_>, element: &Element) {
    let value = match &element.data {
        Some(ElementData::Value(value)) => Some(&value[..]),
        _ => None,
    };
    let plain = ElementRef {
        key: &element.key,
        key_end: None,
        data: value,
        end: element.end,
        packets: None,
    };
    plain.write(attrs);
    if let Some(ElementData::Verdict(verdict)) = &element.data {
        attrs.nest(ELEM_DATA, |attrs| write_verdict(attrs, verdict));
    }
}
