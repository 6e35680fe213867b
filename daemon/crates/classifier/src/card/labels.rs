//! Lists of labels, in each form in which files state them.

use std::collections::BTreeMap;

use super::limits::LABEL_BYTES_MAX;
use crate::output::CLASSES_MAX;
use serde_json::Value;

/// Checks a list of labels. Two classes may share a label, as some of ImageNet's do.
///
/// # Errors
/// The first that can't be one, by its number, and too many of them.
pub fn checked(labels: Vec<String>, source: &str) -> Result<Vec<String>, String> {
    if labels.len() > CLASSES_MAX {
        let count = labels.len();
        return Err(format!("{source} has {count} labels, at most {CLASSES_MAX} are possible"));
    }
    for (at, label) in labels.iter().enumerate() {
        let bytes = label.len();
        if !(1..=LABEL_BYTES_MAX).contains(&bytes) {
            return Err(format!(
                "{source} has a label of {bytes} bytes at {at}, 1 to {LABEL_BYTES_MAX} are possible"
            ));
        }
        if label.chars().any(char::is_control) {
            return Err(format!("{source} has a control character in the label at {at}"));
        }
    }
    Ok(labels)
}

/// Reads a text of one label a line. A byte order mark, carriage returns and empty lines at the end do
/// not count.
///
/// # Errors
/// As `checked`; an empty line between others.
pub fn lines(text: &str, source: &str) -> Result<Vec<String>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if let Some(empty) = labels.iter().position(String::is_empty) {
        return Err(format!("{source} is empty in line {}, each line is a label", empty + 1));
    }
    checked(labels, source)
}

/// Reads labels as the metadata of an ONNX file has them: a JSON array, or separated by commas.
///
/// # Errors
/// As `checked`; text that begins as an array and is none.
pub fn listed(text: &str, source: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        let labels: Vec<String> = serde_json::from_str(text)
            .map_err(|error| format!("{source} is no JSON array of texts: {error}"))?;
        return checked(labels, source);
    }
    checked(text.split(',').map(|label| label.trim().to_string()).collect(), source)
}

/// Reads an object of labels by their class, as Hugging Face's id2label.
///
/// # Errors
/// As `in_order`; a key that is no number, a label that is no text.
pub fn by_class(object: &Value, source: &str) -> Result<Vec<String>, String> {
    let object = object.as_object().ok_or_else(|| format!("{source} is no object of labels"))?;
    let mut labels = BTreeMap::new();
    for (class, label) in object {
        let (Ok(class), Some(label)) = (class.parse(), label.as_str()) else {
            return Err(format!(
                "{source} has {class:?}: {label}, a class and its label are needed"
            ));
        };
        labels.insert(class, label.to_string());
    }
    in_order(labels, source)
}

/// Reads an object of classes by their label, as Hugging Face's label2id.
///
/// # Errors
/// As `in_order`; a class that is no number, or has two labels.
pub fn by_label(object: &Value, source: &str) -> Result<Vec<String>, String> {
    let object = object.as_object().ok_or_else(|| format!("{source} is no object of classes"))?;
    let mut labels = BTreeMap::new();
    for (label, class) in object {
        let number = class.as_u64().or_else(|| class.as_str()?.parse().ok());
        let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else {
            return Err(format!(
                "{source} has {label:?}: {class}, a label and its class are needed"
            ));
        };
        if labels.insert(number, label.clone()).is_some() {
            return Err(format!("{source} has two labels for class {number}"));
        }
    }
    in_order(labels, source)
}

/// Makes a list of labels by their class.
///
/// # Errors
/// As `checked`; a class without a label.
pub fn in_order(labels: BTreeMap<usize, String>, source: &str) -> Result<Vec<String>, String> {
    if let Some((missing, _)) = labels.keys().enumerate().find(|(at, class)| at != *class) {
        return Err(format!("{source} has no label for class {missing}"));
    }
    checked(labels.into_values().collect(), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_lines_is_read_whatever_editor_wrote_it() {
        for text in ["ok\ndefect\n", "\u{feff}ok\r\ndefect\r\n\r\n", " ok \ndefect"] {
            assert_eq!(lines(text, "labels.txt").unwrap(), ["ok", "defect"], "{text:?}");
        }
        let error = lines("ok\n\ndefect", "labels.txt").unwrap_err();
        assert_eq!(error, "labels.txt is empty in line 2, each line is a label");
        assert!(lines("", "labels.txt").unwrap().is_empty());
    }

    #[test]
    fn a_json_array_may_hold_commas_and_a_plain_list_may_not() {
        assert_eq!(listed("ok, defect", "l").unwrap(), ["ok", "defect"]);
        let tench = listed(r#"["tench, Tinca tinca", "goldfish"]"#, "l").unwrap();
        assert_eq!(tench, ["tench, Tinca tinca", "goldfish"]);
        assert!(listed("[ok, defect]", "l").unwrap_err().contains("no JSON array"));
        assert!(listed("ok,,defect", "l").unwrap_err().contains("0 bytes at 1, 1 to 128"));
        assert!(listed("ok,a\u{1b}[2J", "l").unwrap_err().contains("control character"));
        let long = "x".repeat(129);
        assert!(listed(&long, "l").unwrap_err().contains("129 bytes at 0"));
    }

    #[test]
    fn classes_are_put_in_order_and_none_may_lack() {
        let object = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let labels = by_class(&object(r#"{"1": "b", "0": "a", "10": "k"}"#), "id2label");
        assert_eq!(labels.unwrap_err(), "id2label has no label for class 2");
        let labels = by_class(&object(r#"{"1": "b", "0": "a"}"#), "id2label").unwrap();
        assert_eq!(labels, ["a", "b"]);
        assert_eq!(by_label(&object(r#"{"b": 1, "a": "0"}"#), "label2id").unwrap(), ["a", "b"]);
        let twice = by_label(&object(r#"{"b": 0, "a": 0}"#), "label2id").unwrap_err();
        assert_eq!(twice, "label2id has two labels for class 0");
    }
}
