//! The client against real nodes in several zones, sound and not.

mod batches;
mod cluster;
mod credentials;
mod decisions;
mod discovered;
mod faults;
mod grow;
mod home;
mod listeners;
mod load;
mod load_many;
#[cfg(feature = "near-cache")]
mod near;
mod observed;
mod options;
mod reads;
mod reconcile;
mod repair;
mod resize;
mod stored;
mod typed;
mod warm;
mod writes;
