//! A model's card as the text of a model.toml: what is known of it, with what is still to be filled in, and
//! what is put into the ONNX file itself. It runs nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::card::{
    self, Bundle, DEFAULT, Draft, GRAPH, GoldenPicture, GraphInput, Line, Stated, StatedKind,
};
use crate::engine::Engine;
use crate::error::{CardError, ModelError};
use crate::graph::{Survey, survey};
use crate::model::{Model, panicked};
use crate::run::one_line;
use picket_picture::{Colour, Layout, Scale};

/// The side of a picture that stands in while nobody states one.
const SIDE: usize = 224;

/// How many labels that nobody states are written out.
const LABELS_SHOWN_MAX: usize = 10;

/// Returns a model.toml for a file or bundle: what is known with its source, what holds by default as a
/// comment, and `"?"` for what must be filled in before the model can serve.
///
/// # Errors
/// No model that can be read, or sources that differ.
pub fn describe(path: &Path) -> Result<String, ModelError> {
    let bundle = Bundle::open(path)?;
    let digest = bundle.digest(&[]).expect("no other file is read for it");
    let unfit = |detail: String| ModelError::Unfit { digest: digest.clone(), detail };
    let invalid = |detail: String| ModelError::Invalid { digest: digest.clone(), detail };
    let survey = catch_unwind(AssertUnwindSafe(|| survey(&bundle)))
        .map_err(|panic| panicked(&digest, &*panic, "reading"))?
        .map_err(|error| match error.downcast_ref::<CardError>() {
            Some(error) => unfit(error.to_string()),
            None => invalid(one_line(&error)),
        })?;
    let Survey { mut draft, input, tail, scores } = survey;
    let asked = stand_in(&mut draft, &input, scores == Some(1) && tail.is_none());
    card::settle_input(&mut draft, &input).map_err(unfit)?;
    if let Some(scores) = scores {
        card::settle_output(&mut draft, scores, tail).map_err(unfit)?;
    }
    Ok(text(&draft.lines(), &asked) + &goldens(&bundle.goldens))
}

/// Returns the ONNX file of a model that can serve, with its card in its metadata.
///
/// # Errors
/// As `Model::load`.
pub fn stamped(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bundle = Bundle::open(path)?;
    let onnx = bundle.onnx.clone();
    let model = Model::from_bundle(bundle, Engine::best())?;
    let info = model.info();
    let known = |line: &&Line| line.source != GRAPH && line.source != DEFAULT;
    let lines: Vec<Line> = info.card.iter().filter(known).cloned().collect();
    let invalid = |detail| ModelError::Invalid { digest: info.digest.clone(), detail };
    card::stamp(&onnx, &plain(&lines)).map_err(invalid)
}

/// The mark of a value that only stands in for what must be filled in, with what is possible.
struct Asked {
    table: &'static str,
    key: &'static str,
    possible: &'static str,
}

/// Puts a value wherever one must be stated and is not, and returns where.
fn stand_in(draft: &mut Draft, graph: &GraphInput, asks_kind: bool) -> Vec<Asked> {
    fn put<T>(
        asked: &mut Vec<Asked>,
        field: &mut Option<Stated<T>>,
        value: T,
        (table, key, possible): (&'static str, &'static str, &'static str),
    ) {
        if field.is_none() {
            *field = Some(Stated { value, source: String::new() });
            asked.push(Asked { table, key, possible });
        }
    }
    let mut asked = Vec::new();
    if graph.leaves_layout() {
        let layout = ("input", "layout", "\"nchw\" or \"nhwc\"");
        put(&mut asked, &mut draft.layout, Layout::Nchw, layout);
    }
    let layout = draft.layout.as_ref().map(|stated| stated.value);
    let (channels, size) = graph.leaves_open(layout);
    if channels {
        let colour = ("input", "colour", "\"rgb\", \"bgr\" or \"grey\"");
        put(&mut asked, &mut draft.colour, Colour::Rgb, colour);
    }
    if let Some(open) = size {
        let side = ("input", "size", "[height, width]");
        put(&mut asked, &mut draft.size, open.map(|side| side.unwrap_or(SIDE)), side);
    }
    if graph.element == picket_picture::Element::F32 {
        let scale = ("input", "scale", "\"0..255\", \"0..1\" or \"-1..1\"");
        put(&mut asked, &mut draft.scale, Scale::ZeroTo1, scale);
    }
    if asks_kind {
        let kind = ("output", "kind", "\"sigmoid\" or \"probabilities\"");
        put(&mut asked, &mut draft.kind, StatedKind::Sigmoid, kind);
    }
    asked
}

/// Returns the lines by table, without a comment.
fn plain(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut table = "";
    for line in lines {
        if line.table != table {
            table = line.table;
            text.push_str(&format!("[{table}]\n"));
        }
        text.push_str(&format!("{} = {}\n", line.key, line.value));
    }
    text
}

fn text(lines: &[Line], asked: &[Asked]) -> String {
    let mut text = String::new();
    for table in ["model", "input", "resize", "output", "verdict"] {
        text.push_str(&format!("[{table}]\n"));
        for line in lines.iter().filter(|line| line.table == table) {
            let Line { key, value, source, .. } = line;
            let mark = asked.iter().find(|asked| (asked.table, asked.key) == (table, *key));
            text.push_str(&match mark {
                Some(Asked { possible, .. }) => format!("{key} = \"?\" # fill in: {possible}\n"),
                None if *key == "labels" && source == DEFAULT => unnamed(value),
                None if source == DEFAULT => format!("# {key} = {value} # {source}\n"),
                None => format!("{key} = {value} # {source}\n"),
            });
        }
        if table == "verdict" && !lines.iter().any(|line| line.table == table) {
            text.push_str("# defect_labels = []\n# uncertain_between = [0.4, 0.7] # default\n");
        }
        text.push('\n');
    }
    text
}

fn goldens(known: &[GoldenPicture]) -> String {
    if known.is_empty() {
        return "# A picture of the bundle and what the trainer's own runtime gives for it.\n\
                # [[golden]]\n# image = \"golden.png\"\n# logits = []\n"
            .to_string();
    }
    let golden = |GoldenPicture { name, logits, tolerance, .. }: &GoldenPicture| {
        let image = card::quoted(name);
        let tolerance = tolerance.map(|t| format!("tolerance = {t:?}\n")).unwrap_or_default();
        format!("[[golden]]\nimage = {image}\nlogits = {logits:?}\n{tolerance}")
    };
    known.iter().map(golden).collect::<Vec<_>>().join("\n")
}

/// Asks for labels without making the model wait for them.
fn unnamed(value: &str) -> String {
    let cut = value.match_indices("\", \"").nth(LABELS_SHOWN_MAX);
    let shown = cut.map_or(value.to_string(), |(at, _)| format!("{}\", …]", &value[..at]));
    format!("# labels = {shown} # nobody names its classes\n")
}
