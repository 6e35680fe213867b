//! Clients that keep the daemon busy and remember what it promised them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use picket_testkit::{Answer, Client};
use serde_json::Value;

use crate::batch::batch;

/// A strict answer may take the daemon's own wait for a commit and the queue before it.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Pause of a client that was refused or found nobody.
const BACK_OFF: Duration = Duration::from_millis(10);

/// What the tags of an outage's batches begin with; their number of records ends them.
pub const OUTAGE_TAG: &str = "outage";

/// What the stated time of a batch's records counts from; any moment would do.
const STATED_EPOCH_SECS: f64 = 1_700_000_000.0;

/// How many clients of which kind.
#[derive(Clone, Copy)]
pub struct Plan {
    pub strict_predicts: usize,
    pub batches: usize,
    pub batch_records: u64,
    pub relaxed_predicts: usize,
    /// Of `batch_records` too.
    pub relaxed_batches: usize,
    /// Clients whose batches are those of an outage, and sent twice under one name.
    pub outages: usize,
    pub outage_records: u64,
    /// Between two requests of one client.
    pub pause: Duration,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            strict_predicts: 2,
            batches: 1,
            batch_records: 5,
            relaxed_predicts: 1,
            relaxed_batches: 0,
            outages: 0,
            outage_records: 3_000,
            pause: Duration::ZERO,
        }
    }
}

/// Records that an answer said to be on the medium.
#[derive(Clone, Debug)]
pub struct Ack {
    /// When the client had read the answer.
    pub at: Instant,
    pub first: u64,
    pub last: u64,
    /// Of a batch: what its records' image ids start with.
    pub tag: Option<Arc<str>>,
}

/// What all clients of a load saw together.
#[derive(Default)]
pub struct Tally {
    /// Requests answered with 200.
    pub answered: AtomicU64,
    /// Records answered with `"logged":false` or refused with 503.
    pub unlogged: AtomicU64,
    /// Strict records whose answer left it open whether they are kept.
    pub undecided: AtomicU64,
    /// Relaxed records that got a number.
    pub relaxed: AtomicU64,
    /// No answer, or one that no rule allows.
    pub broken: AtomicU64,
    /// Of these, what the last one was.
    pub last_broken: Mutex<String>,
    pub slowest_relaxed_ms: AtomicU64,
    /// Lowest and highest number given to anybody, and acknowledgements in order of arrival.
    pub acks: Mutex<Vec<Ack>>,
    pub first_unlogged: Mutex<Option<Instant>>,
}

type OnAck = Arc<dyn Fn(&Ack) + Send + Sync>;

/// Running clients; they stop when this is dropped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    /// Nobody while the daemon is down.
    target: Mutex<Option<SocketAddr>>,
    tally: Arc<Tally>,
    on_ack: OnAck,
    batches: AtomicU64,
}

#[derive(Clone, Copy)]
enum Kind {
    StrictPredict,
    RelaxedPredict,
    StrictBatch,
    RelaxedBatch,
    Outage,
}

impl Load {
    pub fn start(plan: Plan, tally: Arc<Tally>) -> Load {
        Load::start_with(plan, tally, |_| {})
    }

    /// `on_ack` runs on the client's thread as soon as it has read an acknowledgement.
    pub fn start_with(
        plan: Plan,
        tally: Arc<Tally>,
        on_ack: impl Fn(&Ack) + Send + Sync + 'static,
    ) -> Load {
        // Batches of later loads on the same tally must not repeat a tag.
        let batches = AtomicU64::new(tally.acks().len() as u64 * 1_000);
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            target: Mutex::new(None),
            tally,
            on_ack: Arc::new(on_ack),
            batches,
        });
        let kinds = std::iter::repeat_n(Kind::StrictPredict, plan.strict_predicts)
            .chain(std::iter::repeat_n(Kind::StrictBatch, plan.batches))
            .chain(std::iter::repeat_n(Kind::RelaxedBatch, plan.relaxed_batches))
            .chain(std::iter::repeat_n(Kind::Outage, plan.outages))
            .chain(std::iter::repeat_n(Kind::RelaxedPredict, plan.relaxed_predicts));
        let threads = kinds
            .map(|kind| {
                let shared = shared.clone();
                std::thread::spawn(move || shared.work(kind, plan))
            })
            .collect();
        Load { shared, threads }
    }

    pub fn aim(&self, api: Option<SocketAddr>) {
        *self.shared.target.lock().expect("no client panics with the target") = api;
    }

    pub fn stop(self) {}
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // A client that panicked has said so on stderr, and its work is missing in the tally.
            let _ = thread.join();
        }
    }
}

impl Tally {
    pub fn acks(&self) -> Vec<Ack> {
        self.acks.lock().expect("no client panics with the acks").clone()
    }

    pub fn acknowledged(&self) -> usize {
        self.acks.lock().expect("no client panics with the acks").len()
    }

    pub fn first_unlogged(&self) -> Option<Instant> {
        *self.first_unlogged.lock().expect("no client panics with the time")
    }

    fn unlogged(&self, records: u64) {
        self.unlogged.fetch_add(records, Ordering::SeqCst);
        let mut first = self.first_unlogged.lock().expect("no client panics with the time");
        first.get_or_insert_with(Instant::now);
        std::thread::sleep(BACK_OFF);
    }

    fn broken(&self, what: String) {
        self.broken.fetch_add(1, Ordering::SeqCst);
        *self.last_broken.lock().expect("no client panics with the text") = what;
        std::thread::sleep(BACK_OFF);
    }
}

impl Shared {
    fn work(&self, kind: Kind, plan: Plan) {
        let client = Client::new(REQUEST_DEADLINE);
        while !self.stop.load(Ordering::SeqCst) {
            let target = *self.target.lock().expect("no client panics with the target");
            let Some(api) = target else {
                std::thread::sleep(BACK_OFF);
                continue;
            };
            let result = match kind {
                Kind::StrictPredict => self.predict(&client, api, "?durable=true"),
                Kind::RelaxedPredict => self.predict(&client, api, ""),
                Kind::StrictBatch => self.batch(&client, api, "", plan.batch_records),
                Kind::Outage => self.outage(&client, api, plan.outage_records),
                Kind::RelaxedBatch => {
                    self.batch(&client, api, "?durable=false", plan.batch_records)
                }
            };
            if let Err(error) = result {
                self.tally.broken(format!("{error:#}"));
            }
            std::thread::sleep(plan.pause);
        }
    }

    fn predict(&self, client: &Client, api: SocketAddr, query: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        let answer = client.predict(api, query)?;
        if answer.status != 200 {
            self.tally.broken(format!("{} {}", answer.status, answer.body));
            return Ok(());
        }
        self.tally.answered.fetch_add(1, Ordering::SeqCst);
        let strict = !query.is_empty();
        if !strict {
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.tally.slowest_relaxed_ms.fetch_max(ms, Ordering::SeqCst);
        }
        let json = answer.json();
        match json["id"].as_u64() {
            None => self.tally.unlogged(1),
            Some(id) if json["durable"] == true => self.acknowledged(id, 1, None),
            Some(_) if strict => {
                self.tally.undecided.fetch_add(1, Ordering::SeqCst);
            }
            Some(_) => {
                self.tally.relaxed.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn batch(
        &self,
        client: &Client,
        api: SocketAddr,
        query: &str,
        records: u64,
    ) -> anyhow::Result<()> {
        let number = self.batches.fetch_add(1, Ordering::SeqCst);
        let tag: Arc<str> = format!("b{number}").into();
        let body = batch(&tag, records, |index| STATED_EPOCH_SECS + (number + index) as f64);
        let answer = client.log(api, query, &body)?;
        match answer.status {
            200 => {
                self.tally.answered.fetch_add(1, Ordering::SeqCst);
                self.batch_stored(&answer.json(), records, tag);
            }
            503 => self.batch_refused(&answer, records),
            status => self.tally.broken(format!("{status} {}", answer.body)),
        }
        Ok(())
    }

    /// The batch of an outage, and the same once more, as if its answer had been lost.
    fn outage(&self, client: &Client, api: SocketAddr, records: u64) -> anyhow::Result<()> {
        let number = self.batches.fetch_add(1, Ordering::SeqCst);
        let tag: Arc<str> = format!("{OUTAGE_TAG}{number}-{records}").into();
        let mut body = batch(&tag, records, |index| STATED_EPOCH_SECS + (number + index) as f64);
        body["batch_id"] = (*tag).into();
        let mut first_id = None;
        for _ in 0..2 {
            let answer = client.log(api, "", &body)?;
            match answer.status {
                200 => {
                    self.tally.answered.fetch_add(1, Ordering::SeqCst);
                    let json = answer.json();
                    if first_id.as_ref().is_some_and(|first| json["first_id"] != *first) {
                        self.tally.broken(format!("the resend was stored anew: {json}"));
                    }
                    if first_id.is_none() {
                        self.batch_stored(&json, records, tag.clone());
                    }
                    first_id = Some(json["first_id"].clone());
                }
                503 => self.batch_refused(&answer, records),
                status => self.tally.broken(format!("{status} {}", answer.body)),
            }
        }
        Ok(())
    }

    fn batch_stored(&self, json: &Value, records: u64, tag: Arc<str>) {
        match json["first_id"].as_u64() {
            Some(first) if json["durable"] == true => self.acknowledged(first, records, Some(tag)),
            Some(_) => {
                self.tally.relaxed.fetch_add(records, Ordering::SeqCst);
            }
            None => self.tally.broken(format!("no first_id: {json}")),
        }
    }

    /// A refusal that leaves it open whether the records get there after all says "may still".
    fn batch_refused(&self, answer: &Answer, records: u64) {
        if answer.body.contains("may still") {
            self.tally.undecided.fetch_add(records, Ordering::SeqCst);
        } else {
            self.tally.unlogged(records);
        }
    }

    fn acknowledged(&self, first: u64, records: u64, tag: Option<Arc<str>>) {
        let ack = Ack { at: Instant::now(), first, last: first + records - 1, tag };
        (self.on_ack)(&ack);
        self.tally.acks.lock().expect("no client panics with the acks").push(ack);
    }
}
