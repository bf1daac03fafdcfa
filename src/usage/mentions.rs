//! Looks for names in quotes anywhere in a JSON text, in one pass over it.

/// Whether one of the names stands in the text as a whole string, as a member's name or as a value. Inside of another
/// string its quotes would be escaped. None of the names may need an escape itself.
#[must_use]
pub fn mentions_any(text: &[u8], names: &[&str]) -> bool {
    any_string(text, |string| {
        names.iter().any(|name| begins_with(string, name) && string.get(name.len()) == Some(&b'"'))
    })
}

/// As [`mentions_any`], for strings that begin with one of these.
#[must_use]
pub fn mentions_beginning(text: &[u8], beginnings: &[&str]) -> bool {
    any_string(text, |string| beginnings.iter().any(|beginning| begins_with(string, beginning)))
}

/// Asks for what stands behind each quote, to the end of the text.
fn any_string(text: &[u8], is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    memchr::memchr_iter(b'"', text).any(|quote| is_wanted(text.get(quote + 1..).unwrap_or_default()))
}

/// Compares the first byte before all others, which is mostly enough.
fn begins_with(string: &[u8], name: &str) -> bool {
    string.first() == name.as_bytes().first() && string.starts_with(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_strings_are_found_and_parts_of_them_are_not() {
        for (text, expected) in [
            (r#"{"image":1}"#, true),
            (r#"{"x":{"type":"image"}}"#, true),
            (r#"["a","image"]"#, true),
            (r#"{"image_url":1}"#, false),
            (r#"{"an image":1}"#, false),
            (r#"{"text":"\"image\""}"#, false),
            (r#"{"image"#, false),
            ("", false),
        ] {
            assert_eq!(mentions_any(text.as_bytes(), &["video", "image"]), expected, "{text}");
        }
    }
}
