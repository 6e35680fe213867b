//! Large pictures of one colour, in few bytes where the format allows it.

use picket_picture::{RawForm, RawFormat};

/// Of which scans a JPEG consists.
#[derive(Clone, Copy, PartialEq)]
pub enum Scans {
    One,
    /// Sequential, one for each component.
    Three,
    /// One of all levels, then one for each component.
    Progressive,
}

/// A JPEG of three components, the colours at half the size each way.
pub fn jpeg(width: u16, height: u16, scans: Scans) -> Vec<u8> {
    let mut file = b"\xff\xd8".to_vec();
    let mut segment = |marker: u8, data: &[u8]| {
        file.extend([0xff, marker]);
        file.extend((data.len() as u16 + 2).to_be_bytes());
        file.extend(data);
    };
    segment(0xdb, &[&[0][..], &[1; 64]].concat());
    let [h, w] = [height.to_be_bytes(), width.to_be_bytes()];
    let frame = [8, h[0], h[1], w[0], w[1], 3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0];
    segment(if scans == Scans::Progressive { 0xc2 } else { 0xc0 }, &frame);
    // Two codes, `0` and `10`: a block is `10` for no change of level and `10` for its end.
    let counts = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    segment(0xc4, &[&[0x00][..], &counts, &[1, 0]].concat());
    segment(0xc4, &[&[0x10][..], &counts, &[1, 0]].concat());
    let blocks = |side: u32| {
        u64::from(u32::from(width).div_ceil(side)) * u64::from(u32::from(height).div_ceil(side))
    };
    let all = [1, 0, 2, 0, 3, 0];
    let units = blocks(16);
    let mut scan = |parts: &[u8], band: [u8; 2], bits: u64| {
        let mut header = vec![parts.len() as u8 / 2];
        header.extend(parts);
        header.extend([band[0], band[1], 0]);
        file.extend([0xff, 0xda]);
        file.extend((header.len() as u16 + 2).to_be_bytes());
        file.extend(header);
        file.resize(file.len() + (bits / 8) as usize, 0xaa);
        if !bits.is_multiple_of(8) {
            file.push(0xaa | 0xff_u8 >> (bits % 8));
        }
    };
    let parts = [(1, blocks(8)), (2, units), (3, units)];
    match scans {
        Scans::One => scan(&all, [0, 63], units * 6 * 4),
        Scans::Three => parts.iter().for_each(|&(id, blocks)| scan(&[id, 0], [0, 63], blocks * 4)),
        Scans::Progressive => {
            scan(&all, [0, 0], units * 6 * 2);
            parts.iter().for_each(|&(id, blocks)| scan(&[id, 0], [1, 63], blocks * 2));
        }
    }
    file.extend(b"\xff\xd9");
    file
}

/// A black PNG.
pub fn png(
    width: u32,
    height: u32,
    colour: png::ColorType,
    depth: png::BitDepth,
    interlaced: bool,
) -> Vec<u8> {
    let samples = width as usize * colour.samples();
    let row = |samples: usize| 1 + (samples * depth as usize).div_ceil(8);
    // The seven passes take no more than a filter byte for each row of each, and what fills its bits up.
    let bytes = row(samples) * height as usize;
    let bytes = if interlaced { bytes + passes(width, height, colour, depth) } else { bytes };
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), bytes as u64), &mut zlib).unwrap();
    let data = zlib.finish().unwrap();
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let form = [depth as u8, colour as u8, 0, 0, u8::from(interlaced)];
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", [&size[..], &form].concat()), (b"IDAT", data), (b"IEND", vec![])]
    {
        file.extend(chunk(kind, &data));
    }
    file
}

/// The bytes that an interlaced picture's data has more than one that is not.
fn passes(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth) -> usize {
    let bits = colour.samples() * depth as usize;
    let row = |width: u32| 1 + (width as usize * bits).div_ceil(8);
    let all: usize = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]
    .into_iter()
    .map(|(x, y, dx, dy)| row((width - x).div_ceil(dx)) * (height - y).div_ceil(dy) as usize)
    .sum();
    all - row(width) * height as usize
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let covered = [kind, data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &covered, &crc32fast::hash(&covered).to_be_bytes()].concat()
}

/// A PNG with these chunks of zeros behind its header.
pub fn with_chunks(png: &[u8], chunks: &[(&[u8; 4], usize)]) -> Vec<u8> {
    let (head, rest) = png.split_at(8 + 25);
    let chunks = chunks.iter().map(|(kind, length)| chunk(kind, &vec![0; *length]));
    [head, &chunks.collect::<Vec<_>>().concat(), rest].concat()
}

/// How a TIFF is cut.
pub enum Pieces {
    /// Strips of so many rows.
    Strips(u32),
    /// The same, each channel by itself.
    Planes(u32),
    /// Tiles of so many columns and rows.
    Tiles(u32, u32),
}

/// A deflated TIFF of one colour.
pub fn tiff(width: u32, height: u32, channels: u32, bits: u32, pieces: Pieces) -> Vec<u8> {
    let planes = if matches!(pieces, Pieces::Planes(_)) { channels } else { 1 };
    let (across, down, pixels, tags) = match pieces {
        Pieces::Strips(rows) | Pieces::Planes(rows) => {
            (1, height.div_ceil(rows), width * rows, [(273, 0), (278, rows), (279, 0)].to_vec())
        }
        Pieces::Tiles(x, y) => (
            width.div_ceil(x),
            height.div_ceil(y),
            x * y,
            [(322, x), (323, y), (324, 0), (325, 0)].to_vec(),
        ),
    };
    let bytes = (pixels * channels / planes * bits / 8) as usize;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zlib, &vec![200; bytes]).unwrap();
    let piece = zlib.finish().unwrap();
    let count = across * down * planes;
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let at = file.len() as u32;
    file.extend(&piece);
    let list = |file: &mut Vec<u8>, value: u32| {
        let start = file.len() as u32;
        (0..count).for_each(|_| file.extend(value.to_le_bytes()));
        if count == 1 { value } else { start }
    };
    let (offsets, lengths) = (list(&mut file, at), list(&mut file, piece.len() as u32));
    let mut all = vec![(256, width), (257, height), (258, bits), (259, 8), (277, channels)];
    all.extend([(262, if channels == 3 { 2 } else { 1 }), (284, if planes > 1 { 2 } else { 1 })]);
    all.extend(tags);
    all.sort_unstable();
    let start = file.len() as u32;
    file[4..8].copy_from_slice(&start.to_le_bytes());
    file.extend((all.len() as u16).to_le_bytes());
    for (tag, value) in all {
        let (count, value) = match tag {
            273 | 324 => (count, offsets),
            279 | 325 => (count, lengths),
            _ => (1, value),
        };
        file.extend((tag as u16).to_le_bytes());
        file.extend(4_u16.to_le_bytes());
        file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend([0; 4]);
    file
}

/// Pixels without a file, in a stated form.
pub fn raw(form: RawForm) -> Vec<u8> {
    let bytes = match form.format {
        RawFormat::Mono8 => 1,
        RawFormat::Wide(_) => 2,
        RawFormat::Rgb8 | RawFormat::Bgr8 => 3,
    };
    vec![0xee; form.width as usize * form.height as usize * bytes]
}

/// A binary anymap of three channels.
pub fn anymap(magic: &[u8], width: usize, height: usize, maxval: u32) -> Vec<u8> {
    let mut file = [magic, format!(" {width} {height} {maxval}\n").as_bytes()].concat();
    let bytes = if maxval > 255 { 2 } else { 1 };
    file.resize(file.len() + width * height * 3 * bytes, 9);
    file
}

/// A bitmap of 24 or 32 bits a pixel.
pub fn bitmap(width: u32, height: u32, bits: u16) -> Vec<u8> {
    let row = (width as usize * usize::from(bits)).div_ceil(32) * 4;
    let mut file = b"BM".to_vec();
    file.extend([0_u32, 0, 54, 40, width, height].map(u32::to_le_bytes).concat());
    file.extend([1_u16, bits].map(u16::to_le_bytes).concat());
    file.extend([0; 24]);
    file.resize(54 + row * height as usize, 100);
    file
}
