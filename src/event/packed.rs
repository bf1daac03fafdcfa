//! An event on its way from the journal to the database: the bytes of its records, read only where they are needed.
//!
//! Shipping holds thousands of events. As records they are two blocks of memory each, not two dozen, and a third of
//! the size.

use serde::Deserialize;

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
        let begun: BegunView<'_> = decode(bytes)?;
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
        let ended: EndedView<'_> = decode(bytes)?;
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
        let begun: BegunView<'_> = decode(&self.begun.bytes)?;
        let ended = match &self.ended {
            Some(ended) => decode(&ended.bytes)?,
            None => EndedView::interrupted(&begun),
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

fn decode<'r, T: Deserialize<'r>>(bytes: &'r [u8]) -> Option<T> {
    let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::samples;

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
}
