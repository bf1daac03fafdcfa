//! Reads a record field by field, as postcard wrote it. Texts and lists are borrowed: no memory is taken.

use std::fmt;
use std::iter;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize, Serializer};

use crate::domain::{EventId, NanoUsd};

/// What is left to read of a record. `None`, of every function: what stands there is no such field.
///
/// serde's derived code reads the same, with a block of memory for each list and a quarter more instructions.
pub struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    /// All of a record.
    pub(super) fn of(record: &'r [u8]) -> Self {
        Self(record)
    }

    /// Nothing is left.
    pub(super) fn are_over(&self) -> bool {
        self.0.is_empty()
    }

    /// A field of any type, as serde reads it.
    pub(super) fn take<T: Deserialize<'r>>(&mut self) -> Option<T> {
        let (field, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(field)
    }

    /// So many bytes, which stand as they are.
    pub(super) fn bytes<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    /// A number of so many bits: seven of them a byte, the lowest first, and the eighth says that more follow.
    fn number<const BITS: u32>(&mut self) -> Option<u64> {
        let [first] = self.bytes()?;
        if first < MORE_FOLLOW {
            return Some(first.into());
        }
        let mut number = u64::from(first ^ MORE_FOLLOW);
        let mut shift = 7;
        while shift < BITS {
            let [byte] = self.bytes()?;
            number |= u64::from(byte & !MORE_FOLLOW) << shift;
            if byte < MORE_FOLLOW {
                let has_room = BITS - shift >= 7 || byte >> (BITS - shift) == 0;
                return has_room.then_some(number);
            }
            shift += 7;
        }
        None
    }

    /// The number of a variant.
    pub(super) fn variant(&mut self) -> Option<u64> {
        self.number::<32>()
    }

    /// A count.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.number::<64>()
    }

    /// A status, or what else is small.
    pub(super) fn small(&mut self) -> Option<u16> {
        u16::try_from(self.number::<16>()?).ok()
    }

    /// A number with a sign, which is its lowest bit.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number::<64>()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// An amount.
    pub(super) fn amount(&mut self) -> Option<NanoUsd> {
        self.signed().map(NanoUsd)
    }

    /// Yes or no.
    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.bytes()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    /// A text.
    pub(super) fn text(&mut self) -> Option<&'r str> {
        let length = usize::try_from(self.count()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// The id of an event.
    pub(super) fn id(&mut self) -> Option<EventId> {
        let is_id = self.count()? == ID_BYTES;
        self.bytes().filter(|_| is_id).map(|bytes| EventId(uuid::Uuid::from_bytes(bytes)))
    }

    /// A field that may be missing.
    pub(super) fn optional<T>(&mut self, field: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { field(self).map(Some) } else { Some(None) }
    }

    /// A text that may be missing.
    pub(super) fn optional_text(&mut self) -> Option<Option<&'r str>> {
        self.optional(Self::text)
    }

    /// A list, all of whose items can be read.
    pub(super) fn list<T: ListItem<'r>>(&mut self) -> Option<ListView<'r, T>> {
        let count = self.count()?;
        let items = self.0;
        // A count that lies ends with the bytes: no item takes none of them.
        for _ in 0..count {
            T::read(self)?;
        }
        let items = items.get(..items.len() - self.0.len())?;
        Some(ListView { count, items, of: PhantomData })
    }
}

/// The bit of a byte that says that the number goes on.
const MORE_FOLLOW: u8 = 0x80;
/// The bytes of an id, before which their count is written.
const ID_BYTES: u64 = 16;

/// What stands in a list.
pub trait ListItem<'r>: Sized {
    /// Reads the next one; it takes a byte at least.
    fn read(fields: &mut Fields<'r>) -> Option<Self>;
}

impl<'r> ListItem<'r> for &'r str {
    fn read(fields: &mut Fields<'r>) -> Option<Self> {
        fields.text()
    }
}

impl<'r> ListItem<'r> for (&'r str, i64) {
    fn read(fields: &mut Fields<'r>) -> Option<Self> {
        Some((fields.text()?, fields.signed()?))
    }
}

/// A list as it stands in its record; every item of it can be read. Two are the same if they were written the same.
pub struct ListView<'r, T> {
    count: u64,
    items: &'r [u8],
    of: PhantomData<T>,
}

impl<'r, T: ListItem<'r>> ListView<'r, T> {
    /// The items, in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'r, T> {
        let mut fields = Fields::of(self.items);
        iter::from_fn(move || T::read(&mut fields))
    }
}

impl<T> ListView<'_, T> {
    /// A list of nothing.
    pub(super) const EMPTY: Self = Self { count: 0, items: &[], of: PhantomData };

    /// There is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<T> Clone for ListView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ListView<'_, T> {}

impl<T> PartialEq for ListView<'_, T> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.items == other.items
    }
}

impl<T> Eq for ListView<'_, T> {}

impl<'r, T: ListItem<'r> + fmt::Debug> fmt::Debug for ListView<'r, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'r, T: ListItem<'r> + Serialize> Serialize for ListView<'r, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
