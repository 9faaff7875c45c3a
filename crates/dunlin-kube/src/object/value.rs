use std::net::IpAddr;

use dunlin_intent::Malformed;
use dunlin_net::IpNet;

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
            self.fault(
                field,
                format!("{text:?} is no address: write 192.0.2.1 or 2001:db8::1"),
            );
        }
        addr
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
}
