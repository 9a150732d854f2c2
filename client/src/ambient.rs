//! What a client takes from its machine besides the network: the time of day, and chance.
//!
//! ```text
//!  alone:         the system's clock, the thread's random numbers
//!  in simulation: a clock and a seed of its own, so that a run can be repeated
//! ```

use std::time::SystemTime;

use rand::distr::{Distribution, StandardUniform};

#[cfg(feature = "simulation")]
pub(crate) use simulated::Ambient;
#[cfg(feature = "simulation")]
pub use simulated::Simulation;

/// The machine's own.
#[cfg(not(feature = "simulation"))]
#[derive(Debug, Clone, Default)]
pub(crate) struct Ambient(());

#[cfg(not(feature = "simulation"))]
impl Ambient {
    /// The time of day.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    /// Any value.
    pub(crate) fn random<T>(&self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        rand::random()
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::fmt;
    use std::sync::Arc;

    use evanesce_transport::Connector;
    use parking_lot::Mutex;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::{Distribution, StandardUniform, SystemTime};

    /// The machine that a simulation gives to a client.
    #[derive(Clone)]
    pub struct Simulation {
        /// Opens streams to nodes.
        pub connector: Connector,
        /// Opens streams to discoveries.
        #[cfg(feature = "discovery")]
        pub discovery_connector: evanesce_membership::Connector,
        /// The time of day.
        pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
        /// Whence all chance comes.
        pub seed: u64,
    }

    impl fmt::Debug for Simulation {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Simulation").field("seed", &self.seed).finish_non_exhaustive()
        }
    }

    /// The machine's own, unless a simulation has given another.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Ambient(Option<Arc<Given>>);

    struct Given {
        clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
        /// Lock order: alone.
        random: Mutex<StdRng>,
    }

    impl Ambient {
        pub(crate) fn of(simulation: &Simulation) -> Self {
            let (clock, random) = (Arc::clone(&simulation.clock), StdRng::seed_from_u64(simulation.seed));
            Self(Some(Arc::new(Given { clock, random: Mutex::new(random) })))
        }

        /// The time of day.
        pub(crate) fn now(&self) -> SystemTime {
            self.0.as_ref().map_or_else(SystemTime::now, |given| (given.clock)())
        }

        /// Any value.
        pub(crate) fn random<T>(&self) -> T
        where
            StandardUniform: Distribution<T>,
        {
            self.0.as_ref().map_or_else(rand::random, |given| given.random.lock().random())
        }
    }

    impl fmt::Debug for Given {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Given").finish_non_exhaustive()
        }
    }
}
