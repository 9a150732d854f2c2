//! Counts of what was asked and how it went, one set per worker.

use evanesce_front::Counter;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One worker's counts. Written by that worker only, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Commands {
            $($(#[$doc])* pub(crate) $name: Counter,)*
        }

        /// Counts of all workers.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct CommandSums {
            $($(#[$doc])* pub(crate) $name: u64,)*
        }

        impl CommandSums {
            /// Adds one worker's counts.
            pub(crate) fn add(&mut self, commands: &Commands) {
                $(self.$name += commands.$name.get();)*
            }

            /// What was counted since `earlier`.
            pub(crate) fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}

commands! {
    /// Keys looked up.
    cmd_get,
    /// Writes.
    cmd_set,
    /// `flush_all`.
    cmd_flush,
    /// Keys touched, by `touch`, `gat`, `gats` or the flag `T`.
    cmd_touch,
    /// Requests of the meta protocol.
    cmd_meta,
    /// Lookups that found an item.
    get_hits,
    /// Lookups that found none.
    get_misses,
    /// Deletes of what was not there.
    delete_misses,
    /// Deletes.
    delete_hits,
    /// `incr` of what was not there.
    incr_misses,
    /// `incr`.
    incr_hits,
    /// `decr` of what was not there.
    decr_misses,
    /// `decr`.
    decr_hits,
    /// `cas` of what was not there.
    cas_misses,
    /// `cas` that stored.
    cas_hits,
    /// `cas` against another token.
    cas_badval,
    /// Touches of what was there.
    touch_hits,
    /// Touches of what was not there.
    touch_misses,
    /// Values beyond the largest item.
    store_too_large,
    /// Values for which nothing could be evicted.
    store_no_memory,
    /// Writes and deletes refused because something newer was known of the key.
    superseded,
    /// Writes and deletes refused because their versions were too far ahead of the clock.
    clock_refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_workers_and_count_since_a_baseline() {
        let (one, two) = (Commands::default(), Commands::default());
        one.cmd_get.add(2);
        two.cmd_get.add(3);
        let mut sums = CommandSums::default();
        sums.add(&one);
        let earlier = sums;
        sums.add(&two);
        assert_eq!((sums.cmd_get, sums.since(&earlier).cmd_get), (5, 3));
    }
}
