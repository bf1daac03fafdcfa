//! An event on its way from the journal to the database: the bytes of its records, read only where they are needed.
//!
//! Shipping holds thousands of events. As records they are two blocks of memory each, not two dozen, and a third of
//! the size.

use super::view::{BegunView, EndedView, EventView};
use super::{Begun, Ended, SpendEvent};
use crate::domain::{EventId, UnixMicros};

/// A [`Begun`] as it was written; one that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBegun {
    id: EventId,
    started_at: UnixMicros,
    bytes: Box<[u8]>,
}

/// An [`Ended`] as it was written; one that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedEnded {
    id: EventId,
    latency_us: u64,
    bytes: Box<[u8]>,
}

/// One request, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedEvent {
    begun: PackedBegun,
    /// `None`: it was never written.
    ended: Option<PackedEnded>,
}

impl PackedBegun {
    /// Takes in the bytes of a record; `None` where they are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let begun = BegunView::read(bytes)?;
        Some(Self { id: begun.id, started_at: begun.started_at, bytes: bytes.into() })
    }

    /// The id of the event.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }
}

impl PackedEnded {
    /// Takes in the bytes of a record; `None` where they are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let ended = EndedView::read(bytes)?;
        Some(Self { id: ended.id, latency_us: ended.latency_us, bytes: bytes.into() })
    }

    /// The id of the event.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }
}

impl PackedEvent {
    /// A request that ended.
    #[must_use]
    pub fn whole(begun: PackedBegun, ended: PackedEnded) -> Self {
        Self { begun, ended: Some(ended) }
    }

    /// A request whose end was never written: charged at its estimate and marked so.
    #[must_use]
    pub fn interrupted(begun: PackedBegun) -> Self {
        Self { begun, ended: None }
    }

    /// The event's id.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.begun.id
    }

    /// When it ended.
    #[must_use]
    pub fn ended_at(&self) -> UnixMicros {
        let latency = self.ended.as_ref().map_or(0, |ended| ended.latency_us);
        let latency = i64::try_from(latency).unwrap_or(i64::MAX);
        UnixMicros(self.begun.started_at.0.saturating_add(latency))
    }

    /// What stands in its records. They could be read when they were taken in, so they can be.
    #[must_use]
    pub fn view(&self) -> Option<EventView<'_>> {
        let begun = BegunView::read(&self.begun.bytes)?;
        let ended = match &self.ended {
            Some(ended) => EndedView::read(&ended.bytes)?,
            None => EndedView::interrupted(begun.id, begun.estimate),
        };
        Some(EventView { begun, ended })
    }
}

impl From<&Begun> for PackedBegun {
    fn from(begun: &Begun) -> Self {
        Self { id: begun.id, started_at: begun.started_at, bytes: encode(begun) }
    }
}

impl From<&Ended> for PackedEnded {
    fn from(ended: &Ended) -> Self {
        Self { id: ended.id, latency_us: ended.latency_us, bytes: encode(ended) }
    }
}

impl From<&SpendEvent> for PackedEvent {
    fn from(event: &SpendEvent) -> Self {
        Self::whole((&event.begun).into(), (&event.ended).into())
    }
}

fn encode(value: &impl serde::Serialize) -> Box<[u8]> {
    // Into memory: nothing in these types can fail.
    postcard::to_allocvec(value).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::event::Payer;
    use crate::journal::record::samples;
    use crate::usage::{ImageShape, Unit, Usage};

    #[test]
    fn an_event_reads_as_it_was_packed() {
        for (begun, ended) in [samples::usual(7), samples::largest()] {
            let event = SpendEvent { begun, ended };
            let packed = PackedEvent::from(&event);
            assert_eq!(packed.view().unwrap().to_event(), event);
            assert_eq!((packed.id(), PackedBegun::from(&event.begun).id()), (event.begun.id, event.begun.id));
        }
    }

    #[test]
    fn a_beginning_alone_reads_as_interrupted() {
        let (begun, _) = samples::usual(7);
        let packed = PackedEvent::interrupted(PackedBegun::from(&begun));
        assert_eq!(packed.view().unwrap().to_event(), SpendEvent::interrupted(begun.clone()));
        assert_eq!(packed.ended_at(), begun.started_at);
    }

    #[test]
    fn bytes_that_are_no_record_are_not_taken_in() {
        let (begun, ended) = samples::usual(7);
        let (begun, ended) = (encode(&begun), encode(&ended));
        assert!(PackedBegun::read(&begun).is_some() && PackedEnded::read(&ended).is_some());
        assert_eq!(PackedBegun::read(&begun[..begun.len() - 1]), None);
        assert_eq!(PackedEnded::read(&[&ended[..], b"more"].concat()), None);
    }
    /// A record as serde reads it.
    fn derived<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
        rest.is_empty().then_some(value)
    }

    /// What is taken in is what serde would read, it is read the same, and it can be read again.
    fn check(bytes: &[u8]) {
        let begun = PackedBegun::read(bytes);
        let read = begun.map(|begun| PackedEvent::interrupted(begun).view().unwrap().to_event().begun);
        assert_eq!(read, derived::<Begun>(bytes));
        let ended = PackedEnded::read(bytes);
        let event = ended.map(|ended| PackedEvent::whole((&samples::usual(7).0).into(), ended));
        assert_eq!(event.map(|event| event.view().unwrap().to_event().ended), derived::<Ended>(bytes));
    }

    /// Records of each shape: with and without what may be missing, and lists of none, one and many.
    fn records() -> Vec<Box<[u8]>> {
        let (usual, largest) = (samples::usual(7), samples::largest());
        let payers = [Payer::Master, Payer::Anonymous].map(|payer| Begun { payer, ..usual.0.clone() });
        let bare = SpendEvent::interrupted(Begun { tags: Vec::new(), estimate: None, ..usual.0.clone() });
        let image = Some(ImageShape { width: Some(1_024), height: None, steps: Some(30) });
        let units = vec![(Unit::OutputImage, 2), (Unit::OutputSpeechToken, 300)];
        let usage = Some(Usage { image, units, latency_optimised: true, ..Usage::default() });
        let pictured = Ended { usage, ..usual.1.clone() };
        let foreign = ["\u{e9}", "", "\u{20ac}\u{10348}x"].map(str::to_owned);
        let foreign = Begun { team_id: foreign.last().cloned(), tags: foreign.into(), ..usual.0.clone() };
        let begun = payers.iter().chain([&usual.0, &largest.0, &bare.begun, &foreign]).map(encode);
        let ended = [&usual.1, &largest.1, &bare.ended, &pictured].map(encode);
        begun.chain(ended).collect()
    }

    #[test]
    fn what_is_read_is_what_serde_reads() {
        for record in records() {
            check(&record);
            for end in 0..record.len().min(2_000) {
                check(&record[..end]);
            }
        }
    }

    #[test]
    fn numbers_of_any_length_are_read_as_serde_reads_them() {
        let (begun, ended) = samples::usual(7);
        let numbers = (1..12_usize).flat_map(|length| {
            [0, 1, 2, 3, 4, 15, 16, 0x7f].map(|last| [vec![0x80; length - 1], vec![last]].concat())
        });
        for number in numbers {
            for record in [encode(&begun), encode(&ended)] {
                for place in 0..record.len() {
                    check(&[&record[..place], &number, &record[place + 1..]].concat());
                }
            }
        }
    }

    #[test]
    fn any_one_byte_changed_is_read_as_serde_reads_it() {
        for mut record in records().into_iter().filter(|record| record.len() < 2_000) {
            for place in 0..record.len() {
                let was = record[place];
                for value in (0..20).chain(0x7e..0x83).chain(0xfe..=u8::MAX) {
                    record[place] = value;
                    check(&record);
                }
                record[place] = was;
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_what_serde_reads(
            which: prop::sample::Index,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in 0_usize..4,
            more in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let records = records();
            let mut bytes = which.get(&records).to_vec();
            bytes.truncate(bytes.len() - cut);
            bytes.extend(more);
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            check(&bytes);
        }

        #[test]
        fn random_bytes_are_read_as_serde_reads_them(bytes in prop::collection::vec(0_u8..4, 0..200)) {
            check(&bytes);
        }
    }
}
