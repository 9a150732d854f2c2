//! What may differ from memcached, and why: the whole list.
//!
//! Streams hold nothing that would show these, so that every reply compared must be the same byte for byte.
//! `proto/PROTOCOL.md` states each of them in the same words; a test holds that.

/// A difference that is meant.
#[derive(Debug)]
pub(crate) struct Difference {
    /// How the contract puts it.
    pub(crate) stated: &'static str,
    /// Why it stays.
    pub(crate) reason: &'static str,
    /// How the streams keep clear of it.
    pub(crate) avoided: &'static str,
}

/// All of them.
pub(crate) const DIFFERENCES: &[Difference] = &[
    Difference {
        stated: "Replies before a retrieval with a key too long are sent",
        reason: "what memcached drops depends on how bytes arrive",
        avoided: "such a retrieval begins a burst",
    },
    Difference {
        stated: "`gat` and `gats` with a key too long touch nothing",
        reason: "a line that is refused has no effect; memcached touches the keys before that one",
        avoided: "such a key is the only one",
    },
    Difference {
        stated: "A line beyond 2048 bytes always closes the connection",
        reason: "whether memcached closes depends on how bytes arrive",
        avoided: "only get and gets have longer lines",
    },
    Difference {
        stated: "A length above 32 bits is an error",
        reason: "memcached cuts it and reads the value as commands",
        avoided: "lengths are below",
    },
    Difference {
        stated: "An expiry above 32 bits is taken as the date it is",
        reason: "memcached cuts it to a date that is over",
        avoided: "expiries are below",
    },
    Difference {
        stated: "A zero byte is a byte like any other",
        reason: "memcached 1.6.18 ends the line there; newer releases do not",
        avoided: "there is none in a line",
    },
    Difference {
        stated: "A value of exactly 1 MiB is within the limit of the line protocol",
        reason: "memcached counts its own headers in",
        avoided: "values are far below, or above",
    },
    Difference {
        stated: "The C library's wrap of numbers below minus 2^63",
        reason: "an error is what the caller expects",
        avoided: "numbers are above",
    },
    Difference {
        stated: "A value of 2^63 and more is a number for `incr` and `decr`",
        reason: "memcached 1.6.18 looks for a minus beyond the end of the value, in what its memory held before",
        avoided: "nothing stored has a minus, and memcached keeps room behind each item",
    },
    Difference {
        stated: "A value with a zero byte, or of nothing but white space, is no number",
        reason: "memcached takes the zero for the end, and reads on behind the white space",
        avoided: "values of any bytes have keys of their own, which are not counted on",
    },
    Difference {
        stated: "A value that is too large is `0x82`, not `0x03`",
        reason: "Netflix's client drops the connection over 0x03",
        avoided: "binary values are far below the limit",
    },
    Difference {
        stated: "The body of an unknown command is skipped, and nothing else",
        reason: "memcached loses its place",
        avoided: "such a body is nothing but a value",
    },
    Difference {
        stated: "A `stat`, `touch` or `gat` that has a value is `0x04`",
        reason: "memcached reads the value as the next request",
        avoided: "they have none",
    },
];

#[cfg(test)]
mod tests {
    use super::DIFFERENCES;

    #[test]
    fn contract_states_every_difference() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let contract = words(include_str!("../../../../proto/PROTOCOL.md"));
        for difference in DIFFERENCES {
            assert!(contract.contains(&words(difference.stated)), "not stated: {}", difference.stated);
            assert!(!difference.reason.is_empty() && !difference.avoided.is_empty());
        }
    }
}
