//! What Ultralytics' exporter writes into an ONNX file: names, imgsz, task. It knows what their classify
//! models expect: RGB from 0 to 1, the shorter side resized bilinearly, the centre cut out.

use std::collections::{BTreeMap, HashMap};

use super::draft::{Draft, Stated, quoted, shown};
use super::labels;
use picket_picture::{Colour, Filter, Mode, Scale};

/// What their exports always do and none of them says: a graph that plainly does otherwise wins.
pub const CONVENTION: &str = "ONNX metadata task (Ultralytics classify)";

/// Tasks of Ultralytics' models that are no classification.
const OTHER_TASKS: [&str; 4] = ["detect", "segment", "pose", "obb"];

/// Reads what the metadata says in Ultralytics' manner; nothing of other files.
///
/// # Errors
/// Another task than classify, names or a size that can't be read.
pub fn read(metadata: &HashMap<&str, &str>) -> Result<Draft, String> {
    let mut draft = Draft::default();
    let (names, task) = (metadata.get("names"), metadata.get("task"));
    match task {
        Some(task) if OTHER_TASKS.contains(task) || (names.is_some() && *task != "classify") => {
            let task = quoted(&shown(task));
            return Err(format!("ONNX metadata task is {task}: \"classify\" is needed"));
        }
        _ => {}
    }
    if let Some(text) = names {
        let source = "ONNX metadata names".to_string();
        let value = labels::in_order(dictionary(text, &source)?, &source)?;
        draft.labels = Some(Stated { value, source });
    }
    if task != Some(&"classify") {
        return Ok(draft);
    }
    fn stated<T>(value: T) -> Option<Stated<T>> {
        Some(Stated { value, source: CONVENTION.to_string() })
    }
    draft.scale = stated(Scale::ZeroTo1);
    draft.filter = stated(Filter::Bilinear);
    draft.antialias = stated(true);
    draft.mode = stated(Mode::ShorterSide);
    if let Some(text) = metadata.get("imgsz") {
        let source = "ONNX metadata imgsz".to_string();
        let value = size(text, &source)?;
        if value[0] != value[1] {
            // Their resize to a size that is not square keeps no aspect ratio.
            draft.mode = stated(Mode::Stretch);
        }
        draft.size = Some(Stated { value, source });
    }
    if let Some(text) = metadata.get("channels") {
        let source = "ONNX metadata channels".to_string();
        let value = match *text {
            "1" => Colour::Grey,
            "3" => Colour::Rgb,
            _ => return Err(format!("{source} is {}: 1 or 3 is needed", shown(text))),
        };
        draft.colour = Some(Stated { value, source });
    }
    Ok(draft)
}

/// Reads `[height, width]` or one number for both.
fn size(text: &str, source: &str) -> Result<[usize; 2], String> {
    let inner = text.trim().trim_start_matches(['[', '(']).trim_end_matches([']', ')', ',']);
    let sides: Result<Vec<usize>, _> = inner.split(',').map(|side| side.trim().parse()).collect();
    match sides.as_deref() {
        Ok([side]) => Ok([*side; 2]),
        Ok([height, width]) => Ok([*height, *width]),
        _ => Err(format!("{source} is {}: [height, width] is needed", quoted(&shown(text)))),
    }
}

/// Reads a dictionary of numbers and texts, or a list of texts, as Python prints it.
fn dictionary(text: &str, source: &str) -> Result<BTreeMap<usize, String>, String> {
    let mut rest = Rest { left: text.trim() };
    rest.entries().ok_or_else(|| {
        format!("{source} is {}: a dictionary of names by class is needed", quoted(&shown(text)))
    })
}

/// What is left of a text.
struct Rest<'a> {
    left: &'a str,
}

impl Rest<'_> {
    fn entries(&mut self) -> Option<BTreeMap<usize, String>> {
        let close = match self.letter()? {
            '{' => '}',
            '[' => ']',
            _ => return None,
        };
        let mut entries = BTreeMap::new();
        loop {
            if self.takes(close) {
                return self.left.trim().is_empty().then_some(entries);
            }
            if !entries.is_empty() && !self.takes(',') {
                return None;
            }
            if self.takes(close) {
                return self.left.trim().is_empty().then_some(entries);
            }
            let class = if close == '}' { self.class()? } else { entries.len() };
            if entries.insert(class, self.string()?).is_some() {
                return None;
            }
        }
    }

    fn letter(&mut self) -> Option<char> {
        let letter = self.left.chars().next()?;
        self.left = &self.left[letter.len_utf8()..];
        Some(letter)
    }

    fn takes(&mut self, letter: char) -> bool {
        let rest = self.left.trim_start();
        let rest = rest.strip_prefix(letter);
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    /// A number and the colon behind it; the number may be quoted.
    fn class(&mut self) -> Option<usize> {
        let (key, rest) = self.left.split_once(':')?;
        self.left = rest;
        key.trim().trim_matches(['\'', '"']).parse().ok()
    }

    fn string(&mut self) -> Option<String> {
        self.left = self.left.trim_start();
        let quote = self.letter().filter(|letter| matches!(letter, '\'' | '"'))?;
        let mut text = String::new();
        loop {
            match self.letter()? {
                letter if letter == quote => return Some(text),
                '\\' => text.push(self.escape()?),
                letter => text.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let digits = match self.letter()? {
            letter @ ('\\' | '\'' | '"') => return Some(letter),
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'r' => return Some('\r'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let code = self.left.get(..digits)?;
        self.left = &self.left[digits..];
        char::from_u32(u32::from_str_radix(code, 16).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let draft = read(&HashMap::from([("names", text), ("task", "classify")]))?;
        Ok(draft.labels.unwrap().value)
    }

    #[test]
    fn names_are_read_as_python_prints_them() {
        for (text, expected) in [
            ("{0: 'ok', 1: 'defect'}", vec!["ok", "defect"]),
            (r#"{1: "it's", 0: 'a "b"'}"#, vec!["a \"b\"", "it's"]),
            (
                r"{0: 'd\'or', 1: 'a\\b', 2: '\xe9', 3: 'é, {1: 2}'}",
                vec!["d'or", "a\\b", "é", "é, {1: 2}"],
            ),
            ("{'0': 'ok',}", vec!["ok"]),
            ("['ok', 'defect']", vec!["ok", "defect"]),
        ] {
            assert_eq!(names(text).unwrap(), expected, "{text}");
        }
        for text in [
            "",
            "{0: ok}",
            "{0: 'ok'",
            "{0 'ok'}",
            "{0: 'a' 1: 'b'}",
            "{0: 'a'} x",
            "{0: 'a', 0: 'b'}",
            r"{0: '\q'}",
            "{-1: 'a'}",
        ] {
            let error = names(text).unwrap_err();
            assert!(error.contains("a dictionary of names by class is needed"), "{text}: {error}");
        }
        assert_eq!(names("{1: 'a'}").unwrap_err(), "ONNX metadata names has no label for class 0");
    }

    #[test]
    fn a_classify_model_says_how_its_pictures_are_made_and_others_are_refused() {
        let metadata = HashMap::from([("task", "classify"), ("imgsz", "[224, 224]")]);
        let draft = read(&metadata).unwrap();
        assert_eq!(draft.size.unwrap().value, [224, 224]);
        assert_eq!(draft.scale.unwrap().value, Scale::ZeroTo1);
        assert_eq!(draft.mode.unwrap().value, Mode::ShorterSide);
        let metadata = HashMap::from([("task", "classify"), ("imgsz", "[96, 160]")]);
        assert_eq!(read(&metadata).unwrap().mode.unwrap().value, Mode::Stretch);
        let error = read(&HashMap::from([("task", "detect")])).unwrap_err();
        assert_eq!(error, "ONNX metadata task is \"detect\": \"classify\" is needed");
        // Not Ultralytics' word.
        assert_eq!(read(&HashMap::from([("task", "welds")])).unwrap(), Draft::default());
    }
}
