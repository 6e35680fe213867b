//! What an operator wishes of the models, and how it is told what came of it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use picket_models::Refused;
use tokio::sync::oneshot;

use super::offer::Offer;
use super::trial::Trial;

/// So many wishes may wait.
const WISHES_MAX: usize = 4;

/// What an operator wishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Install what lies at this path, and have it serve.
    Install(PathBuf),
    /// Go back to the version before.
    RollBack,
    /// Have this version serve, whatever registry and inbox say.
    Pin(String),
    Unpin,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// What was wished for is at fault.
    Refused(String),
    /// The box is.
    Failed(String),
}

/// Lines for a person.
pub type Granted = Result<Vec<String>, Denied>;

/// What the keeper is asked for.
pub(super) enum Asked {
    Wish(Wish, oneshot::Sender<Granted>),
    /// Whether a version of the registry is wanted. One that is installed already takes over by this.
    Wanted(String, SyncSender<bool>),
    /// Why there is no room for a version of so many bytes.
    Room(u64, SyncSender<Result<(), String>>),
    /// A version, and word when it has been looked at: false if nothing could be told of it.
    Offer(Offer, SyncSender<bool>),
    /// A version of the registry that could not be brought here.
    Refuse(Refused),
    /// To look at the probation at once.
    Look,
    /// The daemon ends.
    End,
}

/// Where wishes go.
#[derive(Clone)]
pub struct Wishes {
    send: SyncSender<Asked>,
    trial: Trial,
}

impl Wishes {
    /// Makes the way from those who wish to the keeper.
    pub(super) fn new(trial: Trial) -> (Wishes, Receiver<Asked>) {
        let (send, receive) = sync_channel(WISHES_MAX);
        (Wishes { send, trial }, receive)
    }

    /// Hands a wish over; false if too many wait.
    pub fn wish(&self, wish: Wish, told: oneshot::Sender<Granted>) -> bool {
        self.send.try_send(Asked::Wish(wish, told)).is_ok()
    }

    /// Asks whether a version of the registry is wanted; not if the keeper has ended.
    pub fn is_wanted(&self, identity: &str) -> bool {
        let (said, wanted) = sync_channel(1);
        self.send.send(Asked::Wanted(identity.to_string(), said)).is_ok()
            && wanted.recv() == Ok(true)
    }

    /// Asks whether there is room for a version.
    ///
    /// # Errors
    /// Why there is none.
    pub fn room(&self, bytes: u64) -> Result<(), String> {
        let (said, room) = sync_channel(1);
        // One that has ended looks at no version.
        let _ = self.send.send(Asked::Room(bytes, said));
        room.recv().unwrap_or_else(|_| Err("the daemon ends".to_string()))
    }

    /// Offers a version, and waits until it has been looked at; false if nothing could be told of it.
    pub fn offer(&self, offer: Offer) -> bool {
        let (said, looked) = sync_channel(1);
        self.send.send(Asked::Offer(offer, said)).is_ok() && looked.recv() == Ok(true)
    }

    /// Has the keeper look at the probation at once. One that has much to do looks by itself.
    pub fn look(&self) {
        let _ = self.send.try_send(Asked::Look);
    }

    /// Has a version refused that could not be brought here.
    pub fn refuse(&self, refused: Refused) {
        let _ = self.send.send(Asked::Refuse(refused));
    }

    /// Ends the trial that is on. None comes after it.
    pub fn end_trial(&self) {
        self.trial.end();
    }

    /// Has the keeper end, after the wishes that wait, none of which is tried any more.
    pub fn end(&self) {
        self.trial.end();
        // One that has ended already hears of nothing.
        let _ = self.send.send(Asked::End);
    }
}
