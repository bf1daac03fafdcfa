//! When a budget starts anew: LiteLLM's durations and their places in the calendar of a time zone.
//!
//! | duration | starts anew |
//! |---|---|
//! | `1d` | at midnight |
//! | `7d`, `1w` | on Monday at midnight |
//! | `30d`, `1mo` | on the first of the month |
//! | other days, weeks, months | so many of them after the midnight (or first of the month) before it was set |
//! | `s`, `m`, `h` | when a clock that shows 1970-01-01T00:00 at first has gone on by a multiple of it, so `1h` on the hour and `24h` at midnight |
//!
//! Days are days of the calendar: where clocks change they last 23 or 25 hours.

use time::{Date, Month, OffsetDateTime};

use super::{UnixMicros, Zone};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
/// 1970-01-05, the first Monday, in days since the epoch.
const FIRST_MONDAY: i64 = 4;
/// The longest duration, in days: beyond it somebody mistyped.
const MAX_DAYS: i64 = 36_600;

/// How often a budget starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// At multiples of so many microseconds since the epoch.
    Clock(i64),
    /// At midnight, every so many days.
    Days(i64),
    /// On the first of the month, every so many months.
    Months(i64),
}

/// A stretch of time in which spend is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub start: UnixMicros,
    /// The first moment after it; `None`: it does not end.
    pub end: Option<UnixMicros>,
}

impl Window {
    /// All of time.
    pub const ALWAYS: Self = Self { start: UnixMicros(0), end: None };
}

impl Period {
    /// Reads `30s`, `15m`, `12h`, `7d`, `2w` or `1mo`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = text.split_at_checked(digits)?;
        let count: i64 = count.parse().ok().filter(|count| *count > 0)?;
        let clock = |seconds: i64| {
            let seconds = count.checked_mul(seconds).filter(|s| *s <= MAX_DAYS * SECONDS_PER_DAY)?;
            Some(Self::Clock(seconds * MICROS_PER_SECOND))
        };
        let days = |count: i64| (count <= MAX_DAYS).then_some(Self::Days(count));
        match (unit, count) {
            ("s", _) => clock(1),
            ("m", _) => clock(60),
            ("h", _) => clock(3_600),
            ("d", 30) => Some(Self::Months(1)),
            ("d", _) => days(count),
            ("w", _) => count.checked_mul(7).and_then(days),
            ("mo", _) => (count <= MAX_DAYS / 30).then_some(Self::Months(count)),
            _ => None,
        }
    }

    /// The window that holds a moment, for a duration that was set at another. Windows follow one another without a gap.
    #[must_use]
    pub fn window(self, now: UnixMicros, set_at: UnixMicros, zone: &Zone) -> Window {
        let (shown, shown_at_set) = (zone.on_the_wall(now), zone.on_the_wall(set_at));
        match self {
            Self::Clock(length) if length <= MICROS_PER_HOUR => short_window(length, now, shown),
            Self::Clock(length) => Window::holding(now, shown.div_euclid(length), |index| {
                zone.moment(index.saturating_mul(length))
            }),
            Self::Days(count) => {
                let anchor = if count == 7 { FIRST_MONDAY } else { shown_at_set.div_euclid(MICROS_PER_DAY) };
                let index = (shown.div_euclid(MICROS_PER_DAY) - anchor).div_euclid(count);
                Window::holding(now, index, |index| zone.moment(midnight(anchor + index * count)))
            }
            Self::Months(count) => {
                let anchor = if count == 1 { 0 } else { month_of(shown_at_set) };
                let index = (month_of(shown) - anchor).div_euclid(count);
                Window::holding(now, index, |index| zone.moment(first_of(anchor + index * count)))
            }
        }
    }
}

impl Window {
    /// The window between two neighbouring boundaries that holds a moment. The index is right but for the hours that
    /// a change of the clocks repeats or leaves out.
    fn holding(now: UnixMicros, index: i64, boundary: impl Fn(i64) -> UnixMicros) -> Self {
        let mut index = index;
        if boundary(index) > now {
            index -= 1;
        } else if boundary(index + 1) <= now {
            index += 1;
        }
        Self { start: boundary(index), end: Some(boundary(index + 1)) }
    }
}

/// Up to an hour. What divides the hour stands where the clock on the wall has it; anything else has no place on a clock
/// and is counted in UTC. (Where clocks change by half an hour, on Lord Howe Island, hours begin anew with that.)
fn short_window(length: i64, now: UnixMicros, shown: i64) -> Window {
    let ahead = if MICROS_PER_HOUR % length == 0 { shown - now.0 } else { 0 };
    let start = (now.0 + ahead).div_euclid(length) * length - ahead;
    Window { start: UnixMicros(start), end: Some(UnixMicros(start.saturating_add(length))) }
}

/// `2026-02-01T00:00:00Z`.
#[must_use]
pub fn moment_text(moment: UnixMicros) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(moment.0.div_euclid(MICROS_PER_SECOND)).ok()?;
    moment.format(&time::format_description::well_known::Rfc3339).ok()
}

/// What the clock shows at the beginning of a day.
fn midnight(day: i64) -> i64 {
    day.saturating_mul(MICROS_PER_DAY)
}

/// Months since year 0.
fn month_of(shown: i64) -> i64 {
    let date = OffsetDateTime::from_unix_timestamp(shown.div_euclid(MICROS_PER_SECOND))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1
}

/// What the clock shows at the beginning of a month.
fn first_of(month: i64) -> i64 {
    let number = u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    let first = i32::try_from(month.div_euclid(12)).ok().and_then(|year| {
        Date::from_calendar_date(year, Month::try_from(number).unwrap_or(Month::January), 1).ok()
    });
    let seconds = first.map(|date| date.midnight().assume_utc().unix_timestamp());
    seconds.unwrap_or(i64::MAX / MICROS_PER_SECOND) * MICROS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMicros {
        let format = &time::format_description::well_known::Rfc3339;
        UnixMicros(OffsetDateTime::parse(text, format).unwrap().unix_timestamp() * MICROS_PER_SECOND)
    }

    #[test]
    fn windows_stand_where_litellm_puts_them() {
        // A Thursday; the budgets were set on the tenth.
        let (now, set_at) = (at("2026-01-15T13:47:11Z"), at("2026-01-10T20:00:00Z"));
        for (duration, start, end) in [
            ("1d", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"),
            ("7d", "2026-01-12T00:00:00Z", "2026-01-19T00:00:00Z"),
            ("1w", "2026-01-12T00:00:00Z", "2026-01-19T00:00:00Z"),
            ("30d", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("1mo", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("2mo", "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2d", "2026-01-14T00:00:00Z", "2026-01-16T00:00:00Z"),
            ("90d", "2026-01-10T00:00:00Z", "2026-04-10T00:00:00Z"),
            ("24h", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"),
            ("1h", "2026-01-15T13:00:00Z", "2026-01-15T14:00:00Z"),
            ("30m", "2026-01-15T13:30:00Z", "2026-01-15T14:00:00Z"),
            ("10s", "2026-01-15T13:47:10Z", "2026-01-15T13:47:20Z"),
        ] {
            let window = Period::parse(duration).unwrap().window(now, set_at, &Zone::default());
            assert_eq!(window, Window { start: at(start), end: Some(at(end)) }, "{duration}");
        }
    }

    #[test]
    fn windows_stand_where_the_clocks_of_the_zone_put_them() {
        for (zone, now, duration, start, end) in [
            // An evening in New York is the next day in UTC.
            (
                "America/New_York",
                "2026-01-16T02:00:00Z",
                "1d",
                "2026-01-15T05:00:00Z",
                "2026-01-16T05:00:00Z",
            ),
            (
                "America/New_York",
                "2026-02-01T02:00:00Z",
                "30d",
                "2026-01-01T05:00:00Z",
                "2026-02-01T05:00:00Z",
            ),
            ("Asia/Tokyo", "2026-01-18T16:00:00Z", "7d", "2026-01-18T15:00:00Z", "2026-01-25T15:00:00Z"),
            ("Asia/Kolkata", "2026-01-15T10:40:00Z", "1h", "2026-01-15T10:30:00Z", "2026-01-15T11:30:00Z"),
            ("Asia/Kolkata", "2026-01-15T10:40:00Z", "12h", "2026-01-15T06:30:00Z", "2026-01-15T18:30:00Z"),
            // Clocks go forward: a day of 23 hours; back: one of 25, and an hour twice.
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "1d", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", "24h", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            ("Europe/Berlin", "2026-10-25T00:30:00Z", "1h", "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:30:00Z", "1h", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"),
            ("Europe/Berlin", "2026-10-25T01:10:00Z", "90m", "2026-10-24T23:30:00Z", "2026-10-25T02:00:00Z"),
            ("UTC", "2026-01-15T02:00:00Z", "1d", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"),
        ] {
            let zone = Zone::named(zone).unwrap();
            let window = Period::parse(duration).unwrap().window(at(now), at("2026-01-10T20:00:00Z"), &zone);
            assert_eq!(window, Window { start: at(start), end: Some(at(end)) }, "{zone:?} {duration}");
        }
        assert_eq!(Zone::named("Europe/Atlantis"), None);
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "1", "d", "0d", "-1d", "1.5h", "1y", "99999999999999d", "1 d", "1D", "é"] {
            assert_eq!(Period::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_moment_is_in_the_window_it_is_given(
            now in 0_i64..4_000_000_000_000_000,
            set_at in 0_i64..4_000_000_000_000_000,
            count in 1_i64..60,
            unit in 0_usize..6,
            zone in 0_usize..6,
        ) {
            let zone = ["UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"][zone];
            let zone = Zone::named(zone).unwrap();
            let unit = ["s", "m", "h", "d", "w", "mo"][unit];
            let period = Period::parse(&format!("{count}{unit}")).unwrap();
            let window = period.window(UnixMicros(now), UnixMicros(set_at), &zone);
            let end = window.end.unwrap();
            proptest::prop_assert!(window.start.0 <= now && now < end.0);
            proptest::prop_assert_eq!(period.window(UnixMicros(end.0 - 1), UnixMicros(set_at), &zone), window);
            proptest::prop_assert_eq!(period.window(end, UnixMicros(set_at), &zone).start, end);
        }
    }
}
