//! Looks for names in quotes anywhere in a JSON text, in one pass over it.

/// Whether one of the names stands in the text as a whole string, as a member's name or as a value. Inside of another
/// string its quotes would be escaped. None of the names may need an escape itself.
#[must_use]
pub fn mentions_any(text: &[u8], names: &[&str]) -> bool {
    memchr::memchr_iter(b'"', text).any(|quote| {
        let rest = text.get(quote + 1..).unwrap_or_default();
        let first = rest.first();
        names.iter().any(|name| {
            let name = name.as_bytes();
            name.first() == first && rest.starts_with(name) && rest.get(name.len()) == Some(&b'"')
        })
    })
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
