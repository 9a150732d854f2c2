//! The keys of one table, taken one by one; what is wrong with each is noted, and what nobody takes is a fault.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

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
    /// What faults begin with.
    place: String,
    table: toml::Table,
    faults: &'a mut Vec<String>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(place: impl Into<String>, table: toml::Table, faults: &'a mut Vec<String>) -> Self {
        Self { place: place.into(), table, faults }
    }

    /// Faults what is left.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            self.faults.push(format!("{} has no key `{key}`", self.place));
        }
    }

    /// What is left.
    pub(super) fn rest(self) -> toml::Table {
        self.table
    }

    pub(super) fn fault(&mut self, what: impl Display) {
        self.faults.push(format!("{} {what}", self.place));
    }

    /// Takes a key; what `read` does not take is a fault, and as if it were not there.
    fn take<T>(&mut self, key: &str, write: &str, read: impl FnOnce(&toml::Value) -> Option<T>) -> Option<T> {
        let value = self.table.remove(key)?;
        let taken = read(&value);
        if taken.is_none() {
            self.fault(format!("{key} = {value}: write {write}"));
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
        let time = |value: &toml::Value| {
            let time = humantime::parse_duration(value.as_str()?).ok()?;
            (time <= TIME_MAX).then_some(time)
        };
        self.take(key, "a time such as \"500ms\" or \"15min\", in quotes, up to a year", time)
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
        let Some(value) = self.table.remove(key) else { return BTreeMap::new() };
        let toml::Value::Table(table) = value else {
            self.fault(format!("has a `{key}` that is no table: write [{key}.NAME]"));
            return BTreeMap::new();
        };
        let mut tables = BTreeMap::new();
        for (name, value) in table {
            match value {
                toml::Value::Table(table) => _ = tables.insert(name, table),
                _ => {
                    self.fault(format!(
                        "has `{name}` under [{key}], which is no table: write [{key}.{name}]"
                    ));
                }
            }
        }
        tables
    }
}
