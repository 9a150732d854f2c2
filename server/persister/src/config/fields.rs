//! The keys of one table, taken one by one; what is wrong with each is noted, and what nobody takes is a fault.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::faults::{Faults, meant};

/// Longer is a mistake in a unit.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a name of a namespace or a cluster is.
pub(super) const NAME_RULE: &str =
    "1 to 64 letters, digits, dashes, underscores and dots, and not dots alone";

/// Whether it is one. A namespace's is that of a directory, too.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.bytes().all(|byte| byte == b'.')
}

/// A table that is being read.
pub(super) struct Fields<'a> {
    /// Where it is in the file.
    path: Vec<&'a str>,
    table: toml::Table,
    /// What was asked for.
    known: Vec<String>,
    faults: &'a mut Faults,
}

impl<'a> Fields<'a> {
    pub(super) fn new(path: &[&'a str], table: toml::Table, faults: &'a mut Faults) -> Self {
        Self { path: path.to_vec(), table, known: Vec::new(), faults }
    }

    /// Faults what is left.
    pub(super) fn finish(mut self) {
        self.known.sort();
        let left: Vec<String> = self.table.keys().cloned().collect();
        for key in left {
            let instead = match meant(&key, &self.known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("these are {}", self.known.join(", ")),
            };
            self.fault_of(&key, format!("has no key `{key}`: {instead}"));
        }
    }

    /// What is left.
    pub(super) fn rest(self) -> toml::Table {
        self.table
    }

    /// Faults the table as a whole.
    pub(super) fn fault(&mut self, what: impl Display) {
        let what = format!("{} {what}", self.place());
        self.faults.put(&self.path, what);
    }

    /// Faults one of its keys.
    pub(super) fn fault_of(&mut self, key: &str, what: impl Display) {
        let what = format!("{} {what}", self.place());
        self.faults.put(&[&self.path[..], &[key]].concat(), what);
    }

    /// What faults begin with.
    fn place(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path.join(".")) }
    }

    /// Takes a key; what `read` does not take is a fault, and as if it were not there.
    fn take<T>(&mut self, key: &str, write: &str, read: impl FnOnce(&toml::Value) -> Option<T>) -> Option<T> {
        self.known.push(key.to_owned());
        let value = self.table.remove(key)?;
        let taken = read(&value);
        if taken.is_none() {
            self.fault_of(key, format!("{key} = {value}: write {write}"));
        }
        taken
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        let text = |value: &toml::Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.take(key, "a text that is not empty", text)
    }

    /// Whether a key is there, and not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A name of a cluster, a zone or the like.
    pub(super) fn name(&mut self, key: &str) -> Option<String> {
        let name = |value: &toml::Value| value.as_str().filter(|text| is_name(text)).map(str::to_owned);
        self.take(key, NAME_RULE, name)
    }

    /// A list of texts that is not empty, each as `read` takes it.
    pub(super) fn texts<T>(
        &mut self,
        key: &str,
        such_as: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let texts = |value: &toml::Value| {
            let texts: Option<Vec<T>> = value.as_array()?.iter().map(|text| read(text.as_str()?)).collect();
            texts.filter(|texts| !texts.is_empty())
        };
        self.take(key, &format!("a list such as [{such_as}]"), texts)
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, key: &str, write: &str, words: &[(&str, T)]) -> Option<T> {
        let word = |value: &toml::Value| {
            let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
            found.map(|(_, meant)| *meant)
        };
        self.take(key, write, word)
    }

    pub(super) fn number(&mut self, key: &str, bounds: RangeInclusive<usize>) -> Option<usize> {
        let write = format!("a whole number, {} to {}", bounds.start(), bounds.end());
        let number = |value: &toml::Value| {
            let number = usize::try_from(value.as_integer()?).ok()?;
            bounds.contains(&number).then_some(number)
        };
        self.take(key, &write, number)
    }

    pub(super) fn fraction(&mut self, key: &str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let write = format!("a number, {} to {}", bounds.start(), bounds.end());
        let number = |value: &toml::Value| {
            let number = value.as_float().or_else(|| value.as_integer().map(|number| number as f64))?;
            bounds.contains(&number).then_some(number)
        };
        self.take(key, &write, number)
    }

    pub(super) fn time(&mut self, key: &str) -> Option<Duration> {
        self.time_up_to(key, TIME_MAX)
    }

    pub(super) fn time_up_to(&mut self, key: &str, most: Duration) -> Option<Duration> {
        let shown = if most == TIME_MAX { "a year".to_owned() } else { format!("{most:?}") };
        let write = format!("a time such as \"500ms\" or \"15min\", in quotes, up to {shown}");
        let time = |value: &toml::Value| {
            let time = humantime::parse_duration(value.as_str()?).ok()?;
            (time <= most).then_some(time)
        };
        self.take(key, &write, time)
    }

    pub(super) fn size(&mut self, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let shown = |bytes: &u64| ByteSize(*bytes).display().iec().to_string();
        let (least, most) = (shown(bounds.start()), shown(bounds.end()));
        let write = format!("a size such as \"64MiB\", in quotes, {least} to {most}");
        let size = |value: &toml::Value| {
            let size = value.as_str()?.parse::<ByteSize>().ok()?.as_u64();
            bounds.contains(&size).then_some(size)
        };
        self.take(key, &write, size)
    }

    /// A time, or a word that means something else.
    pub(super) fn time_or<T>(
        &mut self,
        key: &str,
        word: &str,
        meant: T,
        of: impl Fn(Duration) -> T,
    ) -> Option<T> {
        let read = |value: &toml::Value| match value.as_str()? {
            text if text == word => Some(meant),
            text => humantime::parse_duration(text).ok().filter(|time| !time.is_zero()).map(of),
        };
        self.take(key, &format!("\"{word}\", or a time such as \"100ms\""), read)
    }

    /// The tables of a table, by name.
    pub(super) fn tables(&mut self, key: &str) -> BTreeMap<String, toml::Table> {
        self.known.push(key.to_owned());
        let Some(value) = self.table.remove(key) else { return BTreeMap::new() };
        let toml::Value::Table(table) = value else {
            self.fault_of(key, format!("has a `{key}` that is no table: write [{key}.NAME]"));
            return BTreeMap::new();
        };
        let mut tables = BTreeMap::new();
        for (name, value) in table {
            match value {
                toml::Value::Table(table) => _ = tables.insert(name, table),
                _ => {
                    let what = format!("has `{name}` under [{key}], which is no table: write [{key}.{name}]");
                    self.faults.put(&[key, &name], format!("{} {what}", self.place()));
                }
            }
        }
        tables
    }
}
