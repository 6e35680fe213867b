//! A disk made of memory, served as the one file of a FUSE file system: it records every write and
//! flush in order, fails the Nth of them, or holds them all for a while.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

const FILE_NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);

/// The kernel may keep names and sizes this long: they never change.
const ATTRIBUTES_TTL: Duration = Duration::from_secs(3600);

/// A recording stops here, so that a runaway load does not fill the memory.
const RECORDED_BYTES_MAX: u64 = 2 << 30;

/// One thing that happened to the disk.
pub enum Event {
    Write {
        offset: usize,
        data: Box<[u8]>,
    },
    /// What was written before it survives a power cut.
    Flush,
    /// A client has read that these records are on the medium.
    Mark {
        first: u64,
        last: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Write,
    Flush,
}

/// Counted from the moment it is set.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub operation: Operation,
    /// 1 for the next.
    pub nth: u64,
    /// Every write and flush from then on fails, not that one alone.
    pub lasting: bool,
}

/// The served disk; unmounted when dropped.
pub struct Disk {
    shared: Shared,
    session: Option<BackgroundSession>,
    file: PathBuf,
}

/// While it lives, no write and no flush ends.
pub struct Hold(Shared);

type Shared = Arc<Mutex<State>>;

struct State {
    image: Vec<u8>,
    /// None while nothing is recorded.
    history: Option<Vec<Event>>,
    recorded_bytes: u64,
    fault: Option<Fault>,
    failed_at: Option<Instant>,
    holding: bool,
    held: Vec<Held>,
}

enum Held {
    Write { offset: usize, data: Vec<u8>, reply: ReplyWrite },
    Flush { reply: ReplyEmpty },
}

impl Disk {
    /// Serves `image` below `dir`, which must exist.
    pub fn serve(image: Vec<u8>, dir: &Path) -> anyhow::Result<Disk> {
        let shared = Arc::new(Mutex::new(State {
            image,
            history: None,
            recorded_bytes: 0,
            fault: None,
            failed_at: None,
            holding: false,
            held: Vec::new(),
        }));
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::FSName("picket-faults".into())];
        // One thread: what it serves first happened first.
        let session = fuser::spawn_mount(Server(shared.clone()), dir, &config)
            .context("FUSE is needed: /dev/fuse, and as root nothing else")?;
        Ok(Disk { shared, session: Some(session), file: dir.join(FILE_NAME) })
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn record(&self) {
        self.lock().history = Some(Vec::new());
    }

    /// For the clients' threads.
    pub fn marker(&self) -> impl Fn(u64, u64) + Send + Sync + use<> {
        let shared = self.shared.clone();
        move |first, last| {
            let mut state = shared.lock().expect(STATE);
            if let Some(history) = &mut state.history {
                history.push(Event::Mark { first, last });
            }
        }
    }

    pub fn recorded_bytes(&self) -> u64 {
        self.lock().recorded_bytes
    }

    pub fn recording_is_full(&self) -> bool {
        self.recorded_bytes() >= RECORDED_BYTES_MAX
    }

    pub fn take_history(&self) -> Vec<Event> {
        self.lock().history.take().unwrap_or_default()
    }

    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = self.lock();
        state.fault = fault;
        if fault.is_some() {
            state.failed_at = None;
        }
    }

    /// When an operation first failed since the fault was set.
    pub fn failed_at(&self) -> Option<Instant> {
        self.lock().failed_at
    }

    pub fn hold(&self) -> Hold {
        self.lock().holding = true;
        Hold(self.shared.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().expect(STATE)
    }
}

const STATE: &str = "nothing that holds the disk's state panics";

impl Drop for Disk {
    fn drop(&mut self) {
        release(&self.shared);
        let ended = self.session.take().map_or(Ok(()), BackgroundSession::umount_and_join);
        if let Err(error) = ended {
            eprintln!("picket-faults: {} stays mounted: {error}", self.file.display());
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        release(&self.0);
    }
}

fn release(shared: &Shared) {
    let mut state = shared.lock().expect(STATE);
    state.holding = false;
    for held in std::mem::take(&mut state.held) {
        match held {
            Held::Write { offset, data, reply } => state.write(offset, &data, reply),
            Held::Flush { reply } => state.flush(reply),
        }
    }
}

impl State {
    fn write(&mut self, offset: usize, data: &[u8], reply: ReplyWrite) {
        if self.fails(Operation::Write) {
            return reply.error(Errno::EIO);
        }
        let Some(range) = self.image.get_mut(offset..offset + data.len()) else {
            return reply.error(Errno::ENOSPC);
        };
        range.copy_from_slice(data);
        if self.recorded_bytes < RECORDED_BYTES_MAX
            && let Some(history) = &mut self.history
        {
            history.push(Event::Write { offset, data: data.into() });
            self.recorded_bytes += data.len() as u64;
        }
        reply.written(u32::try_from(data.len()).expect("a FUSE write is below 4 GiB"));
    }

    fn flush(&mut self, reply: ReplyEmpty) {
        if self.fails(Operation::Flush) {
            return reply.error(Errno::EIO);
        }
        if let Some(history) = &mut self.history {
            history.push(Event::Flush);
        }
        reply.ok();
    }

    fn fails(&mut self, operation: Operation) -> bool {
        let Some(fault) = &mut self.fault else { return false };
        if fault.nth == 0 {
            return fault.lasting;
        }
        if fault.operation != operation {
            return false;
        }
        fault.nth -= 1;
        if fault.nth == 0 {
            self.failed_at = Some(Instant::now());
        }
        fault.nth == 0
    }
}

struct Server(Shared);

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect(STATE)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let root = inode == INodeNo::ROOT;
        let size = if root { 0 } else { self.lock().image.len() as u64 };
        let epoch = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o755 } else { 0o644 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name != FILE_NAME {
            return reply.error(Errno::ENOENT);
        }
        reply.entry(&ATTRIBUTES_TTL, &self.attributes(FILE), Generation(0));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&ATTRIBUTES_TTL, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.lock();
        let start = (offset as usize).min(state.image.len());
        let end = (start + size as usize).min(state.image.len());
        reply.data(&state.image[start..end]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.lock();
        let offset = offset as usize;
        if state.holding {
            state.held.push(Held::Write { offset, data: data.to_vec(), reply });
        } else {
            state.write(offset, data, reply);
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut state = self.lock();
        if state.holding {
            state.held.push(Held::Flush { reply });
        } else {
            state.flush(reply);
        }
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if offset == 0 {
            // A full buffer is impossible: there is one name.
            let _ = reply.add(FILE, 1, FileType::RegularFile, FILE_NAME);
        }
        reply.ok();
    }
}
