//! The API's certificate while the daemon runs: who renews it need not say so. Its files are looked at
//! now and then; what scrapers see of it is kept here.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, UNIX_EPOCH};

use crate::health::{Heartbeat, Work};
use crate::http::listener::{Look, Tls, TlsError};
use crate::metrics::{Counter, RealGauge, Registry};

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);

/// A look that takes so long never ends: the files may be on a network's disk.
pub const STUCK_AFTER: Duration = Duration::from_secs(10 * 60);

pub struct Certificate {
    pub tls: Arc<Tls>,
    not_after: RealGauge,
    unusable: Counter,
}

impl Certificate {
    /// Declares its families: without TLS there are none.
    pub fn new(tls: Arc<Tls>, registry: &Registry) -> Certificate {
        let certificate = Certificate {
            tls,
            not_after: registry.real_gauge(
                "picket_tls_not_after_timestamp_seconds",
                "End of the validity of the API's certificate, NaN where it states none.",
            ),
            unusable: registry.counter(
                "picket_tls_unusable_renewals_total",
                "Changed certificates or keys that could not be used.",
                &[],
            ),
        };
        certificate.show();
        certificate
    }

    /// Reads the files again, changed or not.
    pub fn renew(&self) {
        match self.tls.reload() {
            Ok(()) => self.show(),
            Err(error) => self.complain(&error),
        }
    }

    /// Looks at the files until told to stop.
    pub fn run(&self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        while stopped.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            heartbeat.busy(Work::Certificate);
            match self.tls.look() {
                Look::Same => {}
                Look::Renewed => {
                    tracing::info!("the certificate's files have changed and were read again");
                    self.show();
                }
                Look::Unusable(error) => self.complain(&error),
            }
            heartbeat.beat();
        }
    }

    fn show(&self) {
        let since_epoch = |until: std::time::SystemTime| until.duration_since(UNIX_EPOCH).ok();
        let seconds = self.tls.not_after().and_then(since_epoch);
        self.not_after.set(seconds.map_or(f64::NAN, |seconds| seconds.as_secs_f64()));
    }

    fn complain(&self, error: &TlsError) {
        self.unusable.inc();
        let error = picket_base::chain(error);
        tracing::error!(error, "certificate not read again, the old one stays");
    }
}
