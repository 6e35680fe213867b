//! `picket model describe` and `picket model stamp`: a model's card as a model.toml, and as part of the ONNX
//! file.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::stdout::{print, print_toml};
use crate::models;
use picket_classifier::{Engine, ModelSource};

#[derive(Args)]
pub struct DescribeArgs {
    /// An ONNX file or a bundle's directory
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub struct StampArgs {
    /// An ONNX file or a bundle's directory
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the stamped file goes; it may be FILE itself [default: NAME.stamped.onnx beside it]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn describe(args: &DescribeArgs) -> Result<(), CliError> {
    print_toml(&picket_classifier::describe(&args.file)?)
}

pub fn stamp(args: &StampArgs) -> Result<(), CliError> {
    // It is loaded to be stamped: only after its trial.
    models::load_model(&ModelSource::File(args.file.clone()), Engine::best())?;
    let stamped = picket_classifier::stamped(&args.file)?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            let beside = beside(&args.file);
            if beside.exists() {
                let exists = std::io::ErrorKind::AlreadyExists.into();
                let what = format!("cannot write {}, --output says where", beside.display());
                return Err(CliError::io(what)(exists));
            }
            beside
        }
    };
    let unwritable = || CliError::io(format!("cannot write {}", output.display()));
    write(&output, &stamped).map_err(unwritable())?;
    print(&format!("{}\n", output.display()))
}

fn beside(file: &Path) -> PathBuf {
    let onnx = if file.is_dir() { file.join("model.onnx") } else { file.to_path_buf() };
    let mut name: OsString = onnx.file_stem().unwrap_or_default().to_os_string();
    name.push(".stamped.onnx");
    onnx.with_file_name(name)
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // A rename would put a file in the place of a device or a link.
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let text = "it is there and no regular file";
        return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, text));
    }
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let scratch = path.with_file_name(name);
    let written = std::fs::File::create_new(&scratch).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&scratch, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&scratch);
    }
    written
}
