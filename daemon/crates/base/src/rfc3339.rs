//! Moments as text, RFC 3339: the one place that writes and reads them. It knows no clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that four digits of a year can say: 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

/// Digits behind the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Seconds,
    Millis,
    Micros,
}

/// Writes a moment in UTC, such as `2026-11-18T11:06:50Z`. A moment before 1970 or after 9999, which
/// only a wrong clock tells, becomes the nearest that can be written.
pub fn format(moment: SystemTime, precision: Precision) -> String {
    let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = UNIX_EPOCH + since_epoch.min(Duration::from_secs(SECONDS_MAX));
    let text = match precision {
        Precision::Seconds => humantime::format_rfc3339_seconds(moment),
        Precision::Millis => humantime::format_rfc3339_millis(moment),
        Precision::Micros => humantime::format_rfc3339_micros(moment),
    };
    text.to_string()
}

/// Returns the moment that lies so many seconds after 1970. Negative numbers and what is no number
/// count as zero.
pub fn from_epoch_seconds(seconds: f64) -> SystemTime {
    UNIX_EPOCH
        + Duration::try_from_secs_f64(seconds)
            .unwrap_or_default()
            .min(Duration::from_secs(SECONDS_MAX))
}

/// Reads a moment from 1970 on, in UTC or with an offset from it, as epoch seconds. `T` may be a
/// space, `Z` may be missing, and so may the colon of an offset, as ISO 8601 has it.
pub fn parse(text: &str) -> Option<f64> {
    let offsets = ["+00:00", "+0000"].iter().filter_map(|form| {
        let at = text.len().checked_sub(form.len()).filter(|at| text.is_char_boundary(*at))?;
        // A date's own hyphens are no signs: an offset stands behind a time.
        let (local, offset) = text[..at].contains(':').then(|| text.split_at(at))?;
        Some((local, offset_secs(offset)?))
    });
    let (local, east_secs) = offsets.into_iter().next().unwrap_or((text, 0.0));
    let moment = humantime::parse_rfc3339_weak(local).ok()?;
    let since_epoch = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(since_epoch.as_secs_f64() - east_secs)
}

/// Reads `+02:00`, `+0200` or `-07:30` as seconds east of UTC.
fn offset_secs(text: &str) -> Option<f64> {
    let (sign, text) = match text.strip_prefix('+') {
        Some(text) => (1.0, text),
        None => (-1.0, text.strip_prefix('-')?),
    };
    let split = || (text.len() == 4 && text.is_char_boundary(2)).then(|| text.split_at(2));
    let (hours, minutes) = text.split_once(':').or_else(split)?;
    let number = |part: &str, max: u32| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|number| digits && *number <= max)
    };
    Some(sign * f64::from(number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_with_or_without_an_offset() {
        for (text, seconds) in [
            ("1970-01-01T00:00:10Z", 10.0),
            ("1970-01-01T00:00:10+00:00", 10.0),
            ("1970-01-02T02:00:10.5+02:00", 86_410.5),
            ("1970-01-01T00:00:10-07:30", 27_010.0),
            ("1970-01-02 00:00:00", 86_400.0),
            ("1970-01-02 01:00:00+01:00", 86_400.0),
            ("1970-01-02T01:00:00+0100", 86_400.0),
            ("1970-01-01T00:00:10-0730", 27_010.0),
            ("9999-12-31T23:59:59Z", SECONDS_MAX as f64),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "now",
            "1970-01-02",
            "1970-01-01T00:00:10+2:00",
            "1970-01-01T00:00:10+24:00",
            "1970-01-01T00:00:10+-1:00",
            "1969-12-31T23:59:59Z",
            "é2:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        let moment = from_epoch_seconds(1_795_000_010.25);
        for (precision, text) in [
            (Precision::Seconds, "2026-11-18T11:06:50Z"),
            (Precision::Millis, "2026-11-18T11:06:50.250Z"),
            (Precision::Micros, "2026-11-18T11:06:50.250000Z"),
        ] {
            assert_eq!(format(moment, precision), text);
        }
        assert_eq!(parse("2026-11-18T11:06:50.250Z"), Some(1_795_000_010.25));
    }

    #[test]
    fn what_no_calendar_holds_becomes_the_nearest_moment_that_it_does() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(format(before, Precision::Seconds), "1970-01-01T00:00:00Z");
        for absurd in [-1.0, f64::NAN] {
            assert_eq!(from_epoch_seconds(absurd), UNIX_EPOCH);
        }
        let after = from_epoch_seconds(1e18);
        assert_eq!(format(after, Precision::Seconds), "9999-12-31T23:59:59Z");
        assert_eq!(
            format(after + Duration::from_secs(1), Precision::Micros),
            "9999-12-31T23:59:59.000000Z"
        );
    }
}
