//! Loads like those of some of Twitter's cache clusters: sizes, TTLs, share of writes, skew.
//!
//! Numbers from the statistics published with "A large scale analysis of hundreds of in-memory cache clusters at
//! Twitter" (Yang, Yue, Rashmi, OSDI 2020; CC BY 4.0): a handful with TTLs short enough to matter, long and short
//! ones mixed, small values and large.

/// One cluster's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preset {
    /// As it is called there.
    pub(crate) name: &'static str,
    /// Bytes of a key.
    pub(crate) key_bytes: usize,
    /// Bytes of a value, in the mean.
    pub(crate) value_bytes: f64,
    /// TTLs in seconds and what share of items has them; the shares need not sum to 1.
    pub(crate) ttls: &'static [(u64, f64)],
    /// Share of requests that write, beside those that fill a miss.
    pub(crate) write_share: f64,
    /// Zipf's exponent.
    pub(crate) exponent: f64,
}

/// The presets.
pub(crate) const PRESETS: [Preset; 8] = [
    Preset {
        name: "cluster4",
        key_bytes: 67,
        value_bytes: 2439.0,
        ttls: &[(60, 0.39), (300, 0.24), (3600, 0.13), (600, 0.12), (14_400, 0.09), (86_400, 0.03)],
        write_share: 0.07,
        exponent: 1.1004,
    },
    Preset {
        name: "cluster12",
        key_bytes: 44,
        value_bytes: 1030.0,
        ttls: &[(300, 0.98), (299, 0.02)],
        write_share: 0.80,
        exponent: 0.3048,
    },
    Preset {
        name: "cluster19",
        key_bytes: 42,
        value_bytes: 101.0,
        ttls: &[(27_000, 0.3), (25_200, 0.4), (23_760, 0.3)],
        write_share: 0.25,
        exponent: 0.735,
    },
    Preset {
        name: "cluster23",
        key_bytes: 35,
        value_bytes: 224.0,
        ttls: &[(120, 0.93), (2700, 0.05), (5, 0.03)],
        write_share: 0.61,
        exponent: 0.274,
    },
    Preset {
        name: "cluster26",
        key_bytes: 122,
        value_bytes: 1745.0,
        ttls: &[(60, 0.67), (120, 0.10), (360, 0.09), (600, 0.06), (660, 0.03), (180, 0.02)],
        write_share: 0.29,
        exponent: 0.6299,
    },
    Preset {
        name: "cluster29",
        key_bytes: 36,
        value_bytes: 799.0,
        ttls: &[(3600, 0.67), (7200, 0.33)],
        write_share: 0.13,
        exponent: 1.2323,
    },
    Preset {
        name: "cluster37",
        key_bytes: 72,
        value_bytes: 20_134.0,
        ttls: &[(20, 0.91), (300, 0.06), (7200, 0.02), (600, 0.01)],
        write_share: 0.37,
        exponent: 0.4251,
    },
    Preset {
        name: "cluster52",
        key_bytes: 20,
        value_bytes: 273.0,
        ttls: &[(86_400, 0.65), (1_209_600, 0.27), (43_200, 0.07)],
        write_share: 0.05,
        exponent: 1.2117,
    },
];

impl Preset {
    /// Looks one up by its name.
    pub(crate) fn named(name: &str) -> Result<Preset, String> {
        let found = PRESETS.iter().find(|preset| preset.name == name).copied();
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        found.ok_or_else(|| format!("there is no preset {name:?}: choose of {}", names.join(", ")))
    }

    /// The TTL that a number from 0 to 1 chooses, in milliseconds.
    pub(crate) fn ttl_ms(&self, chosen: f64) -> u64 {
        let mut left = chosen * self.share_sum();
        for (seconds, share) in self.ttls {
            left -= share;
            if left < 0.0 {
                return seconds * 1000;
            }
        }
        self.ttls[0].0 * 1000
    }

    fn share_sum(&self) -> f64 {
        self.ttls.iter().map(|(_, share)| share).sum()
    }

    /// Requests a second with which, in a cache that never evicts, `live` of `keys` keys are there at any time: a
    /// key is there from a request for its TTL, and then gone until the next request.
    pub(crate) fn requests_per_second(&self, keys: u32, live: f64) -> f64 {
        let weights: Vec<f64> = (1..=keys).map(|rank| f64::from(rank).powf(-self.exponent)).collect();
        let weight_sum: f64 = weights.iter().sum();
        let seconds: f64 = self.ttls.iter().map(|(seconds, share)| *seconds as f64 * share).sum();
        let seconds = seconds / self.share_sum();
        let live_at = |rate: f64| {
            let requests_by_ttl = rate / weight_sum * seconds;
            let there = |weight: &f64| weight * requests_by_ttl / (1.0 + weight * requests_by_ttl);
            weights.iter().map(there).sum::<f64>()
        };
        let (mut low, mut high) = (1e-3_f64, 1e9_f64);
        for _ in 0..BISECTIONS {
            let middle = (low * high).sqrt();
            if live_at(middle) < live { low = middle } else { high = middle }
        }
        high
    }
}

/// Twelve decades halved so often leave an error below a percent.
const BISECTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::{PRESETS, Preset};

    #[test]
    fn ttls_are_chosen_by_their_share() {
        let preset = Preset::named("cluster23").unwrap();
        assert_eq!(preset.ttl_ms(0.0), 120_000);
        assert_eq!(preset.ttl_ms(0.93), 2_700_000);
        assert_eq!(preset.ttl_ms(0.999), 5_000);
        assert!(Preset::named("cluster5").is_err());
    }

    #[test]
    fn rate_keeps_the_wanted_keys_alive() {
        // Alike keys of one TTL: half of them live when a key is asked for once in a TTL.
        let preset = Preset { ttls: &[(100, 1.0)], exponent: 0.0, ..PRESETS[0] };
        let rate = preset.requests_per_second(1000, 500.0);
        assert!((rate - 10.0).abs() < 0.1, "{rate}");
    }
}
