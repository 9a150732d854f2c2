//! Tables for people, records for programs.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

/// A table in Markdown; all columns but the first are right-aligned.
pub(crate) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Turns words into a table's header.
pub(crate) fn header(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// All that a run wrote down.
#[derive(Serialize)]
struct Records<'a, T> {
    command: &'a str,
    /// The words it was called with.
    arguments: Vec<String>,
    /// Processors that the run could use.
    processors: usize,
    records: &'a [T],
}

/// Writes the records of a run, if asked to.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_json<T: Serialize>(path: Option<&Path>, command: &str, records: &[T]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let context = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(context)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let all = Records { command, arguments: std::env::args().skip(1).collect(), processors, records };
    serde_json::to_writer_pretty(BufWriter::new(file), &all).with_context(context)
}
