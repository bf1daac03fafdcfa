//! What a JSON text mentions, at any depth: all names that are looked for are found in one pass over it.

use super::name_table::NameTable;

/// What the strings of a text mention, as a member's name or as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions(u8);

impl Mentions {
    /// The time to live of a cache write that costs more.
    pub(super) const ONE_HOUR: Self = Self(1);
    /// A picture.
    pub(super) const IMAGE: Self = Self(1 << 1);
    /// A picture in OpenAI's shape.
    pub(super) const IMAGE_URL: Self = Self(1 << 2);
    /// Audio or video, whose length nobody states.
    pub(super) const TIMED: Self = Self(1 << 3);
    /// What holds or names more input than its bytes tell: pictures, documents, sounds, objects in S3, earlier turns,
    /// stored files and prompts, tools that AWS runs and whose results the model reads.
    pub(super) const UNMEASURED: Self = Self(1 << 4);

    /// Every mention in a text. Inside of another string the quotes of a name would be escaped.
    pub(super) fn in_text(text: &[u8]) -> Self {
        memchr::memchr_iter(b'"', text).fold(Self::default(), |found, quote| {
            let string = text.get(quote + 1..).unwrap_or_default();
            let named = NAMES.candidates(string).filter(|(name, named)| {
                let ends_here = || string.get(name.len()) == Some(&b'"');
                string.starts_with(name.as_bytes()) && (!named.is_whole || ends_here())
            });
            named.fold(found, |found, (_, named)| found.and(named.says))
        })
    }

    /// Whether one of these is among them.
    pub(super) fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a name says.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// The string ends with the name; else it may go on.
    is_whole: bool,
    says: Mentions,
}

type Name = (&'static str, Named);

const fn whole(name: &'static str, says: Mentions) -> Name {
    (name, Named { is_whole: true, says })
}

const fn beginning(name: &'static str, says: Mentions) -> Name {
    (name, Named { is_whole: false, says })
}

/// None of them may need an escape.
static NAMES: NameTable<Named> = NameTable::of(&[
    whole("1h", Mentions::ONE_HOUR),
    whole("image", Mentions::IMAGE.and(Mentions::UNMEASURED)),
    whole("image_url", Mentions::IMAGE_URL.and(Mentions::UNMEASURED)),
    whole("video", Mentions::TIMED.and(Mentions::UNMEASURED)),
    whole("audio", Mentions::TIMED.and(Mentions::UNMEASURED)),
    whole("document", Mentions::UNMEASURED),
    whole("s3Location", Mentions::UNMEASURED),
    whole("file", Mentions::UNMEASURED),
    whole("input_audio", Mentions::UNMEASURED),
    whole("input_image", Mentions::UNMEASURED),
    whole("input_file", Mentions::UNMEASURED),
    whole("file_id", Mentions::UNMEASURED),
    whole("file_url", Mentions::UNMEASURED),
    whole("file_data", Mentions::UNMEASURED),
    whole("previous_response_id", Mentions::UNMEASURED),
    whole("conversation", Mentions::UNMEASURED),
    whole("item_reference", Mentions::UNMEASURED),
    whole("prompt_id", Mentions::UNMEASURED),
    whole("promptVariables", Mentions::UNMEASURED),
    whole("systemTool", Mentions::UNMEASURED),
    whole("mcp", Mentions::UNMEASURED),
    whole("mcp_servers", Mentions::UNMEASURED),
    whole("container", Mentions::UNMEASURED),
    whole("file_search", Mentions::UNMEASURED),
    whole("code_interpreter", Mentions::UNMEASURED),
    // A date follows.
    beginning("code_execution", Mentions::UNMEASURED),
    beginning("web_search", Mentions::UNMEASURED),
    beginning("web_fetch", Mentions::UNMEASURED),
]);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNMEASURED: [&str; 24] = [
        "image",
        "image_url",
        "document",
        "video",
        "audio",
        "s3Location",
        "file",
        "input_audio",
        "input_image",
        "input_file",
        "file_id",
        "file_url",
        "file_data",
        "previous_response_id",
        "conversation",
        "item_reference",
        "prompt_id",
        "promptVariables",
        "systemTool",
        "mcp",
        "mcp_servers",
        "container",
        "file_search",
        "code_interpreter",
    ];
    const BEGINNINGS: [&str; 3] = ["code_execution", "web_search", "web_fetch"];

    #[test]
    fn whole_strings_and_beginnings_are_found_and_other_parts_are_not() {
        let image = Mentions::IMAGE.and(Mentions::UNMEASURED);
        let nothing = Mentions::default();
        for (text, expected) in [
            (r#"{"image":1}"#, image),
            (r#"{"x":{"type":"image"}}"#, image),
            (r#"["a","image"]"#, image),
            (r#"{"image_url":1}"#, Mentions::IMAGE_URL.and(Mentions::UNMEASURED)),
            (r#"{"an image":1}"#, nothing),
            (r#"{"text":"\"image\""}"#, nothing),
            (r#"{"image"#, nothing),
            (r#"["web_search_20250305"]"#, Mentions::UNMEASURED),
            (r#"["web"]"#, nothing),
            (r#"{"ttl":"1h"}"#, Mentions::ONE_HOUR),
            (
                r#"{"ttl":"1h","x":"video"}"#,
                Mentions::ONE_HOUR.and(Mentions::TIMED).and(Mentions::UNMEASURED),
            ),
            (r#"{"ttl":"1"}"#, nothing),
            (r#"""#, nothing),
            ("", nothing),
        ] {
            assert_eq!(Mentions::in_text(text.as_bytes()), expected, "{text}");
        }
    }

    /// A name, searched for by itself.
    fn stands_in(text: &str, name: &str, is_whole: bool) -> bool {
        text.contains(&if is_whole { format!("\"{name}\"") } else { format!("\"{name}") })
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_a_search_for_each_name_finds(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select([&UNMEASURED[..], &BEGINNINGS, &["1h"]].concat()).prop_map(str::to_owned),
                    "[\"\\\\a-z_1h]{0,3}",
                    Just("\"".to_owned()),
                ],
                0..24,
            )
        ) {
            let text = parts.concat();
            let any = |names: &[&str], is_whole| names.iter().any(|name| stands_in(&text, name, is_whole));
            let found = Mentions::in_text(text.as_bytes());
            prop_assert_eq!(found.has(Mentions::ONE_HOUR), any(&["1h"], true));
            prop_assert_eq!(found.has(Mentions::IMAGE), any(&["image"], true));
            prop_assert_eq!(found.has(Mentions::IMAGE_URL), any(&["image_url"], true));
            prop_assert_eq!(found.has(Mentions::TIMED), any(&["video", "audio"], true));
            prop_assert_eq!(
                found.has(Mentions::UNMEASURED),
                any(&UNMEASURED, true) || any(&BEGINNINGS, false)
            );
        }
    }
}
