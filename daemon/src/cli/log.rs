//! `picket log tail|export|verify`: reading the log, through its daemon where one runs; `backup` copies its files.

use std::io::{BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Settings;
use clap::{Args, Subcommand, ValueEnum};
use picket_base::private;
use picket_base::rfc3339::{self, Precision};
use picket_base::{printable, printable_json};
use picket_records::{Backup, Testimony, VerifyReport, Witness, back_up};
use serde_json::Value;

use super::csv::{self, Cell};
use super::error::CliError;
use super::global::{Global, load};
use super::source::{Source, verify};
use super::stdout::{print, print_data};
use super::table;

/// The pause between two questions for new records.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(500);

/// The pause between two words about progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub enum LogCommand {
    /// Print the newest records
    Tail(TailArgs),
    /// Print every record, oldest first
    Export(ExportArgs),
    /// Read every record and prove that none is missing or damaged
    Verify(VerifyArgs),
    /// Copy the log, also beside a running daemon: the copy opens as after a power cut at that moment
    Backup(BackupArgs),
}

#[derive(Args)]
struct StoreArgs {
    /// Directory of the log [default: <state_dir>/log]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Args)]
pub struct TailArgs {
    /// Go on with every new record of a running daemon, also of one that starts again, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Records to print
    #[arg(short = 'n', long, default_value_t = 10, value_name = "N")]
    lines: usize,
    /// Instead of a table
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub struct ExportArgs {
    /// Form of the records
    #[arg(long, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// The newest number and the head that were noted elsewhere: whether the log still holds what it held
    #[arg(long, value_name = "ID:HEAD", value_parser = parse_witness)]
    witness: Option<Witness>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Args)]
pub struct BackupArgs {
    /// Directory for the copy, which is not there yet or empty
    #[arg(value_name = "DIR")]
    target: PathBuf,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

/// Word in the column of the source that no record has: the row is an export's end mark.
const CSV_END: &str = "end";

const CSV_COLUMNS: &str = "id,timestamp,source,edge_device_id,model_name,model_version,label,\
                           confidence,defect_detected,uncertain,inference_time_ms,image_id\n";

fn parse_witness(text: &str) -> Result<Witness, String> {
    let expected = "a number, a colon and a head are expected, as in 42:27ba94f088f36c7c9a3262f6";
    let (id, head) = text.split_once(':').ok_or(expected)?;
    let id = id.parse().map_err(|_| expected)?;
    let is_hex = !head.is_empty() && head.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| Witness { id, head: head.to_ascii_lowercase() }).ok_or(expected.into())
}

pub fn run(command: LogCommand, global: &Global) -> Result<(), CliError> {
    // Opening a store may make files in it.
    private::make_files_private();
    match command {
        LogCommand::Tail(args) => tail(&args, global),
        LogCommand::Export(args) => export(&args, global),
        LogCommand::Verify(args) => run_verify(&args, global),
        LogCommand::Backup(args) => backup(&args, global),
    }
}

impl StoreArgs {
    fn dir(&self, global: &Global) -> Result<PathBuf, CliError> {
        match &self.store {
            Some(dir) => Ok(dir.clone()),
            None => {
                let state_dir = std::env::var_os("PICKET_STATE_DIR").map(PathBuf::from);
                let config = load(Settings { state_dir, ..Settings::default() }, global)?;
                Ok(config.log_dir())
            }
        }
    }
}

fn tail(args: &TailArgs, global: &Global) -> Result<(), CliError> {
    let source = Source::open(&args.store.dir(global)?)?;
    if args.follow && !source.is_running() {
        let text = "no daemon runs on this store, so nothing new will come to follow";
        return Err(CliError::Unsound(text.into()));
    }
    // One is read in any case, to know what is new.
    let mut records = source.newest(args.lines.max(1))?;
    let newest = records.last().and_then(|record| record["id"].as_u64()).unwrap_or(0);
    records.drain(..records.len().saturating_sub(args.lines));
    match args.format {
        Some(Format::Csv) => print(&format!("{CSV_COLUMNS}{}", lines(&records, Format::Csv)))?,
        Some(Format::Jsonl) => print_data(&lines(&records, Format::Jsonl))?,
        None => print(&table::render(&rows(&records)))?,
    }
    if args.follow {
        return follow(&source, newest + 1, args.format);
    }
    Ok(())
}

fn follow(source: &Source, mut from: u64, format: Option<Format>) -> Result<(), CliError> {
    loop {
        std::thread::sleep(FOLLOW_INTERVAL);
        // While the daemon is away nothing is new.
        let step = source.step_if_there(from)?.unwrap_or_default();
        let Some((last, _)) = step.last() else { continue };
        from = last + 1;
        let records: Vec<Value> = step.into_iter().filter_map(|(_, record)| record.ok()).collect();
        match format {
            Some(format) => print_data(&lines(&records, format))?,
            None => {
                let table = table::render(&rows(&records));
                // The heading stands above the first records already.
                print(table.split_once('\n').map_or("", |(_, rows)| rows))?;
            }
        }
    }
}

fn export(args: &ExportArgs, global: &Global) -> Result<(), CliError> {
    let source = Source::open(&args.store.dir(global)?)?;
    let stdout = std::io::stdout();
    let mut progress = Progress::new(!stdout.is_terminal());
    let mut output = BufWriter::new(stdout.lock());
    let (mut from, mut written, mut damaged) = (0, 0_u64, 0_u64);
    let cut = |records: u64| move |source| CliError::Cut { records, source };
    if matches!(args.format, Format::Csv) {
        output.write_all(CSV_COLUMNS.as_bytes()).map_err(cut(0))?;
    }
    loop {
        let step = source.step(from)?;
        let Some((last, _)) = step.last() else { break };
        from = last + 1;
        for (id, record) in step {
            match record {
                Ok(record) => {
                    let line = line(&record, args.format);
                    output.write_all(line.as_bytes()).map_err(cut(written))?;
                    written += 1;
                }
                Err(damage) => {
                    damaged += 1;
                    eprintln!("picket: record {id} can't be read: {}", printable(&damage));
                }
            }
        }
        progress.show(written);
    }
    let end = end_mark(written, args.format);
    output.write_all(end.as_bytes()).and_then(|()| output.flush()).map_err(cut(written))?;
    progress.end(written);
    if damaged > 0 {
        return Err(CliError::Unsound(format!("{damaged} records can't be read")));
    }
    Ok(())
}

/// A line on the terminal that counts, while the records go elsewhere.
struct Progress {
    shown: bool,
    last: Instant,
}

impl Progress {
    fn new(records_go_elsewhere: bool) -> Progress {
        let shown = records_go_elsewhere && std::io::stderr().is_terminal();
        Progress { shown, last: Instant::now() }
    }

    fn show(&mut self, records: u64) {
        if self.shown && self.last.elapsed() >= PROGRESS_INTERVAL {
            self.last = Instant::now();
            eprint!("\r{records} records");
        }
    }

    fn end(&self, records: u64) {
        if self.shown {
            eprintln!("\r{records} records");
        }
    }
}

fn backup(args: &BackupArgs, global: &Global) -> Result<(), CliError> {
    let Backup { first, next } = back_up(&args.store.dir(global)?, &args.target)?;
    let target = args.target.display();
    print(&match next.checked_sub(1).filter(|last| *last >= first) {
        Some(last) => format!("records {first} to {last} are copied to {target}\n"),
        None => format!("the log has no records; a copy of it is in {target}\n"),
    })
}

fn run_verify(args: &VerifyArgs, global: &Global) -> Result<(), CliError> {
    let report = verify(&args.store.dir(global)?, args.witness.as_ref())?;
    if args.json {
        let text = serde_json::to_string(&report).expect("a report has no value that JSON lacks");
        print_data(&format!("{text}\n"))?;
    } else {
        print(&summary(&report))?;
    }
    if report.is_sound() { Ok(()) } else { Err(CliError::Unsound("the log is not sound".into())) }
}

fn summary(report: &VerifyReport) -> String {
    let verdict = if report.is_sound() { "nothing missing or damaged" } else { "not sound" };
    let VerifyReport { first, last, count, retired, head, .. } = report;
    let mut text = format!(
        "records {first} to {last}: {count} readable, {} gaps, {} corrupt, {} altered, {} \
         quarantined, {retired} retired, head {head}: {verdict}\n",
        report.gaps.len(),
        report.corrupt.len(),
        report.altered.len(),
        report.quarantined.len(),
    );
    text.push_str(match report.witness {
        None => "",
        Some(Testimony::Holds) => "witness: the log holds what it held then\n",
        Some(Testimony::Differs) => "witness: the log holds other records than it held then\n",
        Some(Testimony::Ahead) => "witness: the log ends before the number that was noted\n",
        Some(Testimony::Retired) => "witness: the records of then have gone by retention\n",
        Some(Testimony::Unreadable) => "witness: the records of then can't be read\n",
    });
    text
}

fn lines(records: &[Value], format: Format) -> String {
    records.iter().map(|record| line(record, format)).collect()
}

/// A record as `GET /predictions` shows it, on one line.
fn line(record: &Value, format: Format) -> String {
    match format {
        Format::Jsonl => printable_json(&record.to_string()) + "\n",
        Format::Csv => csv::row(&csv_cells(record)),
    }
}

/// The last line of an export: one that was cut lacks it.
fn end_mark(records: u64, format: Format) -> String {
    match format {
        Format::Jsonl => format!("{{\"records\":{records}}}\n"),
        Format::Csv => {
            let mut cells: [Cell; 12] = std::array::from_fn(|_| Cell::Own(String::new()));
            cells[2] = Cell::Own(CSV_END.into());
            cells[11] = Cell::Own(format!("records={records}"));
            csv::row(&cells)
        }
    }
}

fn rows(records: &[Value]) -> Vec<Vec<String>> {
    let heading = ["id", "time", "device", "label", "confidence", "defect", "ms"];
    let mut rows = vec![heading.map(str::to_string).to_vec()];
    rows.extend(records.iter().map(row));
    rows
}

fn row(record: &Value) -> Vec<String> {
    let seconds = record["timestamp"].as_f64().unwrap_or(0.0);
    let time = rfc3339::format(rfc3339::from_epoch_seconds(seconds), Precision::Millis);
    let (label, confidence) = best(record);
    let or_dash = |text: String| if text.is_empty() { "-".to_string() } else { text };
    vec![
        text(&record["id"]),
        time,
        or_dash(text(&record["edge_device_id"])),
        or_dash(label),
        confidence.map_or_else(|| "-".into(), |confidence| format!("{confidence:.3}")),
        if record["defect_detected"] == true { "yes" } else { "no" }.to_string(),
        format!("{:.2}", record["inference_time_ms"].as_f64().unwrap_or(0.0)),
    ]
}

/// The label of a prediction, or of the detection with the highest confidence.
fn best(record: &Value) -> (String, Option<f64>) {
    let of = |part: &Value, label: &str| (text(&part[label]), part["confidence"].as_f64());
    if record["source"] == "predict" {
        return of(record, "label");
    }
    let detections = record["detections"].as_array().map_or(&[][..], Vec::as_slice);
    let confidence = |detection: &Value| detection["confidence"].as_f64().unwrap_or(0.0);
    let best = detections.iter().max_by(|a, b| confidence(a).total_cmp(&confidence(b)));
    best.map_or_else(|| (String::new(), None), |best| of(best, "class"))
}

fn csv_cells(record: &Value) -> [Cell; 12] {
    let (label, confidence) = best(record);
    let outside = |name: &str| Cell::Text(text(&record[name]));
    let own = |name: &str| Cell::Own(text(&record[name]));
    [
        own("id"),
        Cell::Own(format!("{:.6}", record["timestamp"].as_f64().unwrap_or(0.0))),
        own("source"),
        outside("edge_device_id"),
        outside("model_name"),
        outside("model_version"),
        Cell::Text(label),
        Cell::Own(confidence.map_or_else(String::new, |confidence| format!("{confidence:.6}"))),
        own("defect_detected"),
        own("uncertain"),
        Cell::Own(format!("{:.3}", record["inference_time_ms"].as_f64().unwrap_or(0.0))),
        outside("image_id"),
    ]
}

/// A JSON value as a cell: text without quotes, nothing for null.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
