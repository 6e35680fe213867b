//! What OpenVINO's Model API and its trainers write into an ONNX file: `model_info` and a key behind it,
//! separated by a space or a slash. Keys of other tasks are passed over.

use std::collections::HashMap;

use super::draft::{Draft, Stated, quoted, shown};
use super::labels;
use super::model_toml::{channels, is_deviation, is_mean};
use super::words::StatedKind;
use picket_picture::{Colour, Filter, Mode, Scale};

/// Reads what the metadata says in OpenVINO's manner; nothing of other files.
///
/// # Errors
/// A value that is not known, or asks for what is not done here.
pub fn read(metadata: &HashMap<&str, &str>) -> Result<Draft, String> {
    let info = Info { metadata };
    let mut draft = Draft::default();
    info.check_task()?;
    if let Some((text, source)) = info.get("labels") {
        let names = text.split_whitespace().map(str::to_string).collect();
        let value = labels::checked(names, &source)?;
        draft.labels = Some(Stated { value, source });
    }
    for (key, field, usable) in [
        ("mean_values", &mut draft.mean, is_mean as fn(f32) -> bool),
        ("scale_values", &mut draft.std, is_deviation),
    ] {
        let Some((text, source)) = info.get(key) else { continue };
        let parts = text.split([' ', ',', '[', ']']).filter(|part| !part.is_empty());
        let numbers: Result<Vec<f32>, _> = parts.map(str::parse).collect();
        let numbers = numbers.map_err(|_| needs(&source, text, "numbers"))?;
        draft.scale = Some(Stated { value: Scale::ZeroTo255, source: source.clone() });
        *field = Some(Stated { value: channels(numbers, &source, usable)?, source });
    }
    if let Some((reverse, source)) = info.flag("reverse_input_channels")? {
        // Its pipelines read pictures as BGR.
        let value = if reverse { Colour::Rgb } else { Colour::Bgr };
        draft.colour = Some(Stated { value, source });
    }
    info.resize(&mut draft)?;
    if let Some((true, source)) = info.flag("multilabel")? {
        draft.kind = Some(Stated { value: StatedKind::Sigmoid, source });
    }
    Ok(draft)
}

fn needs(source: &str, text: &str, needed: &str) -> String {
    format!("{source} is {}: {needed} is needed", quoted(&shown(text)))
}

struct Info<'a> {
    metadata: &'a HashMap<&'a str, &'a str>,
}

impl Info<'_> {
    /// Returns a value and what it is called; an empty one counts as none.
    fn get(&self, key: &str) -> Option<(&str, String)> {
        [' ', '/'].into_iter().find_map(|between| {
            let name = format!("model_info{between}{key}");
            let text = self.metadata.get(name.as_str())?.trim();
            let source = format!("ONNX metadata {name}");
            (!text.is_empty()).then_some((text, source))
        })
    }

    fn flag(&self, key: &str) -> Result<Option<(bool, String)>, String> {
        let Some((text, source)) = self.get(key) else { return Ok(None) };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(Some((true, source))),
            "false" | "no" | "0" => Ok(Some((false, source))),
            _ => Err(needs(&source, text, "\"True\" or \"False\"")),
        }
    }

    fn check_task(&self) -> Result<(), String> {
        if let Some((text, source)) = self.get("model_type")
            && !text.eq_ignore_ascii_case("classification")
        {
            return Err(needs(&source, text, "\"Classification\""));
        }
        if let Some((text, source)) = self.get("task_type")
            && !text.eq_ignore_ascii_case("classification")
        {
            return Err(needs(&source, text, "\"classification\""));
        }
        if let Some((true, source)) = self.flag("hierarchical")? {
            return Err(needs(&source, "True", "one label for each score, \"False\","));
        }
        Ok(())
    }

    fn resize(&self, draft: &mut Draft) -> Result<(), String> {
        if let Some((text, source)) = self.get("resize_type") {
            let value = match text {
                "standard" => Mode::Stretch,
                "fit_to_window_letterbox" => Mode::Letterbox,
                "crop" => Mode::ShorterSide,
                _ => {
                    let known = "\"standard\", \"fit_to_window_letterbox\" or \"crop\"";
                    return Err(needs(&source, text, known));
                }
            };
            // OpenCV's resize, which looks at a pixel's neighbours only.
            draft.antialias = Some(Stated { value: false, source: source.clone() });
            draft.filter = Some(Stated { value: Filter::Bilinear, source: source.clone() });
            draft.mode = Some(Stated { value, source });
        }
        if let Some((text, source)) = self.get("interpolation_type") {
            let value = match text {
                "LINEAR" => Filter::Bilinear,
                "CUBIC" => Filter::Bicubic,
                "NEAREST" => Filter::Nearest,
                "AREA" => Filter::Area,
                _ => {
                    let known = "\"LINEAR\", \"CUBIC\", \"NEAREST\" or \"AREA\"";
                    return Err(needs(&source, text, known));
                }
            };
            draft.filter = Some(Stated { value, source });
        }
        if let Some((text, source)) = self.get("pad_value")
            && matches!(draft.mode, Some(Stated { value: Mode::Letterbox, .. }))
        {
            let value = text.parse().map_err(|_| needs(&source, text, "0 to 255"))?;
            draft.pad = Some(Stated { value: vec![value], source });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classifier_of_otx_says_how_its_pictures_are_made() {
        let metadata = HashMap::from([
            ("model_info model_type", "Classification"),
            ("model_info labels", "ok weld_defect"),
            ("model_info mean_values", "123.675 116.28 103.53"),
            ("model_info scale_values", "58.395 57.12 57.375"),
            ("model_info reverse_input_channels", "True"),
            ("model_info resize_type", "fit_to_window_letterbox"),
            ("model_info pad_value", "114"),
            ("model_info iou_threshold", "0.5"),
        ]);
        let draft = read(&metadata).unwrap();
        assert_eq!(draft.labels.unwrap().value, ["ok", "weld_defect"]);
        let scale = draft.scale.unwrap();
        assert_eq!(scale.value, Scale::ZeroTo255);
        assert_eq!(scale.source, "ONNX metadata model_info scale_values");
        assert_eq!(draft.mean.unwrap().value, [123.675, 116.28, 103.53]);
        assert_eq!(draft.std.unwrap().value, [58.395, 57.12, 57.375]);
        assert_eq!(draft.colour.unwrap().value, Colour::Rgb);
        assert_eq!(draft.mode.unwrap().value, Mode::Letterbox);
        assert_eq!(draft.pad.unwrap().value, [114]);
        let slash = HashMap::from([("model_info/labels", "a b")]);
        assert_eq!(read(&slash).unwrap().labels.unwrap().value, ["a", "b"]);
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (key, value, expected) in [
            ("model_info model_type", "ssd", "is \"ssd\": \"Classification\" is needed"),
            ("model_info resize_type", "fit_to_window", "is \"fit_to_window\": \"standard\","),
            ("model_info interpolation_type", "LANCZOS4", "is \"LANCZOS4\": \"LINEAR\""),
            ("model_info reverse_input_channels", "maybe", "is \"maybe\": \"True\" or \"False\""),
            ("model_info hierarchical", "True", "one label for each score"),
            ("model_info mean_values", "1 b", "is \"1 b\": numbers is needed"),
            ("model_info scale_values", "0", "holds 0, which is no possible value"),
        ] {
            let error = read(&HashMap::from([(key, value)])).unwrap_err();
            assert!(error.starts_with(&format!("ONNX metadata {key}")), "{error}");
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
