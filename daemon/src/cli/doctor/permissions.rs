//! Who may read and change what the daemon trusts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::Config;

use super::finding::Finding;

/// The names of the credentials that the unit may load.
const CREDENTIALS: [&str; 3] = ["picket-api-token", "picket-api-cert", "picket-api-key"];

/// The directory in which docs/systemd.md keeps them before systemd hands them over.
const CREDENTIALS_DIR: &str = "/etc/picket/credentials";

/// What identifies one installation of a system (machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

const OTHERS_WRITE: u32 = 0o002;
const NOT_ONLY_OWNER: u32 = 0o077;

pub fn check(config: &Config, config_file: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let trusted = config_file.map(Path::to_path_buf).into_iter().chain(config.model.path.clone());
    for file in trusted.chain(std::env::current_exe().ok()) {
        findings.extend(trusted_file(&file));
    }
    findings.extend(secrets().iter().filter_map(|file| secret(file)));
    findings.extend(copied_token(Path::new(CREDENTIALS_DIR), Path::new(MACHINE_ID)));
    findings
}

/// Tells of a token that the package made before this box was copied from another one: all copies have it.
/// A file that has been written since is somebody's own choice.
fn copied_token(dir: &Path, machine_id: &Path) -> Option<Finding> {
    let (token, made_on) = (dir.join("token"), dir.join("token.machine"));
    let changed = |file: &Path| std::fs::metadata(file).and_then(|found| found.modified()).ok();
    let id = |file: &Path| Some(std::fs::read_to_string(file).ok()?.trim().to_string());
    if changed(&token)? > changed(&made_on)? || id(&made_on)? == id(machine_id)? {
        return None;
    }
    let fact = format!("{} was made on another machine, before it was copied", token.display());
    let advice = "every copy has the same: remove it, then dpkg-reconfigure picket makes another";
    Some(Finding::warn("credentials", fact, advice))
}

/// Files of `/etc/picket/credentials`, and what systemd has handed to this process.
fn secrets() -> Vec<PathBuf> {
    let kept = std::fs::read_dir(CREDENTIALS_DIR).into_iter().flatten().flatten();
    let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let handed = handed.iter().flat_map(|dir| CREDENTIALS.map(|name| dir.join(name)));
    kept.map(|entry| entry.path()).chain(handed.filter(|file| file.exists())).collect()
}

fn trusted_file(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.mode();
    let fact = format!("{} has mode {:o}", file.display(), mode & 0o7777);
    if mode & OTHERS_WRITE == 0 {
        return Some(Finding::ok("permissions", fact));
    }
    Some(Finding::fail("permissions", fact, "chmod o-w: anybody may change what it does"))
}

fn secret(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.mode();
    let fact = format!("{} has mode {:o}", file.display(), mode & 0o7777);
    if mode & NOT_ONLY_OWNER == 0 {
        return Some(Finding::ok("credentials", fact));
    }
    Some(Finding::fail("credentials", fact, "chmod 600: systemd reads it as root"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::doctor::finding::Status;

    #[test]
    fn modes_decide() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "t").unwrap();
        for (mode, trusted, kept) in [
            (0o600, Status::Ok, Status::Ok),
            (0o644, Status::Ok, Status::Fail),
            (0o640, Status::Ok, Status::Fail),
            (0o666, Status::Fail, Status::Fail),
        ] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(trusted_file(&file).unwrap().status, trusted, "{mode:o}");
            assert_eq!(secret(&file).unwrap().status, kept, "{mode:o}");
        }
        assert_eq!(trusted_file(&dir.path().join("missing")), None);
    }

    #[test]
    fn a_token_that_was_copied_with_its_system_is_told_of_unless_somebody_wrote_another() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let machine_id = dir.path().join("machine-id");
        let told = || copied_token(dir.path(), &machine_id).map(|found| found.status);
        write("machine-id", "of-this-box\n");
        assert_eq!(told(), None, "no token");
        write("token", "0123");
        assert_eq!(told(), None, "made by hand");
        write("token.machine", "of-this-box\n");
        assert_eq!(told(), None);
        for other in ["of-the-image\n", ""] {
            write("token.machine", other);
            assert_eq!(told(), Some(Status::Warn), "{other}");
        }
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        let token = std::fs::File::options().write(true).open(dir.path().join("token")).unwrap();
        token.set_modified(later).unwrap();
        assert_eq!(told(), None, "another one since");
    }
}
