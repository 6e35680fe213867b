//! The pictures of tests/data, which other encoders made, and what they should decode to.
//!
//! Only tests see this. It must not decode: tests/data/make.py computed the expected pixels.

use std::path::PathBuf;

use crate::limits::{CHANNELS, IMAGE_BYTES};
use crate::picture::Picture;

/// The files of tests/data that end like this, in order; every one of them decodes.
pub fn names(extension: &str) -> Vec<String> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    assert!(names.len() > 10, "{extension} files: {names:?}");
    names
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// The pixels that make.py computed: NAME.rgb, or NAME.grey with one byte a pixel.
pub fn expected(name: &str) -> Picture {
    let bytes = read(name);
    if bytes.len() == IMAGE_BYTES {
        return Picture::from_rgb8(&bytes).unwrap();
    }
    let pixels: Vec<u8> = bytes.iter().flat_map(|&grey| [grey; CHANNELS]).collect();
    Picture::from_rgb8(&pixels).unwrap()
}

/// The largest difference between two pictures' channels.
pub fn difference(left: &Picture, right: &Picture) -> u8 {
    let pairs = left.pixels().iter().zip(right.pixels());
    pairs.map(|(left, right)| left.abs_diff(*right)).max().unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data")
}
