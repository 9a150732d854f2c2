//! The registry alone, with a clock moved by hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod changes;
mod mass_lapse;
mod properties;
mod rules;
mod scene;
