//! `picket model inspect|check|bench|logits`.

mod bench;
mod logits;

use std::path::PathBuf;

use crate::config::{ModelSettings, Settings};
use crate::inference::ms;
use clap::{Args, Subcommand};
use picket_classifier::Engine;
use picket_classifier::{Model, Node};
use serde_json::json;

use super::{CliError, Global, load, print, table};

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Print what the model says about itself
    Inspect(InspectArgs),
    /// Say whether a model can serve, and exactly why not
    Check(CheckArgs),
    /// Measure inference alone, without decoding or HTTP
    Bench(bench::BenchArgs),
    /// Print the logits of raw images, to compare with another runtime
    Logits(logits::LogitsArgs),
}

#[derive(Args)]
pub struct InspectArgs {
    /// The same as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
}

#[derive(Args)]
pub struct CheckArgs {
    /// Instead of the configured one
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    model: ModelSettings,
}

pub fn run(command: ModelCommand, global: &Global) -> Result<(), CliError> {
    match command {
        ModelCommand::Inspect(args) => inspect(args, global),
        ModelCommand::Check(args) => check(args, global),
        ModelCommand::Bench(args) => bench::run(args, global),
        ModelCommand::Logits(args) => logits::run(args, global),
    }
}

fn load_model(settings: ModelSettings, engine: Engine, global: &Global) -> Result<Model, CliError> {
    let config = load(Settings { model: settings, ..Settings::default() }, global)?;
    Ok(Model::load_on(&config.model.source(), engine)?)
}

fn inspect(args: InspectArgs, global: &Global) -> Result<(), CliError> {
    let model = load_model(args.model, Engine::best(), global)?;
    let info = model.info();
    let name = info.name.as_deref().unwrap_or("(not stated)");
    let input = format!("{:?} {:?}", info.input.element, info.input.layout.shape());
    if args.json {
        let node = |node: &Node| json!({"kernel": node.kernel, "op": node.op, "name": node.name});
        let nodes: Vec<_> = info.nodes.iter().map(node).collect();
        let text = json!({
            "name": info.name,
            "version": info.version,
            "digest": info.digest,
            "bytes": info.bytes,
            "input": input,
            "labels": *info.labels,
            "golden_checked": info.golden_checked,
            "load_ms": ms(info.load_time),
            "kernel": info.kernel,
            "nodes": nodes,
        });
        return print(&format!("{text}\n"));
    }
    let mut rows = vec![["runs on", "op", "node"].map(str::to_string).to_vec()];
    rows.extend(
        info.nodes
            .iter()
            .map(|node| vec![node.kernel.to_string(), node.op.clone(), node.name.clone()]),
    );
    let nodes = table::render(&rows);
    let golden = if info.golden_checked { "checked" } else { "none in the file" };
    print(&format!(
        "name     {name}\nversion  {}\ndigest   {}\nbytes    {}\ninput    {input}\n\
         labels   {}\ngolden   {golden}\nload     {:.1} ms\nkernel   {}\n\n{nodes}",
        info.version,
        info.digest,
        info.bytes,
        info.labels.join(", "),
        ms(info.load_time),
        info.kernel,
    ))
}

fn check(args: CheckArgs, global: &Global) -> Result<(), CliError> {
    let CheckArgs { file, mut model } = args;
    model.path = file.or(model.path);
    let model = load_model(model, Engine::best(), global)?;
    let info = model.info();
    let golden = if info.golden_checked { "golden logits match" } else { "no golden logits" };
    print(&format!("model {} {}: ok, {golden}\n", info.version, info.digest))?;
    match info.stock_warning() {
        Some(warning) => print(&format!("warning: {warning}\n")),
        None => Ok(()),
    }
}
