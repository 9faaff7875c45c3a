use std::ops::RangeInclusive;
use std::time::Duration;

/// Chance out of a seed (splitmix64): jitter, nothing secret.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed gives the same chances.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// A number, each as likely as another.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw() % bound }
    }

    /// `duration` less some of it: how much is between these thousandths (at most 1,000).
    pub fn shortened(&mut self, duration: Duration, by: RangeInclusive<u16>) -> Duration {
        let most = (*by.end()).min(1000);
        let least = (*by.start()).min(most);
        let drawn = self.draw() % (u64::from(most - least) + 1);
        let thousandths = u32::from(1000 - most) + drawn as u32; // at most 1,000
        // Microseconds are what points in time are made of; the product of short spans must not lose them.
        if duration < Duration::from_secs(3600) {
            duration * thousandths / 1000
        } else {
            duration / 1000 * thousandths
        }
    }
}
