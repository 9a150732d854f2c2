//! Tests of the codec from outside: what requests and replies look like on the wire, and properties that hold for all.

mod binary;
mod classic;
mod corpus;
mod meta;
mod properties;
mod replies;
mod trace;
