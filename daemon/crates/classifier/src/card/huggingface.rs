//! Hugging Face's config.json and preprocessor_config.json: what their image processors do with a
//! picture, and the labels.

use serde_json::Value;

use super::draft::{Draft, Stated, quoted, shown};
use super::labels;
use super::model_toml::{channels, is_deviation, is_mean};
use super::words::StatedKind;
use picket_picture::{Colour, Filter, Layout, Mode, Scale};

/// What an image processor does where its file does not say; the names are without their ending,
/// ImageProcessor, ImageProcessorFast or FeatureExtractor.
struct Processor {
    name: &'static str,
    /// Whether one number for a size means a square, and not the shorter side.
    square: bool,
    /// The filter's number in Pillow.
    resample: u64,
}

/// The processors whose steps are resize, crop, rescale and normalise, in this order.
const PROCESSORS: [Processor; 11] = [
    Processor { name: "ViT", square: true, resample: 2 },
    Processor { name: "DeiT", square: true, resample: 3 },
    Processor { name: "Beit", square: true, resample: 3 },
    Processor { name: "Siglip", square: true, resample: 3 },
    Processor { name: "EfficientNet", square: true, resample: 0 },
    Processor { name: "Bit", square: false, resample: 3 },
    Processor { name: "CLIP", square: false, resample: 3 },
    Processor { name: "MobileNetV1", square: false, resample: 2 },
    Processor { name: "MobileNetV2", square: false, resample: 2 },
    Processor { name: MOBILEVIT, square: false, resample: 2 },
    Processor { name: CONVNEXT, square: false, resample: 2 },
];

/// The one that crops by a share, and below `CONVNEXT_WARPS_FROM` pixels only.
const CONVNEXT: &str = "ConvNext";
const CONVNEXT_WARPS_FROM: usize = 384;
const CONVNEXT_CROP_PCT: f64 = 224.0 / 256.0;

/// The one that gives BGR unless its file says otherwise.
const MOBILEVIT: &str = "MobileViT";

/// The one whose second normalisation divides by the deviation once more.
const EFFICIENTNET: &str = "EfficientNet";

/// Reads a config.json: labels and what the scores are; nothing of files for other things.
///
/// # Errors
/// Labels that can't be read, or a task that is no classification.
pub fn config(config: &Value, file: &str) -> Result<Draft, String> {
    let mut draft = Draft::default();
    if let Some(object) = config.get("id2label").filter(|value| !value.is_null()) {
        let source = format!("{file} id2label");
        draft.labels = Some(Stated { value: labels::by_class(object, &source)?, source });
    }
    if let Some(object) = config.get("label2id").filter(|value| !value.is_null()) {
        let source = format!("{file} label2id");
        // Classes that share a label stand in id2label alone.
        if draft.labels.is_none() {
            draft.labels = Some(Stated { value: labels::by_label(object, &source)?, source });
        }
    }
    for key in ["num_labels", "num_classes"] {
        let count = config.get(key).and_then(Value::as_u64);
        if let (Some(count), Some(labels)) = (count, &draft.labels)
            && labels.value.len() as u64 != count
        {
            let (source, labels) = (&labels.source, labels.value.len());
            return Err(format!("{file} {key} is {count}, but {source} has {labels} labels"));
        }
    }
    let problem = config.get("problem_type").filter(|value| !value.is_null());
    if let Some(problem) = problem {
        let source = format!("{file} problem_type");
        draft.kind = match problem.as_str() {
            Some("single_label_classification") => None,
            Some("multi_label_classification") => {
                Some(Stated { value: StatedKind::Sigmoid, source })
            }
            _ => {
                let found = shown(&problem.to_string());
                return Err(format!(
                    "{source} is {found}: \"single_label_classification\" or \
                     \"multi_label_classification\" is needed"
                ));
            }
        };
    }
    Ok(draft)
}

/// Reads a preprocessor_config.json.
///
/// # Errors
/// A value that is not known, or asks for what is not done here.
pub fn preprocessor(config: &Value, file: &str) -> Result<Draft, String> {
    let reader = Reader { config, file };
    let processor = reader.processor()?;
    let mut draft = Draft::default();
    if reader.is("do_resize", true)? || reader.is("do_center_crop", false)? {
        reader.resize(processor, &mut draft)?;
    }
    reader.filter(processor, &mut draft)?;
    reader.rescale(&mut draft)?;
    reader.normalise(processor, &mut draft)?;
    // Pixel values are planes for every one of them.
    draft.layout = reader.stated("pixel_values", Layout::Nchw);
    let flips = processor.is_some_and(|processor| processor.name == MOBILEVIT);
    if reader.is("do_flip_channel_order", flips)? {
        draft.colour = reader.stated("do_flip_channel_order", Colour::Bgr);
    }
    Ok(draft)
}

struct Reader<'a> {
    config: &'a Value,
    file: &'a str,
}

/// What `size` says.
#[derive(Clone, Copy)]
enum Size {
    Exactly([usize; 2]),
    ShorterSide(usize),
}

impl Reader<'_> {
    fn source(&self, key: &str) -> String {
        format!("{} {key}", self.file)
    }

    fn stated<T>(&self, key: &str, value: T) -> Option<Stated<T>> {
        Some(Stated { value, source: self.source(key) })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    fn needs<T>(&self, key: &str, needed: &str) -> Result<T, String> {
        let found = shown(&self.get(key).map_or("missing".to_string(), Value::to_string));
        Err(format!("{} is {found}: {needed} is needed", self.source(key)))
    }

    fn is(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.needs(key, "true or false"),
        }
    }

    fn processor(&self) -> Result<Option<&'static Processor>, String> {
        let keys = ["image_processor_type", "feature_extractor_type"];
        let Some(key) = keys.into_iter().find(|key| self.get(key).is_some()) else {
            return Ok(None);
        };
        let stated = self.get(key).and_then(Value::as_str).unwrap_or_default();
        let endings = ["ImageProcessorFast", "ImageProcessor", "FeatureExtractor"];
        let name = endings.into_iter().find_map(|ending| stated.strip_suffix(ending));
        match PROCESSORS.iter().find(|processor| Some(processor.name) == name) {
            Some(processor) => Ok(Some(processor)),
            None => {
                let names: Vec<&str> = PROCESSORS.iter().map(|known| known.name).collect();
                self.needs(key, &format!("that of {}", names.join(", ")))
            }
        }
    }

    fn side(&self, key: &str, value: &Value) -> Result<usize, String> {
        match value.as_u64().and_then(|side| usize::try_from(side).ok()) {
            Some(side) if side > 0 => Ok(side),
            _ => self.needs(key, "a size in pixels"),
        }
    }

    fn size(&self, key: &str, square: bool) -> Result<Option<Size>, String> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let side = |name: &str| found.get(name).map(|value| self.side(key, value)).transpose();
        Ok(Some(match (found, side("height")?, side("width")?, side("shortest_edge")?) {
            (Value::Object(_), Some(height), Some(width), None) => Size::Exactly([height, width]),
            (Value::Object(_), None, None, Some(shorter))
                if found.get("longest_edge").is_none() =>
            {
                Size::ShorterSide(shorter)
            }
            (Value::Number(_), ..) => {
                let side = self.side(key, found)?;
                if square { Size::Exactly([side; 2]) } else { Size::ShorterSide(side) }
            }
            _ => return self.needs(key, "a number, height and width, or shortest_edge"),
        }))
    }

    fn resize(&self, processor: Option<&Processor>, draft: &mut Draft) -> Result<(), String> {
        let crop = self.size("crop_size", true)?;
        let crops = self.is("do_center_crop", crop.is_some())?;
        let square = processor.map_or(!crops, |processor| processor.square);
        let size = self.size("size", square)?;
        if processor.is_some_and(|processor| processor.name == CONVNEXT) {
            return self.convnext(size, draft);
        }
        if !crops {
            let Some(Size::Exactly(size)) = size else {
                return self.needs("size", "height and width, as nothing is cut out,");
            };
            draft.mode = self.stated("size", Mode::Stretch);
            draft.size = self.stated("size", size);
            return Ok(());
        }
        let Some(Size::Exactly(cut)) = crop else {
            return self.needs("crop_size", "height and width, or one number for both,");
        };
        draft.size = self.stated("crop_size", cut);
        if !self.is("do_resize", true)? {
            draft.mode = self.stated("do_resize", Mode::CropOnly);
            return Ok(());
        }
        match size {
            Some(Size::ShorterSide(to)) => {
                draft.mode = self.stated("size", Mode::ShorterSide);
                draft.to = self.stated("size", to);
            }
            Some(Size::Exactly(size)) if size == cut => {
                draft.mode = self.stated("size", Mode::Stretch);
            }
            _ => return self.needs("size", "shortest_edge, or what crop_size is,"),
        }
        Ok(())
    }

    fn convnext(&self, size: Option<Size>, draft: &mut Draft) -> Result<(), String> {
        let Some(Size::ShorterSide(side)) = size else {
            return self.needs("size", "shortest_edge");
        };
        draft.size = self.stated("size", [side; 2]);
        if side >= CONVNEXT_WARPS_FROM {
            draft.mode = self.stated("size", Mode::Stretch);
            return Ok(());
        }
        let crop = match self.get("crop_pct").map(Value::as_f64) {
            None => CONVNEXT_CROP_PCT,
            Some(Some(crop)) if crop > 0.0 && crop <= 1.0 => crop,
            Some(_) => return self.needs("crop_pct", "a share above 0 and up to 1"),
        };
        draft.mode = self.stated("size", Mode::ShorterSide);
        draft.to = self.stated("crop_pct", (side as f64 / crop) as usize);
        Ok(())
    }

    fn filter(&self, processor: Option<&Processor>, draft: &mut Draft) -> Result<(), String> {
        let stated = self.get("resample").map(Value::as_u64);
        let number = stated.or_else(|| processor.map(|processor| Some(processor.resample)));
        let filter = match number {
            None => return Ok(()),
            Some(Some(0)) => Filter::Nearest,
            Some(Some(2)) => Filter::Bilinear,
            Some(Some(3)) => Filter::Bicubic,
            Some(_) => return self.needs("resample", "0 (nearest), 2 (bilinear) or 3 (bicubic)"),
        };
        draft.filter = self.stated("resample", filter);
        draft.antialias = self.stated("resample", true);
        Ok(())
    }

    fn rescale(&self, draft: &mut Draft) -> Result<(), String> {
        if !self.is("do_rescale", true)? {
            draft.scale = self.stated("do_rescale", Scale::ZeroTo255);
            return Ok(());
        }
        let factor = match self.get("rescale_factor") {
            None => 1.0 / 255.0,
            Some(found) => found.as_f64().unwrap_or(f64::NAN),
        };
        let is = |expected: f64| (factor * expected - 1.0).abs() < 1e-6;
        let offset = self.is("rescale_offset", false)?;
        draft.scale = if is(255.0) && !offset {
            self.stated("rescale_factor", Scale::ZeroTo1)
        } else if is(127.5) && offset {
            self.stated("rescale_factor", Scale::MinusOneTo1)
        } else {
            let needed = "1/255, or 1/127.5 with rescale_offset,";
            return self.needs("rescale_factor", needed);
        };
        Ok(())
    }

    fn normalise(&self, processor: Option<&Processor>, draft: &mut Draft) -> Result<(), String> {
        if !self.is("do_normalize", self.get("image_mean").is_some())? {
            return Ok(());
        }
        let twice = processor.is_some_and(|processor| processor.name == EFFICIENTNET)
            && self.is("include_top", true)?;
        for (key, field, usable) in [
            ("image_mean", &mut draft.mean, is_mean as fn(f32) -> bool),
            ("image_std", &mut draft.std, is_deviation),
        ] {
            let numbers = self.get(key).and_then(|found| match found {
                Value::Number(number) => Some(vec![number.as_f64()? as f32]),
                _ => serde_json::from_value::<Vec<f32>>(found.clone()).ok(),
            });
            let Some(numbers) = numbers else { return self.needs(key, "a list of numbers") };
            let mut numbers = channels(numbers, &self.source(key), usable)?;
            if twice && key == "image_std" {
                numbers.iter_mut().for_each(|number| *number *= *number);
            }
            *field = self.stated(key, numbers);
        }
        if let Some(Stated { value, .. }) = &draft.mean {
            let colour = if value.len() == 3 { Colour::Rgb } else { Colour::Grey };
            draft.colour = self.stated("image_mean", colour);
        }
        Ok(())
    }
}

/// Reads `id2label` as an ONNX file's metadata has it.
///
/// # Errors
/// Text that is no JSON, or no object of labels.
pub fn id2label(text: &str, source: &str) -> Result<Vec<String>, String> {
    let object = serde_json::from_str(text)
        .map_err(|_| format!("{source} is {}: JSON is needed", quoted(&shown(text))))?;
    labels::by_class(&object, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(config: &Value) -> Vec<String> {
        let draft = preprocessor(config, "p").unwrap();
        draft.lines().iter().map(|line| format!("{} = {}", line.key, line.value)).collect()
    }

    #[test]
    fn each_processor_becomes_what_it_does() {
        let vit = json!({
            "do_normalize": true, "do_rescale": true, "do_resize": true,
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
            "image_processor_type": "ViTImageProcessor", "resample": 2,
            "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}
        });
        assert_eq!(
            lines(&vit),
            [
                "size = [224, 224]",
                "colour = \"rgb\"",
                "layout = \"nchw\"",
                "scale = \"0..1\"",
                "mean = [0.5, 0.5, 0.5]",
                "std = [0.5, 0.5, 0.5]",
                "mode = \"stretch\"",
                "filter = \"bilinear\"",
                "antialias = true"
            ]
        );
        let convnext = json!({
            "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224},
            "crop_pct": 0.875, "resample": 3, "do_normalize": false
        });
        assert_eq!(
            lines(&convnext),
            [
                "size = [224, 224]",
                "layout = \"nchw\"",
                "scale = \"0..1\"",
                "mode = \"shorter-side\"",
                "to = 256",
                "filter = \"bicubic\"",
                "antialias = true"
            ]
        );
        let large = json!({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 384});
        assert_eq!(
            lines(&large),
            [
                "size = [384, 384]",
                "layout = \"nchw\"",
                "scale = \"0..1\"",
                "mode = \"stretch\"",
                "filter = \"bilinear\"",
                "antialias = true"
            ]
        );
        let bit = json!({
            "image_processor_type": "BitImageProcessor", "do_center_crop": true,
            "crop_size": {"height": 224, "width": 224}, "size": {"shortest_edge": 256},
            "rescale_factor": 0.00784313725490196, "rescale_offset": true, "do_normalize": false
        });
        assert_eq!(
            lines(&bit),
            [
                "size = [224, 224]",
                "layout = \"nchw\"",
                "scale = \"-1..1\"",
                "mode = \"shorter-side\"",
                "to = 256",
                "filter = \"bicubic\"",
                "antialias = true"
            ]
        );
        let efficientnet = json!({
            "image_processor_type": "EfficientNetImageProcessor", "size": {"height": 8, "width": 8},
            "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]
        });
        assert!(lines(&efficientnet).contains(&"std = [0.25, 0.25, 0.25]".to_string()));
        let grey = json!({"size": 28, "image_mean": [0.1307], "image_std": [0.3081]});
        assert!(lines(&grey).contains(&"colour = \"grey\"".to_string()));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        for (config, expected) in [
            (json!({"size": 8, "resample": 7}), "resample is 7: 0 (nearest), 2 (bilinear) or 3"),
            (json!({"size": 8, "rescale_factor": 0.5}), "rescale_factor is 0.5: 1/255, or 1/127.5"),
            (json!({"size": {"shortest_edge": 8}}), "size is {\"shortest_edge\":8}: height and"),
            (
                json!({"size": {"shortest_edge": 8, "longest_edge": 9}}),
                "a number, height and width, or shortest_edge is needed",
            ),
            (
                json!({"size": {"height": 9, "width": 9}, "crop_size": 8}),
                "size is {\"height\":9,\"width\":9}: shortest_edge, or what crop_size is, is needed",
            ),
            (json!({"size": 8, "do_resize": "yes"}), "do_resize is \"yes\": true or false"),
            (
                json!({"image_processor_type": "LevitImageProcessor", "size": 8}),
                "image_processor_type is \"LevitImageProcessor\": that of ViT, DeiT,",
            ),
            (json!({"size": 8, "do_normalize": true}), "image_mean is missing: a list of numbers"),
        ] {
            let error = preprocessor(&config, "preprocessor_config.json").unwrap_err();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
            assert!(error.starts_with("preprocessor_config.json "), "{error}");
        }
        let regression = config(&json!({"problem_type": "regression"}), "config.json");
        assert!(regression.unwrap_err().contains("problem_type is \"regression\""));
        let counts = json!({"id2label": {"0": "a"}, "num_labels": 2});
        let error = config(&counts, "config.json").unwrap_err();
        assert_eq!(error, "config.json num_labels is 2, but config.json id2label has 1 labels");
    }
}
