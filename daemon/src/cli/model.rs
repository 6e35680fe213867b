//! `picket model inspect|check|bench`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use picket::config::{ModelSettings, Settings};
use picket::http::ms;
use picket::image::{IMAGE_BYTES, Image};
use picket::model::{Model, Node};
use picket::qconv::Engine;
use picket::tensor::InputTensor;
use serde_json::json;

use super::{CliError, Global, load, print, table};

/// Runs before the clock starts: caches and branch predictors settle.
const WARM_UP_RUNS: usize = 20;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Print what the model says about itself
    Inspect(InspectArgs),
    /// Load the model and run its golden sample
    Check(ModelSettings),
    /// Measure inference alone, without decoding or HTTP
    Bench(BenchArgs),
}

#[derive(Args)]
pub struct InspectArgs {
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
}

#[derive(Args)]
pub struct BenchArgs {
    #[arg(long)]
    json: bool,
    /// Images in all
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    iterations: u32,
    /// Threads that run at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// What computes the quantised convolutions, if not the fastest that this CPU has: tract, scalar,
    /// avx2, avxvnni, avx512vnni, neon, dotprod, i8mm
    #[arg(long)]
    kernel: Option<Engine>,
    #[command(flatten)]
    model: ModelSettings,
}

pub fn run(command: ModelCommand, global: &Global) -> Result<(), CliError> {
    match command {
        ModelCommand::Inspect(args) => inspect(args, global),
        ModelCommand::Check(settings) => check(settings, global),
        ModelCommand::Bench(args) => bench(args, global),
    }
}

fn model(settings: ModelSettings, engine: Engine, global: &Global) -> Result<Model, CliError> {
    let config = load(Settings { model: settings, ..Settings::default() }, global)?;
    Ok(Model::load_on(&config.model.source(), engine)?)
}

fn inspect(args: InspectArgs, global: &Global) -> Result<(), CliError> {
    let model = model(args.model, Engine::best(), global)?;
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

fn check(settings: ModelSettings, global: &Global) -> Result<(), CliError> {
    let model = model(settings, Engine::best(), global)?;
    let info = model.info();
    let golden = if info.golden_checked { "golden logits match" } else { "no golden logits" };
    print(&format!("model {} {}: ok, {golden}\n", info.version, info.digest))
}

fn bench(args: BenchArgs, global: &Global) -> Result<(), CliError> {
    let engine = args.kernel.unwrap_or_else(Engine::best);
    let model = Arc::new(model(args.model, engine, global)?);
    let (threads, iterations) = (args.threads as usize, args.iterations as usize);
    let share = iterations.div_ceil(threads);
    let runners: Vec<_> = (0..threads)
        .map(|_| {
            let model = model.clone();
            std::thread::spawn(move || measure(&model, share))
        })
        .collect();
    let mut times = Vec::with_capacity(share * threads);
    for runner in runners {
        times.extend(runner.join().expect("a bench thread does not panic")?);
    }
    times.sort_unstable();
    let us = |share: f64| {
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_nanos() as f64 / 1e3
    };
    let (min, median, p99) = (us(0.0), us(0.5), us(0.99));
    let info = model.info();
    if args.json {
        let text = json!({
            "digest": info.digest,
            "threads": threads,
            "iterations": times.len(),
            "us": {"min": min, "median": median, "p99": p99},
            "load_ms": ms(info.load_time),
            "kernel": info.kernel,
        });
        return print(&format!("{text}\n"));
    }
    print(&format!(
        "{} images on {threads} threads, {}: min {min:.1} µs, median {median:.1} µs, \
         p99 {p99:.1} µs; loaded in {:.1} ms\n",
        times.len(),
        info.kernel,
        ms(info.load_time),
    ))
}

fn measure(model: &Model, runs: usize) -> Result<Vec<Duration>, CliError> {
    let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (i * 7 % 256) as u8).collect();
    let image = Image::from_rgb8(&bytes).expect("it holds exactly IMAGE_BYTES bytes");
    let input = InputTensor::new(&image, model.info().input);
    for _ in 0..WARM_UP_RUNS {
        model.run(&input)?;
    }
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let started = Instant::now();
        model.run(&input)?;
        times.push(started.elapsed());
    }
    Ok(times)
}
