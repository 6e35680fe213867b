//! Text from outside as a terminal, a journal or a page may show it. It knows nothing of where the
//! text comes from or goes.

/// Returns the text with every character escaped that is obeyed or hidden rather than shown: controls
/// (C0, DEL, C1), line and paragraph separators, what turns the direction of writing, and what has no
/// width.
pub fn printable(text: &str) -> String {
    escape(text, |c, shown| shown.extend(c.escape_default()))
}

/// Returns a JSON text with the same characters escaped in JSON's own way: what it means stays the same.
pub fn printable_json(json: &str) -> String {
    escape(json, |c, shown| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    })
}

/// Whether the character is obeyed or hidden rather than shown.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Separators of lines and paragraphs.
            '\u{2028}' | '\u{2029}'
            // Direction: marks, embeddings, overrides, isolates, the deprecated shaping controls.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // No width: spaces, joiners, operators, the byte order mark, soft hyphens, fillers.
            | '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn escape(text: &str, escaped: impl Fn(char, &mut String)) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            escaped(c, &mut shown);
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_obeyed_is_escaped_and_what_is_shown_stays() {
        for (text, shown) in [
            ("größe 日本 🙂 a\\b \u{fffd}", "größe 日本 🙂 a\\b \u{fffd}"),
            ("a\x1b[31m\x07\x7f\0", "a\\u{1b}[31m\\u{7}\\u{7f}\\u{0}"),
            ("one\r\ntwo\t3", "one\\r\\ntwo\\t3"),
            ("\u{9b}31m\u{85}", "\\u{9b}31m\\u{85}"),
            ("\u{202e}fdp.exe\u{2066}\u{2069}", "\\u{202e}fdp.exe\\u{2066}\\u{2069}"),
            ("a\u{200b}b\u{200d}c\u{feff}d\u{ad}", "a\\u{200b}b\\u{200d}c\\u{feff}d\\u{ad}"),
            ("a\u{2028}b\u{e0041}", "a\\u{2028}b\\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert!((0..=0x9f).filter_map(char::from_u32).all(|c| is_obeyed(c) == c.is_control()));
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let json = "{\"a\":\"\u{9b}1\u{202e}\u{e0041} ü\"}";
        assert_eq!(printable_json(json), "{\"a\":\"\\u009b1\\u202e\\udb40\\udc41 ü\"}");
    }
}
