//! Tables for people.

use comfy_table::{Table, presets};

/// Columns under a header, without lines, so that `awk` and `cut` still work on it.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_header() {
        let rows = [["a1".to_owned(), "serving".to_owned()], ["b17".to_owned(), "down".to_owned()]];
        assert_eq!(table(["name", "state"], rows), "name  state\na1    serving\nb17   down\n");
    }
}
