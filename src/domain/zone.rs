//! A time zone: where the days of budgets begin.

use jiff::tz::TimeZone;
use jiff::{Timestamp, tz};

use super::UnixMicros;

/// A time zone of the IANA database, or UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone(Option<TimeZone>);

impl Zone {
    /// The zone of this name, such as `Europe/Berlin` or `UTC`: from the system's database if it has one, else from the
    /// one that was built in. `None` if neither knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        let is_utc = zone == TimeZone::UTC || matches!(name, "UTC" | "Etc/UTC");
        Some(Self((!is_utc).then_some(zone)))
    }

    /// What the clock on the wall shows at a moment, as microseconds since it showed 1970-01-01T00:00.
    pub(super) fn on_the_wall(&self, moment: UnixMicros) -> i64 {
        let Some(zone) = &self.0 else { return moment.0 };
        let Ok(timestamp) = Timestamp::from_microsecond(moment.0) else { return moment.0 };
        moment.0.saturating_add(i64::from(zone.to_offset(timestamp).seconds()) * 1_000_000)
    }

    /// The moment at which the clock on the wall shows this. Where clocks are put back it shows it twice: the first time.
    /// Where they are put forward it may never show it: then it is as long after the change as it was meant to be after
    /// what the clock showed last.
    pub(super) fn moment(&self, on_the_wall: i64) -> UnixMicros {
        let Some(zone) = &self.0 else { return UnixMicros(on_the_wall) };
        let shown = Timestamp::from_microsecond(on_the_wall).map(|shown| tz::Offset::UTC.to_datetime(shown));
        let moment = shown.and_then(|shown| zone.to_timestamp(shown));
        UnixMicros(moment.map_or(on_the_wall, Timestamp::as_microsecond))
    }
}
