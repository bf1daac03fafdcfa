//! Which segments still hold what the store does not have.

use std::collections::BTreeMap;

use crate::journal::SegmentId;

/// The segments that hold an event's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) begun: SegmentId,
    /// `None`: interrupted.
    pub(super) ended: Option<SegmentId>,
}

/// The segments that were met and are not done with.
#[derive(Debug, Default)]
pub(super) struct SegmentBook {
    segments: BTreeMap<SegmentId, SegmentUse>,
}

/// Records of a segment that the store does not have yet.
#[derive(Debug, Default)]
struct SegmentUse {
    records: u64,
    is_finished: bool,
    is_damaged: bool,
}

impl SegmentBook {
    /// One more record of the segment waits for the store.
    pub(super) fn hold(&mut self, segment: SegmentId) {
        self.segments.entry(segment).or_default().records += 1;
    }

    /// The event's records wait no longer.
    pub(super) fn release(&mut self, places: Places) {
        self.release_all(&[places]);
    }

    /// The same for a batch: most neighbours stand in the same segments, which are looked up once for all of them.
    pub(super) fn release_all(&mut self, batch: &[Places]) {
        for neighbours in batch.chunk_by(Places::eq) {
            let segments = neighbours.first().into_iter().flat_map(|one| [Some(one.begun), one.ended]);
            for segment in segments.flatten() {
                if let Some(usage) = self.segments.get_mut(&segment) {
                    usage.records = usage.records.saturating_sub(neighbours.len() as u64);
                }
            }
        }
    }

    /// No further record of the segment will come.
    pub(super) fn finish(&mut self, segment: SegmentId, is_damaged: bool) {
        let usage = self.segments.entry(segment).or_default();
        usage.is_finished = true;
        usage.is_damaged |= is_damaged;
    }

    pub(super) fn mark_damaged(&mut self, segment: SegmentId) {
        self.segments.entry(segment).or_default().is_damaged = true;
    }

    /// Those that are finished and held by nothing; and whether each is damaged.
    pub(super) fn take_done(&mut self) -> Vec<(SegmentId, bool)> {
        let is_done = |_: &SegmentId, usage: &mut SegmentUse| usage.is_finished && usage.records == 0;
        self.segments.extract_if(.., is_done).map(|(segment, usage)| (segment, usage.is_damaged)).collect()
    }
}
