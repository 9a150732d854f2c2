//! What is wrong with a file, each with its line.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::ConfigErrors;

/// What is wrong so far.
pub(super) struct Faults {
    /// Where each table and each key begins.
    lines: BTreeMap<Vec<String>, usize>,
    /// Each with its line; 0 is none.
    told: Vec<(usize, String)>,
}

impl Faults {
    /// Of a file with this text. What of it is no TOML is faults already.
    pub(super) fn of(text: &str) -> Self {
        let line =
            |at: usize| 1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count();
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut lines = BTreeMap::new();
        put_lines(table.get_ref(), &mut Vec::new(), &line, &mut lines);
        let told = errors.iter().map(|error| {
            let at = error.span().map_or(0, |span| line(span.start));
            (at, format!("this is not TOML: {}", error.message()))
        });
        Self { told: told.collect(), lines }
    }

    /// Notes a fault of what is at this path, or would be.
    pub(super) fn put(&mut self, path: &[&str], what: String) {
        let heads = (1..=path.len()).rev().map(|length| &path[..length]);
        let line = heads.filter_map(|head| self.line(head)).next();
        self.told.push((line.unwrap_or(0), what));
    }

    /// The same of one of a table's keys, if the fault names one.
    pub(super) fn put_of_table(&mut self, table: &[&str], what: String) {
        let words = what.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let named = words.map(|word| [table, &[word]].concat()).find(|path| self.line(path).is_some());
        let line = named.as_ref().map_or_else(|| self.line(table), |path| self.line(path));
        self.told.push((line.unwrap_or(0), what));
    }

    fn line(&self, path: &[&str]) -> Option<usize> {
        let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
        self.lines.get(&path).copied()
    }

    /// All of it by line; none is good.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        self.told.sort_by_key(|(line, _)| *line);
        let told = self.told.into_iter().map(|(line, what)| match line {
            0 => what,
            line => format!("line {line}: {what}"),
        });
        let told: Vec<String> = told.collect();
        if told.is_empty() { Ok(()) } else { Err(ConfigErrors(told)) }
    }
}

fn put_lines(
    table: &DeTable<'_>,
    path: &mut Vec<String>,
    line: &impl Fn(usize) -> usize,
    lines: &mut BTreeMap<Vec<String>, usize>,
) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        lines.insert(path.clone(), line(key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            put_lines(inner, path, line, lines);
        }
        path.pop();
    }
}

/// Of `known` the key that was meant, if one is close: what is not is told to no end.
pub(super) fn meant<'k>(unknown: &str, known: &'k [String]) -> Option<&'k str> {
    let close = known.iter().map(|known| (distance(unknown, known), known));
    let (changes, closest) = close.min()?;
    (changes <= 2 && changes < unknown.len()).then_some(closest)
}

/// How many letters must be put, taken or changed to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, of_a) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, of_b) in b.iter().enumerate() {
            let changed = diagonal + usize::from(of_a != *of_b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_that_was_meant_is_the_closest_and_a_stranger_is_none() {
        let known = ["store", "stale", "ttl", "near_ttl"].map(str::to_owned);
        assert_eq!(meant("stores", &known), Some("store"));
        assert_eq!(meant("tll", &known), Some("ttl"));
        assert_eq!(meant("near-ttl", &known), Some("near_ttl"));
        assert_eq!((meant("colour", &known), meant("x", &known)), (None, None));
        assert_eq!((distance("", "abc"), distance("kitten", "sitting"), distance("a", "a")), (3, 3, 0));
    }
}
