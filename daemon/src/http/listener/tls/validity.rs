//! From when until when a certificate is valid: the one thing that rustls does not say of our own.
//! Walks X.509's DER (RFC 5280, 4.1) as far as that field.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// None for what is no certificate, or has a date before 1970.
pub(super) fn of(der: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let mut certificate = expect(&mut &der[..], SEQUENCE)?;
    let mut signed = expect(&mut certificate, SEQUENCE)?;
    if signed.first() == Some(&VERSION) {
        expect(&mut signed, VERSION)?;
    }
    expect(&mut signed, INTEGER)?; // serial number
    expect(&mut signed, SEQUENCE)?; // signature algorithm
    expect(&mut signed, SEQUENCE)?; // issuer
    let mut validity = expect(&mut signed, SEQUENCE)?;
    Some((time(&mut validity)?, time(&mut validity)?))
}

/// The content of the next value, which must have this tag; `rest` moves behind it.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, content) = value(rest)?;
    (found == tag).then_some(content)
}

fn value<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, after) = rest.split_first()?;
    let (&first, mut after) = after.split_first()?;
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        // More than three bytes of length would be a certificate of 16 MiB.
        let bytes = usize::from(first & 0x7f);
        let (long, behind) = after.split_at_checked(bytes).filter(|_| (1..=3).contains(&bytes))?;
        after = behind;
        long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    Some((tag, content))
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` from then on.
fn time(rest: &mut &[u8]) -> Option<SystemTime> {
    let (tag, content) = value(rest)?;
    let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let number = |text: Option<&str>| text?.parse::<i64>().ok();
    let (year, rest) = match tag {
        UTC_TIME => {
            let year = number(digits.get(..2))?;
            (if year < 50 { 2000 + year } else { 1900 + year }, digits.get(2..)?)
        }
        GENERALIZED_TIME => (number(digits.get(..4))?, digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| number(rest.get(at..at + 2));
    let seconds = days_since_epoch(year, part(0)?, part(2)?) * 86_400
        + part(4)? * 3_600
        + part(6)? * 60
        + part(8)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

/// Of the Gregorian calendar, counted in years that begin in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    fn dates(name: &str) -> Option<(String, String)> {
        let path = format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let certificate = CertificateDer::from_pem_file(path).unwrap();
        let text = |time| humantime::format_rfc3339_seconds(time).to_string();
        of(&certificate).map(|(from, until)| (text(from), text(until)))
    }

    /// As `openssl x509 -noout -dates` shows them.
    #[test]
    fn dates_are_those_that_openssl_shows() {
        let pair = |from: &str, until: &str| Some((from.to_string(), until.to_string()));
        assert_eq!(dates("cert.pem"), pair("2024-02-29T12:34:56Z", "2124-02-05T12:34:56Z"));
        assert_eq!(dates("expired.pem"), pair("2019-12-31T23:59:59Z", "2020-03-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_certificate_has_no_dates() {
        let path = format!("{}/tests/data/tls/cert.pem", env!("CARGO_MANIFEST_DIR"));
        let whole = CertificateDer::from_pem_file(path).unwrap();
        for length in 0..whole.len() {
            assert_eq!(of(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
