//! Every kind of sampling, coding and size against the pixels of libjpeg, bit for bit; tests/data/jpeg/make.py
//! made both.

use crate::error::DecodeError;
use crate::fixtures::read;
use crate::jpeg::Jpeg;
use crate::rows::{Header, Pixel};

/// The rows of a picture, one behind the other.
fn rows(body: &[u8], reduction: u32) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut rows = Vec::new();
    Jpeg::open(body)?.read(reduction, &mut |row| rows.push(row.to_vec()))?;
    Ok(rows)
}

#[test]
fn pixels_at_every_reduction_are_those_of_libjpeg() {
    let list = String::from_utf8(read("jpeg/pixels.txt")).unwrap();
    let mut reductions = [0; 9];
    for line in list.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let &[name, reduction, width, height, crc] = fields.as_slice() else { panic!("{line}") };
        let body = read(&format!("jpeg/{name}"));
        let reduction = reduction.parse().unwrap();
        let rows = rows(&body, reduction).unwrap_or_else(|error| panic!("{line}: {error}"));
        let bytes = Jpeg::open(&body).unwrap().header().pixel.bytes();
        assert_eq!(rows.len(), height.parse::<usize>().unwrap(), "{line}");
        assert_eq!(rows[0].len(), width.parse::<usize>().unwrap() * bytes, "{line}");
        assert_eq!(format!("{:08x}", crc32fast::hash(&rows.concat())), crc, "{line}");
        reductions[reduction as usize] += 1;
    }
    assert!([1, 2, 4, 8].map(|reduction| reductions[reduction]).iter().all(|&count| count > 15));
}

#[test]
fn header_states_size_and_colours_before_a_pixel_is_decoded() {
    let body = read("jpeg/grey.jpg");
    let Header { format, size, pixel, orientation, .. } = Jpeg::open(&body).unwrap().header();
    assert_eq!((format, size, pixel, orientation), ("jpeg", (61, 43), Pixel::Grey, 1));
    let body = read("orientation6.jpg");
    let Header { size, pixel, orientation, .. } = Jpeg::open(&body).unwrap().header();
    assert_eq!((size, pixel, orientation), ((38, 50), Pixel::Rgb, 6));
}

#[test]
fn working_memory_of_a_single_scan_grows_with_the_width_alone() {
    let header = |name: &str| Jpeg::open(&read(name)).unwrap().header().working_bytes;
    let sequential = header("jpeg/420.jpg");
    assert!((98_304..130_000).contains(&sequential), "{sequential}");
    // 8 × 6 blocks of brightness and 4 × 3 of each colour, of 128 bytes.
    assert_eq!(header("jpeg/progressive_420.jpg") - sequential, 72 * 128);
    assert_eq!(header("jpeg/scans.jpg") - sequential, 72 * 128);
}

#[test]
fn reduced_picture_of_a_damaged_file_is_refused_all_the_same() {
    for name in ["field/j07_half_scan_with_eoi.jpg", "field/j09_zeroed_middle.jpg"] {
        for reduction in [1, 2, 4, 8] {
            rows(&read(name), reduction).unwrap_err();
        }
    }
}

#[test]
fn no_row_is_made_up_behind_the_end_of_the_data() {
    let mut rows = 0;
    let body = read("field/j07_half_scan_with_eoi.jpg");
    let jpeg = Jpeg::open(&body).unwrap();
    let height = jpeg.header().size.1;
    jpeg.read(1, &mut |_| rows += 1).unwrap_err();
    assert!((1..height * 3 / 4).contains(&rows), "{rows} of {height} rows");
}
