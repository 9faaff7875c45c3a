use dunlin_dataplane::proxy::FrontendSet;
use dunlin_net::Afi;
use dunlin_net::service::Frontend;

use super::{ProxyTables, octets, shape};
use crate::Error;

impl ProxyTables {
    /// How many connections to each counted frontend have begun since it was first counted. `None` where there are more
    /// than `most` of them in a family: the kernel's time to list them grows by the square of that.
    pub fn connections(&mut self, most: u32) -> Result<Option<Vec<(Frontend, u64)>>, Error> {
        let name = shape::set_name(FrontendSet::Counted);
        let mut all = Vec::new();
        for afi in Afi::ALL {
            let table = shape::table(afi);
            let sets = self.nft.sets(table)?;
            let set = sets.iter().find(|(set, _)| *set == name);
            match set {
                None => continue,
                Some((_, Some(count))) if *count > most => return Ok(None),
                Some(_) => {}
            }
            let read = self.nft.read_elements(table, &name, |element| {
                Some((octets::member(afi, element)?, element.packets?))
            })?;
            all.extend(read.unwrap_or_default());
        }
        Ok(Some(all))
    }
}
