//! Numbers in nested arrays, right and wrong.

use super::bodies::{assert_refused, parse};
use crate::error::DecodeFault;
use crate::fixtures::SMALL;
use crate::json::{body, plain};
use crate::range::JsonRange;

/// Arrays of arrays whose lengths are `shape`, with the numbers from 0 on, modulo 251.
fn nested(shape: &[usize], next: &mut usize) -> String {
    let Some((&count, inner)) = shape.split_first() else {
        *next += 1;
        return ((*next - 1) % 251).to_string();
    };
    let elements: Vec<String> = (0..count).map(|_| nested(inner, next)).collect();
    format!("[{}]", elements.join(", "))
}

fn nested_body(shape: &[usize]) -> String {
    format!("{{\"data\": {}}}", nested(shape, &mut 0))
}

#[test]
fn nested_arrays_are_the_picture_of_the_flat_one() {
    let flat = parse(&nested_body(&[3072])).unwrap();
    for shape in [&[3, 32, 32][..], &[1, 3, 32, 32]] {
        let body = nested_body(shape);
        assert_eq!(parse(&body).unwrap(), flat);
        assert_eq!(plain::decode(body.as_bytes(), &SMALL, JsonRange::ZeroTo255).unwrap(), flat);
        assert_eq!(body::parse(&body, &SMALL, JsonRange::ZeroTo255).unwrap(), flat);
    }
}

#[test]
fn other_nesting_is_refused_with_its_shape() {
    for (shape, found) in [
        (&[32, 32, 3][..], "32x32x3"),
        (&[1, 32, 32, 3], "1x32x32x3"),
        (&[2, 3, 32, 32], "2x3x32x32"),
        (&[3, 64, 64], "3x64x64"),
        (&[3, 1024], "3x1024"),
        (&[1, 3072], "1x3072"),
        (&[3, 32, 31], "3x32x31"),
        (&[1, 0], "1x0"),
        (&[1, 1, 1, 1], "1x1x1x1"),
    ] {
        let text = format!(
            "data is nested as {found}, a flat array of 3072 numbers or one nested as 3x32x32 or \
             1x3x32x32 is needed"
        );
        assert_refused(&nested_body(shape), DecodeFault::Unprocessable, &text);
    }
    let text = "data is nested more than 4 deep, a flat array of 3072 numbers or one nested as \
                3x32x32 or 1x3x32x32 is needed";
    assert_refused(&nested_body(&[1, 1, 3, 32, 32]), DecodeFault::Unprocessable, text);
    let text = "data holds more than 65536 numbers, exactly 3072 (3x32x32) are needed";
    assert_refused(&nested_body(&[1, 3, 224, 224]), DecodeFault::Unprocessable, text);
}

#[test]
fn uneven_nesting_is_refused_at_its_place() {
    for (body, text) in [
        ("[[[1,2],[3]]]", "data[0][1] holds 1 elements, 2 are needed like in the one before"),
        ("[[[1,2]],[]]", "data[1] holds 0 elements, 1 are needed like in the one before"),
        ("[[1],2]", "data[1] is a number, an array is needed like the one before"),
        ("[[],2]", "data[1] is a number, an array is needed like the one before"),
        ("[[[1]],[2]]", "data[1][0] is a number, an array is needed like the one before"),
        ("[[1,[2]]]", "data[0][1] is an array, a number is needed"),
        ("[[1],[[2]]]", "data[1][0] is an array, a number is needed"),
        ("[1,[2]]", "data[1] is an array, a number is needed in a flat array of 3072"),
        ("[[1,null]]", "data[0][1] is null, a number is needed"),
        ("[[[1,NaN]]]", "data[0][0][1] is NaN, a number is needed"),
        ("[[[1],[1e999]]]", "data[0][1][0] is beyond a 64-bit float, 0 to 255 is accepted"),
    ] {
        assert_refused(&format!("{{\"data\":{body}}}"), DecodeFault::Unprocessable, text);
    }
}

#[test]
fn value_out_of_range_is_named_with_its_place_in_nested_arrays() {
    for (shape, place) in [(&[3, 32, 32][..], "[2][31][30]"), (&[1, 3, 32, 32], "[0][2][31][30]")] {
        let mut body = nested_body(shape);
        let last = format!("{}, {}", 3070 % 251, 3071 % 251);
        body.replace_range(body.rfind(&last).unwrap()..body.len(), "256, 7");
        body.push_str(&"]".repeat(shape.len()));
        body.push('}');
        let text = format!("data{place} is 256, range 0..255 accepts 0 to 255");
        assert_refused(&body, DecodeFault::Unprocessable, &text);
    }
}
