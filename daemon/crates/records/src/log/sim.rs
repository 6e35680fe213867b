//! A disk in memory whose power can be cut, and which can fail or fill up, at every step; afterwards any
//! part of what was not synced is there or is not, sector by sector. Names come and go in order.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::medium::{Access, Bytes, Medium};
use picket_base::disk::DIRECT_ALIGNMENT_BYTES;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// What happens at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power goes while it is done.
    Cut,
    /// It fails, half done; what was to be synced is lost although it can still be read.
    Broken,
    /// There is no room for it, or for only half of it.
    Full,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
    current: Vec<u8>,
}

#[derive(Clone)]
enum Name {
    Link(String, usize),
    Rename(String, String),
    Unlink(String),
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Name>,
    steps: usize,
    fault: Option<(usize, Fault)>,
    off: bool,
    gone: bool,
    lied: bool,
}

#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

impl Sim {
    pub(crate) fn fail_at(&self, step: usize, fault: Fault) {
        self.0.lock().unwrap().fault = Some((step, fault));
    }

    /// Returns how many changes and syncs it was asked for.
    pub(crate) fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().unwrap().off
    }

    /// Whether a sync has failed: from then on what can be read is not what is on the medium, and only a cut
    /// or another mount shows that.
    pub(crate) fn has_lied(&self) -> bool {
        self.0.lock().unwrap().lied
    }

    /// Returns a copy that the next process finds: with all that was written.
    pub(crate) fn after_kill(&self) -> Sim {
        let mut state = self.0.lock().unwrap().clone();
        state.fault = None;
        state.off = false;
        state.steps = 0;
        Sim(Arc::new(Mutex::new(state)))
    }

    /// Returns a copy as a power cut leaves it: with those parts of what was not synced that `keep` says.
    pub(crate) fn after_cut(&self, mut keep: impl FnMut() -> bool) -> Sim {
        let state = self.0.lock().unwrap();
        let mut names = state.durable_names.clone();
        for name in &state.pending_names {
            if !keep() {
                break;
            }
            apply_name(&mut names, name);
        }
        let inodes = state.inodes.iter().map(|inode| {
            let mut content = inode.durable.clone();
            for change in &inode.pending {
                match change {
                    Change::Truncate(length) if keep() => content.resize(*length, 0),
                    Change::Truncate(_) => {}
                    Change::Write { at, bytes } => {
                        for (start, sector) in sectors(*at, bytes) {
                            if keep() {
                                put(&mut content, start, sector);
                            }
                        }
                    }
                }
            }
            Inode { durable: content.clone(), pending: Vec::new(), current: content }
        });
        let inodes = inodes.collect();
        let durable_names = names.clone();
        Sim(Arc::new(Mutex::new(State { inodes, names, durable_names, ..State::default() })))
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        state.inodes[state.names[name]].current.clone()
    }

    /// Replaces what a file holds, durably, as damage does.
    pub(crate) fn set_content(&self, name: &str, content: Vec<u8>) {
        let mut state = self.0.lock().unwrap();
        let inode = state.names[name];
        state.inodes[inode] =
            Inode { durable: content.clone(), pending: Vec::new(), current: content };
    }
}

fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at(first);
    let rest = rest.chunks(SECTOR_BYTES).zip((at + first..).step_by(SECTOR_BYTES));
    std::iter::once((at, head)).chain(rest.map(|(sector, start)| (start, sector)))
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

fn apply_name(names: &mut BTreeMap<String, usize>, name: &Name) {
    match name {
        Name::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Name::Rename(from, to) => {
            let inode = names.remove(from).expect("names change in order");
            names.insert(to.clone(), inode);
        }
        Name::Unlink(name) => {
            names.remove(name);
        }
    }
}

impl State {
    /// Counts a step; says what goes wrong with it.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is gone"));
        }
        self.steps += 1;
        let fault = self.fault.filter(|(step, _)| *step == self.steps).map(|(_, fault)| fault);
        self.off |= fault == Some(Fault::Cut);
        Ok(fault)
    }

    fn change_name(&mut self, name: Name) -> io::Result<()> {
        let fault = self.step()?;
        if !matches!(fault, Some(Fault::Broken | Fault::Full)) {
            apply_name(&mut self.names, &name);
            self.pending_names.push(name);
        }
        result(fault)
    }
}

fn result(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::Cut) => Err(io::Error::other("the power is gone")),
        Some(Fault::Broken) => Err(io::Error::from_raw_os_error(EIO)),
        Some(Fault::Full) => Err(io::Error::from_raw_os_error(ENOSPC)),
    }
}

impl Medium for Sim {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Box<dyn Bytes>> {
        let mut state = self.0.lock().unwrap();
        let found = state.names.get(name).copied();
        let inode = match (found, access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(inode), _) => inode,
            (None, Access::Create) => {
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_name(Name::Link(name.to_string(), inode))?;
                inode
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let (disk, name) = (self.0.clone(), name.to_string());
        Ok(Box::new(SimFile { disk, name, inode, access }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.lock().unwrap().change_name(Name::Rename(from.to_string(), to.to_string()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(Name::Unlink(name.to_string()))
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fault = state.step()?;
        if fault.is_none() {
            state.durable_names = state.names.clone();
            state.pending_names.clear();
        }
        result(fault)
    }

    fn is_at_its_path(&self) -> bool {
        !self.0.lock().unwrap().gone
    }
}

struct SimFile {
    disk: Arc<Mutex<State>>,
    name: String,
    inode: usize,
    access: Access,
}

impl SimFile {
    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.disk.lock().unwrap();
        let fault = state.step()?;
        let change = match (change, fault) {
            (change, None | Some(Fault::Cut)) => change,
            (Change::Truncate(_), Some(_)) => return result(fault),
            // A short write.
            (Change::Write { at, bytes }, Some(_)) => {
                let half = bytes.len() / 2;
                Change::Write { at, bytes: bytes[..half].to_vec() }
            }
        };
        let inode = &mut state.inodes[self.inode];
        match &change {
            Change::Truncate(length) => inode.current.resize(*length, 0),
            Change::Write { at, bytes } => put(&mut inode.current, *at, bytes),
        }
        // Of one that fails, what was written is on the medium before any later one.
        if self.access == Access::Synchronous && fault != Some(Fault::Cut) {
            let Change::Write { at, bytes } = change else { panic!("it is only written") };
            put(&mut inode.durable, at, &bytes);
        } else {
            inode.pending.push(change);
        }
        result(fault)
    }
}

impl Bytes for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().unwrap().inodes[self.inode].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.lock().unwrap();
        let held = state.inodes[self.inode].current.get(at as usize..).unwrap_or_default();
        let length = held.len().min(buffer.len());
        buffer[..length].copy_from_slice(&held[..length]);
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.access == Access::Synchronous {
            let aligned = |number: usize| number.is_multiple_of(DIRECT_ALIGNMENT_BYTES);
            assert!(
                aligned(bytes.as_ptr() as usize) && aligned(bytes.len()) && aligned(at as usize)
            );
        }
        self.change(Change::Write { at: at as usize, bytes: bytes.to_vec() })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change(Change::Truncate(length as usize))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock().unwrap();
        let fault = state.step()?;
        let inode = &mut state.inodes[self.inode];
        match fault {
            None => {
                inode.durable = inode.current.clone();
                inode.pending.clear();
            }
            Some(Fault::Broken) => {
                inode.pending.clear();
                state.lied = true;
            }
            Some(Fault::Cut | Fault::Full) => {}
        }
        result(fault)
    }

    fn is_at_its_name(&self) -> bool {
        self.disk.lock().unwrap().names.get(&self.name) == Some(&self.inode)
    }
}

#[test]
fn what_was_synced_survives_a_cut_and_nothing_else_has_to() {
    let sim = Sim::default();
    let file = sim.open("a", Access::Create).unwrap();
    assert!(sim.after_cut(|| false).names().unwrap().is_empty());
    assert_eq!(sim.after_cut(|| true).names().unwrap(), ["a"]);
    sim.sync_names().unwrap();
    file.write_at(&[1; 700], 0).unwrap();
    file.sync().unwrap();
    file.write_at(&[2; 700], 300).unwrap();
    assert_eq!(sim.after_cut(|| false).content("a"), [1; 700]);
    let mut turn = 0;
    let torn = sim.after_cut(|| {
        turn += 1;
        turn == 2
    });
    assert_eq!(torn.content("a"), [&[1; 512][..], &[2; 488]].concat());
    assert_eq!(sim.after_kill().content("a"), [&[1; 300][..], &[2; 700]].concat());
    sim.fail_at(sim.steps() + 1, Fault::Broken);
    assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
    file.sync().unwrap();
    assert_eq!(sim.after_cut(|| true).content("a").len(), 1000, "the page was written after all");
}
