use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use dunlin_intent::Malformed;
use dunlin_net::IpNet;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// Reads values out of text and keeps what does not parse.
#[derive(Default)]
pub(crate) struct Values {
    pub(crate) malformed: Vec<Malformed>,
}

impl Values {
    pub(crate) fn fault(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.malformed.push(Malformed::new(field, message));
    }

    pub(crate) fn addr(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let addr = text.parse().ok();
        if addr.is_none() {
            self.fault(field, no_address(text));
        }
        addr
    }

    /// The address that a field holds, if it holds one.
    pub(super) fn parsed_addr(
        &mut self,
        field: impl FnOnce() -> String,
        addr: Parsed<IpAddr>,
    ) -> Option<IpAddr> {
        match addr {
            Parsed::Value(addr) => Some(addr),
            Parsed::Text(text) => {
                self.fault(field(), no_address(&text));
                None
            }
        }
    }

    pub(super) fn port(&mut self, field: &str, number: i64) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.fault(field, format!("{number} is no port: 1 to 65535"));
        }
        port
    }

    /// A port where 0 is how a manifest says none.
    pub(super) fn optional_port(&mut self, field: &str, number: i64) -> Option<u16> {
        match number {
            0 => None,
            _ => self.port(field, number),
        }
    }

    pub(crate) fn net(&mut self, field: &str, text: &str) -> Option<IpNet> {
        let net = text.parse().ok();
        if net.is_none() {
            self.fault(
                field,
                format!("{text:?} is no prefix: write 10.244.1.0/24 or fd00:244:1::/64"),
            );
        }
        net
    }

    /// A list of values, each read by itself.
    pub(crate) fn each<I, T>(
        &mut self,
        field: &str,
        items: &[I],
        read: impl Fn(&mut Values, &str, &I) -> Option<T>,
    ) -> Vec<T> {
        items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| read(self, &format!("{field}[{at}]"), item))
            .collect()
    }

    /// One of the words that a field of another project's kind may hold. A word that is not known, as a newer version
    /// may bring, is a fault; none given is none.
    pub(super) fn word<T: Copy>(
        &mut self,
        field: &str,
        text: Option<&str>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = text?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fault(
                field,
                format!(
                    "{text:?} is not known here, only {}: a newer Dunlin may know it",
                    known.join(", ")
                ),
            );
        }
        found.map(|(_, value)| *value)
    }
}

fn no_address(text: &str) -> String {
    format!("{text:?} is no address: write 192.0.2.1 or 2001:db8::1")
}

/// A text that is parsed where it is read, so that what parses is never copied.
pub(super) enum Parsed<T> {
    Value(T),
    /// What does not parse.
    Text(String),
}

impl<'de, T: FromStr> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, |text| match text.parse() {
            Ok(value) => Parsed::Value(value),
            Err(_) => Parsed::Text(text.to_owned()),
        })
    }
}

/// A text that is kept as it is.
pub(super) struct Name(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_text(deserializer, |text| Name(text.into()))
    }
}

/// Makes something of a text where it stands, which no text is copied for.
pub(super) fn read_text<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(&str) -> T,
) -> Result<T, D::Error> {
    struct Reader<R>(R);
    impl<T, R: FnOnce(&str) -> T> Visitor<'_> for Reader<R> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            Ok((self.0)(text))
        }
    }
    deserializer.deserialize_str(Reader(read))
}

/// The first item of a list; the others are passed over.
pub(super) struct First<T>(pub(super) Option<T>);

impl<T> Default for First<T> {
    fn default() -> First<T> {
        First(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = First<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(First(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}
