//! Looks for names in quotes anywhere in a JSON text, in one pass over it.

/// Names to look for. None of them may need an escape.
#[derive(Debug)]
pub struct Mentions<const WHOLE: usize, const BEGINNINGS: usize> {
    whole: [&'static str; WHOLE],
    beginnings: [&'static str; BEGINNINGS],
    /// Whether one of them begins with this byte: most strings do not, and are passed over by one look.
    begins_one: [bool; 256],
}

impl<const WHOLE: usize, const BEGINNINGS: usize> Mentions<WHOLE, BEGINNINGS> {
    /// Names that are wanted whole, and beginnings of such that go on.
    #[must_use]
    pub const fn of(whole: [&'static str; WHOLE], beginnings: [&'static str; BEGINNINGS]) -> Self {
        let begins_one = first_bytes(first_bytes([false; 256], &whole), &beginnings);
        Self { whole, beginnings, begins_one }
    }

    /// Whether one of them stands in the text as a string, as a member's name or as a value. Inside of another string
    /// its quotes would be escaped.
    #[must_use]
    pub fn stand_in(&self, text: &[u8]) -> bool {
        memchr::memchr_iter(b'"', text).any(|quote| {
            let string = text.get(quote + 1..).unwrap_or_default();
            let first = string.first().copied().unwrap_or_default();
            let may_be_one = self.begins_one.get(usize::from(first)) == Some(&true);
            may_be_one && self.has(string)
        })
    }

    fn has(&self, string: &[u8]) -> bool {
        let is_whole = |name: &&str| begins_with(string, name) && string.get(name.len()) == Some(&b'"');
        self.whole.iter().any(is_whole) || self.beginnings.iter().any(|name| begins_with(string, name))
    }
}

/// Compares the first byte before all others, which is mostly enough.
fn begins_with(string: &[u8], name: &str) -> bool {
    string.first() == name.as_bytes().first() && string.starts_with(name.as_bytes())
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn first_bytes(mut begins_one: [bool; 256], names: &[&str]) -> [bool; 256] {
    let mut at = 0;
    while at < names.len() {
        begins_one[names[at].as_bytes()[0] as usize] = true;
        at += 1;
    }
    begins_one
}

#[cfg(test)]
mod tests {
    use super::*;

    static NAMES: Mentions<2, 1> = Mentions::of(["video", "image"], ["web_search"]);

    #[test]
    fn whole_strings_and_beginnings_are_found_and_other_parts_are_not() {
        for (text, expected) in [
            (r#"{"image":1}"#, true),
            (r#"{"x":{"type":"image"}}"#, true),
            (r#"["a","image"]"#, true),
            (r#"{"image_url":1}"#, false),
            (r#"{"an image":1}"#, false),
            (r#"{"text":"\"image\""}"#, false),
            (r#"{"image"#, false),
            (r#"["web_search_20250305"]"#, true),
            (r#"["web"]"#, false),
            ("", false),
        ] {
            assert_eq!(NAMES.stand_in(text.as_bytes()), expected, "{text}");
        }
    }
}
