//! The words that a card has for each choice, as model.toml spells them.

use picket_picture::{Colour, Filter, Layout, Mode, Scale};

/// What a card says that the scores are; whether a sigmoid is still to be applied, the graph tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatedKind {
    Logits,
    Probabilities,
    Sigmoid,
}

/// A choice that is spelled as one of several words.
pub trait Word: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];

    fn parse(text: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
    }

    fn word(self) -> &'static str {
        let found = Self::WORDS.iter().find(|(_, value)| *value == self);
        found.map(|(word, _)| *word).expect("each choice has its word")
    }

    /// Returns all of them as the end of an error: `"a", "b" or "c"`.
    fn all() -> String {
        let words: Vec<String> = Self::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
        let (last, others) = words.split_last().expect("a choice has words");
        format!("{} or {last}", others.join(", "))
    }
}

impl Word for Colour {
    const WORDS: &'static [(&'static str, Colour)] =
        &[("rgb", Colour::Rgb), ("bgr", Colour::Bgr), ("grey", Colour::Grey)];
}

impl Word for Layout {
    const WORDS: &'static [(&'static str, Layout)] =
        &[("nchw", Layout::Nchw), ("nhwc", Layout::Nhwc)];
}

impl Word for Scale {
    const WORDS: &'static [(&'static str, Scale)] =
        &[("0..255", Scale::ZeroTo255), ("0..1", Scale::ZeroTo1), ("-1..1", Scale::MinusOneTo1)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Mode)] = &[
        ("stretch", Mode::Stretch),
        ("shorter-side", Mode::ShorterSide),
        ("letterbox", Mode::Letterbox),
        ("crop-only", Mode::CropOnly),
    ];
}

impl Word for Filter {
    const WORDS: &'static [(&'static str, Filter)] = &[
        ("area", Filter::Area),
        ("bilinear", Filter::Bilinear),
        ("bicubic", Filter::Bicubic),
        ("nearest", Filter::Nearest),
    ];
}

impl Word for StatedKind {
    const WORDS: &'static [(&'static str, StatedKind)] = &[
        ("logits", StatedKind::Logits),
        ("probabilities", StatedKind::Probabilities),
        ("sigmoid", StatedKind::Sigmoid),
    ];
}
