//! Moments as bounds of event ids: ids are ordered by time, so that the primary key's index is one of time, too.

use uuid::Uuid;

use crate::domain::{EventId, UnixMicros};
use crate::store::columns::StoredEventId;

/// The time in an id has so many bits, of milliseconds.
const LARGEST_MILLIS: u64 = (1 << 48) - 1;

/// No event that began at this moment or later has a smaller id.
pub(super) fn from(moment: UnixMicros) -> StoredEventId {
    first_of(millis_of(moment))
}

/// Every event that began before this moment has a smaller id.
pub(super) fn until(moment: UnixMicros) -> StoredEventId {
    let last_before = UnixMicros(moment.0.saturating_sub(1));
    first_of(millis_of(last_before).saturating_add(1))
}

/// As [`EventId::at`] has it.
fn millis_of(moment: UnixMicros) -> u64 {
    u64::try_from(moment.0).unwrap_or_default() / 1_000
}

/// Below all ids of this millisecond.
fn first_of(millis: u64) -> StoredEventId {
    let bits = u128::from(millis.min(LARGEST_MILLIS)) << 80;
    StoredEventId(EventId(Uuid::from_u128(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_time_lie_within_its_bounds() {
        let noon = 1_768_478_400_000_000;
        for began in [0, 1, 999, 1_000, noon - 1, noon, noon + 1, noon + 999, noon + 1_000] {
            let id = StoredEventId(EventId::at(UnixMicros(began)));
            for bound in [i64::MIN, -1, 0, 1, 1_000, noon - 1_000, noon, noon + 1, noon + 1_000, noon + 1_001]
            {
                let moment = UnixMicros(bound);
                assert!(began < bound || id >= from(moment), "{began} from {bound}");
                assert!(began >= bound || id < until(moment), "{began} until {bound}");
            }
        }
        assert!(from(UnixMicros(noon + 1_000)) > StoredEventId(EventId::at(UnixMicros(noon))));
        assert!(until(UnixMicros(noon)) <= StoredEventId(EventId::at(UnixMicros(noon))));
        assert!(until(UnixMicros(i64::MAX)) >= from(UnixMicros(noon)));
    }
}
