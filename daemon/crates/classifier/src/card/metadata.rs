//! What the metadata of an ONNX file says: Picket's own keys, ONNX's Image.*, and those of the tools that
//! `ultralytics`, `openvino` and `huggingface` know.

use std::collections::HashMap;

use super::draft::{Draft, Stated, quoted, shown};
use super::limits::CARD_BYTES_MAX;
use super::stamp::CARD_KEY;
use super::{huggingface, labels, model_toml, openvino, ultralytics};
use crate::golden;
use picket_picture::{Colour, Scale};

/// What the metadata of an ONNX file says.
#[derive(Debug, Default)]
pub struct Metadata {
    pub draft: Draft,
    /// The scores of the picture that `golden::picture` draws.
    pub golden: Option<Vec<f32>>,
}

/// Reads a file's metadata, given as keys and values. Keys that nobody here knows are passed over.
///
/// # Errors
/// A value that is not known or too long, a key with two values, and two keys that differ.
pub fn read<'a>(properties: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Metadata, String> {
    let mut found = HashMap::new();
    for (key, value) in properties {
        if found.insert(key, value).is_some_and(|before| before != value) {
            return Err(format!("ONNX metadata {} is there twice", quoted(&shown(key))));
        }
    }
    let mut draft = own(&found)?;
    if let Some(text) = found.get(CARD_KEY) {
        draft.join(card(text)?)?;
    }
    for other in [image(&found)?, ultralytics::read(&found)?, openvino::read(&found)?] {
        draft.join(other)?;
    }
    let golden = found.get("golden_logits").map(|text| golden::parse(text)).transpose()?;
    Ok(Metadata { draft, golden })
}

fn own(found: &HashMap<&str, &str>) -> Result<Draft, String> {
    let mut draft = Draft::default();
    for (key, field) in [("name", &mut draft.name), ("version", &mut draft.version)] {
        let Some(text) = found.get(key) else { continue };
        let source = format!("ONNX metadata {key}");
        *field = Some(Stated { value: model_toml::name(text.to_string(), &source)?, source });
    }
    let mut join = |source: &str, read: fn(&str, &str) -> Result<Vec<String>, String>| {
        let Some(text) = found.get(source) else { return Ok(()) };
        let source = format!("ONNX metadata {source}");
        let labels = Some(Stated { value: read(text, &source)?, source });
        draft.join(Draft { labels, ..Draft::default() })
    };
    join("labels", labels::listed)?;
    join("id2label", huggingface::id2label)?;
    Ok(draft)
}

/// Reads the card that `picket model stamp` wrote.
fn card(text: &str) -> Result<Draft, String> {
    let source = format!("ONNX metadata {CARD_KEY}");
    if text.len() as u64 > CARD_BYTES_MAX {
        let bytes = text.len();
        return Err(format!("{source} is {bytes} bytes, at most {CARD_BYTES_MAX} are read"));
    }
    let card = model_toml::parse(text, &source)?;
    if card.labels_file.is_some() || !card.goldens.is_empty() || !card.files.is_empty() {
        return Err(format!("{source} names other files, a card in the file itself can't"));
    }
    Ok(card.draft)
}

/// Reads the keys that ONNX itself defines for pictures.
fn image(found: &HashMap<&str, &str>) -> Result<Draft, String> {
    let mut draft = Draft::default();
    let needs = |key: &str, text: &str, needed: &str| {
        let text = quoted(&shown(text));
        Err(format!("ONNX metadata {key} is {text}: {needed} is needed"))
    };
    let key = "Image.BitmapPixelFormat";
    if let Some(text) = found.get(key) {
        let value = match *text {
            "Gray8" => Colour::Grey,
            "Rgb8" => Colour::Rgb,
            "Bgr8" => Colour::Bgr,
            _ => return needs(key, text, "\"Gray8\", \"Rgb8\" or \"Bgr8\""),
        };
        draft.colour = Some(Stated { value, source: format!("ONNX metadata {key}") });
    }
    let key = "Image.NominalPixelRange";
    if let Some(text) = found.get(key) {
        let value = match *text {
            "NominalRange_0_255" => Scale::ZeroTo255,
            "Normalized_0_1" => Scale::ZeroTo1,
            "Normalized_1_1" => Scale::MinusOneTo1,
            _ => {
                let known = "\"NominalRange_0_255\", \"Normalized_0_1\" or \"Normalized_1_1\"";
                return needs(key, text, known);
            }
        };
        draft.scale = Some(Stated { value, source: format!("ONNX metadata {key}") });
    }
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(properties: &[(&str, &str)]) -> String {
        read(properties.iter().copied()).unwrap_err()
    }

    #[test]
    fn every_tool_s_keys_are_read_together() {
        let properties = [
            ("name", "welds"),
            ("version", "2"),
            ("labels", "ok,defect"),
            ("id2label", r#"{"0": "ok", "1": "defect"}"#),
            ("names", "{0: 'ok', 1: 'defect'}"),
            ("Image.BitmapPixelFormat", "Bgr8"),
            ("Image.NominalPixelRange", "Normalized_1_1"),
            ("Image.ColorSpaceGamma", "SRGB"),
            ("golden_logits", "1.5,-2"),
            (CARD_KEY, "[verdict]\ndefect_labels = ['defect']"),
        ];
        let Metadata { draft, golden } = read(properties.into_iter()).unwrap();
        assert_eq!(golden.unwrap(), [1.5, -2.0]);
        let labels = draft.labels.unwrap();
        assert_eq!(labels.value, ["ok", "defect"]);
        assert_eq!(labels.source, "ONNX metadata labels");
        assert_eq!(draft.colour.unwrap().value, Colour::Bgr);
        assert_eq!(draft.scale.unwrap().value, Scale::MinusOneTo1);
        assert_eq!(draft.defect_labels.unwrap().value, ["defect"]);
    }

    #[test]
    fn what_is_not_known_too_long_or_contradictory_is_refused_by_name() {
        let long = "9".repeat(1_000_000);
        assert_eq!(
            error(&[("version", &long)]),
            "ONNX metadata version is 1000000 bytes, 1 to 128 are possible"
        );
        assert_eq!(error(&[("name", "a\nb")]), "ONNX metadata name has a control character in it");
        assert_eq!(
            error(&[("labels", "a"), ("labels", "b")]),
            "ONNX metadata \"labels\" is there twice"
        );
        for (key, value, expected) in [
            ("Image.BitmapPixelFormat", "Rgba16", "is \"Rgba16\": \"Gray8\", \"Rgb8\" or \"Bgr8\""),
            ("Image.NominalPixelRange", "NominalRange_16_235", "is \"NominalRange_16_235\": "),
            ("id2label", "{0: 'a'}", "id2label is \"{0: 'a'}\": JSON is needed"),
            (CARD_KEY, "[output]\nlabels_file = 'a'", "picket.card names other files"),
            (CARD_KEY, "[inputs]", "picket.card line 1 ([inputs]): unknown field"),
        ] {
            let found = error(&[(key, value)]);
            assert!(found.contains(expected), "{found:?} lacks {expected:?}");
        }
        assert_eq!(
            error(&[("labels", "a,b"), ("names", "{0: 'a', 1: 'c'}")]),
            "ONNX metadata labels is \"b\" at 1, but ONNX metadata names is \"c\" at 1: they must agree"
        );
    }
}
