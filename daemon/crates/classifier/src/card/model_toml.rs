//! model.toml: its schema, and what each value may be.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::draft::{Draft, Stated, quoted, shown};
use super::labels;
use super::limits::{
    FILE_NAME_BYTES_MAX, FILES_MAX, NAME_BYTES_MAX, NORMALISATION_MAX, PICTURES_MAX,
    SHORTER_SIDE_MAX,
};
use super::words::Word;
use crate::output::CLASSES_MAX;
use picket_picture::{INPUT_SIDE_MAX, INPUT_SIDE_MIN};

/// What a model.toml says.
#[derive(Debug, Default)]
pub struct ModelToml {
    pub draft: Draft,
    /// The file of the labels, in the bundle.
    pub labels_file: Option<String>,
    pub goldens: Vec<Golden>,
    /// The SHA-256 that files of the bundle must have, in lower-case hex.
    pub files: BTreeMap<String, String>,
}

/// A picture of the bundle and the scores that the trainer got for it.
#[derive(Debug)]
pub struct Golden {
    pub image: String,
    pub logits: Vec<f32>,
    pub tolerance: Option<f32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    model: ModelTable,
    input: InputTable,
    resize: ResizeTable,
    output: OutputTable,
    verdict: VerdictTable,
    golden: Vec<GoldenTable>,
    files: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ModelTable {
    name: Option<String>,
    version: Option<String>,
    counter: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct InputTable {
    size: Option<Vec<u64>>,
    colour: Option<String>,
    layout: Option<String>,
    scale: Option<String>,
    mean: Vec<f32>,
    std: Vec<f32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ResizeTable {
    mode: Option<String>,
    to: Option<u64>,
    crop: Option<String>,
    filter: Option<String>,
    antialias: Option<bool>,
    pad: Option<Pad>,
    exact: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a whole number from 0 to 255, or one for each channel")]
enum Pad {
    One(u8),
    Each(Vec<u8>),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OutputTable {
    kind: Option<String>,
    temperature: Option<f32>,
    labels: Vec<String>,
    labels_file: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct VerdictTable {
    defect_labels: Option<Vec<String>>,
    uncertain_between: Option<Vec<f32>>,
    thresholds: Option<BTreeMap<String, f32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GoldenTable {
    image: String,
    logits: Vec<f32>,
    tolerance: Option<f32>,
}

/// Reads a model.toml. `source` is what errors and `picket model inspect` call it.
///
/// # Errors
/// Broken TOML and unknown keys with their line; a value that is not possible with its key, and what
/// is.
pub fn parse(text: &str, source: &str) -> Result<ModelToml, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: File = toml::from_str(text).map_err(|error| syntax(text, source, &error))?;
    let keys = Keys { source };
    let mut draft = Draft::default();
    model(&keys, file.model, &mut draft)?;
    input(&keys, file.input, &mut draft)?;
    resize(&keys, file.resize, &mut draft)?;
    let labels_file = output(&keys, file.output, &mut draft)?;
    verdict(&keys, file.verdict, &mut draft)?;
    let goldens = goldens(&keys, file.golden)?;
    let files = files(&keys, file.files)?;
    Ok(ModelToml { draft, labels_file, goldens, files })
}

fn syntax(text: &str, source: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count());
    let words: String =
        text.lines().nth(line).unwrap_or_default().trim().chars().take(80).collect();
    let message = error.message().replace('\n', " ");
    // Whatever the file holds, a terminal shows text.
    format!("{source} line {} ({words}): {message}", line + 1).replace(char::is_control, "\u{fffd}")
}

/// What the keys are called in errors and as sources.
struct Keys<'a> {
    source: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{} {key}", self.source)
    }

    fn stated<T>(&self, key: &str, value: T) -> Option<Stated<T>> {
        Some(Stated { value, source: self.name(key) })
    }

    fn wrong<T>(&self, key: &str, value: &str, needed: &str) -> Result<T, String> {
        Err(format!("{} is {}: {needed} is needed", self.name(key), shown(value)))
    }

    fn word<T: Word>(&self, key: &str, text: Option<String>) -> Result<Option<Stated<T>>, String> {
        let Some(text) = text else { return Ok(None) };
        match T::parse(&text) {
            Some(value) => Ok(self.stated(key, value)),
            None => self.wrong(key, &quoted(&text), &T::all()),
        }
    }

    fn within(
        &self,
        key: &str,
        number: u64,
        limit: RangeInclusive<usize>,
    ) -> Result<usize, String> {
        match usize::try_from(number) {
            Ok(number) if limit.contains(&number) => Ok(number),
            _ => {
                let needed = format!("{} to {}", limit.start(), limit.end());
                self.wrong(key, &number.to_string(), &needed)
            }
        }
    }

    fn name_of(&self, key: &str, text: Option<String>) -> Result<Option<Stated<String>>, String> {
        let Some(text) = text else { return Ok(None) };
        Ok(self.stated(key, name(text, &self.name(key))?))
    }
}

/// Checks a model's name or version.
///
/// # Errors
/// Empty, too long for a record of the log, or no plain text.
pub fn name(text: String, source: &str) -> Result<String, String> {
    let bytes = text.len();
    if !(1..=NAME_BYTES_MAX).contains(&bytes) {
        return Err(format!("{source} is {bytes} bytes, 1 to {NAME_BYTES_MAX} are possible"));
    }
    if text.chars().any(char::is_control) {
        return Err(format!("{source} has a control character in it"));
    }
    Ok(text)
}

/// Checks the means or the deviations of a model's channels.
///
/// # Errors
/// Another count than one, or one for each channel; no usable number.
pub fn channels(
    numbers: Vec<f32>,
    source: &str,
    usable: impl Fn(f32) -> bool,
) -> Result<Vec<f32>, String> {
    let count = numbers.len();
    if !matches!(count, 1 | 3) {
        return Err(format!(
            "{source} has {count} numbers, one, or one for each channel is needed"
        ));
    }
    if let Some(number) = numbers.iter().find(|number| !usable(**number)) {
        return Err(format!("{source} holds {number}, which is no possible value"));
    }
    Ok(numbers)
}

/// Whether a number can be subtracted from a pixel.
pub fn is_mean(number: f32) -> bool {
    number.abs() <= NORMALISATION_MAX
}

/// Whether a pixel can be divided by a number.
pub fn is_deviation(number: f32) -> bool {
    (1.0 / NORMALISATION_MAX..=NORMALISATION_MAX).contains(&number)
}

fn model(keys: &Keys<'_>, table: ModelTable, draft: &mut Draft) -> Result<(), String> {
    draft.name = keys.name_of("[model] name", table.name)?;
    draft.version = keys.name_of("[model] version", table.version)?;
    draft.counter = table.counter.and_then(|counter| keys.stated("[model] counter", counter));
    Ok(())
}

fn input(keys: &Keys<'_>, table: InputTable, draft: &mut Draft) -> Result<(), String> {
    if let Some(size) = table.size {
        let key = "[input] size";
        let [height, width] = size[..] else {
            return keys.wrong(key, &format!("{size:?}"), "[height, width]");
        };
        let limit = INPUT_SIDE_MIN..=INPUT_SIDE_MAX;
        let size = [keys.within(key, height, limit.clone())?, keys.within(key, width, limit)?];
        draft.size = keys.stated(key, size);
    }
    draft.colour = keys.word("[input] colour", table.colour)?;
    draft.layout = keys.word("[input] layout", table.layout)?;
    draft.scale = keys.word("[input] scale", table.scale)?;
    let numbers = |key: &str, numbers: Vec<f32>, usable: fn(f32) -> bool| {
        if numbers.is_empty() {
            return Ok(None);
        }
        Ok::<_, String>(keys.stated(key, channels(numbers, &keys.name(key), usable)?))
    };
    draft.mean = numbers("[input] mean", table.mean, is_mean)?;
    draft.std = numbers("[input] std", table.std, is_deviation)?;
    Ok(())
}

fn resize(keys: &Keys<'_>, table: ResizeTable, draft: &mut Draft) -> Result<(), String> {
    draft.mode = keys.word("[resize] mode", table.mode)?;
    if let Some(to) = table.to {
        let to = keys.within("[resize] to", to, INPUT_SIDE_MIN..=SHORTER_SIDE_MAX)?;
        draft.to = keys.stated("[resize] to", to);
    }
    if let Some(crop) = table.crop.filter(|crop| crop != "centre") {
        return keys.wrong("[resize] crop", &quoted(&crop), "\"centre\"");
    }
    draft.filter = keys.word("[resize] filter", table.filter)?;
    draft.antialias = table.antialias.and_then(|flag| keys.stated("[resize] antialias", flag));
    draft.exact = table.exact.and_then(|flag| keys.stated("[resize] exact", flag));
    draft.pad = match table.pad {
        None => None,
        Some(Pad::One(value)) => keys.stated("[resize] pad", vec![value]),
        Some(Pad::Each(values)) if matches!(values.len(), 1 | 3) => {
            keys.stated("[resize] pad", values)
        }
        Some(Pad::Each(values)) => {
            let shown = format!("{values:?}");
            return keys.wrong("[resize] pad", &shown, "one number, or one for each channel,");
        }
    };
    Ok(())
}

fn output(
    keys: &Keys<'_>,
    table: OutputTable,
    draft: &mut Draft,
) -> Result<Option<String>, String> {
    draft.kind = keys.word("[output] kind", table.kind)?;
    if let Some(temperature) = table.temperature {
        let key = "[output] temperature";
        if !(temperature > 0.0 && temperature.is_finite()) {
            return keys.wrong(key, &temperature.to_string(), "a positive number");
        }
        draft.temperature = keys.stated(key, temperature);
    }
    if !table.labels.is_empty() {
        let key = "[output] labels";
        draft.labels = keys.stated(key, labels::checked(table.labels, &keys.name(key))?);
    }
    table.labels_file.map(|name| file_name(keys, "[output] labels_file", name)).transpose()
}

fn verdict(keys: &Keys<'_>, table: VerdictTable, draft: &mut Draft) -> Result<(), String> {
    draft.defect_labels =
        table.defect_labels.and_then(|labels| keys.stated("[verdict] defect_labels", labels));
    if let Some(band) = table.uncertain_between {
        let key = "[verdict] uncertain_between";
        match band[..] {
            [low, high] if 0.0 <= low && low <= high && high <= 1.0 => {
                draft.uncertain_between = keys.stated(key, [low, high]);
            }
            _ => {
                return keys.wrong(
                    key,
                    &format!("{band:?}"),
                    "[low, high], 0 <= low <= high <= 1,",
                );
            }
        }
    }
    if let Some(thresholds) = table.thresholds {
        let key = "[verdict] thresholds";
        if let Some((label, p)) = thresholds.iter().find(|(_, p)| !(**p > 0.0 && **p <= 1.0)) {
            let shown = format!("{p} for {}", quoted(label));
            return keys.wrong(key, &shown, "a probability above 0 and up to 1");
        }
        draft.thresholds = keys.stated(key, thresholds);
    }
    Ok(())
}

fn goldens(keys: &Keys<'_>, tables: Vec<GoldenTable>) -> Result<Vec<Golden>, String> {
    let count = tables.len();
    if count > PICTURES_MAX {
        let limit = format!("at most {PICTURES_MAX} pictures");
        return keys.wrong("[[golden]]", &format!("a list of {count}"), &limit);
    }
    let golden = |table: GoldenTable| {
        let image = file_name(keys, "[[golden]] image", table.image)?;
        let scores = table.logits.len();
        if !(1..=CLASSES_MAX).contains(&scores) || table.logits.iter().any(|x| !x.is_finite()) {
            let shown = format!("{scores} numbers");
            return keys.wrong("[[golden]] logits", &shown, "one finite number for each score");
        }
        if let Some(tolerance) = table.tolerance.filter(|x| !(*x > 0.0 && x.is_finite())) {
            let shown = tolerance.to_string();
            return keys.wrong("[[golden]] tolerance", &shown, "a positive number");
        }
        Ok(Golden { image, logits: table.logits, tolerance: table.tolerance })
    };
    tables.into_iter().map(golden).collect()
}

fn files(
    keys: &Keys<'_>,
    files: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let count = files.len();
    if count > FILES_MAX {
        let limit = format!("at most {FILES_MAX} files");
        return keys.wrong("[files]", &format!("a list of {count}"), &limit);
    }
    for (name, digest) in &files {
        file_name(keys, "[files]", name.clone())?;
        if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let key = format!("[files] {}", quoted(name));
            return keys.wrong(&key, &quoted(digest), "a SHA-256 of 64 hexadecimal digits");
        }
    }
    Ok(files.into_iter().map(|(name, digest)| (name, digest.to_ascii_lowercase())).collect())
}

/// Checks the name of a file in the bundle.
fn file_name(keys: &Keys<'_>, key: &str, name: String) -> Result<String, String> {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(|c: char| c == '\\' || c.is_control())
    };
    if name.len() > FILE_NAME_BYTES_MAX || !name.split('/').all(plain) {
        return keys.wrong(key, &quoted(&name), "a file in the bundle, without / in front or ..,");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_picture::Scale;

    fn error(text: &str) -> String {
        parse(text, "model.toml").unwrap_err()
    }

    #[test]
    fn the_whole_schema_is_read() {
        let text = r#"
            [model]
            name = "welds"
            version = "1.2"
            counter = 7
            [input]
            size = [96, 128]
            colour = "bgr"
            layout = "nhwc"
            scale = "0..1"
            mean = [0.485, 0.456, 0.406]
            std = [0.229, 0.224, 0.225]
            [resize]
            mode = "shorter-side"
            to = 146
            crop = "centre"
            filter = "bicubic"
            antialias = true
            pad = [1, 2, 3]
            exact = true
            [output]
            kind = "logits"
            temperature = 1.5
            labels = ["ok", "defect"]
            labels_file = "labels/de.txt"
            [verdict]
            defect_labels = ["defect"]
            uncertain_between = [0.3, 0.8]
            thresholds = { defect = 0.25 }
            [[golden]]
            image = "golden/ok.png"
            logits = [1.5, -2]
            tolerance = 0.1
            [files]
            "model.onnx" = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
        "#;
        let toml = parse(text, "model.toml").unwrap();
        assert_eq!(toml.draft.lines().len(), 21, "every value is stated: {:?}", toml.draft.lines());
        let scale = toml.draft.scale.unwrap();
        assert_eq!((scale.value, &*scale.source), (Scale::ZeroTo1, "model.toml [input] scale"));
        assert_eq!(toml.labels_file.as_deref(), Some("labels/de.txt"));
        assert_eq!((toml.goldens.len(), toml.goldens[0].logits[1]), (1, -2.0));
        assert!(toml.files["model.onnx"].ends_with("aabbccddeeff"));
        let pad = parse("[resize]\npad = 114", "model.toml").unwrap().draft.pad.unwrap();
        assert_eq!(pad.value, [114]);
    }

    #[test]
    fn what_is_not_possible_is_refused_with_its_key_and_what_is() {
        for (text, expected) in [
            ("[input", "model.toml line 1 ([input): "),
            ("[input]\nsizes = [8, 8]", "line 2 (sizes = [8, 8]): unknown field `sizes`, expected"),
            ("[inputs]", "unknown field `inputs`, expected one of `model`, `input`"),
            ("[model]\ncounter = -1", "line 2 (counter = -1): invalid value: integer `-1`"),
            ("[model]\nversion = ''", "[model] version is 0 bytes, 1 to 128 are possible"),
            ("[model]\nname = \"a\\nb\"", "[model] name has a control character in it"),
            ("[input]\nsize = [7, 8]", "[input] size is 7: 8 to 1024 is needed"),
            ("[input]\nsize = [8, 1025]", "[input] size is 1025: 8 to 1024 is needed"),
            ("[input]\nsize = [8]", "[input] size is [8]: [height, width] is needed"),
            (
                "[input]\ncolour = 'cmyk'",
                "model.toml [input] colour is \"cmyk\": \"rgb\", \"bgr\" or \"grey\" is needed",
            ),
            ("[input]\nlayout = 'hwc'", "layout is \"hwc\": \"nchw\" or \"nhwc\" is needed"),
            (
                "[input]\nscale = '0..2'",
                "scale is \"0..2\": \"0..255\", \"0..1\" or \"-1..1\" is needed",
            ),
            ("[input]\nmean = [0.1, 0.2]", "mean has 2 numbers, one, or one for each channel"),
            ("[input]\nmean = [nan]", "mean holds NaN"),
            ("[input]\nstd = [0.0]", "std holds 0, which is no possible value"),
            ("[input]\nstd = [-1]", "std holds -1, which is no possible value"),
            ("[resize]\nmode = 'crop'", "mode is \"crop\": \"stretch\", \"shorter-side\","),
            ("[resize]\nto = 5000", "to is 5000: 8 to 4096 is needed"),
            ("[resize]\ncrop = 'left'", "crop is \"left\": \"centre\" is needed"),
            ("[resize]\nfilter = 'lanczos'", "filter is \"lanczos\": \"area\", \"bilinear\","),
            ("[resize]\npad = 256", "a whole number from 0 to 255, or one for each channel"),
            ("[resize]\npad = [1, 2]", "pad is [1, 2]: one number, or one for each channel,"),
            (
                "[output]\nkind = 'softmax'",
                "\"logits\", \"probabilities\" or \"sigmoid\" is needed",
            ),
            ("[output]\ntemperature = 0", "temperature is 0: a positive number is needed"),
            ("[output]\nlabels = ['ok', '']", "labels has a label of 0 bytes at 1, 1 to 128"),
            ("[output]\nlabels_file = '/etc/passwd'", "labels_file is \"/etc/passwd\": a file in"),
            ("[output]\nlabels_file = 'a/../../b'", "labels_file is \"a/../../b\": a file in"),
            ("[verdict]\nuncertain_between = [0.7, 0.4]", "uncertain_between is [0.7, 0.4]: [low,"),
            ("[verdict]\nthresholds = { a = 1.5 }", "thresholds is 1.5 for \"a\": a probability"),
            ("[[golden]]\nimage = 'a.png'\nlogits = []", "logits is 0 numbers: one finite number"),
            ("[[golden]]\nimage = '../a.png'\nlogits = [1]", "[[golden]] image is \"../a.png\""),
            ("[[golden]]\nlogits = [1]", "missing field `image`"),
            (
                "[[golden]]\nimage = 'a'\nlogits = [1]\ntolerance = 0",
                "tolerance is 0: a positive number is needed",
            ),
            (
                "[output]\nlabels_file = \"a\\nb\"",
                "labels_file is \"a\\u000Ab\": a file in the bundle",
            ),
            ("\"\\u001b[2J\" = 1", "unknown field `\u{fffd}[2J`"),
            ("[files]\na = 'abc'", "[files] \"a\" is \"abc\": a SHA-256 of 64 hexadecimal digits"),
        ] {
            let found = error(text);
            assert!(found.contains(expected), "{text:?}: {found:?} lacks {expected:?}");
            assert!(found.starts_with("model.toml ") && !found.contains('\n'), "{found:?}");
        }
    }
}
