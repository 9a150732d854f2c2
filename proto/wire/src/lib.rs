//! The memcached wire codec, both directions: classic text and meta.

pub mod reply;
pub mod request;
