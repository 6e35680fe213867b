//! timm's `pretrained_cfg`, as its models carry it in config.json or preprocessor_config.json: what its own
//! transform for evaluation does.

use serde_json::Value;

use super::draft::{Draft, Stated, shown};
use super::labels;
use super::model_toml::{channels, is_deviation, is_mean};
use picket_picture::{Colour, Filter, Layout, Mode, Scale};

/// timm's own default where a model states no crop.
const CROP_PCT: f64 = 0.875;

/// Reads a config.json or preprocessor_config.json that has a `pretrained_cfg`; nothing of others.
///
/// # Errors
/// A value that is not known, or asks for what is not done here.
pub fn read(config: &Value, file: &str) -> Result<Draft, String> {
    let mut draft = Draft::default();
    if let Some(names) = config.get("label_names").and_then(Value::as_array) {
        let source = format!("{file} label_names");
        let names: Option<Vec<String>> =
            names.iter().map(|name| name.as_str().map(str::to_string)).collect();
        let names = names.ok_or_else(|| format!("{source} is no list of texts"))?;
        draft.labels = Some(Stated { value: labels::checked(names, &source)?, source });
    }
    let Some(cfg) = config.get("pretrained_cfg").filter(|cfg| cfg.is_object()) else {
        return Ok(draft);
    };
    let cfg = Config { cfg, file };
    cfg.numbers(&mut draft)?;
    cfg.resize(&mut draft)?;
    Ok(draft)
}

struct Config<'a> {
    cfg: &'a Value,
    file: &'a str,
}

impl Config<'_> {
    fn source(&self, key: &str) -> String {
        format!("{} pretrained_cfg.{key}", self.file)
    }

    fn stated<T>(&self, key: &str, value: T) -> Option<Stated<T>> {
        Some(Stated { value, source: self.source(key) })
    }

    fn needs<T>(&self, key: &str, found: &Value, needed: &str) -> Result<T, String> {
        let found = shown(&found.to_string());
        Err(format!("{} is {found}: {needed} is needed", self.source(key)))
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.cfg.get(key).filter(|value| !value.is_null())
    }

    fn numbers(&self, draft: &mut Draft) -> Result<(), String> {
        for (key, field, usable) in [
            ("mean", &mut draft.mean, is_mean as fn(f32) -> bool),
            ("std", &mut draft.std, is_deviation),
        ] {
            let Some(found) = self.get(key) else { continue };
            let Ok(numbers) = serde_json::from_value(found.clone()) else {
                return self.needs(key, found, "a list of numbers");
            };
            *field = self.stated(key, channels(numbers, &self.source(key), usable)?);
            // timm normalises what ToTensor gives.
            draft.scale = self.stated(key, Scale::ZeroTo1);
        }
        let Some(found) = self.get("input_size") else { return Ok(()) };
        let Ok([channels, height, width]) = serde_json::from_value::<[usize; 3]>(found.clone())
        else {
            return self.needs("input_size", found, "[channels, height, width]");
        };
        draft.size = self.stated("input_size", [height, width]);
        draft.layout = self.stated("input_size", Layout::Nchw);
        draft.colour = match channels {
            1 => self.stated("input_size", Colour::Grey),
            3 => self.stated("input_size", Colour::Rgb),
            _ => return self.needs("input_size", found, "1 or 3 channels"),
        };
        Ok(())
    }

    fn resize(&self, draft: &mut Draft) -> Result<(), String> {
        if let Some(found) = self.get("interpolation") {
            let filter = match found.as_str() {
                Some("bilinear") => Filter::Bilinear,
                Some("bicubic") => Filter::Bicubic,
                Some("nearest") => Filter::Nearest,
                _ => {
                    let known = "\"bilinear\", \"bicubic\" or \"nearest\"";
                    return self.needs("interpolation", found, known);
                }
            };
            draft.filter = self.stated("interpolation", filter);
            draft.antialias = self.stated("interpolation", true);
        }
        let Some(Stated { value: [height, width], .. }) = draft.size else { return Ok(()) };
        let crop = match self.get("crop_pct") {
            None => CROP_PCT,
            Some(found) => match found.as_f64() {
                Some(crop) if crop > 0.0 && crop <= 1.0 => crop,
                _ => return self.needs("crop_pct", found, "a share above 0 and up to 1"),
            },
        };
        let whole = crop == 1.0;
        match self.get("crop_mode").map(Value::as_str) {
            None | Some(Some("center")) if height == width => {
                draft.mode = self.stated("crop_mode", Mode::ShorterSide);
                draft.to = self.stated("crop_pct", (height as f64 / crop).floor() as usize);
            }
            Some(Some("squash")) if whole => draft.mode = self.stated("crop_mode", Mode::Stretch),
            None | Some(Some("center")) => {
                let found = self.get("input_size").cloned().unwrap_or_default();
                return self.needs("input_size", &found, "a square for crop_mode \"center\"");
            }
            Some(_) => {
                let found = self.get("crop_mode").cloned().unwrap_or_default();
                let known = "\"center\", or \"squash\" with crop_pct 1,";
                return self.needs("crop_mode", &found, known);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_of_the_hub_says_how_its_pictures_are_made() {
        let config = json!({
            "architecture": "resnet18", "num_classes": 2, "label_names": ["ok", "defect"],
            "pretrained_cfg": {
                "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.95,
                "crop_mode": "center", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                "fixed_input_size": false, "pool_size": [7, 7]
            }
        });
        let draft = read(&config, "config.json").unwrap();
        assert_eq!(draft.size.unwrap().value, [224, 224]);
        assert_eq!(draft.to.unwrap().value, 235);
        assert_eq!(draft.filter.unwrap().value, Filter::Bicubic);
        assert_eq!(draft.labels.unwrap().value, ["ok", "defect"]);
        let scale = draft.scale.unwrap();
        assert_eq!(
            (scale.value, &*scale.source),
            (Scale::ZeroTo1, "config.json pretrained_cfg.std")
        );
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (cfg, expected) in [
            (json!({"interpolation": "lanczos"}), "interpolation is \"lanczos\": \"bilinear\","),
            (json!({"mean": ["a"]}), "mean is [\"a\"]: a list of numbers is needed"),
            (json!({"input_size": [4, 8, 8]}), "input_size is [4,8,8]: 1 or 3 channels is needed"),
            (
                json!({"input_size": [3, 8, 8], "crop_mode": "border"}),
                "crop_mode is \"border\": \"center\",",
            ),
            (json!({"input_size": [3, 8, 8], "crop_pct": 1.5}), "crop_pct is 1.5: a share above 0"),
            (json!({"input_size": [3, 8, 16]}), "input_size is [3,8,16]: a square for crop_mode"),
        ] {
            let error = read(&json!({"pretrained_cfg": cfg}), "config.json").unwrap_err();
            assert!(error.starts_with("config.json pretrained_cfg."), "{error}");
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }
}
