//! `picket model bench`: inference alone, on one thread or several that share the model.

use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crate::config::ModelSettings;
use crate::inference::ms;
use crate::os;
use clap::Args;
use picket_classifier::{Engine, Model, Times};
use picket_picture::{Picture, Tensor};
use serde_json::{Value, json};

use super::load::load_model;
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::cli::stdout::{print, print_data};
use crate::cli::table;

/// So many runs come before the clock starts: caches and branch predictors settle.
const WARM_UP_RUNS: usize = 20;

/// At most so many images have each of their nodes timed.
const NODE_RUNS_MAX: usize = 10_000;

#[derive(Args)]
pub struct BenchArgs {
    /// An ONNX file or a bundle's directory, instead of the configured one
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Images in all
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    iterations: u32,
    /// Threads that run at the same time, on one model
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Also the time of each node, and what the stock engine takes around them
    #[arg(long)]
    nodes: bool,
    /// What computes the quantised convolutions, if not the fastest that this CPU has: tract, scalar,
    /// avx2, avxvnni, avx512vnni, neon, dotprod, i8mm
    #[arg(long)]
    kernel: Option<Engine>,
    #[command(flatten)]
    model: ModelSettings,
}

/// What one or several threads measured.
struct Measured {
    /// The time of each image, sorted.
    times: Vec<Duration>,
    images_per_s: f64,
    resident_bytes: Option<u64>,
}

impl Measured {
    fn us(&self, share: f64) -> f64 {
        let index = ((self.times.len() - 1) as f64 * share).round() as usize;
        micros(self.times[index])
    }
}

pub fn run(mut args: BenchArgs, global: &Global) -> Result<(), CliError> {
    args.model.path = args.file.or(args.model.path);
    let engine = args.kernel.unwrap_or_else(Engine::best);
    let model = Arc::new(load_model(args.model, engine, global)?);
    let threads = args.threads as usize;
    let measured = measure(&model, threads, (args.iterations as usize).div_ceil(threads))?;
    let nodes = if args.nodes {
        let runs = (args.iterations as usize).min(NODE_RUNS_MAX);
        Some(model.times(&input(&model), runs)?)
    } else {
        None
    };
    if args.json {
        json_report(&model, threads, &measured, nodes)
    } else {
        report(&model, threads, &measured, nodes)
    }
}

fn json_report(
    model: &Model,
    threads: usize,
    measured: &Measured,
    nodes: Option<Times>,
) -> Result<(), CliError> {
    let info = model.info();
    let mut text = json!({
        "digest": info.digest,
        "threads": threads,
        "iterations": measured.times.len(),
        "us": {"min": measured.us(0.0), "median": measured.us(0.5), "p99": measured.us(0.99)},
        "images_per_s": measured.images_per_s,
        "rss_bytes": measured.resident_bytes,
        "load_ms": ms(info.load_time),
        "kernel": info.kernel,
    });
    if let Some(times) = nodes {
        text["engine_us"] = json!(micros(times.around));
        let nodes = info.nodes.iter().zip(times.nodes).map(|(node, time)| {
            json!({"kernel": node.kernel, "op": node.op, "name": node.name, "us": micros(time),
                   "products": node.products})
        });
        text["nodes"] = Value::Array(nodes.collect());
    }
    print_data(&format!("{text}\n"))
}

fn report(
    model: &Model,
    threads: usize,
    measured: &Measured,
    nodes: Option<Times>,
) -> Result<(), CliError> {
    let info = model.info();
    let resident = measured
        .resident_bytes
        .map_or("unknown".into(), |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    print(&format!(
        "{} images on {threads} threads, {}: min {:.1} µs, median {:.1} µs, p99 {:.1} µs; \
         {:.0} images/s; {resident} of memory; loaded in {:.1} ms\n",
        measured.times.len(),
        info.kernel,
        measured.us(0.0),
        measured.us(0.5),
        measured.us(0.99),
        measured.images_per_s,
        ms(info.load_time),
    ))?;
    let Some(times) = nodes else { return Ok(()) };
    let mut rows = vec![["µs", "GMAC/s", "runs on", "op", "node"].map(str::to_string).to_vec()];
    rows.extend(info.nodes.iter().zip(times.nodes).map(|(node, time)| {
        let us = micros(time);
        let rate = node
            .products
            .map_or("-".into(), |products| format!("{:.1}", products as f64 / us / 1e3));
        vec![format!("{us:.2}"), rate, node.kernel.into(), node.op.clone(), node.name.clone()]
    }));
    let around = micros(times.around);
    print(&format!(
        "\n{}\nthe stock engine takes {around:.2} µs around them\n",
        table::render(&rows)
    ))
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn input(model: &Model) -> Tensor {
    let spec = &model.info().input;
    let bytes: Vec<u8> = (0..spec.values()).map(|i| (i * 7 % 256) as u8).collect();
    let picture = Picture::from_raw(&bytes, spec).expect("it holds exactly as many bytes");
    Tensor::new(&picture, spec)
}

/// Each thread runs `share` images; the clock of all starts when the last of them has warmed up.
fn measure(model: &Arc<Model>, threads: usize, share: usize) -> Result<Measured, CliError> {
    let ready = Arc::new(Barrier::new(threads + 1));
    let start = |index| {
        let (model, ready) = (model.clone(), ready.clone());
        let thread = Builder::new().name(format!("bench-{index}"));
        thread.spawn(move || one_thread(&model, share, &ready))
    };
    let runners: Vec<_> = (0..threads)
        .map(start)
        .collect::<Result<_, _>>()
        .map_err(CliError::io("cannot start a thread for each of --threads"))?;
    ready.wait();
    let started = Instant::now();
    let mut times = Vec::with_capacity(share * threads);
    for runner in runners {
        times.extend(runner.join().expect("a bench thread does not panic")?);
    }
    let images_per_s = times.len() as f64 / started.elapsed().as_secs_f64();
    let resident_bytes = os::resident_bytes();
    times.sort_unstable();
    Ok(Measured { times, images_per_s, resident_bytes })
}

fn one_thread(model: &Model, runs: usize, ready: &Barrier) -> Result<Vec<Duration>, CliError> {
    let input = input(model);
    let warm = (0..WARM_UP_RUNS).try_for_each(|_| model.run(&input).map(drop));
    let mut times = Vec::with_capacity(runs);
    ready.wait();
    warm?;
    for _ in 0..runs {
        let started = Instant::now();
        model.run(&input)?;
        times.push(started.elapsed());
    }
    Ok(times)
}
