//! The engine's timestamps and ours, in UTC: read, written, shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// An RFC 3339 time as the engine writes it; `None` for anything else, and
/// for times before 1970 (`0001-01-01…` is the engine's "never").
pub fn parse(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let mut seconds = days * DAY + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    if zone != "Z" {
        let offset = zone.get(1..3)?.parse::<i64>().ok()? * 3600 + zone.get(4..6)?.parse::<i64>().ok()? * 60;
        seconds -= if zone.starts_with('-') { -offset } else { offset };
    }
    let digits = fraction.strip_prefix('.').unwrap_or("0");
    let nanos: u32 = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// `20261121T031500.123Z`: sorts by time and is a good folder name.
pub fn stamp(time: SystemTime) -> String {
    rfc3339(time).replace(['-', ':'], "")
}

/// The time of a text that begins with a [`stamp`].
pub fn stamped(text: &str) -> Option<SystemTime> {
    let part = |from: usize, to: usize| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, rest) = (part(9, 11)?, part(11, 13)?, part(13, 20)?);
    let is_stamp = text.get(8..9) == Some("T") && rest.ends_with('Z');
    parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{rest}")).filter(|_| is_stamp)
}

/// A time as UTC with milliseconds, `2026-11-21T03:15:00.123Z`, which [`parse`]
/// reads.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    let (year, month, day) = civil_from_days(seconds / DAY);
    let rest = seconds % DAY;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since.subsec_millis()
    )
}

/// `2026-11-21 03:15 UTC` of a time as [`rfc3339`] writes it.
pub fn shown(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => time.to_owned(),
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, by counting
/// years from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn engine_times() {
        // Seconds as `date -d … +%s` gives them.
        assert_eq!(
            parse("2026-11-21T03:15:00.5Z"),
            Some(at(1_795_230_900, 500_000_000))
        );
        assert_eq!(parse("2026-11-21T04:15:00+01:00"), Some(at(1_795_230_900, 0)));
        assert_eq!(
            parse("2024-02-29T23:59:59.123456789Z"),
            Some(at(1_709_251_199, 123_456_789))
        );
        for bad in [
            "0001-01-01T00:00:00Z",
            "",
            "yesterday",
            "2026-11-21",
            "2026-11-21T03:15:00",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn stamps_are_the_way_back() {
        assert_eq!(stamp(at(1_709_251_199, 123_456_789)), "20240229T235959.123Z");
        assert_eq!(stamp(at(0, 0)), "19700101T000000.000Z");
        let time = at(1_709_251_199, 123_000_000);
        assert_eq!(rfc3339(time), "2024-02-29T23:59:59.123Z");
        assert_eq!(parse(&rfc3339(time)), Some(time));
        assert_eq!(stamped(&format!("{}-0a0b", stamp(time))), Some(time));
        for other in ["", "2", "before-2", "20240229T235959Z", "20240229 235959.123Z"] {
            assert_eq!(stamped(other), None, "{other}");
        }
        assert_eq!(shown(&rfc3339(time)), "2024-02-29 23:59 UTC");
        assert_eq!(shown("é"), "é");
    }
}
