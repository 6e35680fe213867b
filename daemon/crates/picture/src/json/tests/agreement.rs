//! The two ways of reading a body say the same of any.

use proptest::prelude::*;

use super::bodies::body;
use crate::error::DecodeError;
use crate::fixtures::{IMAGE_BYTES, SMALL};
use crate::json::body::{decode, parse};
use crate::json::number::Number;
use crate::json::plain;
use crate::json::tally::Rounding;
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::{Colour, Element, Layout, Spec};

/// A number as an encoder may write it, or something that is none.
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..=255_u32).prop_map(|value| value.to_string()),
        8 => (0.0..=1.0_f64).prop_map(|value| value.to_string()),
        4 => (0.0..=1.0_f32).prop_map(|value| f64::from(value).to_string()),
        4 => (0.0..=255.0_f64).prop_map(|value| format!("{value:.3}")),
        2 => (0.0..=1.0_f64).prop_map(|value| format!("{value:e}")),
        2 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?",
        1 => "[0-9.eE+-]{1,12}",
        1 => prop::sample::select(vec!["null", "NaN", "[1]", "\"1\"", "", "0.5.", "01", "-"])
            .prop_map(str::to_owned),
    ]
}

/// Bodies of a 1x8x8 model: mostly right, some in every way wrong.
fn any_body() -> impl Strategy<Value = String> {
    let numbers = prop_oneof![
        4 => prop::collection::vec(number(), 64),
        // All of one kind, so that a body is right as a whole.
        4 => prop::collection::vec((0.0..=255.0_f64).prop_map(|value| value.to_string()), 64),
        4 => prop::collection::vec((0.0..=1.0_f64).prop_map(|value| value.to_string()), 64),
        2 => prop::collection::vec(any::<u8>().prop_map(|value| value.to_string()), 64),
        1 => prop::collection::vec(number(), 60..68),
    ];
    let range = prop::sample::select(vec![
        "",
        "",
        "\"range\":\"0..1\"",
        "\"range\" : \"0..255\"",
        "\"range\":\"0..2\"",
        "\"x\":[1]",
    ]);
    let space = prop::sample::select(vec!["", " ", "\n\t", "\u{a0}"]);
    let form = (0..4_usize, 0..12_usize, any::<prop::sample::Index>(), any::<char>());
    (numbers, range.clone(), range, space, form).prop_map(|parts| {
        let (numbers, before, behind, space, (nesting, damage, at, other)) = parts;
        let list = |numbers: &[String]| format!("[{}]", numbers.join(&format!(",{space}")));
        let rows = || list(&numbers.chunks(8).map(list).collect::<Vec<_>>());
        let data = match nesting {
            0 | 1 => list(&numbers),
            2 => format!("[{}]", rows()),
            _ => format!("[[{}]{space}]", rows()),
        };
        let mut members =
            vec![before.to_owned(), format!("\"data\":{space}{data}"), behind.to_owned()];
        members.retain(|member| !member.is_empty());
        let mut body = format!("{space}{{{}{space}}}{space}", members.join(&format!("{space},")));
        let at = at.index(body.len());
        if damage == 0 && body.is_char_boundary(at) {
            body.insert(at, other);
        } else if damage == 1 && body.is_char_boundary(at) {
            body.truncate(at);
        }
        body
    })
}

/// The outcome of a body, to be compared: the picture, or the text of the refusal.
fn outcome(result: Result<Picture, DecodeError>) -> Result<Picture, String> {
    result.map_err(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn both_ways_of_reading_agree(body in any_body(), scaled in any::<bool>()) {
        let spec = Spec::raw(Element::U8, Layout::Nchw, [8, 8], Colour::Grey);
        let range = if scaled { JsonRange::ZeroTo1 } else { JsonRange::ZeroTo255 };
        let parsed = outcome(parse(&body, &spec, range));
        if let Some(picture) = plain::decode(body.as_bytes(), &spec, range) {
            prop_assert_eq!(Ok(picture), parsed.clone());
        }
        prop_assert_eq!(outcome(decode(body.as_bytes(), &spec, range)), parsed);
    }

    #[test]
    fn pixels_are_rounded_half_to_even(value in -0.0002..=255.0002_f64, half in 0..=510_u32) {
        let (scaled, pixels) = (Rounding::new(JsonRange::ZeroTo1), Rounding::new(JsonRange::ZeroTo255));
        for value in [value, f64::from(half) / 2.0, (f64::from(half) / 2.0).next_down()] {
            prop_assert_eq!(pixels.pixel(value), value.round_ties_even() as u8, "{}", value);
            let share = value / 255.0;
            prop_assert_eq!(scaled.pixel(share), (share * 255.0).round_ties_even() as u8, "{}", share);
        }
    }

    #[test]
    fn numbers_are_those_of_the_parser(text in number()) {
        let parsed = serde_json::from_str::<f64>(&text);
        if let Some(Number { value, rest: [], plain }) = Number::read(text.as_bytes()) {
            prop_assert_eq!(value.to_bits(), parsed.unwrap().to_bits());
            prop_assert_eq!(plain, !text.contains(['.', 'e', 'E']));
        }
    }
}

#[test]
fn usual_bodies_are_read_in_one_pass() {
    let f32s: Vec<String> =
        (0..IMAGE_BYTES).map(|at| f64::from(at as f32 / 3071.0).to_string()).collect();
    let f64s: Vec<String> = (0..IMAGE_BYTES).map(|at| (at as f64 / 3071.0).to_string()).collect();
    let exponents: Vec<String> =
        (0..IMAGE_BYTES).map(|at| format!("{:e}", at as f64 / 3071.0)).collect();
    for numbers in [f32s, f64s, exponents] {
        for separator in [",", ", "] {
            let body =
                format!("{{\"data\": [{}], \"range\": \"0..1\"}}\n", numbers.join(separator));
            let picture = plain::decode(body.as_bytes(), &SMALL, JsonRange::ZeroTo255).unwrap();
            assert_eq!(picture, parse(&body, &SMALL, JsonRange::ZeroTo255).unwrap());
        }
    }
    assert!(plain::decode(body("7", &[]).as_bytes(), &SMALL, JsonRange::ZeroTo255).is_some());
}
