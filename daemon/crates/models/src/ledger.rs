//! The state on the disk: two files of the same content, each replaced whole. A power cut leaves the state
//! before or after a change; damage to one of them is read from the other.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::error::StoreError;
use crate::limits::STATE_BYTES_MAX;
use crate::state::State;

/// The form of the files. A newer one is left alone.
const FORMAT: u32 = 1;

const FILES: [&str; 2] = ["state.json", "state.copy.json"];

#[derive(Serialize, Deserialize)]
struct Page<'a> {
    format: u32,
    /// How often the state was written.
    generation: u64,
    /// SHA-256 of the state's text.
    sha256: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

/// The files of the state.
pub(crate) struct Ledger {
    dir: PathBuf,
    generation: u64,
}

/// What the files say.
pub(crate) struct Found {
    /// None if there is no file, or no whole one.
    pub(crate) state: Option<State>,
    /// Files that are damaged.
    pub(crate) damaged: Vec<PathBuf>,
}

impl Ledger {
    /// Reads the state.
    ///
    /// # Errors
    /// A file of a newer form; one that the disk does not give.
    pub(crate) fn open(dir: &Path) -> Result<(Ledger, Found), StoreError> {
        let mut found = Found { state: None, damaged: Vec::new() };
        let mut generation = 0;
        for path in FILES.map(|name| dir.join(name)) {
            let Some(text) = read(&path)? else { continue };
            match parse(&text, &path)? {
                Some((of, state)) if found.state.is_none() || of > generation => {
                    (generation, found.state) = (of, Some(state));
                }
                Some(_) => {}
                None => found.damaged.push(path),
            }
        }
        Ok((Ledger { dir: dir.to_path_buf(), generation }, found))
    }

    /// Returns once the state is on the medium, in both files.
    ///
    /// # Errors
    /// What the disk says; the state before or this one is read then.
    pub(crate) fn write(&mut self, state: &State) -> Result<(), StoreError> {
        let inner = serde_json::value::to_raw_value(state).expect("a State has only what JSON has");
        self.generation += 1;
        let sha256 = sum(inner.get());
        let page = Page { format: FORMAT, generation: self.generation, sha256, state: &inner };
        let text = serde_json::to_string_pretty(&page).expect("a Page has only what JSON has");
        FILES.iter().try_for_each(|name| replace(&self.dir, name, text.as_bytes()))
    }
}

/// Puts a file in the place of another, whole or not at all, and on the medium.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let (path, beside) = (dir.join(name), dir.join(format!(".{name}.new")));
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        File::open(dir)?.sync_all()
    })();
    written.map_err(StoreError::io(path))
}

fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(StoreError::io(path))?,
    };
    let mut bytes = Vec::new();
    file.take(STATE_BYTES_MAX).read_to_end(&mut bytes).map_err(StoreError::io(path))?;
    // What is no text is damaged, and found to be.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns generation and state; none of a damaged file.
fn parse(text: &str, path: &Path) -> Result<Option<(u64, State)>, StoreError> {
    let Ok(page) = serde_json::from_str::<Page<'_>>(text) else { return Ok(None) };
    if page.format > FORMAT {
        let path = path.to_path_buf();
        return Err(StoreError::Newer { path, found: page.format, known: FORMAT });
    }
    if sum(page.state.get()) != page.sha256 {
        return Ok(None);
    }
    Ok(serde_json::from_str(page.state.get()).ok().map(|state| (page.generation, state)))
}

fn sum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::version;

    fn state(versions: u64) -> State {
        let mut state = State::default();
        (1..=versions).for_each(|number| state.install(version(number)));
        state
    }

    #[test]
    fn any_single_damaged_byte_is_read_from_the_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, found) = Ledger::open(dir.path()).unwrap();
        assert!(found.state.is_none() && found.damaged.is_empty());
        ledger.write(&state(1)).unwrap();
        ledger.write(&state(2)).unwrap();
        for name in FILES {
            let path = dir.path().join(name);
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(&path, damaged).unwrap();
                match Ledger::open(dir.path()) {
                    Ok((_, found)) => assert_eq!(found.state, Some(state(2)), "{name} {at}"),
                    // The digit of the format itself.
                    Err(error) => assert!(matches!(error, StoreError::Newer { .. }), "{name} {at}"),
                }
            }
            fs::write(&path, &whole[..whole.len() / 2]).unwrap();
            let (_, found) = Ledger::open(dir.path()).unwrap();
            assert_eq!((found.state, found.damaged), (Some(state(2)), vec![path.clone()]));
            fs::write(&path, &whole).unwrap();
        }
    }

    #[test]
    fn of_two_whole_files_the_later_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut ledger, _) = Ledger::open(dir.path()).unwrap();
        ledger.write(&state(1)).unwrap();
        let (first, copy) = (dir.path().join(FILES[0]), dir.path().join(FILES[1]));
        let before = fs::read(&copy).unwrap();
        ledger.write(&state(2)).unwrap();
        // A power cut between the two.
        fs::write(&copy, before).unwrap();
        let (mut ledger, found) = Ledger::open(dir.path()).unwrap();
        assert_eq!(found.state, Some(state(2)));
        ledger.write(&state(3)).unwrap();
        fs::remove_file(first).unwrap();
        assert_eq!(Ledger::open(dir.path()).unwrap().1.state, Some(state(3)));
    }
}
