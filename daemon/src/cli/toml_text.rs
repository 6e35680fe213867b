//! TOML as a terminal may show it. It knows nothing of what it says.

use picket_base::is_obeyed;

/// Returns a TOML text that means the same, with every character escaped that is obeyed or hidden rather
/// than shown. A literal string, which has no escapes, becomes a basic one where that is needed.
pub fn printable_toml(toml: &str) -> String {
    let mut shown = String::with_capacity(toml.len());
    let mut rest = toml;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => string(rest, first, &mut shown),
            '#' => comment(rest, &mut shown),
            // White space between the parts; nothing else there is obeyed in valid TOML.
            _ => {
                shown.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    shown
}

/// Shows the string at the beginning of a text, and returns its length there, bytes.
fn string(text: &str, quote: char, shown: &mut String) -> usize {
    let mark = if text.starts_with(&quote.to_string().repeat(3)) { 3 } else { 1 };
    let is_basic = quote == '"';
    let length = mark + content_length(&text[mark..], quote, mark, is_basic);
    let content = &text[mark..length];
    let is_hidden = |c: char| is_obeyed(c) && !(mark == 3 && c == '\n');
    if is_basic || !content.contains(is_hidden) {
        shown.push_str(&text[..mark]);
        content.chars().for_each(|c| if is_hidden(c) { escape(c, shown) } else { shown.push(c) });
        shown.extend(text[length..].chars().take(mark));
    } else {
        // The first line break of a string over several lines is not part of it.
        let content =
            if mark == 3 { content.strip_prefix('\n').unwrap_or(content) } else { content };
        shown.push('"');
        for c in content.chars() {
            match c {
                '"' | '\\' => shown.extend(['\\', c]),
                c if is_obeyed(c) => escape(c, shown),
                c => shown.push(c),
            }
        }
        shown.push('"');
    }
    (length + mark).min(text.len())
}

/// Returns where a string's content ends. Quotation marks in front of the last three belong to it.
fn content_length(text: &str, quote: char, mark: usize, is_basic: bool) -> usize {
    let end = quote.to_string().repeat(mark);
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let is_end = text[at..].starts_with(&end);
        let is_longer = mark == 3 && text[at + c.len_utf8()..].starts_with(&end);
        if is_end && !is_longer {
            break;
        }
        at += c.len_utf8();
        if is_basic && c == '\\' {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

fn comment(text: &str, shown: &mut String) -> usize {
    let line = text.split('\n').next().unwrap_or_default();
    line.chars().for_each(|c| if is_obeyed(c) { escape(c, shown) } else { shown.push(c) });
    line.len()
}

/// TOML names a character by its number, and knows no pairs as JSON does.
fn escape(c: char, shown: &mut String) {
    let number = u32::from(c);
    let escaped =
        if number > 0xffff { format!("\\U{number:08x}") } else { format!("\\u{number:04x}") };
    shown.push_str(&escaped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_means_the_same_and_nothing_in_it_is_obeyed() {
        let texts = [
            "plain",
            "x\"\u{202e}",
            "a'\"\u{202e}",
            "two\nlines\"\u{9b}1m",
            "'''\"\"\"\n\u{202e}",
            "back\\slash\"\u{200b}",
            "\u{e0041}\"",
            "\u{e0041}'",
            "tab\t\"",
            "'",
            "\"",
            "''\"\u{7f}",
            "ends in '\"\u{202e}'",
            "ends in \"\u{202e}\"",
            "\\",
            "\\\"",
            "# no comment\u{202e}'\"",
            "\n\u{202e}'",
            "",
        ];
        let list = texts.map(String::from).to_vec();
        let table = toml::Table::from_iter([("texts".to_string(), toml::Value::from(list))]);
        for written in [toml::to_string(&table).unwrap(), toml::to_string_pretty(&table).unwrap()] {
            let written = format!("{written}# a comment\u{202e}\n");
            let shown = printable_toml(&written);
            assert!(!shown.contains(|c| is_obeyed(c) && c != '\n'), "{shown}");
            assert_eq!(shown.parse::<toml::Table>().unwrap(), table, "{shown}");
        }
    }

    #[test]
    fn quotation_marks_at_the_ends_of_long_strings_stay() {
        for written in
            ["a = '''x\u{202e}'''''\n", "a = \"\"\"\"x\u{202e}\"\"\"\"\"\n", "a = ''''x'''\n"]
        {
            let shown = printable_toml(written);
            let tables = [written, &shown].map(|text| text.parse::<toml::Table>().unwrap());
            assert_eq!(tables[0], tables[1], "{shown}");
        }
    }
}
