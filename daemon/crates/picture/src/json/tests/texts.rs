//! Flat bodies as clients write them, right and wrong.

use super::bodies::{assert_malformed, assert_refused, body, data, parse, scaled};
use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{CHANNELS, IMAGE_BYTES, SIDE, SMALL};
use crate::json::decode;
use crate::range::JsonRange;

#[test]
fn planes_become_pixels() {
    // Each value tells its own place: the plane, and its position modulo a prime.
    let value = |index: usize| (index / 1024 * 80 + index % 1024 % 79) as u8;
    let values: Vec<String> = (0..IMAGE_BYTES).map(|index| value(index).to_string()).collect();
    let image = parse(&format!("{{\"data\":[{}]}}", values.join(", "))).unwrap();
    for y in 0..SIDE {
        for x in 0..SIDE {
            for channel in 0..CHANNELS {
                let pixel = image.pixels()[(y * SIDE + x) * CHANNELS + channel];
                assert_eq!(pixel, value(channel * 1024 + y * 32 + x), "{x} {y} {channel}");
            }
        }
    }
}

#[test]
fn fractions_of_255_are_rounded_half_to_even() {
    let halves = [
        (0, "0.5", 0),
        (1, "1.5", 2),
        (2, "2.5", 2),
        (3, "2.5000001", 3),
        (4, "253.5", 254),
        (5, "254.5", 254),
        (6, "254.50001", 255),
        (7, "255", 255),
        (8, "255.0", 255),
        (9, "2.55e2", 255),
        (10, "-0", 0),
        (11, "-0.0", 0),
        (12, "1e-400", 0),
    ];
    let image = parse(&body("9", &halves.map(|(index, text, _)| (index, text)))).unwrap();
    for (index, text, pixel) in halves {
        assert_eq!(image.pixels()[index * CHANNELS], pixel, "{text}");
    }
    assert_eq!(image.pixels()[13 * CHANNELS], 9);
}

#[test]
fn fractions_of_1_are_scaled_and_rounded_half_to_even() {
    // 25.5, 76.5, 127.5, 178.5, 229.5.
    let halves =
        [(0, "0.1", 26), (1, "0.3", 76), (2, "0.5", 128), (3, "0.7", 178), (4, "0.9", 230)];
    let ends = [(5, "0", 0), (6, "1", 255), (7, "1.0", 255), (8, "0.001", 0), (9, "0.002", 1)];
    let all = [halves, ends].concat();
    let replaced: Vec<_> = all.iter().map(|&(index, text, _)| (index, text)).collect();
    let image = parse(&scaled("0.25", &replaced)).unwrap();
    for (index, text, pixel) in all {
        assert_eq!(image.pixels()[index * CHANNELS], pixel, "{text}");
    }
    assert_eq!(image.pixels()[10 * CHANNELS], 64);
}

#[test]
fn every_pixel_value_survives_a_division_by_255() {
    let texts: Vec<String> =
        (0..IMAGE_BYTES).map(|i| ((i % 256) as f64 / 255.0).to_string()).collect();
    let body = format!("{{\"data\":[{}]}}", texts.join(","));
    let image = decode(body.as_bytes(), &SMALL, JsonRange::ZeroTo1).unwrap();
    for at in 0..SIDE * SIDE {
        assert_eq!(usize::from(image.pixels()[at * CHANNELS]), at % 256);
    }
}

#[test]
fn range_of_the_body_beats_the_default() {
    let ones = |range: &str| format!("{{\"data\":[{}]{range}}}", data("1", &[]));
    for (range, default, pixel) in [
        ("", JsonRange::ZeroTo255, 1),
        ("", JsonRange::ZeroTo1, 255),
        (",\"range\":\"0..1\"", JsonRange::ZeroTo255, 255),
        (",\"range\":\"0..255\"", JsonRange::ZeroTo1, 1),
    ] {
        let image = decode(ones(range).as_bytes(), &SMALL, default).unwrap();
        assert_eq!(image.pixels(), &[pixel; IMAGE_BYTES], "{range} {default}");
    }
    assert_eq!(parse(&scaled("1", &[])).unwrap().pixels(), &[255; IMAGE_BYTES]);
}

#[test]
fn unknown_range_lists_the_known_ones() {
    let text = "range is not known, accepted are \"0..255\" and \"0..1\"";
    for range in ["\"-1..1\"", "\"\"", "1", "null", "[\"0..1\"]", "{\"0..1\":null}", "{}", "1e999"]
    {
        for body in [
            format!("{{\"range\":{range},\"data\":[{}]}}", data("1", &[])),
            format!("{{\"data\":[{}],\"range\":{range}}}", data("1", &[])),
        ] {
            assert_refused(&body, DecodeFault::Unprocessable, text);
        }
    }
}

#[test]
fn range_has_two_names() {
    for range in [JsonRange::ZeroTo255, JsonRange::ZeroTo1] {
        assert_eq!(range.to_string().parse::<JsonRange>().unwrap(), range);
        assert_eq!(serde_json::to_string(&range).unwrap(), format!("\"{range}\""));
    }
    assert_eq!("0..2".parse::<JsonRange>().unwrap_err().fault(), DecodeFault::Unprocessable);
}

#[test]
fn another_count_is_stated_beside_the_right_one() {
    for count in [0, 1, 3071, 3073, 49_152, 65_536] {
        let body = format!("{{\"data\":[{}]}}", vec!["7"; count].join(","));
        let text = format!("data holds {count} numbers, exactly 3072 (3x32x32) are needed");
        assert_refused(&body, DecodeFault::Unprocessable, &text);
    }
}

#[test]
fn very_long_array_is_not_counted_to_its_end() {
    let text = "data holds more than 65536 numbers, exactly 3072 (3x32x32) are needed";
    for count in [65_537, 1_000_000] {
        let body = format!("{{\"data\":[{}]}}", vec!["7"; count].join(","));
        assert_refused(&body, DecodeFault::Unprocessable, text);
        // What follows the limit is not read: it may be anything.
        let body = format!("{{\"data\":[{},nonsense", vec!["7"; count].join(","));
        assert_refused(&body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn element_that_is_no_number_is_named_with_its_index() {
    for (element, name) in [
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("nan", "nan"),
        ("-nan", "-nan"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("null", "null"),
        ("true", "a boolean"),
        ("false", "a boolean"),
        ("\"7\"", "a string"),
        ("\"NaN\"", "a string"),
        ("\"\\u0037\"", "a string"),
        ("[7]", "an array"),
        ("[]", "an array"),
        ("{}", "an object"),
        ("{\"a\":7}", "an object"),
    ] {
        for index in [0, 1, 1500, 3071] {
            // An array in the first place begins nested arrays.
            if index == 0 && name == "an array" {
                continue;
            }
            let text =
                format!("data[{index}] is {name}, a number is needed in a flat array of 3072");
            for separator in [",", ", ", ",\n", ",\r\n\t"] {
                let mut values = vec!["7"; IMAGE_BYTES];
                values[index] = element;
                let values = values.join(separator);
                assert_refused(
                    &format!("{{\"data\":[{values}]}}"),
                    DecodeFault::Unprocessable,
                    &text,
                );
            }
        }
    }
}

#[test]
fn value_a_rounding_step_outside_its_range_is_taken_for_the_end() {
    for (value, pixel) in [("1.0000001192092896", 255), ("1.000001", 255), ("-1e-7", 0)] {
        assert_eq!(parse(&scaled("0.5", &[(4, value)])).unwrap().pixels()[12], pixel, "{value}");
    }
    for (value, pixel) in [("255.00002", 255), ("-0.0001", 0)] {
        assert_eq!(parse(&body("9.5", &[(4, value)])).unwrap().pixels()[12], pixel, "{value}");
    }
    for value in ["1.00001", "-0.00001"] {
        let text = format!("data[4] is {value}, range 0..1 accepts 0 to 1");
        assert_refused(&scaled("0.5", &[(4, value)]), DecodeFault::Unprocessable, &text);
    }
    // A rounding step above 1 does not make pixel values of fractions.
    let text = "data holds fractions from 0.5 to 1.0000001, not pixel values 0 to 255: state \
                \"range\":\"0..1\"";
    assert_refused(&body("0.5", &[(4, "1.0000001")]), DecodeFault::Unprocessable, text);
}

#[test]
fn range_that_the_body_states_is_believed() {
    for body in [
        format!("{{\"data\":[{}],\"range\":\"0..255\"}}", data("0.6", &[(0, "1.25")])),
        format!("{{\"range\":\"0..255\",\"data\":[{}]}}", data("0.6", &[(0, "1.25")])),
        format!("{{\"range\":\"0..255\",\"data\":[{}],\"x\":0}}", data("0.6", &[])),
    ] {
        assert_eq!(parse(&body).unwrap().pixels(), &[1; IMAGE_BYTES]);
    }
}

#[test]
fn byte_order_mark_is_skipped() {
    let with_mark = |body: &str| [b"\xef\xbb\xbf", body.as_bytes()].concat();
    let decode = |body: &[u8]| decode(body, &SMALL, JsonRange::ZeroTo255);
    for body in [body("7", &[]), format!("{{\"x\":0,\"data\":[{}]}}", data("7", &[]))] {
        assert_eq!(decode(&with_mark(&body)).unwrap().pixels(), &[7; IMAGE_BYTES]);
    }
    let twice = decode(&with_mark(&format!("\u{feff}{}", body("7", &[])))).unwrap_err();
    assert!(matches!(twice, DecodeError::JsonSyntax { .. }), "{twice}");
    let error = decode(b"\xef\xbb\xbf{\"\xff\"}").unwrap_err();
    assert_eq!(error.to_string(), "body is not UTF-8, first bad byte at offset 5");
}

#[test]
fn body_for_another_service_is_told_the_accepted_forms() {
    let send = "{\"data\":[...]} with 3072 numbers (3x32x32)";
    let v1 = "json body has KServe v1's \"instances\" and no \"data\": send";
    let v2 = "json body has KServe v2's \"inputs\" and no \"data\": POST it to \
              /v2/models/{model}/infer, or send here";
    let text = "json body has a picture as text and no \"data\": send the file itself as image/png \
                or image/jpeg, or send";
    for (body, start) in [
        ("{\"instances\":[[1]]}", v1),
        ("{\"signature_name\":\"x\",\"instances\":[{\"b64\":\"AA==\"}]}", v1),
        ("{\"inputs\":[{\"name\":\"input\",\"data\":[1]}]}", v2),
        ("{\"image\":{\"b64\":\"AA==\"}}", text),
        ("{\"b64\":\"AA==\"}", text),
    ] {
        assert_refused(body, DecodeFault::Unprocessable, &format!("{start} {send}"));
    }
    // Beside "data" such a key is one of the ignored.
    let body = format!("{{\"image\":1,\"inputs\":2,\"data\":[{}]}}", data("7", &[]));
    assert_eq!(parse(&body).unwrap().pixels(), &[7; IMAGE_BYTES]);
}

#[test]
fn name_that_is_no_number_is_found_outside_the_3072_too() {
    for (body, text) in [
        (
            format!("{{\"data\":[{},NaN]}}", data("7", &[])),
            "json holds NaN at line 1 column 6154, only finite numbers are accepted",
        ),
        (
            format!("{{\n\"x\": -Infinity,\"data\":[{}]}}", data("7", &[])),
            "json holds -Infinity at line 2 column 7, only finite numbers are accepted",
        ),
        ("NaN".to_owned(), "json holds NaN at line 1 column 1, only finite numbers are accepted"),
    ] {
        assert_refused(&body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn number_beyond_a_float_is_named_with_its_index() {
    for number in ["1e999", "-1e999", "1E+309", &"9".repeat(400)] {
        for index in [0, 2000, 3071] {
            let text = format!("data[{index}] is beyond a 64-bit float, 0 to 255 is accepted");
            assert_refused(&body("7", &[(index, number)]), DecodeFault::Unprocessable, &text);
        }
    }
}

#[test]
fn value_out_of_range_is_named_with_its_index() {
    for (value, shown) in [
        ("256", "256"),
        ("255.1", "255.1"),
        ("-1", "-1"),
        ("-0.5", "-0.5"),
        ("1e300", &format!("1{}", "0".repeat(300))),
        ("18446744073709551615", "18446744073709552000"),
        ("-9223372036854775808", "-9223372036854776000"),
        ("99999999999999999999", "100000000000000000000"),
    ] {
        for index in [0, 1024, 3071] {
            let text = format!("data[{index}] is {shown}, range 0..255 accepts 0 to 255");
            assert_refused(&body("7", &[(index, value)]), DecodeFault::Unprocessable, &text);
        }
    }
    for (value, shown) in [("1.001", "1.001"), ("-0.1", "-0.1"), ("2", "2"), ("255", "255")] {
        let text = format!("data[5] is {shown}, range 0..1 accepts 0 to 1");
        assert_refused(&scaled("0.5", &[(5, value)]), DecodeFault::Unprocessable, &text);
    }
}

#[test]
fn first_value_out_of_range_is_the_one_named() {
    let replaced = [(2000, "300"), (40, "400"), (3000, "-5")];
    let text = "data[40] is 400, range 0..255 accepts 0 to 255";
    assert_refused(&body("7", &replaced), DecodeFault::Unprocessable, text);
}

#[test]
fn fractions_that_are_no_pixel_values_are_refused_with_the_range_to_state() {
    for (replaced, text) in [
        (
            &[(0, "0.125"), (9, "0.75")][..],
            "data holds fractions from 0.125 to 0.75, not pixel values 0 to 255: state \
             \"range\":\"0..1\"",
        ),
        (
            &[(0, "0"), (9, "1")],
            "data holds fractions from 0 to 1, not pixel values 0 to 255: state \
             \"range\":\"0..1\"",
        ),
        (
            &[(0, "-2.5"), (9, "2.75")],
            "data holds fractions from -2.5 to 2.75, which looks normalised: send raw pixels 0 to \
             255, or 0 to 1 with \"range\":\"0..1\"",
        ),
        (
            &[(0, "-3"), (9, "3")],
            "data holds fractions from -3 to 3, which looks normalised: send raw pixels 0 to 255, \
             or 0 to 1 with \"range\":\"0..1\"",
        ),
        (
            &[(3071, "1.25")],
            "data holds fractions from 0.5 to 1.25, which looks normalised: send raw pixels 0 to \
             255, or 0 to 1 with \"range\":\"0..1\"",
        ),
    ] {
        assert_refused(&body("0.5", replaced), DecodeFault::Unprocessable, text);
    }
}

#[test]
fn fractions_beyond_3_are_pixel_values() {
    let image = parse(&body("0.5", &[(0, "3.25")])).unwrap();
    assert_eq!(image.pixels()[0], 3);
    let text = "data[0] is -3.25, range 0..255 accepts 0 to 255";
    assert_refused(&body("0.5", &[(0, "-3.25")]), DecodeFault::Unprocessable, text);
}

#[test]
fn whole_numbers_of_a_dark_picture_are_pixel_values() {
    for (fill, other, pixels) in [("0", "1", [1, 0]), ("0.0", "1.0", [1, 0]), ("3", "0", [0, 3])] {
        let image = parse(&body(fill, &[(0, other)])).unwrap();
        assert_eq!([image.pixels()[0], image.pixels()[3]], pixels, "{fill} {other}");
    }
    let text = "data[0] is -1, range 0..255 accepts 0 to 255";
    assert_refused(&body("1", &[(0, "-1")]), DecodeFault::Unprocessable, text);
}

#[test]
fn key_that_is_stated_twice_is_refused() {
    let numbers = data("7", &[]);
    for (body, key) in [
        (format!("{{\"data\":[{numbers}],\"data\":[{numbers}]}}"), "data"),
        (format!("{{\"data\":[{numbers}],\"x\":0,\"d\\u0061ta\":[]}}"), "data"),
        (format!("{{\"data\":[{numbers}],\"data\":null}}"), "data"),
        (format!("{{\"range\":\"0..1\",\"data\":[{numbers}],\"range\":\"0..1\"}}"), "range"),
    ] {
        let text = format!("json body states \"{key}\" twice, exactly once is accepted");
        assert_refused(&body, DecodeFault::Unprocessable, &text);
    }
}

#[test]
fn unknown_keys_are_ignored_whatever_they_hold() {
    let numbers = data("7", &[]);
    for other in
        ["1e999", "null", "[1,[2,{\"data\":[]}]]", "{\"range\":5}", "\"data\"", "-0.5", "true"]
    {
        let body = format!("{{\"x\":{other},\"data\":[{numbers}],\"Data\":{other},\"x\":1}}");
        assert_eq!(parse(&body).unwrap().pixels(), &[7; IMAGE_BYTES], "{other}");
    }
}

#[test]
fn white_space_and_key_escapes_change_nothing() {
    let body = format!(" \r\n\t{{ \"d\\u0061ta\" :\n[ {} ] }}\n ", data(" 7 ", &[]));
    assert_eq!(parse(&body).unwrap().pixels(), &[7; IMAGE_BYTES]);
}

#[test]
fn body_without_data_says_what_is_needed() {
    let text = "json body has no \"data\", an array of 3072 numbers is needed";
    for body in ["{}", "{\"range\":\"0..1\"}", "{\"Data\":[1],\"dat\":1}", "{\"\":{}}"] {
        assert_refused(body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn data_that_is_no_array_is_refused() {
    let text = "data is not an array, an array of 3072 numbers is needed";
    for value in ["1", "-1", "0.5", "1e999", "null", "true", "\"AAAA\"", "{}", "{\"0\":1}"] {
        assert_refused(&format!("{{\"data\":{value}}}"), DecodeFault::Unprocessable, text);
    }
}

#[test]
fn body_that_is_no_object_is_refused() {
    let text = "json body is not an object, an object with the key \"data\" is needed";
    let array = format!("[{}]", data("7", &[]));
    for body in [&array, "[]", "1", "-1.5", "1e999", "null", "true", "\"{}\""] {
        assert_refused(body, DecodeFault::Unprocessable, text);
    }
}

#[test]
fn every_truncation_is_malformed() {
    let small = "{\"x\": [null, \"\\u00e9é\"], \"range\": \"0..1\", \"data\": [1, -2.5e3, 0.1]}";
    assert_eq!(parse(small).unwrap_err().fault(), DecodeFault::Unprocessable);
    for length in 0..small.len() {
        // A cut inside é is no UTF-8, elsewhere it is no JSON; both are malformed.
        let error = decode(&small.as_bytes()[..length], &SMALL, JsonRange::ZeroTo255).unwrap_err();
        assert_eq!(error.fault(), DecodeFault::Malformed, "cut to {length}: {error}");
    }
    let full = body("7", &[]);
    for length in full.len() - 5..full.len() {
        assert_malformed(&full[..length]);
    }
}

#[test]
fn broken_syntax_is_malformed() {
    for broken in [
        "{\"data\":[1 2]}",
        "{\"data\":[1,]}",
        "{\"data\":[,1]}",
        "{\"data\":[01]}",
        "{\"data\":[+1]}",
        "{\"data\":[.5]}",
        "{\"data\":[5.]}",
        "{\"data\":[0x10]}",
        "{\"data\":[1}",
        "{\"data\" [1]}",
        "{data:[1]}",
        "{'data':[1]}",
        "{\"range\":\"0..1}",
        "{\"x\":nonsense}",
        "nonsense",
        "   ",
    ] {
        assert_malformed(broken);
    }
}

#[test]
fn anything_after_the_object_is_malformed() {
    for garbage in ["x", "{}", ",", "]", "\0"] {
        assert_malformed(&format!("{}{garbage}", body("7", &[])));
    }
}

#[test]
fn body_that_is_no_utf_8_is_refused_at_its_offset() {
    for (body, offset) in
        [(&b"{\"x\":\"\xff\"}"[..], 6), (b"\xfe\xff\0{", 0), (b"{}\xc3", 2), (b"\xed\xa0\x80", 0)]
    {
        let error = decode(body, &SMALL, JsonRange::ZeroTo255).unwrap_err();
        let text = format!("body is not UTF-8, first bad byte at offset {offset}");
        assert_eq!(error.to_string(), text);
        assert_eq!(error.fault(), DecodeFault::Malformed);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    const DEPTH: usize = 1_000_000;
    let (arrays, objects) = ("[".repeat(DEPTH), "{\"a\":".repeat(DEPTH));
    let text = "data is nested more than 4 deep, a flat array of 3072 numbers or one nested as \
                3x32x32 or 1x3x32x32 is needed";
    assert_refused(&format!("{{\"data\":[{arrays}"), DecodeFault::Unprocessable, text);
    let text = "json body is not an object, an object with the key \"data\" is needed";
    assert_refused(&arrays, DecodeFault::Unprocessable, text);
    for open in [format!("{{\"x\":{arrays}"), format!("{{\"x\":{objects}"), objects] {
        assert_malformed(&open);
    }
    let closed = format!("{{\"x\":{arrays}{},\"data\":[{}]}}", "]".repeat(DEPTH), data("7", &[]));
    assert_eq!(parse(&closed).unwrap().pixels(), &[7; IMAGE_BYTES]);
    let behind = format!("{{\"data\":[{},{arrays}", data("7", &[]));
    assert_malformed(&behind);
}
