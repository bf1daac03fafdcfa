//! Durations and moments as LiteLLM writes them: `30d` in requests, ISO 8601 in answers.

use time::format_description::well_known::Rfc3339;
use time::macros::{format_description, time};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime};

use crate::domain::UnixMicros;

/// The longest duration, in years: beyond it somebody mistyped.
const MAX_YEARS: i64 = 100;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// Of `2026-01-15`.
const DATE_LENGTH: usize = 10;

/// The moment this long after another: `30s`, `5m`, `12h`, `7d`, `2w`, `1mo` (calendar months, cut to the month's
/// last day).
pub(super) fn after(now: UnixMicros, duration: &str) -> Option<UnixMicros> {
    let digits = duration.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = duration.split_at(digits);
    let count: i64 = count.parse().ok().filter(|count| *count > 0)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" => return months_after(now, count),
        _ => return None,
    };
    let seconds = count.checked_mul(seconds).filter(|seconds| *seconds <= MAX_YEARS * 366 * 86_400)?;
    now.0.checked_add(seconds * MICROS_PER_SECOND).map(UnixMicros)
}

fn months_after(now: UnixMicros, months: i64) -> Option<UnixMicros> {
    let moment = to_date_time(now)?;
    let months = i32::try_from(months).ok().filter(|months| i64::from(*months) <= MAX_YEARS * 12)?;
    let month_number = i32::from(u8::from(moment.month())) - 1 + months;
    let year = moment.year() + month_number.div_euclid(12);
    let month = Month::try_from(u8::try_from(month_number.rem_euclid(12) + 1).ok()?).ok()?;
    let day = moment.day().min(month.length(year));
    let date = Date::from_calendar_date(year, month, day).ok()?;
    Some(from_date_time(PrimitiveDateTime::new(date, moment.time()).assume_utc()))
}

/// `2026-01-15T12:00:00.000000Z`.
pub(super) fn iso8601(moment: UnixMicros) -> Option<String> {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    to_date_time(moment)?.format(format).ok()
}

/// The begin of what a date (`2026-01-15`, UTC) or an RFC 3339 moment names.
pub(super) fn begin_of(text: &str) -> Option<UnixMicros> {
    if let Some(date) = date(text) {
        return Some(from_date_time(PrimitiveDateTime::new(date, time!(0:00)).assume_utc()));
    }
    OffsetDateTime::parse(text, &Rfc3339).ok().map(from_date_time)
}

/// The end of it: the next midnight for a date, which is meant as a whole.
pub(super) fn end_of(text: &str) -> Option<UnixMicros> {
    let begin = begin_of(text)?;
    Some(if date(text).is_some() { UnixMicros(begin.0.saturating_add(MICROS_PER_DAY)) } else { begin })
}

/// The day that a date names, in days since the epoch.
pub(super) fn day_of(text: &str) -> Option<i32> {
    let since_epoch =
        |date: Date| date.to_julian_day() - time::UtcDateTime::UNIX_EPOCH.date().to_julian_day();
    date(text).map(since_epoch)
}

/// The date of a day, in days since the epoch: `2026-01-15`.
pub(super) fn date_of(day: i32) -> Option<String> {
    iso8601(midnight_of(day))?.get(..DATE_LENGTH).map(str::to_owned)
}

/// The day, UTC, of a moment, in days since the epoch.
pub(super) fn day_at(moment: UnixMicros) -> i32 {
    i32::try_from(moment.0.div_euclid(MICROS_PER_DAY)).unwrap_or(i32::MAX)
}

/// The moment at which a day begins.
pub(super) fn midnight_of(day: i32) -> UnixMicros {
    UnixMicros(i64::from(day).saturating_mul(MICROS_PER_DAY))
}

fn date(text: &str) -> Option<Date> {
    Date::parse(text, format_description!("[year]-[month]-[day]")).ok()
}

fn to_date_time(moment: UnixMicros) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(moment.0) * 1_000).ok()
}

fn from_date_time(moment: OffsetDateTime) -> UnixMicros {
    UnixMicros(i64::try_from(moment.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:00:00Z.
    const NOW: UnixMicros = UnixMicros(1_769_860_800_000_000);

    #[test]
    fn durations_are_counted_from_now() {
        let cases = [
            ("30s", Some("2026-01-31T12:00:30.000000Z")),
            ("5m", Some("2026-01-31T12:05:00.000000Z")),
            ("12h", Some("2026-02-01T00:00:00.000000Z")),
            ("7d", Some("2026-02-07T12:00:00.000000Z")),
            ("2w", Some("2026-02-14T12:00:00.000000Z")),
            ("1mo", Some("2026-02-28T12:00:00.000000Z")),
            ("12mo", Some("2027-01-31T12:00:00.000000Z")),
            ("11mo", Some("2026-12-31T12:00:00.000000Z")),
            ("", None),
            ("0d", None),
            ("-1d", None),
            ("1", None),
            ("d", None),
            ("1.5h", None),
            ("1y", None),
            ("1 d", None),
            ("99999999999999999999d", None),
            ("36601d", None),
            ("9223372036854775807w", None),
            ("1201mo", None),
        ];
        for (text, expected) in cases {
            assert_eq!(after(NOW, text).and_then(iso8601).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_date_is_a_whole_day() {
        let shown = |moment: Option<UnixMicros>| moment.and_then(iso8601).unwrap_or_default();
        assert_eq!(shown(begin_of("2026-01-15")), "2026-01-15T00:00:00.000000Z");
        assert_eq!(shown(end_of("2026-01-15")), "2026-01-16T00:00:00.000000Z");
        assert_eq!(end_of("9999-12-31").map(|end| day_at(UnixMicros(end.0 - 1))), day_of("9999-12-31"));
        assert_eq!(shown(end_of("2026-01-15T10:00:00+02:00")), "2026-01-15T08:00:00.000000Z");
        assert_eq!(begin_of("yesterday"), None);
        assert_eq!(date_of(20_468).as_deref(), Some("2026-01-15"));
        for (moment, day) in [("2026-01-15", 20_468), ("2026-01-15T23:59:59.999999Z", 20_468)] {
            assert_eq!(begin_of(moment).map(day_at), Some(day));
        }
        assert_eq!(begin_of("2026-01-15"), Some(midnight_of(20_468)));
        assert_eq!(
            (day_of("1970-01-02"), day_of("2026-01-15"), day_of("today")),
            (Some(1), Some(20_468), None)
        );
    }
}
