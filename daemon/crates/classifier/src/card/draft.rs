//! Values with their sources: what one place says of a model, and what several say together.

use std::collections::BTreeMap;

use super::limits::SHOWN_MAX;
use super::words::{StatedKind, Word};
use picket_picture::{Colour, Filter, Layout, Mode, Scale};

/// The file that says most, beside the model or in its bundle.
pub const MODEL_TOML: &str = "model.toml";

/// The source of what only the graph says.
pub const GRAPH: &str = "the graph";

/// The source of what nobody says.
pub const DEFAULT: &str = "default";

/// A value and who says so.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated<T> {
    pub value: T,
    /// As errors and `picket model inspect` spell it, such as `model.toml [input] scale`.
    pub source: String,
}

/// One settled value, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The table of model.toml.
    pub table: &'static str,
    pub key: &'static str,
    /// As model.toml spells it.
    pub value: String,
    pub source: String,
}

/// A value that model.toml can spell, and that two sources may state.
trait Value {
    fn toml(&self) -> String;

    /// Returns in what the two differ, none where they agree; `[a, b]` are their values as a sentence
    /// goes on with them.
    fn difference(&self, other: &Self) -> Option<[String; 2]>;
}

/// Declares the values of a draft, each with its table and key in model.toml.
macro_rules! draft {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $table:literal $key:literal,)*) => {
        /// What one place says of a model, or several together.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Draft {
            $($(#[doc = $doc])+ pub $field: Option<Stated<$type>>,)*
        }

        impl Draft {
            /// Takes what another place says.
            ///
            /// # Errors
            /// The first value in which the two differ, with both and their sources.
            pub fn join(&mut self, other: Draft) -> Result<(), String> {
                $(join(&mut self.$field, other.$field)?;)*
                Ok(())
            }

            /// Returns what is known, in the order of model.toml.
            pub fn lines(&self) -> Vec<Line> {
                let lines = [$(self.$field.as_ref().map(|stated| Line {
                    table: $table,
                    key: $key,
                    value: stated.value.toml(),
                    source: stated.source.clone(),
                })),*];
                lines.into_iter().flatten().collect()
            }
        }
    };
}

draft! {
    /// Its name.
    name: String = "model" "name",
    /// Its version.
    version: String = "model" "version",
    /// A number that only grows from version to version.
    counter: u64 = "model" "counter",
    /// Height and width in pixels.
    size: [usize; 2] = "input" "size",
    /// Channels in the model's order.
    colour: Colour = "input" "colour",
    /// Order of the axes.
    layout: Layout = "input" "layout",
    /// What 0..=255 of a pixel becomes.
    scale: Scale = "input" "scale",
    /// Subtracted after that.
    mean: Vec<f32> = "input" "mean",
    /// Divided by after that.
    std: Vec<f32> = "input" "std",
    /// Which part of the picture is seen.
    mode: Mode = "resize" "mode",
    /// The shorter side before the crop.
    to: usize = "resize" "to",
    /// How pixels between pixels are found.
    filter: Filter = "resize" "filter",
    /// Whether the filter widens when it shrinks.
    antialias: bool = "resize" "antialias",
    /// What a letterbox is filled with.
    pad: Vec<u8> = "resize" "pad",
    /// Whether a JPEG is always decoded at its full size.
    exact: bool = "resize" "exact",
    /// What the scores are.
    kind: StatedKind = "output" "kind",
    /// What logits are divided by.
    temperature: f32 = "output" "temperature",
    /// A label for each class.
    labels: Vec<String> = "output" "labels",
    /// Labels that count as a defect.
    defect_labels: Vec<String> = "verdict" "defect_labels",
    /// Confidences that count as uncertain.
    uncertain_between: [f32; 2] = "verdict" "uncertain_between",
    /// Probabilities from which on a label is a defect, whichever class won.
    thresholds: BTreeMap<String, f32> = "verdict" "thresholds",
}

fn join<T: Value>(ours: &mut Option<Stated<T>>, theirs: Option<Stated<T>>) -> Result<(), String> {
    let Some(theirs) = theirs else { return Ok(()) };
    let Some(ours) = ours else {
        *ours = Some(theirs);
        return Ok(());
    };
    match ours.value.difference(&theirs.value) {
        None => Ok(()),
        Some([a, b]) => {
            Err(format!("{} is {a}, but {} is {b}: they must agree", ours.source, theirs.source))
        }
    }
}

/// Returns a stated value, or states what holds without it.
pub fn or<T: Clone>(field: &mut Option<Stated<T>>, value: T, source: &str) -> T {
    field.get_or_insert(Stated { value, source: source.to_string() }).value.clone()
}

/// Returns the end of an error about what nobody states.
pub fn add(line: &str) -> String {
    format!("add to {MODEL_TOML}: {line}")
}

/// Cuts what an error shows of a value.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.to_string(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

fn unless<T: Value>(same: bool, a: &T, b: &T) -> Option<[String; 2]> {
    (!same).then(|| [shown(&a.toml()), shown(&b.toml())])
}

/// Implements Value for what is compared by ==.
macro_rules! values {
    ($($type:ty: $value:ident => $toml:expr;)*) => {$(
        impl Value for $type {
            fn toml(&self) -> String {
                let $value = self;
                $toml
            }

            fn difference(&self, other: &$type) -> Option<[String; 2]> {
                unless(self == other, self, other)
            }
        }
    )*};
}

values! {
    String: text => quoted(text);
    u64: number => number.to_string();
    usize: number => number.to_string();
    bool: flag => flag.to_string();
    f32: number => format!("{number:?}");
    [usize; 2]: size => format!("[{}, {}]", size[0], size[1]);
    [f32; 2]: band => format!("[{:?}, {:?}]", band[0], band[1]);
    Vec<u8>: pad => format!("{pad:?}");
    Colour: colour => quoted(colour.word());
    Layout: layout => quoted(layout.word());
    Scale: scale => quoted(scale.word());
    Mode: mode => quoted(mode.word());
    Filter: filter => quoted(filter.word());
    StatedKind: kind => quoted(kind.word());
    BTreeMap<String, f32>: thresholds => {
        let each = thresholds.iter().map(|(label, p)| format!("{} = {p:?}", quoted(label)));
        format!("{{ {} }}", each.collect::<Vec<_>>().join(", "))
    };
}

impl Value for Vec<f32> {
    fn toml(&self) -> String {
        format!("{self:?}")
    }

    /// One number stands for all channels; others are equal as far as a float tells.
    fn difference(&self, other: &Vec<f32>) -> Option<[String; 2]> {
        let near = |a: &f32, b: &f32| (a - b).abs() <= 1e-6 * a.abs().max(1.0);
        let same = match (self.as_slice(), other.as_slice()) {
            ([one], many) | (many, [one]) => many.iter().all(|number| near(one, number)),
            (a, b) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
        };
        unless(same, self, other)
    }
}

impl Value for Vec<String> {
    fn toml(&self) -> String {
        format!("[{}]", self.iter().map(|label| quoted(label)).collect::<Vec<_>>().join(", "))
    }

    /// Ten thousand labels are no text for an error: the first that differ are named.
    fn difference(&self, other: &Vec<String>) -> Option<[String; 2]> {
        if self.len() != other.len() {
            return Some([self, other].map(|list| format!("a list of {}", list.len())));
        }
        let at = self.iter().zip(other).position(|(a, b)| a != b)?;
        Some([self, other].map(|list| format!("{} at {at}", quoted(&list[at]))))
    }
}

/// Returns a TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated<T>(value: T, source: &str) -> Option<Stated<T>> {
        Some(Stated { value, source: source.to_string() })
    }

    #[test]
    fn sources_that_agree_are_joined_and_those_that_differ_are_named() {
        let mut draft = Draft { mean: stated(vec![0.5], "a"), ..Draft::default() };
        let other = Draft {
            mean: stated(vec![0.5; 3], "b"),
            scale: stated(Scale::ZeroTo1, "b"),
            ..Draft::default()
        };
        draft.join(other).unwrap();
        assert_eq!(draft.scale.as_ref().unwrap().source, "b");
        let third = Draft { scale: stated(Scale::ZeroTo255, "c"), ..Draft::default() };
        let error = draft.join(third).unwrap_err();
        assert_eq!(error, "b is \"0..1\", but c is \"0..255\": they must agree");

        let labels = |labels: &[&str], source| Draft {
            labels: stated(labels.iter().map(ToString::to_string).collect(), source),
            ..Draft::default()
        };
        let mut draft = labels(&["ok", "dent"], "a");
        let error = draft.join(labels(&["ok", "scratch"], "b")).unwrap_err();
        assert_eq!(error, "a is \"dent\" at 1, but b is \"scratch\" at 1: they must agree");
        let error = draft.join(labels(&["ok"], "b")).unwrap_err();
        assert_eq!(error, "a is a list of 2, but b is a list of 1: they must agree");
    }

    #[test]
    fn a_string_is_quoted_so_that_toml_reads_it_back() {
        let text = "a \"b\" \\ c\n\u{7}é";
        let line = format!("text = {}", quoted(text));
        let table: toml::Table = line.parse().unwrap();
        assert_eq!(table["text"].as_str(), Some(text));
    }
}
