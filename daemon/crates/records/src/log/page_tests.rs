//! Pages against a plain reading of all records: with a view, without one, and with one that is behind.

use std::sync::Arc;

use super::feeding::Source;
use super::lookup::Lookup;
use super::position::Stream;
use super::reader::Reader;
use super::sim::Sim;
use super::sizes::Sizes;
use super::snapshot::{Alone, Snapshot};
use super::staged::Group;
use super::store::Log;
use super::survey::Survey;
use super::view::View;
use crate::query::{Page, Query};
use crate::record::tests::{origin, predicted, reported};
use crate::record::{Body, Entry, LogRecord};

/// A log of 3,000 records of some devices, labels and times; the last of them in the journal.
fn log() -> Sim {
    let sim = Sim::default();
    let sizes = Sizes { segment_bytes: 20_000, ..Sizes::default() };
    let (mut log, _) = Log::open(Arc::new(sim.clone()), (7, None), sizes).unwrap();
    let devices = ["edge-01", "cam-07", "rare"].map(origin);
    let mut random = 9_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for commit in 0..200_u64 {
        let entry = |place: u64, of: Stream, draw: u64| -> Entry {
            let rare = commit * 15 + place;
            let at = if rare.is_multiple_of(250) { 2 } else { of as usize };
            let mut entry = match of {
                Stream::Own => predicted(&devices[at], (draw % 10) as u16, draw.is_multiple_of(7)),
                Stream::Reported => reported(&devices[at], "note"),
            };
            // One in a hundred by a clock that was set back.
            let back = if draw % 100 == 1 { 50_000_000 } else { 0 };
            let minute = rare.cast_signed() * 60 - back;
            entry.at.wall_us += minute * 1_000_000;
            entry.at.synchronised = true;
            if let Body::Reported(made) = &mut entry.body {
                made.timestamp += minute as f64;
            }
            entry
        };
        let own: Vec<Entry> = (0..10).map(|place| entry(place, Stream::Own, draw(1_000))).collect();
        let others: Vec<Entry> =
            (10..15).map(|place| entry(place, Stream::Reported, draw(1_000))).collect();
        log.commit(&[
            Group { stream: Stream::Own, entries: &own[..5], name: None },
            Group { stream: Stream::Reported, entries: &others, name: None },
            Group { stream: Stream::Own, entries: &own[5..], name: None },
        ])
        .unwrap();
        if commit % 7 == 0 {
            log.checkpoint().unwrap();
        }
    }
    sim.after_kill()
}

fn page(snapshot: &Snapshot, view: Option<&Lookup>, query: &Query) -> Page {
    let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
    let given = snapshot.page((query, view), &Alone, &mut page).unwrap();
    assert!(given.distrusted.is_none());
    Page { next: given.next, ..page }
}

/// All pages of a query, one after the other.
fn all_pages(snapshot: &Snapshot, view: Option<&Lookup>, query: &Query) -> Vec<LogRecord> {
    let (mut records, mut after) = (Vec::new(), query.after);
    loop {
        let page = page(snapshot, view, &Query { after, ..query.clone() });
        assert!(page.records.len() <= query.limit && page.damaged.is_empty());
        records.extend(page.records);
        match page.next {
            None => return records,
            Some(next) => {
                assert!(after.is_none_or(|after| next < after), "it goes on");
                after = Some(next);
            }
        }
    }
}

fn queries(all: &[LogRecord]) -> Vec<Query> {
    let device = |name: &str| Query { edge_device_id: Some(name.into()), ..Query::default() };
    let label = |name: &str| Query { label: Some(name.into()), ..Query::default() };
    let at = |place: usize| Some(all[place].timestamp());
    let defect_only = true;
    let queries = [
        Query::default(),
        device("rare"),
        device("edge-01"),
        device("cam-07"),
        device("nobody"),
        label("cat"),
        label("nothing"),
        Query { defect_only, ..Query::default() },
        Query { defect_only, ..label("cat") },
        Query { defect_only, ..device("rare") },
        Query { since: at(1_000), until: at(1_100), ..Query::default() },
        Query { until: at(500), ..device("rare") },
        Query { since: at(2_900), ..label("dog") },
        Query { until: at(0).map(|first| first - 1.0), ..Query::default() },
        Query { after: Some(1_234), ..Query::default() },
        Query { after: Some(1), ..Query::default() },
        Query { after: Some(777), defect_only, ..device("edge-01") },
    ];
    queries
        .into_iter()
        .flat_map(|query| [7, 1_000].map(|limit| Query { limit, ..query.clone() }))
        .collect()
}

#[test]
fn pages_hold_what_a_plain_reading_finds_with_and_without_a_view() {
    let sim = log();
    let survey = Survey::take(&sim).unwrap();
    let mut all = Vec::new();
    let snapshot = Snapshot::of(&survey, Arc::new(sim.clone()));
    let mut reader = Reader::new(&snapshot);
    while let Some(record) = reader.next().unwrap() {
        all.push(survey.known.to_record(record.id, &record.value).unwrap());
    }
    assert_eq!(all.len(), 3_000);
    let dir = tempfile::tempdir().unwrap();
    let mut view = View::open(dir.path(), 7, &survey.known).unwrap().unwrap();
    let source = |stream: Stream| Source {
        medium: &sim,
        known: &survey.known,
        stream,
        lane: survey.position.lane(stream),
        files: &survey.files[stream as usize],
    };
    let check = |view: Option<&Lookup>, what: &str| {
        for query in queries(&all) {
            let newest = all.iter().rev();
            let asked = newest.filter(|record| query.after.is_none_or(|after| record.id < after));
            let expected: Vec<u64> =
                asked.filter(|record| query.matches(record)).map(|record| record.id).collect();
            let found = all_pages(&snapshot, view, &query);
            let found: Vec<u64> = found.iter().map(|record| record.id).collect();
            assert_eq!(found, expected, "{what}: {query:?}");
        }
    };
    check(None, "no view");
    check(Some(&view.lookup()), "an empty view");
    for stream in Stream::ALL {
        source(stream).feed(&mut view, 700).unwrap();
    }
    check(Some(&view.lookup()), "a view that is behind");
    view.sync().unwrap();
    check(Some(&view.lookup()), "with a chunk that is not full");
    for stream in Stream::ALL {
        assert!(source(stream).is_seen_by(&view).unwrap());
        while !source(stream).feed(&mut view, 300).unwrap() {}
    }
    check(Some(&view.lookup()), "a view of all that is sealed");
    let rare = Query { limit: 100, edge_device_id: Some("rare".into()), ..Query::default() };
    let lookup = view.lookup();
    let page = page(&snapshot, Some(&lookup), &rare);
    assert_eq!((page.records.len(), page.next), (12, None), "in one page");
}
