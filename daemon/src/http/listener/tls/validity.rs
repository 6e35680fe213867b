//! From when until when a certificate is valid: the one thing that rustls does not say of our own.
//! Walks X.509's DER (RFC 5280, 4.1) as far as that field.

use std::time::SystemTime;

use picket_base::rfc3339;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// Gives the two dates; nothing for what is no certificate, or has a date before 1970.
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

/// Gives the content of the next value, which must have this tag; `rest` moves behind it.
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

/// Reads `YYMMDDHHMMSSZ`, which ends in 2049, or `YYYYMMDDHHMMSSZ`.
fn time(rest: &mut &[u8]) -> Option<SystemTime> {
    let (tag, content) = value(rest)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let digits = match tag {
        UTC_TIME if text.get(..1)? < "5" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_string(),
        _ => return None,
    };
    let (year, rest) = digits.split_at_checked(4)?;
    let part = |at: usize| rest.get(at..at + 2);
    let (month, day, hour) = (part(0)?, part(2)?, part(4)?);
    let (minute, second) = (part(6)?, part(8)?);
    let seconds = rfc3339::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
    Some(rfc3339::from_epoch_seconds(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use picket_base::rfc3339::Precision;
    use tokio_rustls::rustls::pki_types::CertificateDer;
    use tokio_rustls::rustls::pki_types::pem::PemObject;

    fn dates(name: &str) -> Option<(String, String)> {
        let path = format!("{}/tests/data/tls/{name}", env!("CARGO_MANIFEST_DIR"));
        let certificate = CertificateDer::from_pem_file(path).unwrap();
        let text = |time| rfc3339::format(time, Precision::Seconds);
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
