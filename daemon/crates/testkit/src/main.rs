//! Stops one thread of a running process for a while, for rigs outside cargo:
//!
//!     picket-freeze PID THREAD SECONDS
//!
//! The thread is found by its name and held until the time is over or the process is gone. Prints one
//! line once it stands still. Killed, this lets the thread go on.

use std::time::Duration;

use anyhow::bail;
use picket_testkit::Frozen;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [pid, thread, seconds] = args.as_slice() else {
        bail!("usage: picket-freeze PID THREAD SECONDS");
    };
    let frozen = Frozen::thread(pid.parse()?, thread)?;
    println!("frozen {thread}");
    frozen.hold(Duration::from_secs(seconds.parse()?));
    Ok(())
}
