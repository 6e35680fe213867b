//! The body that nearly every client writes, `{"data":[numbers],"range":"0..1"}`, read in one pass.
//!
//! It takes nothing else: whatever is not exactly that, or might be refused, is none, and left to the
//! parser that words the refusal.

use super::number::Number;
use super::tally::{Rounding, interleaved, may_be_scaled};
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::Spec;

/// The longest end of a body behind its numbers, in bytes: the range, white space and a bracket.
const TAIL_BYTES_MAX: usize = 64;

/// Reads a body that is an object of `data`, flat or nested, and at most a `range`, on either side of it.
pub fn decode(body: &[u8], spec: &Spec, json_range: JsonRange) -> Option<Picture> {
    let mut scan = Scan(body);
    scan.token(b'{')?;
    let mut stated = None;
    let mut key = scan.string()?;
    if key == b"range" {
        stated = Some(scan.range()?);
        scan.token(b',')?;
        key = scan.string()?;
    }
    if key != b"data" {
        return None;
    }
    scan.token(b':')?;
    let tail = &body[body.len().saturating_sub(TAIL_BYTES_MAX)..];
    let tail = &tail[tail.iter().rposition(|&byte| byte == b']')? + 1..];
    match (Scan(tail).tail()?, stated) {
        (Some(_), Some(_)) => return None,
        (behind, before) => stated = before.or(behind),
    }
    let range = stated.unwrap_or(json_range);
    let mut numbers = Numbers { scan, rounding: Rounding::new(range), high: 0.0, plain: true };
    let pixels = numbers.data(spec)?;
    let Numbers { scan, high, plain, .. } = numbers;
    if scan.0.len() != tail.len() {
        return None;
    }
    // Small fractions are perhaps no pixel values.
    if range == JsonRange::ZeroTo255 && stated.is_none() && !plain && may_be_scaled(0.0, high) {
        return None;
    }
    Some(interleaved(pixels, spec))
}

/// What is not read yet.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    /// Skips white space and returns the byte behind it.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let (&byte, rest) = self.0.split_first()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.0 = rest;
        }
    }

    /// Reads one byte, which white space may precede.
    #[inline(always)]
    fn token(&mut self, wanted: u8) -> Option<()> {
        if self.peek()? != wanted {
            return None;
        }
        self.0 = &self.0[1..];
        Some(())
    }

    /// Reads a string that has no escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.token(b'"')?;
        let end =
            self.0.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.'))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// Reads the colon and the value of `range`.
    fn range(&mut self) -> Option<JsonRange> {
        self.token(b':')?;
        std::str::from_utf8(self.string()?).ok()?.parse().ok()
    }

    /// Reads what is behind the numbers, to the end of the body, and returns the range that it states.
    fn tail(mut self) -> Option<Option<JsonRange>> {
        let mut range = None;
        if self.peek()? == b',' {
            self.token(b',')?;
            if self.string()? != b"range" {
                return None;
            }
            range = Some(self.range()?);
        }
        self.token(b'}')?;
        self.peek().is_none().then_some(range)
    }
}

/// The numbers of `data`.
struct Numbers<'a> {
    scan: Scan<'a>,
    rounding: Rounding,
    /// The largest; none is much below 0.
    high: f64,
    /// Whether all were written as whole numbers.
    plain: bool,
}

impl Numbers<'_> {
    /// Reads as many numbers as `spec` needs, flat or nested, into pixels, CHW.
    fn data(&mut self, spec: &Spec) -> Option<Vec<u8>> {
        let ([height, width], channels) = (spec.size, spec.colour.channels());
        let mut pixels = vec![0; spec.values()];
        let mut ahead = Scan(self.scan.0);
        let mut depth = 0;
        while ahead.token(b'[').is_some() {
            depth += 1;
        }
        match depth {
            1 => self.row(&mut pixels)?,
            3 => self.rows(&[channels, height, width], &mut pixels)?,
            4 => self.rows(&[1, channels, height, width], &mut pixels)?,
            _ => return None,
        }
        Some(pixels)
    }

    /// Reads an array of arrays whose lengths are `shape`.
    fn rows(&mut self, shape: &[usize], pixels: &mut [u8]) -> Option<()> {
        let (&count, inner) = shape.split_first()?;
        if inner.is_empty() {
            return self.row(pixels);
        }
        self.scan.token(b'[')?;
        for (index, part) in pixels.chunks_exact_mut(pixels.len() / count).enumerate() {
            if index > 0 {
                self.scan.token(b',')?;
            }
            self.rows(inner, part)?;
        }
        self.scan.token(b']')
    }

    /// Reads an array of numbers, one for each pixel.
    fn row(&mut self, pixels: &mut [u8]) -> Option<()> {
        self.scan.token(b'[')?;
        for (index, pixel) in pixels.iter_mut().enumerate() {
            if index > 0 {
                self.scan.token(b',')?;
            }
            self.scan.peek()?;
            let Number { value, plain, rest } = Number::read(self.scan.0)?;
            if !self.rounding.accepts(value) {
                return None;
            }
            *pixel = self.rounding.pixel(value);
            if value > self.high {
                self.high = value;
            }
            self.plain &= plain;
            self.scan.0 = rest;
        }
        self.scan.token(b']')
    }
}
