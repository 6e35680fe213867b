//! Rows for a spreadsheet, RFC 4180. It knows nothing of what they hold.

use picket_base::printable;

/// What a spreadsheet takes for the beginning of a formula, in its own width or full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// What a spreadsheet of another locale takes for the end of a cell, within quotation marks too: to it they
/// stand in the middle of a cell, where they mean nothing.
const OTHER_SEPARATOR: char = ';';

pub enum Cell {
    /// The program's own: a number, or a word that it knows.
    Own(String),
    /// Text from outside. It is escaped, and never a formula.
    Text(String),
}

/// Returns the cells as one row, with its end of line.
pub fn row(cells: &[Cell]) -> String {
    let cells: Vec<String> = cells.iter().map(quoted).collect();
    cells.join(",") + "\n"
}

fn quoted(cell: &Cell) -> String {
    let text = match cell {
        Cell::Own(text) => text.clone(),
        Cell::Text(text) => {
            let shown = printable(text);
            shown.split_inclusive(OTHER_SEPARATOR).map(without_formula).collect()
        }
    };
    if text.contains([',', '"', '\n', '\r', OTHER_SEPARATOR]) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// Returns what a spreadsheet may take for one cell with an apostrophe in front if it would be a formula:
/// that says that text follows.
fn without_formula(cell: &str) -> String {
    // Spreadsheets look behind spaces too, and behind quotation marks that hold nothing.
    let begins = cell.trim_start_matches(|c: char| c.is_whitespace() || c == '"');
    if begins.starts_with(FORMULA) { format!("'{cell}") } else { cell.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_from_outside_is_a_formula_or_another_row() {
        for (text, cell) in [
            ("line-4", "line-4"),
            ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
            ("+1", "'+1"),
            ("-2+3", "'-2+3"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\\t=1"),
            ("\r=1", "\\r=1"),
            (" =1", "' =1"),
            ("\u{a0}=1", "'\u{a0}=1"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("\u{feff}=1", "\\u{feff}=1"),
            ("a\n=1", "a\\n=1"),
            ("=1,\"2\"", "\"'=1,\"\"2\"\"\""),
            ("a;=1", "\"a;'=1\""),
            ("a; \"=1;;-2;b", "\"a;' \"\"=1;;'-2;b\""),
            ("a\t=1\r=2", "a\\t=1\\r=2"),
            ("a;b", "\"a;b\""),
            ("\"=1", "\"'\"\"=1\""),
        ] {
            assert_eq!(row(&[Cell::Text(text.into())]), format!("{cell}\n"), "{text:?}");
        }
        assert_eq!(row(&[Cell::Own("-1.5".into()), Cell::Own(String::new())]), "-1.5,\n");
    }
}
