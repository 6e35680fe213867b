//! The segments of a JPEG file, before any of it is decoded: size, colours, scans, end, Exif data.
//!
//! Owns the walk over the container (ITU-T T.81, annex B) and the order in which scans may come. No
//! Huffman code is read here: whether a scan holds all of its blocks is known once it is decoded.

use super::frame::Frame;
use super::progress::Progress;
use super::refusal::{cut, damaged, truncated, unsupported};
use super::scan::{Scan, read_header};
use super::space::Space;
use super::tables::{Steps, Tables};
use crate::directory::Directory;
use crate::error::DecodeError;
use crate::limits::SCANS_MAX;

/// What a file holds, ready to be decoded.
pub struct Plan<'a> {
    pub frame: Frame,
    pub space: Space,
    pub orientation: u8,
    /// Quantisation steps of each component.
    pub steps: Vec<Steps>,
    pub scans: Vec<Scan<'a>>,
}

impl Plan<'_> {
    /// Whether one scan holds everything, so that rows can be decoded as they come.
    pub fn is_single_scan(&self) -> bool {
        !self.frame.progressive && self.scans.len() == 1
    }
}

/// Walks a body that starts like a JPEG, up to its EOI; what follows EOI (a second picture, a film) is
/// ignored. Where EOI is missing behind the last scan, that scan's data goes up to the zeros at the end.
///
/// # Errors
/// Malformed when a segment is cut, a scan is too short for its blocks or one is missing, too large when
/// the frame header states a size beyond the limits, unprocessable when the coding is one that is not
/// read.
pub fn plan(body: &[u8]) -> Result<Plan<'_>, DecodeError> {
    let mut walk = Walk { rest: body.get(2..).unwrap_or_default(), ..Walk::default() };
    loop {
        match walk.next_marker()? {
            0xd9 => return walk.finish(),
            0xda => {
                walk.scan()?;
                if walk.rest.is_empty() {
                    return walk.finish();
                }
            }
            marker @ 0xc0..=0xc2 => walk.frame(marker)?,
            0xc4 => {
                let data = walk.segment()?;
                walk.tables.define_codes(data)?;
            }
            0xc3 | 0xc5..=0xcf => return Err(unsupported("lossless or arithmetic coding")),
            0xdb => {
                let data = walk.segment()?;
                walk.tables.define_steps(data)?;
            }
            0xdc => return Err(unsupported("a height stated after the first scan")),
            0xdd => walk.restart_interval()?,
            0xe0 => walk.jfif |= walk.segment()?.starts_with(b"JFIF\0"),
            0xe1 => {
                let data = walk.segment()?.strip_prefix(b"Exif\0\0");
                walk.exif = walk.exif.or(data);
            }
            0xee => walk.adobe()?,
            // Markers without a segment, which mean nothing here.
            0x01 | 0xd0..=0xd7 => {}
            _ => drop(walk.segment()?),
        }
    }
}

/// Where the walk is, and what it has found.
#[derive(Default)]
struct Walk<'a> {
    rest: &'a [u8],
    frame: Option<Frame>,
    space: Option<Space>,
    tables: Tables<'a>,
    restart_interval: u32,
    scans: Vec<Scan<'a>>,
    progress: Progress,
    /// Quantisation steps of each component, as they were at its first scan.
    steps: Vec<Option<Steps>>,
    jfif: bool,
    /// The colour transform of Adobe's APP14 segment: 0 none, 1 YCbCr, 2 YCCK.
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
}

impl<'a> Walk<'a> {
    /// Steps over stray bytes and fill bytes.
    fn next_marker(&mut self) -> Result<u8, DecodeError> {
        let start = self.rest.iter().position(|&byte| byte == 0xff).ok_or_else(cut)?;
        let fill = &self.rest[start..];
        let length = fill.iter().position(|&b| b != 0xff && b != 0).ok_or_else(cut)?;
        self.rest = &fill[length + 1..];
        Ok(fill[length])
    }

    fn segment(&mut self) -> Result<&'a [u8], DecodeError> {
        let (head, _) = self.rest.split_first_chunk::<2>().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(*head));
        if length < 2 {
            return Err(damaged("a segment states a length below 2"));
        }
        let (segment, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
        self.rest = rest;
        Ok(&segment[2..])
    }

    fn restart_interval(&mut self) -> Result<(), DecodeError> {
        let &[high, low] = self.segment()? else {
            return Err(damaged("its restart interval does not have 2 bytes"));
        };
        self.restart_interval = u32::from(u16::from_be_bytes([high, low]));
        Ok(())
    }

    fn adobe(&mut self) -> Result<(), DecodeError> {
        let Some(&[_, _, _, _, _, _, transform, ..]) = self.segment()?.strip_prefix(b"Adobe")
        else {
            return Ok(());
        };
        if transform > 2 {
            return Err(damaged("its Adobe segment states an unknown colour transform"));
        }
        self.adobe = Some(transform);
        Ok(())
    }

    fn frame(&mut self, marker: u8) -> Result<(), DecodeError> {
        let segment = self.segment()?;
        if self.frame.is_some() {
            return Err(damaged("it holds two frame headers"));
        }
        let frame = Frame::read(marker == 0xc2, segment)?;
        self.progress = Progress::new(frame.components.len());
        self.steps = vec![None; frame.components.len()];
        self.frame = Some(frame);
        Ok(())
    }

    fn scan(&mut self) -> Result<(), DecodeError> {
        let header = self.segment()?;
        let frame = self.frame.as_ref().ok_or_else(|| damaged("a scan precedes its frame"))?;
        // What Adobe states behind the first scan comes too late, as it does for libjpeg.
        if self.space.is_none() {
            self.space = Some(Space::of(frame, self.jfif, self.adobe)?);
        }
        if self.scans.len() == SCANS_MAX {
            return Err(DecodeError::Scans);
        }
        let tables =
            if frame.progressive { self.tables } else { self.tables.with_standard_codes() };
        let (parts, band) = read_header(header, frame, &tables)?;
        let places: Vec<usize> = parts.iter().map(|part| part.place).collect();
        for &place in &places {
            let table = usize::from(frame.components[place].table);
            let stated = self.tables.steps.get(table).copied().flatten();
            let steps = self.steps[place].or(stated);
            self.steps[place] =
                Some(steps.ok_or_else(|| damaged("a quantisation table is missing"))?);
        }
        let blocks = frame.scan_blocks(&places)?;
        let bits = band.least_bits(frame.progressive, blocks);
        self.progress.advance(frame.progressive, &places, band)?;
        let data = self.take_entropy()?;
        if (data.len() as u64) * 8 < bits {
            return Err(truncated("a scan is too short for its blocks"));
        }
        let restart_interval = self.restart_interval;
        self.scans.push(Scan { parts, band, restart_interval, data });
        Ok(())
    }

    /// Steps over entropy-coded data to the next marker that is no restart, and returns it. Without a
    /// marker it ends before the zeros that a file was padded with.
    fn take_entropy(&mut self) -> Result<&'a [u8], DecodeError> {
        let all = self.rest;
        let mut at = 0;
        while let Some(offset) = all[at..].iter().position(|&byte| byte == 0xff) {
            at += offset;
            match all.get(at + 1) {
                None => break,
                // A fill byte: the next one may start the marker.
                Some(0xff) => at += 1,
                Some(0 | 0xd0..=0xd7) => at += 2,
                Some(_) => {
                    let (data, rest) = all.split_at(at);
                    self.rest = rest;
                    return Ok(data);
                }
            }
        }
        self.rest = &[];
        let end = all.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        // The zero that is stuffed behind a byte of ones belongs to it.
        let stuffed = end > 0 && all[end - 1] == 0xff;
        Ok(&all[..(end + usize::from(stuffed)).min(all.len())])
    }

    fn finish(self) -> Result<Plan<'a>, DecodeError> {
        let frame = self.frame.ok_or_else(|| damaged("it holds no frame"))?;
        self.progress.check_complete()?;
        let missing = || truncated("a colour component has no scan");
        let steps: Option<Vec<Steps>> = self.steps.into_iter().collect();
        Ok(Plan {
            frame,
            space: self.space.ok_or_else(missing)?,
            orientation: self.exif.and_then(Directory::first).map_or(1, |exif| exif.orientation()),
            steps: steps.ok_or_else(missing)?,
            scans: self.scans,
        })
    }
}
