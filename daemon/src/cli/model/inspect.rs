//! `picket model inspect` and `picket model check`: what a model says about itself, and whether it can
//! serve.

use std::path::PathBuf;

use clap::Args;
use picket_classifier::{Engine, Line, ModelInfo, Node};
use serde_json::{Value, json};

use super::load::load_model;
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::cli::stdout::{print, print_data};
use crate::cli::table;
use crate::config::ModelSettings;
use crate::inference::ms;

#[derive(Args)]
pub struct InspectArgs {
    /// An ONNX file or a bundle's directory, instead of the configured one
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
}

#[derive(Args)]
pub struct CheckArgs {
    /// An ONNX file or a bundle's directory, instead of the configured one
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelSettings,
}

pub fn inspect(args: InspectArgs, global: &Global) -> Result<(), CliError> {
    let InspectArgs { file, json, mut model } = args;
    model.path = file.or(model.path);
    let model = load_model(model, Engine::best(), global)?;
    let info = model.info();
    if json { print_data(&format!("{}\n", as_json(info))) } else { print(&as_text(info)) }
}

fn input(info: &ModelInfo) -> String {
    format!("{:?} {:?}", info.input.element, info.input.shape())
}

fn as_json(info: &ModelInfo) -> Value {
    let node = |node: &Node| json!({"kernel": node.kernel, "op": node.op, "name": node.name, "why": node.why});
    let value = |line: &Line| json!({"table": line.table, "key": line.key, "value": line.value, "source": line.source});
    json!({
        "name": info.name,
        "version": info.version,
        "digest": info.digest,
        "bytes": info.bytes,
        "input": input(info),
        "labels": *info.output.labels,
        "card": info.card.iter().map(value).collect::<Vec<_>>(),
        "golden_checked": info.golden_checked,
        "golden_pictures": info.golden_pictures,
        "warnings": info.card_warnings,
        "load_ms": ms(info.load_time),
        "kernel": info.kernel,
        "nodes": info.nodes.iter().map(node).collect::<Vec<_>>(),
    })
}

/// How much of a value the table of them shows, characters.
const VALUE_SHOWN_MAX: usize = 60;

fn as_text(info: &ModelInfo) -> String {
    let heading = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut values = vec![heading(&["value", "is", "source"])];
    values.extend(info.card.iter().map(|line| {
        let mut value: String = line.value.chars().take(VALUE_SHOWN_MAX).collect();
        if value.len() < line.value.len() {
            value.push('…');
        }
        vec![format!("{}.{}", line.table, line.key), value, line.source.clone()]
    }));
    let mut nodes = vec![heading(&["runs on", "op", "node", "why"])];
    nodes.extend(info.nodes.iter().map(|node| {
        let why = node.why.unwrap_or_default().to_string();
        vec![node.kernel.to_string(), node.op.clone(), node.name.clone(), why]
    }));
    let golden = match (info.golden_checked, info.golden_pictures) {
        (false, _) => "none".to_string(),
        (true, 0) => "checked".to_string(),
        (true, pictures) => format!("checked, pictures: {pictures}"),
    };
    format!(
        "name     {}\nversion  {}\ndigest   {}\nbytes    {}\ninput    {}\nlabels   {}\n\
         golden   {golden}\nload     {:.1} ms\nkernel   {}\n\n{}\n{}",
        info.name.as_deref().unwrap_or("(not stated)"),
        info.version,
        info.digest,
        info.bytes,
        input(info),
        labels(&info.output.labels),
        ms(info.load_time),
        info.kernel,
        table::render(&values),
        table::render(&nodes),
    )
}

/// How many labels are listed before the rest is counted.
const LABELS_SHOWN_MAX: usize = 32;

fn labels(labels: &[String]) -> String {
    let shown = labels.len().min(LABELS_SHOWN_MAX);
    let listed = labels[..shown].join(", ");
    match labels.len() - shown {
        0 => listed,
        rest => format!("{listed} and {rest} others"),
    }
}

pub fn check(args: CheckArgs, global: &Global) -> Result<(), CliError> {
    let CheckArgs { file, mut model } = args;
    model.path = file.or(model.path);
    let model = load_model(model, Engine::best(), global)?;
    let info = model.info();
    let golden = match (info.golden_checked, info.golden_pictures) {
        (false, _) => "no golden logits".to_string(),
        (true, 0) => "golden logits match".to_string(),
        (true, pictures) => format!("golden logits match, pictures: {pictures}"),
    };
    print(&format!("model {} {}: ok, {golden}\n", info.version, info.digest))?;
    for warning in info.stock_warning().iter().chain(&info.card_warnings) {
        print(&format!("warning: {warning}\n"))?;
    }
    Ok(())
}
