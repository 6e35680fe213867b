//! The store, for its one owner: each change is on the medium before the step that it describes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::state::{Choice, Probation, Refused, State, Version, Why};
use crate::stop::{self, StopNote};
use crate::versions::{self, SourceFile, Staged};

/// The models of a box.
pub struct Store {
    dir: PathBuf,
    limits: Limits,
    /// What must stay free on its disk, bytes.
    reserve: u64,
    ledger: Ledger,
    state: State,
    /// The lock on the directory; none while its disk is read-only.
    lock: Option<File>,
}

/// What a start has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The model to load.
    pub choice: Choice,
    /// Why the one that served last is not loaded again.
    pub rolled_back: Option<String>,
}

impl Store {
    /// Opens the store of a directory, or makes one. Returns with it what a person should know.
    ///
    /// # Errors
    /// `InUse`, `Newer`, and what the disk says.
    pub fn open(
        dir: &Path,
        limits: Limits,
        reserve: u64,
    ) -> Result<(Store, Vec<String>), StoreError> {
        fs::create_dir_all(dir).map_err(StoreError::io(dir))?;
        let lock = Some(locked(dir)?);
        let (ledger, found) = Ledger::open(dir)?;
        let mut said: Vec<String> = found
            .damaged
            .iter()
            .map(|path| format!("{} is damaged, and was written anew", path.display()))
            .collect();
        let (was_read, is_damaged) = (found.state.is_some(), !said.is_empty());
        let state = found.state.unwrap_or_default();
        let dir = dir.to_path_buf();
        let mut store = Store { dir, limits, reserve, ledger, state, lock };
        versions::clear_arriving(&store.dir)?;
        versions::clear_given(&store.dir)?;
        let was_lost = if was_read { store.tidy()? } else { store.adopt(&mut said)? };
        if was_lost || is_damaged {
            store.ledger.write(&store.state)?;
        }
        Ok((store, said))
    }

    /// Removes directories that no list names: an installation or a removal was interrupted there.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        for (dir, _) in versions::present(&self.dir)? {
            let is_known = |version: &Version| self.dir.join(versions::place(version)) == dir;
            if !self.state.versions.iter().any(is_known) {
                fs::remove_dir_all(&dir).map_err(StoreError::io(dir))?;
            }
        }
        Ok(false)
    }

    /// Takes the versions that are there into a state that is new, or was lost.
    fn adopt(&mut self, said: &mut Vec<String>) -> Result<bool, StoreError> {
        let found = versions::present(&self.dir)?;
        let lost = !found.is_empty() || !said.is_empty();
        for version in found.into_iter().filter_map(|(_, version)| version) {
            if let Some(counter) = version.counter {
                let highest = self.state.counters.entry(version.name.clone()).or_default();
                *highest = counter.max(*highest);
            }
            self.state.install(version);
        }
        if lost {
            said.push(format!(
                "the state of the models was lost: {} versions are kept, the base model serves until \
                 one is chosen",
                self.state.versions.len()
            ));
        }
        Ok(lost)
    }

    /// Lets go of the directory while its disk is read-only, so that it can be unmounted and repaired: nobody
    /// can change it meanwhile. Takes it again afterwards. To be called every now and then.
    ///
    /// # Errors
    /// `InUse`, and what the disk says; it is tried again with the next call.
    pub fn hold(&mut self) -> Result<(), StoreError> {
        let is_writable = picket_base::room::room(&self.dir).is_ok_and(|room| !room.read_only);
        if !is_writable {
            self.lock = None;
        } else if self.lock.is_none() {
            self.lock = Some(locked(&self.dir)?);
        }
        Ok(())
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns where a version's ONNX file is, with its other files beside it; none for the base.
    pub fn path(&self, choice: &Choice) -> Option<PathBuf> {
        let Choice::Installed(digest) = choice else { return None };
        let version = self.state.installed(digest)?;
        Some(self.dir.join(versions::place(version)).join(&version.file))
    }

    /// Notes that the daemon starts, with this base model, in this boot of the machine. A version that made
    /// it crash in its probation is left before it is loaded again.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(&mut self, base: Version, boot: &str) -> Result<Begun, StoreError> {
        let was_stopped = stop::is_noted(&self.dir, self.state.runs);
        self.change(|state| {
            state.take_base(base, now());
            let why = state.begin(boot, was_stopped);
            if let Some(reason) = &why {
                // Where nothing is known before it, the base is.
                let before = state.previous.take().unwrap_or((Choice::Base, now()));
                state.previous = Some(before);
                state.roll_back(Why::Crash, reason, now())?;
            }
            Ok(Begun { choice: state.serving.clone(), rolled_back: why })
        })
    }

    /// Notes a base model where none is known, for whoever is not the daemon may have another. How the
    /// daemon's last run ended is held against nothing that is installed from now on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn meet(&mut self, base: Version) -> Result<(), StoreError> {
        self.change(|state| {
            if state.base.is_none() {
                state.take_base(base, now());
            }
            if state.probation.is_none() {
                state.running = None;
            }
            Ok(())
        })
    }

    /// Returns the note that says that the run which has begun was asked to end.
    pub fn stop_note(&self) -> StopNote {
        StopNote::new(self.dir.clone(), self.state.runs)
    }

    /// Copies a version's files into the store, where it is tried before it is installed. Versions that
    /// nobody needs make room for it.
    ///
    /// # Errors
    /// No room, and what the disk says.
    pub fn stage(&mut self, files: &[SourceFile]) -> Result<Staged, StoreError> {
        self.is_held()?;
        let mut needed = 0;
        for file in files {
            needed += fs::metadata(&file.path).map_err(StoreError::io(&file.path))?.len();
        }
        self.fits(needed)?;
        self.prune(self.limits.max_bytes - needed)?;
        self.room(needed)?;
        versions::stage(&self.dir, files)
    }

    /// Sees whether a version of so many bytes fits beside those that stay in any case.
    fn fits(&self, needed: u64) -> Result<(), StoreError> {
        let most = self.limits.max_bytes;
        let left = most.saturating_sub(self.state.needed_bytes());
        if needed > left { Err(StoreError::Room { needed, left, most }) } else { Ok(()) }
    }

    /// Sees whether there is room for a version of so many bytes, once those that nobody needs are gone.
    ///
    /// # Errors
    /// No room, and what the disk says.
    pub fn room(&self, needed: u64) -> Result<(), StoreError> {
        self.fits(needed)?;
        let stat = rustix::fs::statvfs(&self.dir)
            .map_err(|error| StoreError::Io { path: self.dir.clone(), source: error.into() })?;
        let free = (stat.f_bavail * stat.f_frsize).saturating_sub(self.reserve);
        if needed > free {
            return Err(StoreError::Disk { needed, free });
        }
        Ok(())
    }

    /// Installs a version that was staged. It does not serve yet.
    ///
    /// # Errors
    /// What the disk says.
    pub fn install(&mut self, staged: Staged, version: Version) -> Result<Choice, StoreError> {
        let choice = Choice::Installed(version.digest.clone());
        versions::settle(&self.dir, &staged, &version)?;
        self.change(|state| {
            state.install(version);
            Ok(())
        })?;
        Ok(choice)
    }

    /// Has a version serve from now on, with a probation or without.
    ///
    /// # Errors
    /// What the disk says.
    pub fn serve(&mut self, choice: Choice, probation: bool) -> Result<(), StoreError> {
        let probation = probation.then(Probation::default);
        self.change(|state| {
            state.serve(choice, probation, now());
            Ok(())
        })?;
        self.prune(self.limits.max_bytes)
    }

    /// Notes how long the version in probation has served.
    ///
    /// # Errors
    /// What the disk says.
    pub fn served(&mut self, seconds: u64) -> Result<(), StoreError> {
        self.change(|state| {
            if let Some(probation) = &mut state.probation {
                probation.served = seconds;
            }
            Ok(())
        })
    }

    /// Ends the probation of the version that serves: it is good.
    ///
    /// # Errors
    /// What the disk says.
    pub fn good(&mut self) -> Result<(), StoreError> {
        self.change(|state| {
            state.probation = None;
            Ok(())
        })
    }

    /// Goes back to the version before.
    ///
    /// # Errors
    /// `NothingBefore`, and what the disk says.
    pub fn roll_back(&mut self, why: Why, reason: &str) -> Result<Choice, StoreError> {
        self.change(|state| {
            state.roll_back(why, reason, now())?;
            Ok(state.serving.clone())
        })
    }

    /// Notes a version that failed its gate.
    ///
    /// # Errors
    /// What the disk says.
    pub fn refuse(&mut self, refused: Refused) -> Result<(), StoreError> {
        self.change(|state| {
            state.refuse(refused);
            Ok(())
        })
    }

    /// Notes that a version is tried, and as what it is refused if the daemon ends over it again and again.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin_trial(&mut self, refused: Refused) -> Result<(), StoreError> {
        self.change(|state| {
            state.begin_trial(refused);
            Ok(())
        })
    }

    /// Notes that the daemon has come through a trial.
    ///
    /// # Errors
    /// What the disk says.
    pub fn end_trial(&mut self) -> Result<(), StoreError> {
        self.change(|state| {
            state.trying = None;
            Ok(())
        })
    }

    /// Notes what an inbox holds that needs no look any more.
    ///
    /// # Errors
    /// What the disk says.
    pub fn look_through(&mut self, entries: BTreeSet<String>) -> Result<(), StoreError> {
        self.change(|state| {
            state.looked_through = entries;
            Ok(())
        })
    }

    /// Sets whether only an operator may change what serves.
    ///
    /// # Errors
    /// What the disk says.
    pub fn pin(&mut self, pinned: bool) -> Result<(), StoreError> {
        self.change(|state| {
            state.pinned = pinned;
            Ok(())
        })
    }

    /// Removes versions beyond the limits: from the list first, so that no list names what is gone.
    fn prune(&mut self, max_bytes: u64) -> Result<(), StoreError> {
        let surplus = self.state.surplus(self.limits.keep, max_bytes);
        if surplus.is_empty() {
            return Ok(());
        }
        self.change(|state| {
            state.versions.retain(|version| !surplus.contains(version));
            Ok(())
        })?;
        surplus.iter().try_for_each(|version| versions::remove(&self.dir, version))
    }

    /// Makes a change, in memory once it is on the medium.
    fn change<T>(
        &mut self,
        step: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state.clone();
        let outcome = step(&mut state)?;
        if state != self.state {
            self.is_held()?;
            self.ledger.write(&state)?;
            self.state = state;
        }
        Ok(outcome)
    }

    /// Nothing is changed while the directory is let go of.
    fn is_held(&self) -> Result<(), StoreError> {
        let read_only = || StoreError::io(&self.dir)(std::io::ErrorKind::ReadOnlyFilesystem.into());
        self.lock.as_ref().map(drop).ok_or_else(read_only)
    }
}

/// Locks a directory.
fn locked(dir: &Path) -> Result<File, StoreError> {
    let lock = File::open(dir).map_err(StoreError::io(dir))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { path: dir.to_path_buf() }),
        Err(other) => Err(StoreError::Io { path: dir.to_path_buf(), source: other.into() }),
    }
}

/// Seconds since 1970 by this box's clock, for people: nothing is decided by it.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::version;
    use crate::state::{Listed, Standing};

    const LIMITS: Limits = Limits { keep: 1, max_bytes: 1_000 };

    fn base() -> Version {
        Version { name: "embedded".into(), version: "0".into(), ..version(99) }
    }

    struct Box {
        dir: tempfile::TempDir,
        from: tempfile::TempDir,
    }

    impl Box {
        fn new() -> Box {
            Box { dir: tempfile::tempdir().unwrap(), from: tempfile::tempdir().unwrap() }
        }

        fn open(&self) -> (Store, Vec<String>) {
            Store::open(&self.dir.path().join("models"), LIMITS, 0).unwrap()
        }

        fn files(&self, number: u64, bytes: usize) -> Vec<SourceFile> {
            let path = self.from.path().join(format!("{number}"));
            fs::write(&path, vec![number as u8; bytes]).unwrap();
            ["model.onnx", "golden/a.png"]
                .map(|name| SourceFile { name: name.into(), path: path.clone() })
                .to_vec()
        }

        fn install(&self, store: &mut Store, number: u64) -> Choice {
            let staged = store.stage(&self.files(number, 50)).unwrap();
            assert_eq!(staged.bytes(), 100);
            store.install(staged, version(number)).unwrap()
        }
    }

    fn standings(store: &Store) -> Vec<(String, Standing)> {
        let line = |Listed { version, state, .. }: Listed| (version, state);
        store.state().list().into_iter().map(line).collect()
    }

    #[test]
    fn versions_come_serve_and_go_and_stand_in_the_next_opening() {
        let files = Box::new();
        let (mut store, said) = files.open();
        assert_eq!(said, [] as [&str; 0]);
        let begun = store.begin(base(), "boot").unwrap();
        assert_eq!(begun, Begun { choice: Choice::Base, rolled_back: None });
        for number in 1..=4 {
            let choice = files.install(&mut store, number);
            let path = store.path(&choice).unwrap();
            assert_eq!(
                fs::read(path.with_file_name("golden/a.png")).unwrap(),
                vec![number as u8; 50]
            );
            store.serve(choice, number == 4).unwrap();
        }
        let listed = [
            ("4".to_string(), Standing::Probation),
            ("3".to_string(), Standing::Previous),
            ("2".to_string(), Standing::Kept),
            ("0".to_string(), Standing::Kept),
        ];
        assert_eq!(standings(&store), listed);
        let in_use = Store::open(&files.dir.path().join("models"), LIMITS, 0);
        assert!(matches!(in_use, Err(StoreError::InUse { .. })));
        drop(store);
        let (store, _) = files.open();
        assert_eq!(standings(&store), listed);
        assert_eq!(fs::read_dir(files.dir.path().join("models/m")).unwrap().count(), 3);
        assert!(matches!(store.state().find("1"), Err(StoreError::Unknown { .. })));
    }

    #[test]
    fn what_was_interrupted_is_cleared_and_a_lost_state_is_made_of_what_is_there() {
        let files = Box::new();
        let (mut store, _) = files.open();
        store.begin(base(), "boot").unwrap();
        for number in 1..=2 {
            let choice = files.install(&mut store, number);
            store.serve(choice, false).unwrap();
        }
        let models = files.dir.path().join("models");
        // A version whose directory is there, and which no list names yet.
        let staged = store.stage(&files.files(3, 50)).unwrap();
        versions::settle(&models, &staged, &version(3)).unwrap();
        drop(staged);
        let arriving = store.stage(&files.files(4, 50)).unwrap();
        std::mem::forget(arriving);
        drop(store);
        let (store, said) = files.open();
        assert_eq!((said.len(), store.state().versions.len()), (0, 2));
        assert_eq!(fs::read_dir(models.join("m")).unwrap().count(), 2);
        assert!(!models.join(".arriving").exists());
        drop(store);
        for name in ["state.json", "state.copy.json"] {
            fs::write(models.join(name), "").unwrap();
        }
        let (mut store, said) = files.open();
        assert!(said[2].contains("the state of the models was lost: 2 versions"), "{said:?}");
        assert_eq!(store.begin(base(), "boot").unwrap().choice, Choice::Base);
        assert_eq!(store.state().counter("m"), Some(2), "nobody gets an older one in by it");
        drop(store);
        assert_eq!(files.open().1, [] as [&str; 0], "it is said once");
    }

    #[test]
    fn a_version_that_crashes_in_its_probation_is_left_before_it_is_loaded_again() {
        let files = Box::new();
        let (mut store, _) = files.open();
        store.begin(base(), "boot").unwrap();
        let choice = files.install(&mut store, 1);
        store.serve(choice.clone(), true).unwrap();
        drop(store);
        let (mut store, _) = files.open();
        let again = store.begin(base(), "boot").unwrap();
        assert_eq!(again, Begun { choice, rolled_back: None }, "once may be chance");
        drop(store);
        let (mut store, _) = files.open();
        let last = store.begin(base(), "boot").unwrap();
        assert_eq!(last.choice, Choice::Base);
        assert!(last.rolled_back.unwrap().contains("crashed 2 times"));
        assert_eq!(standings(&store)[1], ("1".to_string(), Standing::Refused));
    }

    #[test]
    fn a_stop_that_was_asked_for_is_no_crash_and_its_note_is_of_one_run() {
        let files = Box::new();
        let (mut store, _) = files.open();
        store.begin(base(), "boot").unwrap();
        let choice = files.install(&mut store, 1);
        store.serve(choice.clone(), true).unwrap();
        for boot in ["boot", "boot", "next", "next"] {
            let note = store.stop_note();
            note.write().unwrap();
            note.write().unwrap();
            drop(store);
            store = files.open().0;
            let begun = store.begin(base(), boot).unwrap();
            assert_eq!(begun, Begun { choice: choice.clone(), rolled_back: None });
            assert_eq!(store.state().probation(), Some(Probation::default()));
        }
        drop(store);
        let (mut store, _) = files.open();
        store.begin(base(), "next").unwrap();
        assert_eq!(store.state().probation().unwrap().crashes, 1, "an old note says nothing");
    }

    #[test]
    fn there_is_no_room_beyond_the_limits() {
        let files = Box::new();
        let (mut store, _) = files.open();
        store.begin(base(), "boot").unwrap();
        let mut too_large = files.files(1, 501);
        let error = store.stage(&too_large).unwrap_err().to_string();
        assert!(error.contains("1002 bytes") && error.contains("leaves 1000"), "{error}");
        too_large.resize(200, too_large[0].clone());
        assert!(matches!(
            versions::stage(&store.dir, &too_large),
            Err(StoreError::Files { found: 200, .. })
        ));
        let (mut guarded, _) =
            Store::open(&files.dir.path().join("other"), LIMITS, u64::MAX).unwrap();
        let error = guarded.stage(&files.files(1, 50)).unwrap_err();
        assert!(matches!(error, StoreError::Disk { needed: 100, free: 0 }));
    }
}
