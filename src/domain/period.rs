//! When a budget starts anew: LiteLLM's durations and their places in the calendar, in UTC.
//!
//! | duration | starts anew |
//! |---|---|
//! | `1d` | at midnight |
//! | `7d`, `1w` | on Monday at midnight |
//! | `30d`, `1mo` | on the first of the month |
//! | other days, weeks, months | so many of them after the midnight (or first of the month) before it was set |
//! | `s`, `m`, `h` | at multiples of it since 1970-01-01T00:00Z, so `1h` on the hour and `24h` at midnight |
//!
//! Another time zone than UTC is not supported.

use time::{Date, Month, OffsetDateTime};

use super::UnixMicros;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const MICROS_PER_DAY: i64 = SECONDS_PER_DAY * MICROS_PER_SECOND;
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

    /// The window that holds a moment, for a duration that was set at another.
    #[must_use]
    pub fn window(self, now: UnixMicros, set_at: UnixMicros) -> Window {
        match self {
            Self::Clock(length) => {
                let start = now.0.div_euclid(length) * length;
                Window { start: UnixMicros(start), end: Some(UnixMicros(start.saturating_add(length))) }
            }
            Self::Days(count) => {
                let anchor = if count == 7 { FIRST_MONDAY } else { set_at.0.div_euclid(MICROS_PER_DAY) };
                let day = now.0.div_euclid(MICROS_PER_DAY);
                let start = anchor + (day - anchor).div_euclid(count) * count;
                Window { start: midnight(start), end: Some(midnight(start + count)) }
            }
            Self::Months(count) => {
                let anchor = if count == 1 { 0 } else { month_of(set_at) };
                let start = anchor + (month_of(now) - anchor).div_euclid(count) * count;
                Window { start: first_of(start), end: Some(first_of(start + count)) }
            }
        }
    }
}

/// `2026-02-01T00:00:00Z`.
#[must_use]
pub fn moment_text(moment: UnixMicros) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(moment.0.div_euclid(MICROS_PER_SECOND)).ok()?;
    moment.format(&time::format_description::well_known::Rfc3339).ok()
}

fn midnight(day: i64) -> UnixMicros {
    UnixMicros(day.saturating_mul(MICROS_PER_DAY))
}

/// Months since year 0.
fn month_of(moment: UnixMicros) -> i64 {
    let date = OffsetDateTime::from_unix_timestamp(moment.0.div_euclid(MICROS_PER_SECOND))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    i64::from(date.year()) * 12 + i64::from(u8::from(date.month())) - 1
}

fn first_of(month: i64) -> UnixMicros {
    let number = u8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    let first = i32::try_from(month.div_euclid(12)).ok().and_then(|year| {
        Date::from_calendar_date(year, Month::try_from(number).unwrap_or(Month::January), 1).ok()
    });
    let seconds = first.map(|date| date.midnight().assume_utc().unix_timestamp());
    UnixMicros(seconds.unwrap_or(i64::MAX / MICROS_PER_SECOND) * MICROS_PER_SECOND)
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
            let window = Period::parse(duration).unwrap().window(now, set_at);
            assert_eq!(window, Window { start: at(start), end: Some(at(end)) }, "{duration}");
        }
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
        ) {
            let unit = ["s", "m", "h", "d", "w", "mo"][unit];
            let period = Period::parse(&format!("{count}{unit}")).unwrap();
            let window = period.window(UnixMicros(now), UnixMicros(set_at));
            let end = window.end.unwrap();
            proptest::prop_assert!(window.start.0 <= now && now < end.0);
            proptest::prop_assert_eq!(period.window(UnixMicros(end.0 - 1), UnixMicros(set_at)), window);
            proptest::prop_assert_eq!(period.window(end, UnixMicros(set_at)).start, end);
        }
    }
}
