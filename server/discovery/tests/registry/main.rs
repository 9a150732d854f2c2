//! The registry alone, with a clock moved by hand.

mod mass_lapse;
mod properties;
mod rules;
mod scene;
