//! Columns for a person: as wide as their widest cell, numbers to the right.

use picket_base::printable;

/// The longest cell, in characters: no line of a table is read further.
const CELL_CHARS_MAX: usize = 120;

/// Rows of equal length, the first one the heading. What came from outside is escaped.
pub fn render(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| shown(cell)).collect()).collect();
    let rows = &rows;
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| {
                let number = cell.starts_with(|c: char| c.is_ascii_digit() || c == '-');
                if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns a cell without what a terminal would obey, cut to its longest.
fn shown(cell: &str) -> String {
    let mut shown = printable(cell);
    if let Some((cut, _)) = shown.char_indices().nth(CELL_CHARS_MAX) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_from_outside_neither_commands_the_terminal_nor_forges_a_row() {
        let rows = [vec!["a".to_string()], vec!["x\u{1b}[31m\nforged".to_string()]];
        assert_eq!(render(&rows), "a\nx\\u{1b}[31m\\nforged\n");
        let long = [vec!["n".repeat(70_000)]];
        assert_eq!(render(&long).chars().count(), CELL_CHARS_MAX + 2);
    }
}
