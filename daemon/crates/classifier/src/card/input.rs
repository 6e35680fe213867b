//! From what the sources say and what the graph is to what a picture must become. Whatever nobody
//! states gets its default here, or is asked for.

use super::draft::{DEFAULT, Draft, GRAPH, Stated, add, or, quoted};
use super::ultralytics::CONVENTION;
use super::words::Word;
use picket_picture::{
    Colour, Element, Filter, INPUT_SIDE_MAX, INPUT_SIDE_MIN, Layout, Mode, Resize, Scale, Spec,
};

/// The graph's input of four axes.
#[derive(Clone, Debug)]
pub struct GraphInput {
    pub element: Element,
    /// The length of each axis, none where it is left open.
    pub axes: [Option<usize>; 4],
    /// The range that its first operator tells, and what tells it.
    pub scale: Option<(Scale, &'static str)>,
}

impl GraphInput {
    /// Whether it can't tell which axis the channels are.
    pub fn leaves_layout(&self) -> bool {
        let open = |at: usize| self.axes[at].is_none();
        open(1) && open(3)
    }

    /// Returns whether its channels are open, and its sides where one of them is.
    pub fn leaves_open(&self, layout: Option<Layout>) -> (bool, Option<[Option<usize>; 2]>) {
        let last = layout == Some(Layout::Nhwc) || (layout.is_none() && self.has_channels(3));
        let [channels, height, width] = if last { [3, 1, 2] } else { [1, 2, 3] };
        let sides = [self.axes[height], self.axes[width]];
        (self.axes[channels].is_none(), Some(sides).filter(|sides| sides.contains(&None)))
    }

    fn shown(&self) -> String {
        let axis = |axis: &Option<usize>| axis.map_or("?".to_string(), |length| length.to_string());
        format!("[{}]", self.axes.iter().map(axis).collect::<Vec<_>>().join(", "))
    }

    fn has_channels(&self, at: usize) -> bool {
        matches!(self.axes[at], Some(1 | 3))
    }

    fn needs(&self) -> String {
        format!(
            "its input is {}, [N,C,H,W] or [N,H,W,C] of 1 or 3 channels and {INPUT_SIDE_MIN} to \
             {INPUT_SIDE_MAX} pixels a side is needed",
            self.shown()
        )
    }
}

/// Says what a picture must become, and fills the draft with what the graph says and with defaults.
///
/// # Errors
/// What the graph contradicts, what nobody states, and values that don't go together, each with its
/// source.
pub fn settle_input(draft: &mut Draft, graph: &GraphInput) -> Result<Spec, String> {
    if let Some(batch) = graph.axes[0].filter(|batch| *batch != 1) {
        return Err(format!("its batch is fixed at {batch}, 1 or an open axis is needed"));
    }
    let layout = layout(draft, graph)?;
    let [channels, height, width] = match layout {
        Layout::Nchw => [1, 2, 3],
        Layout::Nhwc => [3, 1, 2],
    }
    .map(|at| graph.axes[at]);
    let colour = colour(draft, graph, channels)?;
    let size = size(draft, graph, [height, width])?;
    let scale = scale(draft, graph)?;
    let count = colour.channels();
    let mean = per_channel(draft.mean.as_ref(), count, 0.0)?;
    let std = per_channel(draft.std.as_ref(), count, 1.0)?;
    if graph.element != Element::F32 {
        for (stated, neutral) in [(&draft.mean, 0.0), (&draft.std, 1.0)] {
            if let Some(stated) = stated
                && stated.value.iter().any(|number| *number != neutral)
            {
                return Err(takes_pixels(&stated.source, &format!("{:?}", stated.value), graph));
            }
        }
    }
    let resize = resize(draft, size, count)?;
    Ok(Spec { element: graph.element, layout, size, colour, scale, mean, std, resize })
}

fn takes_pixels(source: &str, value: &str, graph: &GraphInput) -> String {
    let element = format!("{:?}", graph.element).to_lowercase();
    format!(
        "{source} is {value}, but the graph's input is {element}, which takes pixels as they are"
    )
}

fn layout(draft: &mut Draft, graph: &GraphInput) -> Result<Layout, String> {
    let possible = |at: usize| graph.axes[at].is_none() || graph.has_channels(at);
    if let Some(stated) = &draft.layout {
        let at = if stated.value == Layout::Nchw { 1 } else { 3 };
        if !possible(at) {
            let (source, word) = (&stated.source, quoted(stated.value.word()));
            let axes = graph.shown();
            return Err(format!(
                "{source} is {word}, but the graph's input is {axes}: they must agree"
            ));
        }
        return Ok(stated.value);
    }
    let layout = match (graph.has_channels(1), graph.has_channels(3)) {
        (true, false) => Layout::Nchw,
        (false, true) => Layout::Nhwc,
        (true, true) => return Err(graph.needs()),
        (false, false) => match (possible(1), possible(3)) {
            (true, false) => Layout::Nchw,
            (false, true) => Layout::Nhwc,
            (false, false) => return Err(graph.needs()),
            (true, true) => {
                let line = add("[input] layout = \"nchw\" or \"nhwc\"");
                return Err(format!("the graph leaves the order of its input's axes open; {line}"));
            }
        },
    };
    Ok(or(&mut draft.layout, layout, GRAPH))
}

fn colour(
    draft: &mut Draft,
    graph: &GraphInput,
    channels: Option<usize>,
) -> Result<Colour, String> {
    match (&draft.colour, channels) {
        (Some(stated), Some(channels)) if stated.value.channels() != channels => {
            let (source, word) = (&stated.source, quoted(stated.value.word()));
            Err(format!(
                "{source} is {word}, but the graph's input is {}, of {channels} channels: they must \
                 agree",
                graph.shown()
            ))
        }
        (Some(stated), _) => Ok(stated.value),
        (None, Some(1)) => Ok(or(&mut draft.colour, Colour::Grey, GRAPH)),
        (None, Some(_)) => Ok(or(&mut draft.colour, Colour::Rgb, DEFAULT)),
        (None, None) => {
            let line = add("[input] colour = \"rgb\", \"bgr\" or \"grey\"");
            Err(format!("the graph leaves its channels open; {line}"))
        }
    }
}

fn size(
    draft: &mut Draft,
    graph: &GraphInput,
    [height, width]: [Option<usize>; 2],
) -> Result<[usize; 2], String> {
    let side = |side: &usize| (INPUT_SIDE_MIN..=INPUT_SIDE_MAX).contains(side);
    let size = match (&draft.size, height, width) {
        (None, Some(height), Some(width)) => or(&mut draft.size, [height, width], GRAPH),
        (None, ..) => {
            let line = add("[input] size = [height, width]");
            return Err(format!(
                "the graph's input is {}, its size left open; {line}",
                graph.shown()
            ));
        }
        (Some(stated), height, width) => {
            let [h, w] = stated.value;
            if height.is_some_and(|side| side != h) || width.is_some_and(|side| side != w) {
                let (source, axes) = (&stated.source, graph.shown());
                return Err(format!(
                    "{source} is [{h}, {w}], but the graph's input is {axes}: they must agree"
                ));
            }
            if !stated.value.iter().all(side) {
                let source = &stated.source;
                return Err(format!(
                    "{source} is [{h}, {w}]: {INPUT_SIDE_MIN} to {INPUT_SIDE_MAX} is needed"
                ));
            }
            stated.value
        }
    };
    if size.iter().all(side) { Ok(size) } else { Err(graph.needs()) }
}

fn scale(draft: &mut Draft, graph: &GraphInput) -> Result<Scale, String> {
    if graph.scale.is_some() {
        draft.scale.take_if(|stated| stated.source == CONVENTION);
    }
    match (&draft.scale, graph.element) {
        (Some(stated), Element::F32) => match graph.scale {
            // With a mean or a deviation of its own the input may be in any range by then.
            Some((scale, sign))
                if scale != stated.value && draft.mean.is_none() && draft.std.is_none() =>
            {
                Err(format!(
                    "{} is {}, but the graph wants {}, for {sign}: they must agree",
                    stated.source,
                    quoted(stated.value.word()),
                    quoted(scale.word()),
                ))
            }
            _ => Ok(stated.value),
        },
        (None, Element::F32) => match graph.scale {
            Some((scale, sign)) => {
                let source = format!("{GRAPH}: {sign}");
                draft.scale = Some(Stated { value: scale, source });
                Ok(scale)
            }
            None => {
                let line = add("[input] scale = \"0..255\", \"0..1\" or \"-1..1\"");
                Err(format!("its input is f32 and nobody states the scale of its pixels; {line}"))
            }
        },
        (Some(stated), _) if stated.value != Scale::ZeroTo255 => {
            Err(takes_pixels(&stated.source, &quoted(stated.value.word()), graph))
        }
        _ => Ok(or(&mut draft.scale, Scale::ZeroTo255, GRAPH)),
    }
}

/// Spreads one number over all channels.
fn per_channel<T: Copy>(
    stated: Option<&Stated<Vec<T>>>,
    channels: usize,
    neutral: T,
) -> Result<[T; 3], String> {
    let mut all = [neutral; 3];
    let Some(stated) = stated else { return Ok(all) };
    match stated.value[..] {
        [one] => all[..channels].fill(one),
        _ if stated.value.len() == channels => all[..channels].copy_from_slice(&stated.value),
        _ => {
            let (source, count) = (&stated.source, stated.value.len());
            return Err(format!(
                "{source} has {count} numbers, but the graph's input has {channels} channels"
            ));
        }
    }
    Ok(all)
}

fn resize(draft: &mut Draft, size: [usize; 2], channels: usize) -> Result<Resize, String> {
    let mode = or(&mut draft.mode, Mode::Stretch, DEFAULT);
    let only_for = |source: &str, of: Mode| {
        let (mode, of) = (quoted(mode.word()), quoted(of.word()));
        format!("{source} is for mode {of}, but the mode is {mode}")
    };
    let largest = size[0].max(size[1]);
    let to = match (&draft.to, mode) {
        (None, Mode::ShorterSide) if size[0] == size[1] => or(&mut draft.to, largest, DEFAULT),
        (None, Mode::ShorterSide) => {
            let line = add("[resize] to = the shorter side before the crop");
            return Err(format!(
                "it is cropped to {}x{} of nobody states what; {line}",
                size[0], size[1]
            ));
        }
        (Some(stated), Mode::ShorterSide) if stated.value < largest => {
            let Stated { value, source } = stated;
            let [height, width] = size;
            return Err(format!(
                "{source} is {value}, at least {largest} is needed for a crop of {height}x{width}"
            ));
        }
        (Some(stated), Mode::ShorterSide) => stated.value,
        (Some(stated), _) => return Err(only_for(&stated.source, Mode::ShorterSide)),
        (None, _) => largest,
    };
    if let Some(stated) = draft.pad.as_ref().filter(|_| mode != Mode::Letterbox) {
        return Err(only_for(&stated.source, Mode::Letterbox));
    }
    let pad = per_channel(draft.pad.as_ref(), channels, 0)?;
    let filter = or(&mut draft.filter, Filter::Area, DEFAULT);
    let antialias = or(&mut draft.antialias, true, DEFAULT);
    let exact = or(&mut draft.exact, false, DEFAULT);
    Ok(Resize { mode, to, filter, antialias, pad, exact })
}

#[cfg(test)]
mod tests {
    use super::super::metadata;
    use super::super::model_toml::parse;
    use super::*;

    const F32: GraphInput = GraphInput {
        element: Element::F32,
        axes: [None, Some(3), Some(32), Some(48)],
        scale: None,
    };

    fn settle(toml: &str, graph: &GraphInput) -> Result<Spec, String> {
        settle_input(&mut parse(toml, "model.toml").unwrap().draft, graph)
    }

    fn axes(element: Element, axes: [usize; 4]) -> GraphInput {
        let axes = axes.map(|length| Some(length).filter(|length| *length > 0));
        GraphInput { element, axes, scale: None }
    }

    #[test]
    fn the_graph_s_own_shape_holds_and_what_it_leaves_open_is_stated() {
        let spec = settle("[input]\nscale = '0..1'", &F32).unwrap();
        assert_eq!((spec.layout, spec.size, spec.colour), (Layout::Nchw, [32, 48], Colour::Rgb));
        let spec = settle("", &axes(Element::U8, [1, 64, 32, 1])).unwrap();
        assert_eq!((spec.layout, spec.size, spec.colour), (Layout::Nhwc, [64, 32], Colour::Grey));
        let open = axes(Element::F32, [0; 4]);
        let toml = "[input]\nsize = [96, 64]\ncolour = 'bgr'\nlayout = 'nhwc'\nscale = '-1..1'";
        let spec = settle(toml, &open).unwrap();
        assert_eq!(spec.shape(), [1, 96, 64, 3]);
        assert_eq!((spec.colour, spec.scale), (Colour::Bgr, Scale::MinusOneTo1));
    }

    #[test]
    fn numbers_are_spread_over_the_channels_and_defaults_are_named() {
        let toml = "[input]\nscale = '0..1'\nmean = [0.5]\nstd = [0.1, 0.2, 0.3]\n\
                    [resize]\nmode = 'letterbox'\npad = 114";
        let mut draft = parse(toml, "model.toml").unwrap().draft;
        let spec = settle_input(&mut draft, &F32).unwrap();
        assert_eq!((spec.mean, spec.std, spec.resize.pad), ([0.5; 3], [0.1, 0.2, 0.3], [114; 3]));
        let filter = draft.filter.unwrap();
        assert_eq!((filter.value, &*filter.source), (Filter::Area, "default"));
        assert_eq!(draft.size.unwrap().source, "the graph");
    }

    #[test]
    fn what_the_graph_contradicts_and_what_nobody_states_is_refused() {
        let open = axes(Element::F32, [0, 3, 0, 0]);
        let square = axes(Element::F32, [0, 3, 32, 32]);
        let u8s = axes(Element::U8, [1, 3, 32, 32]);
        for (toml, graph, expected) in [
            (
                "",
                &F32,
                "its input is f32 and nobody states the scale of its pixels; add to model.toml: \
                 [input] scale = \"0..255\", \"0..1\" or \"-1..1\"",
            ),
            ("", &axes(Element::F32, [4, 3, 32, 32]), "its batch is fixed at 4, 1 or an open axis"),
            ("", &open, "its size left open; add to model.toml: [input] size = [height, width]"),
            ("", &axes(Element::F32, [0; 4]), "leaves the order of its input's axes open; add to"),
            ("", &axes(Element::F32, [0, 4, 32, 32]), "its input is [?, 4, 32, 32], [N,C,H,W] or"),
            ("", &axes(Element::U8, [1, 3, 7, 32]), "1 or 3 channels and 8 to 1024 pixels a side"),
            (
                "[input]\nlayout = 'nchw'\nsize = [8, 8]",
                &axes(Element::F32, [0; 4]),
                "the graph leaves its channels open; add to model.toml: [input] colour",
            ),
            (
                "[input]\nsize = [64, 64]",
                &square,
                "model.toml [input] size is [64, 64], but the graph's input is [?, 3, 32, 32]: they",
            ),
            (
                "[input]\nlayout = 'nhwc'",
                &square,
                "model.toml [input] layout is \"nhwc\", but the graph's input is [?, 3, 32, 32]: they",
            ),
            ("[input]\ncolour = 'grey'", &square, "colour is \"grey\", but the graph's input is"),
            (
                "[input]\nscale = '0..1'",
                &u8s,
                "scale is \"0..1\", but the graph's input is u8, which takes pixels as they are",
            ),
            ("[input]\nmean = [0.5]", &u8s, "mean is [0.5], but the graph's input is u8, which"),
            ("[input]\nstd = [0.5]", &u8s, "std is [0.5], but the graph's input is u8, which"),
            (
                "[input]\nmean = [1, 2, 3]",
                &axes(Element::U8, [1, 1, 8, 8]),
                "mean has 3 numbers, but the graph's input has 1 channels",
            ),
            (
                "[resize]\nto = 64",
                &u8s,
                "to is for mode \"shorter-side\", but the mode is \"stretch\"",
            ),
            (
                "[resize]\npad = 1",
                &u8s,
                "pad is for mode \"letterbox\", but the mode is \"stretch\"",
            ),
            (
                "[resize]\nmode = 'shorter-side'\nto = 31",
                &u8s,
                "to is 31, at least 32 is needed for a crop of 32x32",
            ),
            (
                "[resize]\nmode = 'shorter-side'",
                &axes(Element::U8, [1, 3, 32, 48]),
                "add to model.toml: [resize] to = the shorter side before the crop",
            ),
        ] {
            let found = settle(toml, graph).unwrap_err();
            assert!(found.contains(expected), "{toml:?}: {found:?} lacks {expected:?}");
        }
    }

    #[test]
    fn an_export_of_ultralytics_needs_no_more_than_its_metadata() {
        let properties = [("task", "classify"), ("names", "{0: 'a'}"), ("imgsz", "[64, 64]")];
        let mut draft = metadata::read(properties.into_iter()).unwrap().draft;
        let spec = settle_input(&mut draft, &axes(Element::F32, [0, 3, 0, 0])).unwrap();
        assert_eq!((spec.size, spec.scale), ([64, 64], Scale::ZeroTo1));
        assert_eq!((spec.resize.mode, spec.resize.to), (Mode::ShorterSide, 64));
        assert_eq!(spec.resize.filter, Filter::Bilinear);
    }
}
