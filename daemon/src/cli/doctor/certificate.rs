//! The API's certificate: whether it can be used with its key, and for how long.

use std::path::Path;
use std::time::{Duration, SystemTime};

use picket_base::rfc3339::{self, Precision};

use super::finding::Finding;
use crate::config::Config;
use crate::http::listener::Tls;

/// A certificate that ends within this time should have been renewed: the alert
/// PicketCertificateExpires has the same.
const RENEWED_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

/// None where the API has no TLS.
pub fn check(config: &Config) -> Option<Finding> {
    let (cert, key) = (config.api.tls_cert.as_deref()?, config.api.tls_key.as_deref()?);
    Some(certificate(cert, key, SystemTime::now()))
}

fn certificate(cert: &Path, key: &Path, now: SystemTime) -> Finding {
    let check = "tls_cert";
    let tls = match Tls::load(cert, key) {
        Ok(tls) => tls,
        Err(error) => {
            let advice = "a daemon that runs keeps the pair it has, and a new one does not start";
            return Finding::fail(check, picket_base::chain(&error), advice);
        }
    };
    let cert = cert.display();
    let Some(until) = tls.not_after() else {
        return Finding::unknown(check, format!("{cert} states no end of its validity"));
    };
    let fact = format!("{cert} is valid until {}", rfc3339::format(until, Precision::Seconds));
    match until.duration_since(now) {
        Err(_) => Finding::fail(check, fact, "renew it: no client trusts the API any more"),
        Ok(left) if left < RENEWED_BEFORE => {
            Finding::warn(check, fact, "renew it: from then on no client trusts the API")
        }
        Ok(_) => Finding::ok(check, fact),
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Status;

    #[test]
    fn a_certificate_is_judged_by_the_time_that_it_has_left() {
        let file =
            |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name);
        let at = |date: &str| rfc3339::from_epoch_seconds(rfc3339::parse(date).unwrap());
        let found = |date: &str| certificate(&file("cert.pem"), &file("cert.key"), at(date));
        assert_eq!(found("2124-01-22T12:00:00Z").status, Status::Ok);
        let finding = found("2124-01-23T12:00:00Z");
        assert_eq!(finding.status, Status::Warn);
        assert!(
            finding.fact.ends_with("cert.pem is valid until 2124-02-05T12:34:56Z"),
            "{finding:?}"
        );
        assert_eq!(found("2124-02-06T00:00:00Z").status, Status::Fail);
        let finding = certificate(&file("cert.pem"), &file("renewed.key"), SystemTime::now());
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.fact.contains("can't be used together"), "{finding:?}");
    }
}
