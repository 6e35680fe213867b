//! `picket model install|list|rollback|pin|unpin`: through the daemon where one runs, on the store directly
//! where none does.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use picket_base::rfc3339;
use picket_classifier::contents;
use picket_models::{GIVEN, Listed, Standing, StoreError, VERSION_FILES_MAX};
use serde::Serialize;

use crate::cli::error::CliError;
use crate::cli::global::{Global, load};
use crate::cli::source::Daemon;
use crate::cli::stdout::print;
use crate::cli::table::render;
use crate::config::{Config, Settings};
use crate::life::{Workshop, WorkshopError};
use crate::models::{Denied, Wish};
use crate::os;

#[derive(Args)]
pub struct StateArgs {
    /// Directory that holds the daemon's log and models
    #[arg(long, value_name = "DIR", env = "PICKET_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

#[derive(Args)]
pub struct InstallArgs {
    /// ONNX file, or a bundle's directory
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args)]
pub struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: StateArgs,
}

#[derive(Args)]
pub struct PinArgs {
    /// Version, or the beginning of a digest
    #[arg(id = "asked", value_name = "VERSION")]
    version: String,
    #[command(flatten)]
    state: StateArgs,
}

pub fn install(args: InstallArgs, global: &Global) -> Result<(), CliError> {
    let config = args.state.config(global)?;
    let path = args.path.canonicalize();
    let path = path.map_err(CliError::io(args.path.display().to_string()))?;
    let lines = wish(&config, |store| {
        let given = Given::copy(&path, store)?;
        let wish = Wish::Install(given.file.clone());
        Ok((wish, Some(given)))
    })?;
    say(&lines, args.json)
}

pub fn rollback(args: StateArgs, global: &Global) -> Result<(), CliError> {
    let config = args.config(global)?;
    say(&wish(&config, |_| Ok((Wish::RollBack, None)))?, false)
}

pub fn pin(args: PinArgs, global: &Global) -> Result<(), CliError> {
    let config = args.state.config(global)?;
    say(&wish(&config, |_| Ok((Wish::Pin(args.version), None)))?, false)
}

pub fn unpin(args: StateArgs, global: &Global) -> Result<(), CliError> {
    let config = args.config(global)?;
    say(&wish(&config, |_| Ok((Wish::Unpin, None)))?, false)
}

pub fn list(args: ListArgs, global: &Global) -> Result<(), CliError> {
    let config = args.state.config(global)?;
    let lines: Vec<Listed> = match Workshop::open(&config) {
        Err(error) if is_in_use(&error) => Daemon::of(&config.log_dir())?.list_of_models()?,
        other => other.map_err(CliError::from)?.list(),
    };
    if args.json {
        let lines: Vec<Line> = lines.iter().map(Line::of).collect();
        let text = serde_json::to_string(&lines).expect("a line has only what JSON has");
        return print(&format!("{text}\n"));
    }
    let heading = ["STATE", "NAME", "VERSION", "DIGEST", "SINCE", "WHY"].map(String::from).to_vec();
    let rows = lines.iter().map(|line| {
        let Line { name, version, digest, state, since, reason } = Line::of(line);
        let state = serde_json::to_string(&state).unwrap_or_default();
        vec![
            state.trim_matches('"').to_string(),
            name.to_string(),
            version.to_string(),
            digest.get(..12).unwrap_or(digest).to_string(),
            since,
            reason.unwrap_or_default().to_string(),
        ]
    });
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(rows).collect();
    print(&render(&rows))
}

/// A model as the list shows it.
#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    version: &'a str,
    digest: &'a str,
    state: Standing,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Line<'_> {
    fn of(listed: &Listed) -> Line<'_> {
        Line {
            name: &listed.name,
            version: &listed.version,
            digest: &listed.digest,
            state: listed.state,
            since: rfc3339::format(
                rfc3339::from_epoch_seconds(listed.since as f64),
                rfc3339::Precision::Seconds,
            ),
            reason: listed.reason.as_deref(),
        }
    }
}

/// Has a wish granted, by the daemon where one runs.
fn wish(
    config: &Config,
    make: impl FnOnce(&Path) -> Result<(Wish, Option<Given>), CliError>,
) -> Result<Vec<String>, CliError> {
    let dir = config.models_dir();
    match Workshop::open(config) {
        Err(error) if is_in_use(&error) => {
            let (wish, _given) = make(&dir)?;
            Daemon::of(&config.log_dir())?.wish_of_models(&path_of(&wish))
        }
        other => {
            let workshop = other?;
            let (wish, _given) = make(&dir)?;
            let granted = workshop.grant(wish)?;
            keep_owner(&config.state_dir, &dir)?;
            granted.map_err(|denied| match denied {
                Denied::Refused(why) => CliError::Refused(why),
                Denied::Failed(why) => CliError::Unsound(why),
            })
        }
    }
}

/// The control socket's path of a wish.
fn path_of(wish: &Wish) -> String {
    let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    match wish {
        Wish::Install(path) => format!("/models/install?path={}", plain(&path.to_string_lossy())),
        Wish::RollBack => "/models/rollback".to_string(),
        Wish::Pin(version) => format!("/models/pin?version={}", plain(version)),
        Wish::Unpin => "/models/unpin".to_string(),
    }
}

/// A copy of a model where the daemon can read it, which may see neither homes nor /tmp. It goes when this
/// does.
struct Given {
    dir: PathBuf,
    file: PathBuf,
}

impl Given {
    fn copy(path: &Path, store: &Path) -> Result<Given, CliError> {
        let dir = store.join(format!("{GIVEN}{}", std::process::id()));
        let failed = |error| CliError::io(format!("cannot copy {}", path.display()))(error);
        let called = path.file_name().unwrap_or_default();
        let mut given = Given { file: dir.join(called), dir };
        given.fill(path).map_err(failed)?;
        if let Some(parent) = store.parent() {
            keep_owner(parent, &given.dir)?;
        }
        Ok(given)
    }

    fn fill(&mut self, path: &Path) -> io::Result<()> {
        // A directory keeps its name, for people know it by that.
        let into = if path.is_dir() { &self.file } else { &self.dir };
        fs::create_dir_all(into)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // What can't be read as a model is given as it is: the daemon says what is wrong with it.
        let files = match contents(path) {
            Ok(contents) => {
                let dir = path.to_path_buf();
                let beside = contents.files.first().map_or(dir.as_path(), |(_, file)| file);
                let signature = beside.with_file_name(picket_models::SIGNATURE);
                let mut files = contents.files.clone();
                if signature.is_file() {
                    files.push((picket_models::SIGNATURE.to_string(), signature));
                }
                files
            }
            Err(_) if path.is_dir() => plain_files(path)?,
            Err(_) => vec![(name.clone(), path.to_path_buf())],
        };
        for (name, from) in files {
            let to = into.join(name);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(from, to)?;
        }
        Ok(())
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn plain_files(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)?.take(VERSION_FILES_MAX) {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(files)
}

/// Gives what root has made to whom the state directory belongs, so that its daemon can go on with it.
fn keep_owner(state: &Path, made: &Path) -> Result<(), CliError> {
    if os::effective_user() != 0 {
        return Ok(());
    }
    let give = || -> io::Result<()> {
        let owner = fs::metadata(state)?;
        give_to((owner.uid(), owner.gid()), made)
    };
    give().map_err(CliError::io(format!("cannot give {} to its owner", made.display())))
}

fn give_to(owner: (u32, u32), path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    if (metadata.uid(), metadata.gid()) != owner {
        chown(path, Some(owner.0), Some(owner.1))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give_to(owner, &entry?.path())?;
        }
    }
    Ok(())
}

fn is_in_use(error: &WorkshopError) -> bool {
    matches!(error, WorkshopError::Store(StoreError::InUse { .. }))
}

fn say(lines: &[String], json: bool) -> Result<(), CliError> {
    if json {
        let text = serde_json::json!({ "lines": lines });
        return print(&format!("{text}\n"));
    }
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

impl StateArgs {
    fn config(self, global: &Global) -> Result<Config, CliError> {
        Ok(load(Settings { state_dir: self.state_dir, ..Settings::default() }, global)?)
    }
}
