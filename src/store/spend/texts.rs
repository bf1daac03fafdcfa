//! Texts of rows: borrowed, or made once for all rows of a batch that say the same.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use crate::event::{AttemptView, ListView, Payer, PriceView};
use crate::store::columns::{storable_text, to_json};

/// A text of a row.
#[derive(Clone)]
pub(super) enum RowText<'e> {
    /// As it stands in the record, or in the program.
    Borrowed(&'e str),
    /// Of this row alone.
    Owned(String),
    /// Of other rows, too.
    Shared(Rc<str>),
}

impl Deref for RowText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for RowText<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for RowText<'_> {}

impl Hash for RowText<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for RowText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<'e> From<Cow<'e, str>> for RowText<'e> {
    fn from(text: Cow<'e, str>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Owned(text),
        }
    }
}

impl From<String> for RowText<'_> {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

/// What rows of one batch have in common: most have one of few prices, payers, lists of tags.
#[derive(Default)]
pub(super) struct Texts<'e> {
    payers: Known<Payer>,
    prices: Known<PriceView<'e>>,
    attempts: Known<ListView<'e, AttemptView<'e>>>,
    tags: Known<ListView<'e, &'e str>>,
}

impl<'e> Texts<'e> {
    /// The name stored of who is charged.
    pub(super) fn payer(&mut self, payer: Payer) -> RowText<'e> {
        RowText::Shared(self.payers.text(payer, Payer::to_string))
    }

    pub(super) fn price(&mut self, price: PriceView<'e>) -> RowText<'e> {
        RowText::Shared(self.prices.text(price, to_json))
    }

    /// `[["deployment",200],…]`.
    pub(super) fn attempts(&mut self, attempts: ListView<'e, AttemptView<'e>>) -> RowText<'e> {
        RowText::Shared(self.attempts.text(attempts, to_json))
    }

    pub(super) fn tags(&mut self, tags: ListView<'e, &'e str>) -> RowText<'e> {
        if tags.is_empty() {
            return RowText::Borrowed("[]");
        }
        let storable =
            |tags: &ListView<'_, &str>| to_json(&tags.iter().map(storable_text).collect::<Vec<_>>());
        RowText::Shared(self.tags.text(tags, storable))
    }
}

/// The texts of the last few values.
struct Known<V> {
    texts: Vec<(V, Rc<str>)>,
    oldest: usize,
}

/// So many texts are kept. Too low: they are made again and again; too high: looking them up costs as much.
const KNOWN: usize = 32;

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self { texts: Vec::new(), oldest: 0 }
    }
}

impl<V: PartialEq> Known<V> {
    fn text(&mut self, value: V, make: impl FnOnce(&V) -> String) -> Rc<str> {
        if let Some((_, text)) = self.texts.iter().find(|(known, _)| *known == value) {
            return Rc::clone(text);
        }
        let text: Rc<str> = make(&value).into();
        let entry = (value, Rc::clone(&text));
        if self.texts.len() < KNOWN {
            self.texts.push(entry);
        } else if let Some(place) = self.texts.get_mut(self.oldest) {
            *place = entry;
            self.oldest = (self.oldest + 1) % KNOWN;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_once_while_it_is_known() {
        let (mut known, mut made) = (Known::default(), 0);
        for value in (0..KNOWN).chain(0..KNOWN).chain([KNOWN, 0, KNOWN]) {
            let text = known.text(value, |value| {
                made += 1;
                value.to_string()
            });
            assert_eq!(*text, *value.to_string());
        }
        assert_eq!(made, KNOWN + 2, "the oldest makes room");
    }
}
