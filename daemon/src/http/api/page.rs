//! Pages of the log as JSON: what a query asks for, and answers that end at a number of bytes and at a
//! moment. They are written while the log is read, so that no more than one record is in memory beside
//! its page. It must not know where records come from.

use std::time::{Duration, Instant};

use picket_base::rfc3339;
use picket_records::{Damage, LogRecord, PAGE_RECORDS_MAX, Query, Sink};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::query::{bad_parameter, flag};
use super::rejected::Rejected;
use crate::offload::Progress;

/// A page ends before the record that would make it longer than this; a single one is given whole.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// However little memory there is, a page has room for so much, bytes.
const PAGE_BYTES_MIN: usize = 32 << 10;

/// A page ends with what was found after this time.
const PAGE_TIME_MAX: Duration = Duration::from_secs(2);

/// A record at its limits as it is stored, as it is read and as JSON, bytes.
const RECORD_BYTES: usize = 256 << 10;

/// How long a page may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize(usize);

impl PageSize {
    /// Where there are never more than `most` bytes of memory for one, pages are shorter.
    pub(super) fn within(most: usize) -> PageSize {
        PageSize(most.saturating_sub(RECORD_BYTES).clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX))
    }

    /// What a page takes of memory while it is made, at most, bytes: itself, and a record with its JSON.
    pub(super) fn memory(self) -> usize {
        self.0 + RECORD_BYTES
    }
}

/// Records in a page when the request doesn't say.
const PAGE_RECORDS_DEFAULT: usize = 100;

/// What a page holds beside its list, and what a number takes in another list, at most, bytes.
const FRAME_BYTES: usize = 128;
const NUMBER_BYTES: usize = 21;

/// Parameters of `GET /predictions`; one that is there but empty counts as absent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageParameters {
    limit: Option<String>,
    edge_device_id: Option<String>,
    defect_only: Option<String>,
    since: Option<String>,
    until: Option<String>,
    label: Option<String>,
    after: Option<String>,
}

impl PageParameters {
    pub(super) fn query(self) -> Result<Query, Rejected> {
        let present = |text: Option<String>| text.filter(|text| !text.is_empty());
        let limit = number("limit", present(self.limit))?.unwrap_or(PAGE_RECORDS_DEFAULT as u64);
        if limit == 0 || limit > PAGE_RECORDS_MAX as u64 {
            return Err(bad_parameter("limit", &limit.to_string(), "1 to 1000 are possible"));
        }
        let defect_only = flag("defect_only", self.defect_only.as_deref())?.unwrap_or(false);
        Ok(Query {
            limit: limit as usize,
            after: number("after", present(self.after))?,
            edge_device_id: present(self.edge_device_id),
            defect_only,
            since: moment("since", present(self.since))?,
            until: moment("until", present(self.until))?,
            label: present(self.label),
        })
    }
}

fn number(name: &str, text: Option<String>) -> Result<Option<u64>, Rejected> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| bad_parameter(name, &text, "a whole number is needed"))
}

/// The year 5138: a larger number is a mix-up with milliseconds, and would find nothing.
const EPOCH_SECONDS_MAX: f64 = 1e11;

/// Reads epoch seconds or RFC 3339 as epoch seconds.
fn moment(name: &str, text: Option<String>) -> Result<Option<f64>, Rejected> {
    let Some(text) = text else { return Ok(None) };
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()) {
        if seconds > EPOCH_SECONDS_MAX {
            let needed = "epoch seconds are needed, and it looks like milliseconds";
            return Err(bad_parameter(name, &text, needed));
        }
        return Ok(Some(seconds));
    }
    // A plus sign that nobody escaped arrives as a space.
    let unescaped = || {
        let (local, offset) = text.rsplit_once(' ')?;
        rfc3339::parse(&format!("{local}+{offset}"))
    };
    rfc3339::parse(&text)
        .or_else(unescaped)
        .map(Some)
        .ok_or_else(|| bad_parameter(name, &text, "epoch seconds or RFC 3339 is needed"))
}

/// The items of a JSON array, as long as there is room.
struct Listing {
    bytes_max: usize,
    json: Vec<u8>,
    items: usize,
}

impl Listing {
    fn new(PageSize(bytes_max): PageSize) -> Listing {
        Listing { bytes_max, json: Vec::new(), items: 0 }
    }

    /// Adds an item if it fits beside so many other bytes. The first of a page always does.
    fn push(&mut self, item: &impl Serialize, beside: usize) -> bool {
        let end = self.json.len();
        if self.items > 0 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, item).expect("a record has no value that JSON lacks");
        let is_first = self.items == 0 && beside == 0;
        if !is_first && self.json.len() + beside + FRAME_BYTES > self.bytes_max {
            self.json.truncate(end);
            return false;
        }
        self.items += 1;
        true
    }

    /// Completes the JSON with what comes before the list.
    fn behind(mut self, head: &str) -> Vec<u8> {
        self.json.splice(..0, head.bytes());
        self.json.extend(b"]}");
        self.json.shrink_to_fit();
        self.json
    }
}

/// A page of `GET /predictions` while it is written.
pub(super) struct PageJson<'a> {
    progress: &'a Progress<'a>,
    until: Instant,
    listing: Listing,
    damaged: Vec<u64>,
}

impl<'a> PageJson<'a> {
    pub(super) fn new(size: PageSize, progress: &'a Progress<'a>) -> PageJson<'a> {
        let until = progress.beat() + PAGE_TIME_MAX;
        PageJson { progress, until, listing: Listing::new(size), damaged: Vec::new() }
    }

    pub(super) fn finish(self, next: Option<u64>) -> Vec<u8> {
        let (count, damaged) = (self.listing.items, json!(self.damaged));
        let next = json!(next);
        let head =
            format!("{{\"count\":{count},\"next\":{next},\"damaged\":{damaged},\"predictions\":[");
        self.listing.behind(&head)
    }
}

impl Sink for PageJson<'_> {
    fn goes_on(&mut self) -> bool {
        self.progress.beat() < self.until && !self.progress.is_stopping()
    }

    fn take(&mut self, id: u64, record: Result<LogRecord, Damage>) -> bool {
        let beside = self.damaged.len() * NUMBER_BYTES;
        match record {
            Ok(record) => self.listing.push(&record, beside),
            Err(_) => {
                let length = self.listing.json.len() + beside + NUMBER_BYTES + FRAME_BYTES;
                let fits = length <= self.listing.bytes_max;
                if fits {
                    self.damaged.push(id);
                }
                fits
            }
        }
    }
}

/// A step of the whole log while it is written: what `picket log export` and `tail` read.
pub(super) struct StepJson<'a> {
    progress: &'a Progress<'a>,
    until: Instant,
    listing: Listing,
}

#[derive(Serialize)]
struct StepItemView {
    id: u64,
    record: Option<LogRecord>,
    damage: Option<String>,
}

impl<'a> StepJson<'a> {
    pub(super) fn new(size: PageSize, progress: &'a Progress<'a>) -> StepJson<'a> {
        let until = progress.beat() + PAGE_TIME_MAX;
        StepJson { progress, until, listing: Listing::new(size) }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.listing.behind("{\"records\":[")
    }
}

impl Sink for StepJson<'_> {
    fn goes_on(&mut self) -> bool {
        self.progress.beat() < self.until && !self.progress.is_stopping()
    }

    fn take(&mut self, id: u64, record: Result<LogRecord, Damage>) -> bool {
        let item = match record {
            Ok(record) => StepItemView { id, record: Some(record), damage: None },
            Err(damage) => StepItemView { id, record: None, damage: Some(damage.to_string()) },
        };
        self.listing.push(&item, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_ends_before_what_does_not_fit_and_takes_a_single_item_of_any_length() {
        let mut listing = Listing::new(PageSize::within(usize::MAX));
        let item = "x".repeat(300_000);
        let taken = (0..9).take_while(|_| listing.push(&item, 0)).count();
        assert_eq!((taken, listing.items), (3, 3));
        let whole: serde_json::Value =
            serde_json::from_slice(&listing.behind("{\"items\":[")).unwrap();
        assert_eq!(whole["items"].as_array().unwrap().len(), 3);
        let mut listing = Listing::new(PageSize::within(usize::MAX));
        assert!(listing.push(&"x".repeat(3 << 20), 0));
        assert!(!listing.push(&"y", 0));
        let mut listing = Listing::new(PageSize::within(usize::MAX));
        assert!(!listing.push(&item, PAGE_BYTES_MAX - 300_000), "beside others");
    }

    #[test]
    fn pages_are_shorter_where_there_is_less_memory() {
        let of = |most| PageSize::within(most);
        assert_eq!(
            (of(9 << 20).0, of(9 << 20).memory()),
            (PAGE_BYTES_MAX, (1 << 20) + RECORD_BYTES)
        );
        assert_eq!((of(384 << 10).0, of(384 << 10).memory()), (128 << 10, 384 << 10));
        assert_eq!(of(0).0, PAGE_BYTES_MIN);
        let mut listing = Listing::new(of(352 << 10));
        let item = "x".repeat(30_000);
        assert_eq!((0..9).take_while(|_| listing.push(&item, 0)).count(), 3);
    }
}
