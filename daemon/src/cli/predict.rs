//! `picket predict FILE…`: the daemon's own pipeline on files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::{ModelSettings, Settings, VerdictSettings};
use crate::inference::{
    JudgedView, ModelView, Pipeline, PredictError, Prediction, PredictionView, ServedView, Shown,
    StageTimes, TimingView, ms,
};
use crate::life::load_pipeline;
use clap::Args;
use serde::Serialize;

use super::error::CliError;
use super::global::{Global, load};
use super::stdout::{print, print_data};
use super::table;
use picket_base::printable;

/// The largest file that is read, bytes: as large as a body may ever be.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
pub struct PredictArgs {
    /// Pictures (PNG, JPEG, BMP, TIFF, PGM, PPM), JSON or the model's raw pixels; - reads stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// One JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
    #[command(flatten)]
    verdict: VerdictSettings,
}

#[derive(Serialize)]
struct Line<'a> {
    file: String,
    #[serde(flatten)]
    view: PredictionView<'a>,
}

/// Every file is tried; the first failure decides the exit code.
pub fn run(args: PredictArgs, global: &Global) -> Result<(), CliError> {
    let PredictArgs { files, json, model, verdict } = args;
    let config = load(Settings { model, verdict, ..Settings::default() }, global)?;
    let pipeline = load_pipeline(&config)?;
    let mut rows = vec![
        ["file", "label", "confidence", "next best", "", "defect", "uncertain", "ms"]
            .map(str::to_string)
            .to_vec(),
    ];
    let mut failure: Option<CliError> = None;
    for file in &files {
        let name = file.display().to_string();
        match predict(&pipeline, file) {
            Ok((prediction, times)) if json => {
                let line = json_line(&name, &config.model.name, &pipeline, &prediction, times);
                print_data(&line)?;
            }
            Ok((prediction, times)) => rows.push(row(name, &prediction, times)),
            Err(error) => match &failure {
                None => failure = Some(error),
                Some(_) => eprintln!("picket: {}", printable(&picket_base::chain(&error))),
            },
        }
    }
    if rows.len() > 1 {
        print(&table::render(&rows))?;
    }
    failure.map_or(Ok(()), Err)
}

/// The winner and the one behind it, whether there are two classes or a thousand.
fn row(file: String, prediction: &Prediction, times: StageTimes) -> Vec<String> {
    let next = prediction.top(2).get(1).copied();
    let confidence = |class: usize| format!("{:.3}", prediction.probabilities[class]);
    vec![
        file,
        prediction.label().to_string(),
        format!("{:.3}", prediction.confidence),
        next.map_or("-".to_string(), |class| prediction.labels[class].clone()),
        next.map_or("-".to_string(), confidence),
        yes_no(prediction.defect),
        yes_no(prediction.uncertain),
        format!("{:.2}", ms(times.decode + times.inference)),
    ]
}

fn predict(pipeline: &Pipeline, file: &Path) -> Result<(Prediction, StageTimes), CliError> {
    let name = file.display().to_string();
    let body = read(file).map_err(CliError::io(format!("cannot read {name}")))?;
    let image = |source| CliError::Image { file: name.clone(), source };
    pipeline.predict(&body, None).map_err(|error| match error {
        PredictError::Decode(error) => image(error),
        PredictError::Model(error) => CliError::Model(error),
    })
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file)?)
    };
    let mut body = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > FILE_BYTES_MAX {
        let text = format!("it is larger than {FILE_BYTES_MAX} bytes, the limit");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
    }
    Ok(body)
}

fn json_line(
    file: &str,
    model_name: &str,
    pipeline: &Pipeline,
    prediction: &Prediction,
    times: StageTimes,
) -> String {
    let info = pipeline.model.info();
    let timing_ms = TimingView {
        queue: 0.0,
        decode: ms(times.decode),
        inference: ms(times.inference),
        commit: None,
        total: ms(times.decode + times.inference),
    };
    let model = ModelView { name: model_name, version: &info.version, digest: &info.digest };
    let view = PredictionView {
        judged: JudgedView::of(prediction, None, Shown::default()),
        served: ServedView { durable: false, model, timing_ms },
    };
    let line = Line { file: file.to_string(), view };
    let mut text = serde_json::to_string(&line).expect("a prediction has no value that JSON lacks");
    text.push('\n');
    text
}

fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_string()
}
