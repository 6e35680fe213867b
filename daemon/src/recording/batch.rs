//! The batch that another device posts: from its JSON come entries for the log, all of them, or a reason
//! that names the record at fault. Records are read one by one, and the memory for each is taken before it
//! is: what the parser needs for one, and what is kept of all before it.

use std::fmt;
use std::sync::Arc;

use picket_base::budget::{Exhausted, Taken};

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::weight::{frame_bytes, parsing_bytes};
use super::wire::{
    BBOX_NUMBERS_MAX, BatchWire, DETECTIONS_MAX, DetectionWire, RecordWire, SCORES_MAX,
};
use picket_base::clock::Stamp;
use picket_records::{BatchName, Body, Detection, Entry, Labels, NAME_BYTES_MAX, Origin, Reported};

/// Memory is taken in steps of at least so much, bytes: less often than once a record.
const STEP_BYTES: usize = 64 << 10;

/// Room for so many more records is made at once, and then for half as many as there are.
const MORE_RECORDS_MIN: usize = 16;

/// Longest name that a sender may give a batch, bytes.
const BATCH_ID_BYTES_MAX: usize = 128;

const IMAGE_ID_BYTES_MAX: usize = 256;
const NOTES_BYTES_MAX: usize = 4_096;

/// One hour, in milliseconds: a longer inference is a mix-up of units.
const INFERENCE_MS_MAX: f64 = 3_600_000.0;

/// The year 5138, in seconds: a larger number is a mix-up with milliseconds.
const TIMESTAMP_MAX: f64 = 1e11;

/// How far a share may lie outside of 0..=1: what is computed in f32 is off by some 1e-7.
const ROUNDING: f64 = 1e-6;

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum BatchError {
    /// The body is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// The body is JSON, but not a batch.
    #[error("{0}")]
    Content(String),
    #[error("batch holds {records} records, at most {limit} are taken at once")]
    TooMany { records: usize, limit: usize },
    /// There is never so much memory.
    #[error(
        "predictions[{record}]: the batch up to here needs {bytes} bytes of memory, at most {most} are there"
    )]
    TooLarge { record: usize, bytes: usize, most: usize },
    /// There is not so much memory now.
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

/// What a batch is held against.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    pub records_max: usize,
    /// The most memory that its records may take, bytes: that of the log's queue.
    pub bytes_max: usize,
    pub boot_id: &'a str,
    pub at: Stamp,
}

/// The memory that a batch is parsed in. It grows, and is given back when dropped.
pub struct Room {
    pub taken: Taken,
    /// The most that there ever is, bytes.
    pub most: usize,
}

impl Room {
    /// Takes what is missing to so many bytes.
    fn reach(&mut self, bytes: usize, record: usize) -> Result<(), BatchError> {
        let held = self.taken.bytes();
        if bytes <= held {
            return Ok(());
        }
        if bytes > self.most {
            return Err(BatchError::TooLarge { record, bytes, most: self.most });
        }
        let step = (bytes - held).max(STEP_BYTES).min(self.most - held);
        Ok(self.taken.grow(step)?)
    }
}

/// What comes of a batch.
#[derive(Debug, PartialEq)]
pub struct Batch {
    pub entries: Vec<Entry>,
    /// Under which it is stored once, however often it is sent.
    pub name: Option<BatchName>,
}

/// # Errors
/// The first thing that is wrong, with the index of its record and the limit that it breaks.
pub fn parse(body: &[u8], terms: Terms, room: &mut Room) -> Result<Batch, BatchError> {
    if body.is_empty() {
        return Err(BatchError::Syntax("body is empty".into()));
    }
    room.reach(frame_bytes(body), 0)?;
    let batch: BatchWire = serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            return BatchError::Content(format!("batch: {error}"));
        }
        let literal = not_finite(body, error.line(), error.column());
        BatchError::Syntax(literal.unwrap_or_else(|| format!("batch: {error}")))
    })?;
    let frame = |what: String| BatchError::Content(format!("batch: {what}"));
    let sent = batch.timestamp.seconds().map_err(frame)?;
    within("timestamp", sent, 0.0, TIMESTAMP_MAX).map_err(frame)?;
    let sender = batch.edge_device_id.map(|id| name("edge_device_id", id)).transpose();
    let sender = sender.map_err(frame)?;
    let batch_id = batch.batch_id.map(|id| text("batch_id", id, BATCH_ID_BYTES_MAX)).transpose();
    let batch_id = batch_id.map_err(frame)?;

    let mut records = Records::new(terms, sender.as_deref(), room);
    let read = records.read(batch.predictions.get());
    let Records { entries, count, refused, .. } = records;
    if let Some(refused) = refused {
        return Err(refused);
    }
    read.map_err(|error| frame(format!("predictions: {error}")))?;
    let limit = terms.records_max;
    if count > limit {
        return Err(BatchError::TooMany { records: count, limit });
    }
    if batch.batch_size != count as u64 {
        let stated = batch.batch_size;
        let text = format!("batch_size is {stated}, but predictions holds {count} records");
        return Err(BatchError::Content(text));
    }
    // Devices that name themselves only in their records may name their batches alike.
    let of_records = || entries.first().and_then(|first| first.origin.device_id.as_deref());
    let name = batch_id.map(|id| BatchName::new(sender.as_deref().or_else(of_records), &id));
    Ok(Batch { entries, name })
}

/// The records of a batch while they are read.
struct Records<'a> {
    terms: Terms<'a>,
    sender: Option<&'a str>,
    room: &'a mut Room,
    entries: Vec<Entry>,
    /// What the entries hold beside their own places, bytes.
    held: usize,
    /// Records so far; those beyond the limit are only counted.
    count: usize,
    /// Why the batch is not taken.
    refused: Option<BatchError>,
}

impl<'a> Records<'a> {
    fn new(terms: Terms<'a>, sender: Option<&'a str>, room: &'a mut Room) -> Records<'a> {
        Records { terms, sender, room, entries: Vec::new(), held: 0, count: 0, refused: None }
    }

    fn read(&mut self, list: &str) -> Result<(), serde_json::Error> {
        serde_json::Deserializer::from_str(list).deserialize_seq(self)
    }

    fn add(&mut self, raw: &str) -> Result<(), BatchError> {
        let (index, capacity) = (self.entries.len(), self.entries.capacity());
        let more = if index == capacity { (capacity / 2).max(MORE_RECORDS_MIN) } else { 0 };
        let places = (capacity + more) * size_of::<Entry>();
        self.room.reach(places + self.held + parsing_bytes(raw.as_bytes()), index)?;
        self.entries.reserve_exact(more);
        let numbered = |what: String| BatchError::Content(format!("predictions[{index}]: {what}"));
        let record: RecordWire =
            serde_json::from_str(raw).map_err(|error| numbered(error.to_string()))?;
        let Terms { boot_id, at, bytes_max, .. } = self.terms;
        let mut entry = entry(record, boot_id, self.sender, at).map_err(numbered)?;
        // Neighbours mostly share their origin; so should their memory.
        match self.entries.last().filter(|last| last.origin == entry.origin) {
            Some(last) => entry.origin = last.origin.clone(),
            None => self.held += entry.origin.held_bytes(),
        }
        self.held += entry.held_bytes() - size_of::<Entry>();
        self.entries.push(entry);
        let bytes = self.entries.len() * size_of::<Entry>() + self.held;
        if bytes > bytes_max {
            return Err(BatchError::TooLarge { record: index, bytes, most: bytes_max });
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for &mut Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.count < self.terms.records_max {
            let Some(raw) = seq.next_element::<&RawValue>()? else { return Ok(()) };
            if let Err(refused) = self.add(raw.get()) {
                self.refused = Some(refused);
                return Err(A::Error::custom("the batch is refused"));
            }
            self.count += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.count += 1;
        }
        Ok(())
    }
}

fn entry(
    record: RecordWire,
    boot_id: &str,
    sender: Option<&str>,
    at: Stamp,
) -> Result<Entry, String> {
    if record.image_id.len() > IMAGE_ID_BYTES_MAX {
        let bytes = record.image_id.len();
        return Err(format!("image_id is {bytes} bytes, at most {IMAGE_ID_BYTES_MAX} are kept"));
    }
    within("timestamp", record.timestamp, 0.0, TIMESTAMP_MAX)?;
    within("inference_time_ms", record.inference_time_ms, 0.0, INFERENCE_MS_MAX)?;
    at_most("detections", record.detections.count, DETECTIONS_MAX)?;
    let numbers = record.detections.items.iter().map(|detection| detection.bbox.count).sum();
    at_most("bbox, over all detections,", numbers, BBOX_NUMBERS_MAX)?;
    at_most("confidence_scores", record.confidence_scores.count, SCORES_MAX)?;
    let mut confidence_scores = record.confidence_scores.items;
    confidence_scores.shrink_to_fit();
    for (index, score) in confidence_scores.iter_mut().enumerate() {
        *score = share(|| format!("confidence_scores[{index}]"), *score)?;
    }
    if let Some(notes) = &record.processing_notes {
        at_most("processing_notes", notes.len(), NOTES_BYTES_MAX)?;
    }
    let device_id = record.edge_device_id.map(|id| name("edge_device_id", id)).transpose()?;
    let origin = Origin {
        boot_id: boot_id.to_string(),
        model_name: name("model_name", record.model_name)?,
        model_version: name("model_version", record.model_version)?,
        device_id: device_id.or(sender.map(str::to_string)),
        labels: Labels::default(),
    };
    let detections: Result<_, String> = record
        .detections
        .items
        .into_iter()
        .enumerate()
        .map(|(index, wire)| detection(wire).map_err(|what| format!("detections[{index}]: {what}")))
        .collect();
    Ok(Entry {
        origin: Arc::new(origin),
        at,
        inference_us: (record.inference_time_ms * 1e3).round() as u64,
        defect: record.defect_detected,
        body: Body::Reported(Box::new(Reported {
            image_id: record.image_id,
            timestamp: record.timestamp,
            inference_time_ms: record.inference_time_ms,
            detections: detections?,
            confidence_scores,
            processing_notes: record.processing_notes,
        })),
    })
}

fn detection(wire: DetectionWire) -> Result<Detection, String> {
    let confidence = share(|| "confidence".to_string(), wire.confidence)?;
    let class = name("class", wire.class)?;
    let DetectionWire { bbox, uncertain, .. } = wire;
    Ok(Detection { class, confidence, bbox: bbox.items, uncertain })
}

/// Returns a share of 0..=1, one that lies outside by a rounding step moved to its end.
fn share(field: impl Fn() -> String, value: f64) -> Result<f64, String> {
    let clamped = value.clamp(0.0, 1.0);
    if (value - clamped).abs() <= ROUNDING {
        return Ok(clamped);
    }
    within(&field(), value, 0.0, 1.0).map(|()| value)
}

/// Names a number that is not finite at the place where a batch stops being JSON (line and column from
/// 1), as Python and JavaScript write it, and the record that it is in.
fn not_finite(body: &[u8], line: usize, column: usize) -> Option<String> {
    let before: usize = body
        .split(|byte| *byte == b'\n')
        .take(line.checked_sub(1)?)
        .map(|line| line.len() + 1)
        .sum();
    let at = (before + column).min(body.len());
    let delimiter = |byte: &u8| matches!(byte, b',' | b'[' | b':' | b' ' | b'\t' | b'\n' | b'\r');
    let start = body[..at].iter().rposition(delimiter)? + 1;
    let names = ["NaN", "Infinity", "-Infinity", "nan", "-nan", "inf", "-inf"];
    let found = names.into_iter().find(|name| body[start..].starts_with(name.as_bytes()))?;
    let text = format!("{found} at line {line} column {column}, only finite numbers are possible");
    Some(match record_at(&body[..start]) {
        Some(index) => format!("predictions[{index}]: {text}"),
        None => format!("batch: {text}"),
    })
}

/// Returns the index of the record that a part of a batch ends in: records are the objects in an array of
/// the outermost one.
fn record_at(part: &[u8]) -> Option<usize> {
    let (mut open, mut records, mut text, mut escaped) = (Vec::new(), 0_usize, false, false);
    for byte in part {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            _ if text => {}
            b'{' | b'[' => {
                open.push(*byte);
                records += usize::from(open == *b"{[{");
            }
            b'}' | b']' => drop(open.pop()),
            _ => {}
        }
    }
    open.starts_with(b"{[{").then(|| records.saturating_sub(1))
}

/// JSON knows no NaN or infinity, so a range is all there is to check.
fn within(field: &str, value: f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(format!("{field} is {value}, {low} to {high} is possible"))
}

fn at_most(field: &str, count: usize, limit: usize) -> Result<(), String> {
    if count <= limit {
        return Ok(());
    }
    Err(format!("{field} has a length of {count}, at most {limit} is kept"))
}

fn name(field: &str, name: String) -> Result<String, String> {
    text(field, name, NAME_BYTES_MAX)
}

fn text(field: &str, text: String, bytes_max: usize) -> Result<String, String> {
    if !(1..=bytes_max).contains(&text.len()) {
        return Err(format!("{field} is {} bytes, 1 to {bytes_max} are possible", text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(format!("{field} has a control character in it, U+{:04X}", c as u32)),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use picket_base::budget::{Budget, Class};
    use picket_records::{Climb, LogReader, PredictionLog, Query, Retention};
    use serde_json::{Value, json};

    use super::*;

    const AT: Stamp = Stamp { monotonic_us: 1, wall_us: 2, synchronised: true };

    fn record() -> Value {
        json!({
            "image_id": "img-1", "timestamp": 1_795_000_000.5, "model_version": "v3",
            "model_name": "scratches", "inference_time_ms": 12.25,
            "detections": [{"class": "scratch", "confidence": 0.9, "bbox": [1, 2, 3.5, 4]}],
            "defect_detected": true, "confidence_scores": [0.9, 0.1]
        })
    }

    fn box_of(numbers: usize) -> Value {
        json!({"class": "x", "confidence": 0.5, "bbox": vec![0.1; numbers]})
    }

    fn batch(records: Vec<Value>) -> Value {
        json!({"batch_size": records.len(), "predictions": records, "timestamp": 1_795_000_001.0,
               "edge_device_id": "line-4"})
    }

    const RECORDS_MAX: usize = 20;

    const TERMS: Terms =
        Terms { records_max: RECORDS_MAX, bytes_max: 1 << 20, boot_id: "boot", at: AT };

    fn room(bytes: usize) -> Room {
        let budget = Budget::new(bytes);
        let most = budget.largest(Class::Decode);
        Room { taken: budget.take(Class::Decode, 0).unwrap(), most }
    }

    fn parse(body: &[u8]) -> Result<Batch, BatchError> {
        super::parse(body, TERMS, &mut room(64 << 20))
    }

    fn parse_value(batch: &Value) -> Result<Vec<Entry>, BatchError> {
        parse(batch.to_string().as_bytes()).map(|batch| batch.entries)
    }

    #[test]
    fn a_record_names_its_own_device_or_takes_the_batchs() {
        let mut own = record();
        own["edge_device_id"] = "line-9".into();
        let entries = parse_value(&batch(vec![record(), own, record()])).unwrap();
        let devices: Vec<_> = entries.iter().map(|e| e.origin.device_id.as_deref()).collect();
        assert_eq!(devices, [Some("line-4"), Some("line-9"), Some("line-4")]);
        assert_eq!(entries[0].inference_us, 12_250);
        assert!(entries[0].defect);
    }

    #[test]
    fn a_batch_is_named_by_its_sender_whatever_the_records_say() {
        let name = |device: Option<&str>, own: Option<&str>, id: &str| {
            let mut record = record();
            record["edge_device_id"] = json!(own);
            let mut batch = batch(vec![record]);
            batch["edge_device_id"] = json!(device);
            batch["batch_id"] = json!(id);
            parse(batch.to_string().as_bytes()).map(|batch| batch.name)
        };
        let expected = |device: &str| Ok(Some(BatchName::new(Some(device), "7")));
        assert_eq!(name(Some("line-4"), Some("line-9"), "7"), expected("line-4"));
        assert_eq!(name(None, Some("line-9"), "7"), expected("line-9"));
        assert_eq!(name(None, None, "7"), Ok(Some(BatchName::new(None, "7"))));
        for wrong in ["", "a\tb", &"i".repeat(129)] {
            let error = name(None, None, wrong).unwrap_err().to_string();
            assert!(error.starts_with("batch: batch_id "), "{error}");
        }
        assert!(name(None, None, &"i".repeat(128)).is_ok());
        let unnamed = parse(batch(vec![]).to_string().as_bytes());
        assert_eq!(unnamed.unwrap().name, None);
    }

    #[test]
    fn one_bad_record_refuses_the_batch_and_is_named() {
        let cases: [(&str, Value, &str); 16] = [
            ("image_id", json!(7), "invalid type: integer `7`, expected a string"),
            ("timestamp", json!(1_795_000_000_000_i64), "timestamp is 1795000000000"),
            ("inference_time_ms", json!(-1), "inference_time_ms is -1, 0 to 3600000"),
            ("confidence_scores", json!([0.5, 1.5]), "confidence_scores[1] is 1.5, 0 to 1"),
            ("model_name", json!(""), "model_name is 0 bytes, 1 to 128"),
            ("model_version", json!("v".repeat(129)), "model_version is 129 bytes"),
            ("processing_notes", json!("n".repeat(4097)), "length of 4097, at most 4096"),
            ("detections", json!([box_of(1_500), box_of(501)]), "length of 2001, at most 2000"),
            (
                "detections",
                json!(vec![box_of(4); 101]),
                "detections has a length of 101, at most 100",
            ),
            ("confidence_scores", json!(vec![0.5; 1_001]), "length of 1001, at most 1000"),
            (
                "detections",
                json!([{"class": "x", "confidence": 2, "bbox": [1, 2, 3, 4]}]),
                "detections[0]: confidence is 2, 0 to 1",
            ),
            ("defect_detected", json!(null), "invalid type: null, expected a boolean"),
            ("edge_device_id", json!("a\x1b[31m"), "edge_device_id has a control character"),
            ("model_name", json!("a\nb"), "model_name has a control character in it, U+000A"),
            ("model_version", json!("\u{85}"), "model_version has a control character"),
            (
                "detections",
                json!([{"class": "\0", "confidence": 1, "bbox": []}]),
                "detections[0]: class has a control character",
            ),
        ];
        for (field, value, expected) in cases {
            let mut bad = record();
            bad[field] = value;
            let error = parse_value(&batch(vec![record(), bad])).unwrap_err();
            let BatchError::Content(text) = &error else { panic!("{field}: {error}") };
            assert!(text.starts_with("predictions[1]: "), "{text}");
            assert!(text.contains(expected), "{text} lacks {expected}");
        }
    }

    #[test]
    fn a_share_beside_its_range_by_a_rounding_step_is_its_end() {
        let mut above = record();
        above["detections"][0]["confidence"] = json!(1.000_000_119_209_289_6);
        above["confidence_scores"] = json!([1.000_000_9, -0.000_000_9]);
        let entries = parse_value(&batch(vec![above.clone()])).unwrap();
        let Body::Reported(reported) = &entries[0].body else { panic!("it was reported") };
        assert_eq!(reported.detections.iter().next().unwrap().confidence, 1.0);
        assert_eq!(reported.confidence_scores, [1.0, 0.0]);
        above["confidence_scores"] = json!([1.000_01]);
        assert!(parse_value(&batch(vec![above])).is_err());
    }

    #[test]
    fn a_number_that_is_not_finite_is_named_with_its_record() {
        let mut text = batch(vec![record(), record(), record()]).to_string();
        let at = text.rfind("12.25").unwrap();
        text.replace_range(at..at + 5, "NaN");
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("predictions[2]: NaN at line 1 column "), "{error}");
        let text = r#"{"predictions":[],"batch_size":0,"timestamp":-Infinity}"#;
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("batch: -Infinity at line 1 column "), "{error}");
    }

    #[test]
    fn a_batch_tells_its_time_as_a_number_or_as_text() {
        for moment in [
            json!(1_795_000_001.5),
            json!("2026-11-18T11:06:50"),
            json!("2026-11-18T11:06:50.123456Z"),
            json!("2026-11-18T12:06:50+0100"),
        ] {
            let mut sent = batch(vec![record()]);
            sent["timestamp"] = moment;
            assert!(parse_value(&sent).is_ok(), "{sent}");
        }
        let mut sent = batch(vec![record()]);
        sent["timestamp"] = json!("yesterday");
        let error = parse_value(&sent).unwrap_err().to_string();
        assert_eq!(error, "batch: timestamp is \"yesterday\", epoch seconds or ISO 8601 is needed");
    }

    #[test]
    fn a_box_has_any_length() {
        let mut boxes = record();
        boxes["detections"] = json!([box_of(0), box_of(1), box_of(5), box_of(1_994)]);
        let entries = parse_value(&batch(vec![boxes])).unwrap();
        let Body::Reported(reported) = &entries[0].body else { panic!("it was reported") };
        let lengths: Vec<_> = reported.detections.iter().map(|d| d.bbox.len()).collect();
        assert_eq!(lengths, [0, 1, 5, 1_994]);
    }

    /// The log's values have room for it, whatever their other limits are.
    #[test]
    fn the_largest_record_that_is_taken_fits_into_the_log() {
        let mut largest = record();
        let detection = json!({"class": "c".repeat(NAME_BYTES_MAX), "confidence": 0.1,
                               "bbox": vec![0.1; BBOX_NUMBERS_MAX / DETECTIONS_MAX],
                               "uncertain": true});
        largest["detections"] = json!(vec![detection; DETECTIONS_MAX]);
        largest["confidence_scores"] = json!(vec![0.1; SCORES_MAX]);
        largest["image_id"] = json!("i".repeat(IMAGE_ID_BYTES_MAX));
        largest["processing_notes"] = json!("n".repeat(NOTES_BYTES_MAX));
        let entries = parse_value(&batch(vec![largest; 3])).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (dir, reader) = (dir.path().join("log"), LogReader::new());
        let keep = Retention { max_records: 10, max_bytes: 100 << 20, max_age: None };
        let mut log = PredictionLog::open(&dir, keep, &reader, Climb::Derived).unwrap();
        log.append(&[&entries]).unwrap();
        log.commit().unwrap();
        let kept = reader.query(&Query { limit: 10, ..Query::default() }).unwrap().records;
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[0].entry, entries[2]);
        assert!(reader.verify(&dir).unwrap().is_sound());
    }

    #[test]
    fn what_is_no_batch_is_told_apart_from_what_is_no_json() {
        assert!(matches!(parse(b""), Err(BatchError::Syntax(_))));
        assert!(matches!(parse(b"{\"predictions\": ["), Err(BatchError::Syntax(_))));
        assert!(matches!(parse(b"[]"), Err(BatchError::Content(_))));
        let mut wrong_size = batch(vec![record()]);
        wrong_size["batch_size"] = 2.into();
        let error = parse_value(&wrong_size).unwrap_err();
        assert!(error.to_string().contains("batch_size is 2, but predictions holds 1"), "{error}");
        let mut no_list = batch(vec![]);
        no_list["predictions"] = json!({});
        let error = parse_value(&no_list).unwrap_err().to_string();
        assert!(
            error.starts_with("batch: predictions: invalid type: map, expected a seq"),
            "{error}"
        );
        let many = batch(vec![record(); RECORDS_MAX + 1]);
        let limit = RECORDS_MAX;
        assert_eq!(parse_value(&many), Err(BatchError::TooMany { records: 21, limit }));
    }

    #[test]
    fn a_batch_that_never_fits_names_the_limit_and_one_that_does_not_now_says_who_has_it() {
        let body = batch(vec![record(); RECORDS_MAX]).to_string();
        let parse = |terms, room: &mut Room| super::parse(body.as_bytes(), terms, room).map(drop);
        let error = parse(Terms { bytes_max: 3_000, ..TERMS }, &mut room(64 << 20)).unwrap_err();
        let BatchError::TooLarge { record, bytes, most: 3_000 } = error else { panic!("{error}") };
        assert!((5..10).contains(&record) && (3_001..4_000).contains(&bytes), "{error}");
        let error = parse(TERMS, &mut room(16 << 10)).unwrap_err();
        assert!(matches!(error, BatchError::TooLarge { most: 7_680, .. }), "{error}");
        let budget = Budget::new(64 << 10);
        let _others = budget.take(Class::Decode, 30 << 10).unwrap();
        let taken = budget.take(Class::Decode, 0).unwrap();
        let error = parse(TERMS, &mut Room { taken, most: 1 << 20 }).unwrap_err();
        assert!(matches!(error, BatchError::Memory(_)), "{error}");
    }
}
