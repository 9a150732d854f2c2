//! How an option is written: its type and what it may be set to.

use std::time::Duration;

use crate::config::bounds::{Bounds, shown_size, shown_time};

/// How an option is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One value; the word stands for it in the help.
    One(&'static str),
    /// The name of a file that is read again when it changes.
    WatchedFile,
    /// A whole number.
    Number(Bounds<usize>),
    /// A size in bytes.
    Size(Bounds<usize>),
    /// A duration.
    Time(Bounds<Duration>),
    /// A duration, or `off`.
    TimeOrOff(Bounds<Duration>),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Values between commas, or the option several times, or an array in the file.
    Many(&'static str),
    /// Namespaces, the option once for each, or semicolons between them, or an array of tables in the file.
    Namespaces,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

impl Form {
    /// How a value is written in the file.
    pub(crate) fn in_file(self) -> &'static str {
        match self {
            Self::Number(_) => "a whole number",
            Self::Many(_) => "a text in quotes, or an array of them",
            Self::Namespaces => "a table for each, under [[node.namespace]], with name, guarantee, limit",
            Self::Switch => "true or false",
            Self::One(_)
            | Self::WatchedFile
            | Self::Size(_)
            | Self::Time(_)
            | Self::TimeOrOff(_)
            | Self::Word(_) => "a text in quotes",
        }
    }

    /// What stands for a value in the help; none where it has none or a text of its own.
    pub(crate) fn value_name(self) -> Option<&'static str> {
        match self {
            Self::One(value) | Self::Many(value) => Some(value),
            Self::WatchedFile => Some("FILE"),
            Self::Number(_) => Some("N"),
            Self::Size(_) => Some("SIZE"),
            Self::Time(_) | Self::TimeOrOff(_) => Some("TIME"),
            Self::Word(_) => Some("WORD"),
            Self::Namespaces | Self::Switch => None,
        }
    }

    /// What it may be set to, in words, where that can be said in a few.
    pub(crate) fn bounds(self) -> Option<String> {
        match self {
            Self::Number(bounds) => Some(bounds.shown(|number| number)),
            Self::Size(bounds) => Some(bounds.shown(shown_size)),
            Self::Time(bounds) => Some(bounds.shown(shown_time)),
            Self::TimeOrOff(bounds) => Some(format!("{}, or off", bounds.shown(shown_time))),
            Self::Word(words) => Some(words.join(", ")),
            Self::One(_) | Self::WatchedFile | Self::Many(_) | Self::Namespaces | Self::Switch => None,
        }
    }

    /// The type, in a word or two.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::One("ADDR") => "address",
            Self::One("FILE") | Self::WatchedFile => "file",
            Self::One("DIR") => "directory",
            Self::One(_) => "text",
            Self::Number(_) => "whole number",
            Self::Size(_) => "size",
            Self::Time(_) | Self::TimeOrOff(_) => "time",
            Self::Word(_) => "word",
            Self::Many(_) => "addresses",
            Self::Namespaces => "namespaces",
            Self::Switch => "true or false",
        }
    }
}
