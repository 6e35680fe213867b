//! The pictures of tests/data, which other encoders made, and what they should decode to.
//!
//! Only tests see this. It must not decode: tests/data/make.py computed the expected pixels.

use std::path::PathBuf;

use super::{CHANNELS, IMAGE_BYTES, Image};

/// The files of tests/data that end like this, in order; every one of them decodes.
pub(super) fn names(extension: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    assert!(names.len() > 10, "{extension} files: {names:?}");
    names
}

pub(super) fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The pixels that make.py computed: NAME.rgb, or NAME.grey with one byte a pixel.
pub(super) fn expected(name: &str) -> Image {
    let bytes = read(name);
    if bytes.len() == IMAGE_BYTES {
        return Image::from_rgb8(&bytes).unwrap();
    }
    let pixels: Vec<u8> = bytes.iter().flat_map(|&grey| [grey; CHANNELS]).collect();
    Image::from_rgb8(&pixels).unwrap()
}

/// The largest difference between two images' channels.
pub(super) fn difference(left: &Image, right: &Image) -> u8 {
    let pairs = left.pixels().iter().zip(right.pixels());
    pairs.map(|(left, right)| left.abs_diff(*right)).max().unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}
