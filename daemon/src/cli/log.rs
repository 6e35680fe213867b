//! `picket log tail|export|verify`: reading the store of a daemon that is not running.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use picket::config::Settings;
use picket::prediction_log::{
    Body, LogError, LogReader, LogRecord, PAGE_RECORDS_MAX, Query, Store, VerifyReport, verify,
};

use super::{CliError, Global, load, print, table};

#[derive(Subcommand)]
pub enum LogCommand {
    /// Print the newest records
    Tail(TailArgs),
    /// Print every record, oldest first
    Export(ExportArgs),
    /// Read every record and prove that none is missing or damaged
    Verify(VerifyArgs),
}

#[derive(Args)]
struct StoreArgs {
    /// Directory of the log [default: <state_dir>/log]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Args)]
pub struct TailArgs {
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
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
}

const CSV_COLUMNS: &str = "id,timestamp,source,edge_device_id,model_name,model_version,label,\
                           confidence,defect_detected,uncertain,inference_time_ms,image_id\n";

pub fn run(command: LogCommand, global: &Global) -> Result<(), CliError> {
    match command {
        LogCommand::Tail(args) => tail(&args, global),
        LogCommand::Export(args) => export(&args, global),
        LogCommand::Verify(args) => run_verify(&args, global),
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
    let store = Store::open(&args.store.dir(global)?)?;
    let mut records = newest(&store.reader, args.lines)?;
    // Oldest first, as tail prints.
    records.reverse();
    if let Some(format) = args.format {
        let header = matches!(format, Format::Csv).then_some(CSV_COLUMNS).unwrap_or_default();
        let lines: String = records.iter().map(|record| line(record, format)).collect();
        return print(&format!("{header}{lines}"));
    }
    let heading = ["id", "time", "device", "label", "confidence", "defect", "ms"];
    let mut rows = vec![heading.map(str::to_string).to_vec()];
    rows.extend(records.iter().map(row));
    print(&table::render(&rows))
}

fn newest(reader: &LogReader, count: usize) -> Result<Vec<LogRecord>, LogError> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let limit = (count - records.len()).min(PAGE_RECORDS_MAX);
        let page = reader.query(&Query { limit, after, ..Query::default() })?;
        records.extend(page.records);
        after = page.next;
        if records.len() >= count || after.is_none() {
            return Ok(records);
        }
    }
}

fn export(args: &ExportArgs, global: &Global) -> Result<(), CliError> {
    let store = Store::open(&args.store.dir(global)?)?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let broken = || CliError::io("cannot write to stdout");
    if matches!(args.format, Format::Csv) {
        output.write_all(CSV_COLUMNS.as_bytes()).map_err(broken())?;
    }
    let mut damaged = 0_u64;
    store.reader.export(0, |id, record| match record {
        Ok(record) => output.write_all(line(&record, args.format).as_bytes()).map_err(broken()),
        Err(damage) => {
            damaged += 1;
            eprintln!("picket: record {id} can't be read: {damage}");
            Ok(())
        }
    })?;
    output.flush().map_err(broken())?;
    if damaged > 0 {
        return Err(CliError::Unsound(format!("{damaged} records can't be read")));
    }
    Ok(())
}

fn run_verify(args: &VerifyArgs, global: &Global) -> Result<(), CliError> {
    let report = verify(&args.store.dir(global)?)?;
    if args.json {
        let text = serde_json::to_string(&report).expect("a report has no value that JSON lacks");
        print(&format!("{text}\n"))?;
    } else {
        let verdict = if report.is_sound() { "nothing missing or damaged" } else { "not sound" };
        let VerifyReport { first, last, count, gaps, corrupt, altered, quarantined, head, .. } =
            &report;
        print(&format!(
            "records {first} to {last}: {count} readable, {} gaps, {} corrupt, {} altered, {} \
             quarantined, head {head}: {verdict}\n",
            gaps.len(),
            corrupt.len(),
            altered.len(),
            quarantined.len(),
        ))?;
    }
    if report.is_sound() { Ok(()) } else { Err(CliError::Unsound("the log is not sound".into())) }
}

fn line(record: &LogRecord, format: Format) -> String {
    match format {
        Format::Jsonl => {
            let json = serde_json::to_string(record);
            json.expect("a record has no value that JSON lacks") + "\n"
        }
        Format::Csv => {
            let cells = csv_cells(record);
            let quoted: Vec<String> = cells.iter().map(|cell| csv_quote(cell)).collect();
            quoted.join(",") + "\n"
        }
    }
}

fn row(record: &LogRecord) -> Vec<String> {
    let entry = &record.entry;
    let time = humantime::format_rfc3339_millis(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(record.timestamp().max(0.0)),
    );
    let (label, confidence) = best(record);
    vec![
        record.id.to_string(),
        time.to_string(),
        entry.origin.device_id.clone().unwrap_or_else(|| "-".into()),
        label,
        confidence.map_or_else(|| "-".into(), |confidence| format!("{confidence:.3}")),
        if entry.defect { "yes" } else { "no" }.to_string(),
        format!("{:.2}", entry.inference_us as f64 / 1e3),
    ]
}

/// The label of a prediction, or of the detection with the highest confidence.
fn best(record: &LogRecord) -> (String, Option<f64>) {
    match &record.entry.body {
        Body::Predicted(predicted) => {
            (predicted.label.clone(), Some(f64::from(predicted.confidence())))
        }
        Body::Reported(reported) => reported
            .detections
            .iter()
            .max_by(|a, b| a.confidence.total_cmp(&b.confidence))
            .map_or_else(|| ("-".into(), None), |d| (d.class.clone(), Some(d.confidence))),
    }
}

fn csv_cells(record: &LogRecord) -> [String; 12] {
    let entry = &record.entry;
    let (label, confidence) = best(record);
    let (source, uncertain, image_id) = match &entry.body {
        Body::Predicted(predicted) => ("predict", predicted.uncertain.to_string(), String::new()),
        Body::Reported(reported) => ("log", String::new(), reported.image_id.clone()),
    };
    [
        record.id.to_string(),
        format!("{:.6}", record.timestamp()),
        source.to_string(),
        entry.origin.device_id.clone().unwrap_or_default(),
        entry.origin.model_name.clone(),
        entry.origin.model_version.clone(),
        label,
        confidence.map_or_else(String::new, |confidence| format!("{confidence:.6}")),
        entry.defect.to_string(),
        uncertain,
        format!("{:.3}", entry.inference_us as f64 / 1e3),
        image_id,
    ]
}

/// RFC 4180.
fn csv_quote(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_string()
    }
}
