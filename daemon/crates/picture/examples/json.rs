//! Times JSON bodies of 3,072 numbers beside raw bytes, in turn, and prints microseconds a body.

use std::hint::black_box;
use std::time::{Duration, Instant};

use picket_picture::{Colour, Element, JsonRange, Layout, MediaType, Picture, Spec};

/// How often all bodies are decoded, in turn.
const ROUNDS: usize = 2_000;
const SPEC: Spec = Spec::raw(Element::U8, Layout::Nchw, [32, 32], Colour::Rgb);

fn main() {
    let values = SPEC.values();
    // Every value, in no order that a branch predictor could learn.
    let pixels: Vec<u8> =
        (0..values as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let body = |range: &str, separator: &str, text: &dyn Fn(u8) -> String| {
        let numbers: Vec<String> = pixels.iter().map(|&pixel| text(pixel)).collect();
        format!("{{\"data\":[{}]{range}}}", numbers.join(separator)).into_bytes()
    };
    let scaled = ",\"range\":\"0..1\"";
    let whole = |pixel: u8| pixel.to_string();
    let short = |pixel: u8| format!("{:.4}", f64::from(pixel) / 255.0);
    let f32s = |pixel: u8| f64::from(f32::from(pixel) / 255.0).to_string();
    let f64s = |pixel: u8| (f64::from(pixel) / 255.0).to_string();
    let json = MediaType::Json;
    let bodies = [
        ("raw bytes", MediaType::Raw, pixels.clone()),
        ("whole numbers", json, body("", ",", &whole)),
        ("4 decimals", json, body(scaled, ",", &short)),
        ("4 decimals, spaces", json, body(scaled, ", ", &short)),
        ("f32 as f64", json, body(scaled, ", ", &f32s)),
        ("f64", json, body(scaled, ", ", &f64s)),
        // A key that the scanner leaves to the parser.
        ("4 decimals, by serde", json, body(",\"range\":\"0..1\",\"x\":0", ",", &short)),
        ("f64, by serde", json, body(",\"range\":\"0..1\",\"x\":0", ", ", &f64s)),
    ];
    let mut times = vec![Vec::with_capacity(ROUNDS); bodies.len()];
    for _ in 0..ROUNDS {
        for ((_, media, body), times) in bodies.iter().zip(&mut times) {
            let start = Instant::now();
            let picture = Picture::decode(black_box(body), *media, &SPEC, JsonRange::ZeroTo255);
            times.push(start.elapsed());
            assert!(picture.is_ok());
        }
    }
    for ((name, _, body), times) in bodies.iter().zip(&mut times) {
        times.sort_unstable();
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let (median, best) = (us(times[ROUNDS / 2]), us(times[0]));
        println!("{name:22} {:6} bytes  median {median:6.1} us  best {best:6.1} us", body.len());
    }
}
