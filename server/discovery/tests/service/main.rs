//! A discovery as its peers see it: over real sockets, with real files and short leases.

mod calls;
mod state;
mod world;
