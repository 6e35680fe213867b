//! Power cuts while the model changes: one version installed after the other, and every fourth time the one
//! before gone back to. Whenever the power goes, one whole model must serve, and the right one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use picket_testkit::GREY_PIXELS;

use crate::Rig;
use crate::disk::Disk;
use crate::load::Ack;
use crate::outcome::Outcome;

/// The embedded model, whose version is written over.
const MODEL: &[u8] = include_bytes!("../../../../crates/classifier/embedded/cifar10-int8.onnx");
const VERSION: &str = "2.1.0";

/// Versions have as many characters as that one.
const CHANGES_MAX: u64 = 99;

/// Every so manyth change goes back.
const BACK_EVERY: u64 = 4;

/// Makes the changes from `first` on until the time is over; each is marked once it is acknowledged.
/// Returns the number of the next.
pub fn session(
    rig: &Rig,
    mounted: &Path,
    disk: &Disk,
    first: u64,
    is_over: impl Fn() -> bool,
) -> anyhow::Result<u64> {
    let state = mounted.join("state");
    let (daemon, _) = launch(rig, &state).ready()?;
    let mark = disk.marker();
    let mut number = first;
    while !is_over() && number <= CHANGES_MAX {
        let mut command = Command::new(&rig.picket);
        command.arg("model");
        if number.is_multiple_of(BACK_EVERY) {
            command.arg("rollback");
        } else {
            command.arg("install").arg(write(rig, number)?);
        }
        command.arg("--state-dir").arg(&state);
        let done = command.stdin(Stdio::null()).output()?;
        let error = String::from_utf8_lossy(&done.stderr);
        anyhow::ensure!(done.status.success(), "change {number}: {error}");
        mark(number, number);
        number += 1;
    }
    daemon.stop()?;
    Ok(number)
}

/// Starts a daemon on what the cut has left. It must serve what the last acknowledged change says, or the one
/// that was on its way.
pub fn judge(
    rig: &Rig,
    state: &Path,
    acks: &[Ack],
    what: &str,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let last = acks.last().map_or(0, |ack| ack.last);
    outcome.add("restarts", 1);
    match serving(rig, state) {
        Ok(version) if [last, last + 1].map(after).contains(&version) => Ok(()),
        Ok(version) => {
            outcome.fail("wrong_models", format!("{what}: {version} behind change {last}"));
            Ok(())
        }
        Err(error) => {
            outcome.fail("failed_starts", format!("{what}: {error:#}"));
            Ok(())
        }
    }
}

fn launch(rig: &Rig, state: &Path) -> picket_testkit::Launch {
    // Beside what a larger log may still need there would be no room on the disk.
    rig.launch(state).args(["--model-probation", "0s", "--log-max-bytes", "2MB"])
}

fn serving(rig: &Rig, state: &Path) -> anyhow::Result<String> {
    let (daemon, _) = launch(rig, state).ready()?;
    let answer = daemon.post("/predict", Some("application/octet-stream"), &GREY_PIXELS)?.json();
    daemon.stop()?;
    Ok(answer["model"]["version"].as_str().context("it answers no prediction")?.to_string())
}

/// The version that serves behind a change.
fn after(number: u64) -> String {
    match number {
        0 => VERSION.to_string(),
        back if back.is_multiple_of(BACK_EVERY) => version(back - 2),
        install => version(install),
    }
}

fn version(number: u64) -> String {
    format!("5.{}.{}", number / 10, number % 10)
}

fn write(rig: &Rig, number: u64) -> anyhow::Result<PathBuf> {
    let stated = [b"version\x12\x05", VERSION.as_bytes()].concat();
    let at = MODEL.windows(stated.len()).position(|window| window == stated);
    let at = at.context("the embedded model states another version")? + stated.len();
    let mut model = MODEL.to_vec();
    model[at - VERSION.len()..at].copy_from_slice(version(number).as_bytes());
    let path = rig.scratch.join(format!("{}.onnx", version(number)));
    std::fs::write(&path, model)?;
    Ok(path)
}
