//! The owner of the models: the one thread that changes which of them serves. It tries what is offered,
//! lets it take over, watches it in its probation and goes back where it is worse.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use picket_base::Live;
use picket_classifier::{Engine, Model, ModelError, ModelInfo, ModelSource};
use picket_models::{Choice, Listed, Store, StoreError, Version, Why};

use super::gate::{Admitted, Gate, NotAdmitted};
use super::inbox::Inbox;
use super::metrics::ModelMetrics;
use super::offer::{Offer, Way};
use super::wish::{Asked, Denied, Granted, Wish, Wishes};
use crate::health::{Heartbeat, Work};
use crate::inference::{Beside, Pace, Purpose, Second, Serving};
use crate::metrics::gauge_value;

/// The keeper beats, and looks at the probation and the inbox, this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A card may stall for minutes, and no prediction waits for the keeper.
pub const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);

/// How long a version in probation has served is noted this often.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// Makes of a model what serves, by the configuration as it is at the moment.
pub type Maker = dyn Fn(Model, &Version) -> Result<Serving, String> + Send;

/// Leaves the memory of the model that serves, and of one beside it, out of that of requests.
pub type RoomLeft = dyn Fn(&ModelInfo, Option<&ModelInfo>) + Send;

/// What the keeper needs of the rest of the daemon.
pub struct Surroundings {
    pub serving: Arc<Live<Serving>>,
    pub make: Box<Maker>,
    /// Tells everybody who has to know that another model serves.
    pub announce: Box<dyn Fn(&Serving) + Send>,
    pub leave_room: Box<RoomLeft>,
    /// Where the base model comes from.
    pub base: ModelSource,
    pub beside: Beside,
    pub metrics: ModelMetrics,
    /// What there is, for whoever asks.
    pub list: Arc<Live<Vec<Listed>>>,
}

/// What an operator has set.
pub struct Terms {
    /// How long a version is watched after it took over; zero for not at all.
    pub probation: Duration,
    /// What a picture may take.
    pub time_max: Duration,
    pub inbox: Option<Inbox>,
    /// The version that runs beside the one that serves.
    pub shadow: Option<String>,
}

/// The owner of the models.
pub struct Keeper {
    store: Store,
    gate: Gate,
    around: Surroundings,
    terms: Terms,
    watch: Option<Watch>,
    asked: Receiver<Asked>,
}

/// A probation as it goes on.
struct Watch {
    /// Served in it before this run of the daemon.
    before: Duration,
    since: Instant,
    noted: Instant,
    /// The model that it would go back to; none where that can't be loaded.
    other: Option<Arc<Serving>>,
}

impl Keeper {
    /// Takes over a store that has begun; what it says serves already.
    pub fn new(store: Store, gate: Gate, around: Surroundings, terms: Terms) -> (Keeper, Wishes) {
        let (wishes, asked) = Wishes::new(gate.trial.clone());
        let mut keeper = Keeper { store, gate, around, terms, watch: None, asked };
        if let Some(inbox) = &mut keeper.terms.inbox {
            inbox.pass_over(keeper.store.state().looked_through());
        }
        let alarm = wishes.clone();
        keeper.around.beside.on_fault(move || alarm.look());
        keeper.resume();
        if keeper.watch.is_none() {
            keeper.end_watch();
        }
        keeper.show();
        (keeper, wishes)
    }

    /// Takes up a probation that was interrupted.
    fn resume(&mut self) {
        let Some(probation) = self.store.state().probation() else { return };
        let previous = self.store.state().previous().cloned().unwrap_or_default();
        let other = self.load(&previous).map(Arc::new).inspect_err(|error| {
            tracing::warn!(error, "the model before can't be loaded, nothing is compared with it");
        });
        let at_gate = self.around.serving.get().pipeline.model.info().run_time;
        self.watch(Duration::from_secs(probation.served), at_gate, other.ok());
    }

    fn watch(&mut self, before: Duration, at_gate: Duration, other: Option<Arc<Serving>>) {
        let now = Instant::now();
        let pace = Pace { at_gate, most: self.terms.time_max };
        let purpose = Purpose::Judge(pace);
        self.around.beside.set(other.clone().map(|serving| Second { serving, purpose }));
        self.leave_room(other.as_ref().map(|other| other.pipeline.model.info()));
        self.watch = Some(Watch { before, since: now, noted: now, other });
    }

    /// Works until it is asked to end.
    pub fn run(mut self, heartbeat: &Heartbeat) {
        loop {
            heartbeat.beat();
            match self.asked.recv_timeout(LOOK_INTERVAL) {
                Ok(Asked::Wish(wish, told)) => {
                    let granted = self.grant(wish, heartbeat);
                    // Whoever wished may have given up.
                    let _ = told.send(granted);
                }
                Ok(Asked::Wanted(identity, said)) => {
                    let _ = said.send(self.is_wanted(&identity, heartbeat));
                }
                Ok(Asked::Offer(offer, looked)) => {
                    // What came of it is said and noted.
                    let granted = self.install(&offer, heartbeat);
                    let _ = looked.send(!matches!(granted, Err(Denied::Failed(_))));
                }
                Ok(Asked::Room(bytes, said)) => {
                    let room = self.store.room(bytes);
                    let _ = said.send(room.map_err(|error| picket_base::chain(&error)));
                }
                Ok(Asked::Refuse(refused)) => {
                    self.not_admitted(&NotAdmitted::Refused(Box::new(refused.clone())));
                    self.store.refuse(refused).unwrap_or_else(|error| self.complain(&error));
                }
                Ok(Asked::Look) | Err(RecvTimeoutError::Timeout) => self.look(heartbeat),
                Ok(Asked::End) | Err(RecvTimeoutError::Disconnected) => break,
            }
            self.show();
        }
    }

    /// Does what an operator wishes. Returns lines for a person.
    ///
    /// # Errors
    /// Why not.
    pub fn grant(&mut self, wish: Wish, heartbeat: &Heartbeat) -> Granted {
        match wish {
            Wish::Install(path) => {
                let called = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let way = Way::Operator;
                let offer = Offer { path, way, called, identity: None, sha256: None };
                self.install(&offer, heartbeat)
            }
            Wish::RollBack => {
                let why = (Why::Operator, "an operator went back to the version before");
                self.roll_back(why.0, why.1).map(|line| vec![line])
            }
            Wish::Pin(version) => self.pin(&version, heartbeat),
            Wish::Unpin => {
                self.store.pin(false).map_err(failed)?;
                Ok(vec!["registry and inbox may change the model again".to_string()])
            }
        }
    }

    /// Whether a version of the registry is to be brought here. One that is installed takes over.
    fn is_wanted(&mut self, identity: &str, heartbeat: &Heartbeat) -> bool {
        let state = self.store.state();
        let has = |version: &&Version| version.identity.as_deref() == Some(identity);
        if state.is_pinned()
            || state.version(state.serving()).as_ref().is_some_and(has)
            || state.refusal(None, Some(identity)).is_some()
        {
            return false;
        }
        let Some(version) = state.versions().find(has) else { return true };
        if self.is_shadow(version) {
            return false;
        }
        // It was kept while another was pinned, or its successor was taken out of the registry.
        if state.counter_fault(version).is_some() {
            return false;
        }
        let path = self.store.path(&Choice::Installed(version.digest.clone()));
        let (way, called) = (Way::Registry, version.name.clone());
        let identity = Some(identity.to_string());
        if let Some(path) = path {
            let offer = Offer { path, way, called, identity, sha256: None };
            // What came of it is said and noted.
            let _ = self.install(&offer, heartbeat);
        }
        false
    }

    fn is_shadow(&self, version: &Version) -> bool {
        let asked = self.terms.shadow.as_deref();
        asked.is_some_and(|asked| self.store.state().is_named(version, asked))
    }

    /// Tries a version, and lets it take over where it may.
    fn install(&mut self, offer: &Offer, heartbeat: &Heartbeat) -> Granted {
        let serving = self.around.serving.get();
        let info = serving.pipeline.model.info();
        let admitted = self.gate.admit(&mut self.store, offer, info, heartbeat);
        let admitted = admitted.map_err(|error| self.not_admitted(&error))?;
        let Admitted { choice, version, model, time, mut told } = admitted;
        if self.store.state().is_pinned() && offer.way != Way::Operator {
            told.push("it is kept and does not serve, for another is pinned".to_string());
            return Ok(told);
        }
        if self.is_shadow(&version) {
            told.push("it runs beside the one that serves, as [model] shadow says".to_string());
            if self.watch.is_none() {
                self.end_watch();
            }
            return Ok(told);
        }
        let next = (self.around.make)(model, &version).map_err(Denied::Refused)?;
        let has_probation = !self.terms.probation.is_zero();
        self.store.serve(choice, has_probation).map_err(failed)?;
        self.swap(next);
        if has_probation {
            self.watch(Duration::ZERO, time, Some(serving));
            let minutes = self.terms.probation.as_secs() / 60;
            told.push(format!("it serves, and is watched for {minutes} min"));
        } else {
            self.end_watch();
            told.push("it serves".to_string());
        }
        Ok(told)
    }

    fn not_admitted(&self, error: &NotAdmitted) -> Denied {
        match error {
            NotAdmitted::Refused(refused) => {
                self.around.metrics.refused(refused.why);
                tracing::warn!(
                    name = refused.name,
                    version = refused.version,
                    why = refused.why.name(),
                    reason = refused.reason,
                    "model refused"
                );
                Denied::Refused(error.to_string())
            }
            NotAdmitted::Serves(_) | NotAdmitted::Installed(_) => {
                Denied::Refused(error.to_string())
            }
            NotAdmitted::Ended => Denied::Failed(error.to_string()),
            NotAdmitted::Store(error) => {
                self.complain(error);
                Denied::Failed(picket_base::chain(error))
            }
        }
    }

    /// Has an installed version serve, and keeps it whatever registry and inbox say.
    fn pin(&mut self, asked: &str, heartbeat: &Heartbeat) -> Granted {
        let choice = self.store.state().find(asked);
        let choice = choice.map_err(|error| Denied::Refused(error.to_string()))?;
        if choice != *self.store.state().serving() {
            heartbeat.busy(Work::LoadModel);
            let next = self.load(&choice).map_err(Denied::Refused)?;
            self.store.serve(choice, false).map_err(failed)?;
            self.swap(next);
            self.end_watch();
        }
        self.store.pin(true).map_err(failed)?;
        Ok(vec![format!("{asked} serves until picket model unpin")])
    }

    /// Goes back to the version before.
    fn roll_back(&mut self, why: Why, reason: &str) -> Result<String, Denied> {
        let to = self.store.state().previous().cloned();
        let to = to.ok_or_else(|| Denied::Refused(StoreError::NothingBefore.to_string()))?;
        // In a probation it is in memory still.
        let kept = self.watch.as_ref().and_then(|watch| watch.other.clone());
        let loaded =
            if kept.is_none() { Some(self.load(&to).map_err(Denied::Failed)?) } else { None };
        self.store.roll_back(why, reason).map_err(failed)?;
        match (kept, loaded) {
            (Some(kept), _) => self.swap_to(kept),
            (None, Some(loaded)) => self.swap(loaded),
            (None, None) => unreachable!("one of them is there"),
        }
        self.end_watch();
        let serving = self.around.serving.get();
        Ok(format!("{} {} serves", serving.name, serving.pipeline.model.info().version))
    }

    /// Loads a model that is there.
    fn load(&self, choice: &Choice) -> Result<Serving, String> {
        let state = self.store.state();
        let version = state.version(choice).ok_or("it is not installed any more")?;
        let source =
            self.store.path(choice).map_or_else(|| self.around.base.clone(), ModelSource::File);
        let model = Model::load_on(&source, Engine::best())
            .map_err(|error: ModelError| picket_base::chain(&error))?;
        if model.info().digest != version.digest {
            return Err(format!("{} {} is not what it was", version.name, version.version));
        }
        (self.around.make)(model, version)
    }

    fn swap(&self, next: Serving) {
        self.swap_to(Arc::new(next));
    }

    fn swap_to(&self, next: Arc<Serving>) {
        let info = next.pipeline.model.info();
        self.around.serving.put(next.clone());
        self.around.metrics.swapped();
        tracing::info!(name = next.name, version = %info.version, digest = %info.digest, "model serves");
        (self.around.announce)(&next);
    }

    fn end_watch(&mut self) {
        self.watch = None;
        let shadow = self.shadow();
        self.leave_room(shadow.as_ref().map(|shadow| shadow.pipeline.model.info()));
        self.around.beside.set(shadow.map(|serving| Second { serving, purpose: Purpose::Shadow }));
    }

    /// Loads the version that is to run beside the one that serves; none where it is not here, or serves.
    fn shadow(&self) -> Option<Arc<Serving>> {
        let asked = self.terms.shadow.as_deref()?;
        let found = self.store.state().find(asked).map_err(|error| error.to_string());
        let loaded = found.and_then(|choice| {
            let serves = choice == *self.store.state().serving();
            if serves { Ok(None) } else { self.load(&choice).map(Some) }
        });
        loaded
            .unwrap_or_else(|error| {
                tracing::warn!(error, "no shadow model runs");
                None
            })
            .map(Arc::new)
    }

    fn leave_room(&self, beside: Option<&ModelInfo>) {
        (self.around.leave_room)(self.around.serving.get().pipeline.model.info(), beside);
    }

    /// Looks at the probation and at what is offered.
    fn look(&mut self, heartbeat: &Heartbeat) {
        if let Err(error) = self.store.hold().and_then(|()| self.judge()) {
            self.complain(&error);
        }
        let offer = self.terms.inbox.as_mut().and_then(Inbox::look);
        if let Some(offer) = offer {
            // What came of it is said and noted.
            let _ = self.install(&offer, heartbeat);
        }
        if let Some(inbox) = &self.terms.inbox
            && let Err(error) = self.store.look_through(inbox.looked_through())
        {
            self.complain(&error);
        }
    }

    fn judge(&mut self) -> Result<(), StoreError> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        let served = watch.before + watch.since.elapsed();
        if let Some(fault) = self.around.beside.fault() {
            let (why, reason) = (fault.why, fault.reason);
            tracing::error!(why = why.name(), reason, "the model failed its probation, going back");
            self.around.metrics.refused(why);
            self.around.metrics.rolled_back();
            if let Err(Denied::Refused(text) | Denied::Failed(text)) = self.roll_back(why, &reason)
            {
                tracing::error!(error = text, "the model before can't be gone back to");
            }
            return Ok(());
        }
        if served >= self.terms.probation {
            self.store.good()?;
            tracing::info!("the model has passed its probation");
            self.end_watch();
        } else if watch.noted.elapsed() >= NOTE_INTERVAL {
            watch.noted = Instant::now();
            self.store.served(served.as_secs())?;
        }
        Ok(())
    }

    fn show(&self) {
        let state = self.store.state();
        let list = state.list();
        let metrics = &self.around.metrics;
        metrics.probation.set(i64::from(self.watch.is_some()));
        metrics.installed.set(gauge_value(list.len() as u64));
        let (compared, agreed) = self.around.beside.agreement();
        metrics.compared.set(gauge_value(compared));
        metrics.disagreed.set(gauge_value(compared - agreed));
        if *self.around.list.get() != list {
            self.around.list.set(list);
        }
    }

    fn complain(&self, error: &StoreError) {
        let error = picket_base::chain(error);
        tracing::error!(error, "the models' store can't be changed");
    }
}

fn failed(error: StoreError) -> Denied {
    Denied::Failed(picket_base::chain(&error))
}
