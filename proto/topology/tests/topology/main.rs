//! The package against vectors, naive twins and properties.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod change;
mod check;
mod evanesce;
mod evcache;
mod fixture;
mod placement;
mod second;
mod twin;
