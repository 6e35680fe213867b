//! The pictures of tests/data, which other encoders made, and what they should decode to.
//!
//! Only tests see this. It must not decode: tests/data/make.py computed the expected pixels.

use std::path::PathBuf;

use crate::picture::Picture;
use crate::spec::{Colour, Element, Layout, Spec};

/// The side, the channels and the bytes of what make.py computed.
pub const SIDE: usize = 32;
pub const CHANNELS: usize = 3;
pub const IMAGE_BYTES: usize = SIDE * SIDE * CHANNELS;
/// The input of a model that takes such pictures.
pub const SMALL: Spec = Spec::raw(Element::U8, Layout::Nchw, [SIDE, SIDE], Colour::Rgb);

/// The files of tests/data that end like this, in order; every one of them decodes.
pub fn names(extension: &str) -> Vec<String> {
    names_in("", extension)
}

/// The files of a folder of tests/data that end like this, in order.
pub fn names_in(part: &str, extension: &str) -> Vec<String> {
    let names =
        std::fs::read_dir(folder().join(part)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    assert!(names.len() > 5, "{extension} files: {names:?}");
    names
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The pixels that make.py computed: NAME.rgb, or NAME.grey with one byte a pixel.
pub fn expected(name: &str) -> Picture {
    let bytes = read(name);
    if bytes.len() == IMAGE_BYTES {
        return Picture::from_raw(&bytes, &SMALL).unwrap();
    }
    let pixels: Vec<u8> = bytes.iter().flat_map(|&grey| [grey; CHANNELS]).collect();
    Picture::from_raw(&pixels, &SMALL).unwrap()
}

/// The largest difference between two pictures' channels.
pub fn difference(left: &Picture, right: &Picture) -> u8 {
    let pairs = left.pixels().iter().zip(right.pixels());
    pairs.map(|(left, right)| left.abs_diff(*right)).max().unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}
