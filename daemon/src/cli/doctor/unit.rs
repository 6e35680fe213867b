//! What systemd says of picket.service.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use super::finding::Finding;

/// This directory exists exactly where systemd is the init; sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

const PROPERTIES: &str =
    "LoadState,ActiveState,SubState,Result,NRestarts,WatchdogUSec,MainPID,Type";

pub struct Unit {
    /// The unit's properties, or why there are none.
    properties: Result<HashMap<String, String>, String>,
}

impl Unit {
    pub fn ask() -> Unit {
        if !Path::new(BOOTED).exists() {
            return Unit { properties: Err("systemd does not run here".into()) };
        }
        let asked = Command::new("systemctl")
            .args(["show", "picket.service", "--property", PROPERTIES])
            .output();
        let properties = match asked {
            Ok(output) if output.status.success() => {
                Ok(parse(&String::from_utf8_lossy(&output.stdout)))
            }
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
            Err(error) => Err(format!("systemctl: {error}")),
        };
        Unit { properties }
    }

    fn get(&self, name: &str) -> &str {
        let properties = self.properties.as_ref();
        properties.ok().and_then(|all| all.get(name)).map_or("", String::as_str)
    }

    /// The process of the running daemon.
    pub fn main_pid(&self) -> Option<u32> {
        self.get("MainPID").parse().ok().filter(|pid| *pid != 0)
    }

    pub fn check(&self) -> Vec<Finding> {
        if let Err(why) = &self.properties {
            return vec![Finding::unknown("unit", why.as_str())];
        }
        if self.get("LoadState") != "loaded" {
            let fact = format!("picket.service is {}", self.get("LoadState"));
            return vec![Finding::warn("unit", fact, "install it: docs/systemd.md")];
        }
        vec![self.state(), self.watchdog()]
    }

    fn state(&self) -> Finding {
        let (active, result) = (self.get("ActiveState"), self.get("Result"));
        let restarts = self.get("NRestarts");
        let fact = format!("{active} ({}), {restarts} restarts", self.get("SubState"));
        if active == "failed" {
            let fact = format!("{fact}, result {result}");
            return Finding::fail("unit", fact, "journalctl -u picket -p err says why");
        }
        if !matches!(restarts, "" | "0") {
            let advice = "journalctl -u picket -p err says why it was restarted";
            return Finding::warn("unit", fact, advice);
        }
        Finding::ok("unit", fact)
    }

    fn watchdog(&self) -> Finding {
        match self.get("WatchdogUSec") {
            "" => Finding::unknown("unit_watchdog", "systemctl does not say"),
            "0" | "infinity" => Finding::warn(
                "unit_watchdog",
                "no WatchdogSec=",
                "set it, 30 in the shipped unit: a daemon that hangs stays so without",
            ),
            period => Finding::ok("unit_watchdog", format!("restarted after {period} of silence")),
        }
    }
}

/// Lines of `Key=value`.
fn parse(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Status;

    fn statuses(text: &str) -> Vec<Status> {
        let unit = Unit { properties: Ok(parse(text)) };
        unit.check().iter().map(|finding| finding.status).collect()
    }

    #[test]
    fn what_systemctl_shows_is_judged() {
        let healthy = "Type=notify\nMainPID=812\nResult=success\nNRestarts=0\nWatchdogUSec=30s\n\
                       LoadState=loaded\nActiveState=active\nSubState=running\n";
        assert_eq!(statuses(healthy), [Status::Ok, Status::Ok]);
        let unit = Unit { properties: Ok(parse(healthy)) };
        assert_eq!(unit.main_pid(), Some(812));
        assert_eq!(statuses(&healthy.replace("=0\n", "=3\n")), [Status::Warn, Status::Ok]);
        let failed = healthy.replace("=active", "=failed").replace("=30s", "=0");
        assert_eq!(statuses(&failed), [Status::Fail, Status::Warn]);
        assert_eq!(statuses("LoadState=not-found\nMainPID=0\n"), [Status::Warn]);
        let nothing = Unit { properties: Err("systemd does not run here".into()) };
        assert_eq!(nothing.check()[0].status, Status::Unknown);
        assert_eq!(nothing.main_pid(), None);
    }
}
