//! Records a run on a disk that remembers every write: several starts, clean stops and kills.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Args, RUN_MAX, RUN_MIN, Recording, Subject, models};
use crate::Rig;
use crate::disk::Disk;
use crate::load::{Load, Plan, Tally};
use crate::mount::{Access, LoopDevice, Mount, make_ext4};
use crate::outcome::Outcome;

/// Between two requests of a client, so that commits of few and of many records occur.
const CLIENT_PAUSE: Duration = Duration::from_millis(3);

pub fn record(
    rig: &Rig,
    args: &Args,
    subject: Subject,
    dir: &Path,
    outcome: &mut Outcome,
) -> anyhow::Result<Recording> {
    let (file, served, mounted) = (dir.join("image"), dir.join("served"), dir.join("mounted"));
    std::fs::create_dir_all(&served)?;
    std::fs::create_dir_all(&mounted)?;
    make_ext4(&file, args.disk_mib)?;
    let image = std::fs::read(&file)?;
    std::fs::remove_file(&file)?;
    // Taken apart in the reverse order of their declaration.
    let disk = Disk::serve(image.clone(), &served)?;
    let device = LoopDevice::attach(disk.file(), Access::Direct)?;
    disk.record();
    let mount = Mount::ext4(&device, &mounted, "")?;
    let mut random = fastrand::Rng::with_seed(rig.seed);
    let deadline = Instant::now() + Duration::from_secs(args.record_secs);
    outcome.add("sessions", 0);
    let mut change = 1;
    while Instant::now() < deadline && !disk.recording_is_full() {
        let millis = random.u64(RUN_MIN.as_millis() as u64..RUN_MAX.as_millis() as u64);
        let session = Session { work: Duration::from_millis(millis), clean_stop: random.bool() };
        match subject {
            Subject::Daemon => daemon_session(rig, args, &mounted, &disk, &session)?,
            Subject::Models => {
                let until = Instant::now() + session.work;
                let is_over = || Instant::now() >= until;
                change = models::session(rig, &mounted, &disk, change, is_over)?;
            }
            Subject::Control => control_session(args, &mounted, &disk, &session)?,
        }
        outcome.add("sessions", 1);
    }
    mount.unmount()?;
    outcome.add("recorded_mib", disk.recorded_bytes() >> 20);
    Ok(Recording { image, events: disk.take_history() })
}

struct Session {
    work: Duration,
    clean_stop: bool,
}

fn daemon_session(
    rig: &Rig,
    args: &Args,
    mounted: &Path,
    disk: &Disk,
    session: &Session,
) -> anyhow::Result<()> {
    let launch = rig.launch_keeping(&mounted.join("state"), args.log_max_records);
    let (daemon, _) = launch.ready()?;
    let outages = usize::from(args.outages);
    let plan = Plan { pause: CLIENT_PAUSE, outages, ..Plan::default() };
    let mark = disk.marker();
    let load = Load::start_with(plan, Arc::new(Tally::default()), move |ack| {
        mark(ack.first, ack.last);
    });
    load.aim(Some(daemon.api));
    std::thread::sleep(session.work);
    if session.clean_stop {
        load.stop();
        daemon.stop()?;
    } else {
        daemon.kill_9()?;
    }
    Ok(())
}

/// The same with the control's writer, which tells each committed number on stdout.
fn control_session(
    args: &Args,
    mounted: &Path,
    disk: &Disk,
    session: &Session,
) -> anyhow::Result<()> {
    let mut writer = Command::new(std::env::current_exe()?)
        .args(["control-write", "--max-records", &args.log_max_records.to_string(), "--store"])
        .arg(mounted.join("store"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = writer.stdout.take().context("stdout is piped")?;
    let mark = disk.marker();
    let marks = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Ok(id) = line.parse() {
                mark(id, id);
            }
        }
    });
    std::thread::sleep(session.work);
    if session.clean_stop {
        drop(writer.stdin.take());
    } else {
        writer.kill()?;
    }
    writer.wait()?;
    marks.join().map_err(|_| anyhow::anyhow!("the reader of the control panicked"))
}
