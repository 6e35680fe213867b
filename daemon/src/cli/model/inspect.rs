//! `picket model inspect` and `picket model check`: what a model says about itself, and whether it can
//! serve.

use std::path::PathBuf;

use clap::Args;
use picket_classifier::{Engine, Node};
use serde_json::json;

use super::load::load_model;
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::cli::stdout::print;
use crate::cli::table;
use crate::config::ModelSettings;
use crate::inference::ms;

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

pub fn inspect(args: InspectArgs, global: &Global) -> Result<(), CliError> {
    let model = load_model(args.model, Engine::best(), global)?;
    let info = model.info();
    let name = info.name.as_deref().unwrap_or("(not stated)");
    let input = format!("{:?} {:?}", info.input.element, info.input.shape());
    if args.json {
        let node = |node: &Node| json!({"kernel": node.kernel, "op": node.op, "name": node.name});
        let nodes: Vec<_> = info.nodes.iter().map(node).collect();
        let text = json!({
            "name": info.name,
            "version": info.version,
            "digest": info.digest,
            "bytes": info.bytes,
            "input": input,
            "labels": *info.output.labels,
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
        info.output.labels.join(", "),
        ms(info.load_time),
        info.kernel,
    ))
}

pub fn check(args: CheckArgs, global: &Global) -> Result<(), CliError> {
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
