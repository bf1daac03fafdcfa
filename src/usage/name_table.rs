//! A list of names by their first bytes, so that most strings need not be compared with any of them.

/// How many bytes of a string are looked at before it is compared.
const BYTES_LOOKED_AT: usize = 3;

/// Names with what each stands for, at most 64 of them.
#[derive(Debug)]
pub(super) struct NameTable<T: 'static> {
    entries: &'static [(&'static str, T)],
    /// By place and value of a byte, a bit for each entry whose name has it there, or is over by then.
    by_byte: [[u64; 256]; BYTES_LOOKED_AT],
}

impl<T> NameTable<T> {
    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, which refuses what is out of bounds"
    )]
    pub(super) const fn of(entries: &'static [(&'static str, T)]) -> Self {
        assert!(entries.len() <= 64, "an entry is a bit");
        let mut by_byte = [[0; 256]; BYTES_LOOKED_AT];
        let mut at = 0;
        while at < entries.len() {
            let name = entries[at].0.as_bytes();
            let mut place = 0;
            while place < BYTES_LOOKED_AT {
                let mut value = 0;
                while value < 256 {
                    if place >= name.len() || name[place] as usize == value {
                        by_byte[place][value] |= 1 << at;
                    }
                    value += 1;
                }
                place += 1;
            }
            at += 1;
        }
        Self { entries, by_byte }
    }

    /// Every entry whose name this text may begin with: mostly none.
    pub(super) fn candidates(
        &self,
        text: &[u8],
    ) -> impl Iterator<Item = &'static (&'static str, T)> + use<T> {
        let [first, second, third] = &self.by_byte;
        let bits_of = |place: usize, by_value: &[u64; 256]| {
            let value = text.get(place).copied().unwrap_or_default();
            by_value.get(usize::from(value)).copied().unwrap_or_default()
        };
        let mut bits = bits_of(0, first);
        if bits != 0 {
            bits &= bits_of(1, second) & bits_of(2, third);
        }
        let entries = self.entries;
        std::iter::from_fn(move || {
            let at = usize::try_from(bits.trailing_zeros()).ok()?;
            bits &= bits.wrapping_sub(1);
            entries.get(at)
        })
    }

    /// The entry of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&'static (&'static str, T)> {
        self.candidates(name).find(|(candidate, _)| candidate.as_bytes() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NAMES: NameTable<u8> =
        NameTable::of(&[("n", 0), ("num", 1), ("number", 2), ("usage", 3), ("us", 4)]);

    #[test]
    fn names_of_every_length_are_found_and_nothing_else_is() {
        for (name, expected) in [
            ("n", Some(0)),
            ("num", Some(1)),
            ("number", Some(2)),
            ("usage", Some(3)),
            ("us", Some(4)),
            ("", None),
            ("nu", None),
            ("numb", None),
            ("usages", None),
            ("x", None),
        ] {
            assert_eq!(NAMES.find(name.as_bytes()).map(|(_, number)| *number), expected, "{name}");
        }
    }

    #[test]
    fn a_text_has_as_candidates_all_names_it_begins_with() {
        for text in ["number of", "usage", "us", "n", "numb", "", "xyz"] {
            let candidates: Vec<&str> = NAMES.candidates(text.as_bytes()).map(|(name, _)| *name).collect();
            for (name, _) in NAMES.entries.iter().filter(|(name, _)| text.starts_with(name)) {
                assert!(candidates.contains(name), "{name} in {text}");
            }
        }
        assert_eq!(NAMES.candidates(b"xyz").count(), 0);
    }
}
