//! `picket model logits`: what the model makes of images, before softmax and verdict; to be held
//! against another runtime's numbers for the same file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::config::ModelSettings;
use clap::Args;
use picket_classifier::Engine;
use picket_picture::{Picture, Tensor};

use super::load::load_model;
use crate::cli::error::CliError;
use crate::cli::global::Global;
use crate::cli::stdout::print;

#[derive(Args)]
pub struct LogitsArgs {
    /// Raw pictures of the model's size one behind the other, rows of pixels; - reads stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What computes the quantised convolutions, if not the fastest that this CPU has
    #[arg(long)]
    kernel: Option<Engine>,
    #[command(flatten)]
    model: ModelSettings,
}

/// One line for each image: a JSON array of its scores.
pub fn run(args: LogitsArgs, global: &Global) -> Result<(), CliError> {
    let LogitsArgs { file, kernel, model } = args;
    let model = load_model(model, kernel.unwrap_or_else(Engine::best), global)?;
    let name = file.display().to_string();
    let unreadable = || CliError::io(format!("cannot read {name}"));
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(&file).map_err(unreadable())?)
    };
    let mut source = BufReader::new(source);
    let spec = &model.info().input;
    let mut pixels = Vec::with_capacity(spec.values());
    for index in 0_u64.. {
        pixels.clear();
        let next = source.by_ref().take(spec.values() as u64).read_to_end(&mut pixels);
        if next.map_err(unreadable())? == 0 && index > 0 {
            break;
        }
        let image = Picture::from_raw(&pixels, spec)
            .map_err(|source| CliError::Image { file: format!("{name}, image {index}"), source })?;
        let scores = model.run(&Tensor::new(&image, spec))?;
        let line = serde_json::to_string(&scores.0).expect("finite numbers are JSON");
        print(&format!("{line}\n"))?;
    }
    Ok(())
}
