//! What a JSON text mentions, at any depth: all names that are looked for are found in one pass over it.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::name_table::NameTable;

/// What the strings of a text mention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mentions(u8);

impl Mentions {
    const NOTHING: Self = Self(0);
    /// The time to live of a cache write that costs more.
    pub(super) const ONE_HOUR: Self = Self(1);
    /// A picture, by a member's name.
    pub(super) const IMAGE: Self = Self(1 << 1);
    /// A picture in OpenAI's shape, by a member's name.
    pub(super) const IMAGE_URL: Self = Self(1 << 2);
    /// Audio or video, whose length nobody states, by a member's name.
    pub(super) const TIMED: Self = Self(1 << 3);
    /// What holds or names more input than its bytes tell: pictures, documents, sounds, objects in S3, earlier turns,
    /// stored files and prompts, tools that AWS runs and whose results the model reads. By any string, since some are
    /// named by a value (`"type": "image"`).
    pub(super) const UNMEASURED: Self = Self(1 << 4);

    /// That the model is to reason, or has: what it writes then may be billed and not sent.
    pub(super) const REASONING: Self = Self(1 << 5);

    /// Every mention in a text. Inside of another string the quotes of a name would be escaped.
    pub(super) fn in_text(text: &[u8]) -> Self {
        memchr::memchr_iter(b'"', text).fold(Self::default(), |found, quote| {
            let string = text.get(quote + 1..).unwrap_or_default();
            let named = NAMES.candidates(string).filter(|(name, named)| {
                let ends_here = || string.get(name.len()) == Some(&b'"');
                string.starts_with(name.as_bytes()) && (!named.is_whole || ends_here())
            });
            named.fold(found, |found, (name, named)| {
                let rest = string.get(name.len() + 1..).unwrap_or_default();
                found.and(named.says).and(named.says_in_place(text.get(..quote), rest))
            })
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

/// Whether a name may stand in a text in other bytes than its letters: escaped, which no encoder does to a letter,
/// digit or underscore, or in UTF-16.
pub(crate) fn is_disguised(text: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br"\u00"));
    memchr::memchr(0, text).is_some()
        || ESCAPE.find_iter(text).any(|at| {
            let (before, rest) = text.split_at_checked(at).unwrap_or((text, &[]));
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            let code = rest.get(4..6).and_then(|digits| std::str::from_utf8(digits).ok());
            let code = code.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            backslashes % 2 == 0 && code.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

/// What a name says.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// The string ends with the name; else it may go on.
    is_whole: bool,
    /// Wherever it stands.
    says: Mentions,
    /// As the name of a member.
    as_name: Mentions,
    /// As the value of a member `ttl`.
    as_time_to_live: Mentions,
}

impl Named {
    /// What it says by what stands around it. Few strings are asked: the loop over all is kept small.
    #[inline(never)]
    fn says_in_place(&self, before: Option<&[u8]>, rest: &[u8]) -> Mentions {
        if self.as_name != Mentions::NOTHING && rest.trim_ascii_start().first() == Some(&b':') {
            return self.as_name;
        }
        let is_time_to_live = || {
            let before = before.unwrap_or_default().trim_ascii_end();
            before.strip_suffix(b":").is_some_and(|name| may_be_time_to_live(name.trim_ascii_end()))
        };
        if self.as_time_to_live != Mentions::NOTHING && is_time_to_live() {
            return self.as_time_to_live;
        }
        Mentions::NOTHING
    }
}

/// Whether a text ends in the name `ttl`, or in one with an escape, which may be the same.
fn may_be_time_to_live(text: &[u8]) -> bool {
    const MOST_BYTES: usize = r"\u0074\u0074\u006c".len();
    text.strip_suffix(b"\"").is_some_and(|text| {
        let end = text.get(text.len().saturating_sub(MOST_BYTES)..).unwrap_or(text);
        let name = memchr::memrchr(b'"', end).and_then(|quote| end.get(quote + 1..)).unwrap_or(end);
        text.ends_with(b"\"ttl") || name.contains(&b'\\')
    })
}

type Name = (&'static str, Named);

const SILENT: Named = Named {
    is_whole: true,
    says: Mentions::NOTHING,
    as_name: Mentions::NOTHING,
    as_time_to_live: Mentions::NOTHING,
};

const fn whole(name: &'static str, says: Mentions) -> Name {
    (name, Named { says, ..SILENT })
}

const fn beginning(name: &'static str, says: Mentions) -> Name {
    (name, Named { is_whole: false, says, ..SILENT })
}

/// Of a medium, which costs as its member's name says; any string may name more input than its bytes.
const fn medium(name: &'static str, as_name: Mentions) -> Name {
    (name, Named { says: Mentions::UNMEASURED, as_name, ..SILENT })
}

const fn time_to_live(value: &'static str, says: Mentions) -> Name {
    (value, Named { as_time_to_live: says, ..SILENT })
}

/// None of them may need an escape; the one that costs more stands here with every escape that it may have.
static NAMES: NameTable<Named> = NameTable::of(&[
    time_to_live("1h", Mentions::ONE_HOUR),
    time_to_live(r"\u0031h", Mentions::ONE_HOUR),
    time_to_live(r"1\u0068", Mentions::ONE_HOUR),
    time_to_live(r"\u0031\u0068", Mentions::ONE_HOUR),
    whole("thinking", Mentions::REASONING),
    whole("reasoning", Mentions::REASONING),
    whole("reasoning_effort", Mentions::REASONING),
    whole("reasoning_config", Mentions::REASONING),
    whole("reasoningConfig", Mentions::REASONING),
    whole("reasoningContent", Mentions::REASONING),
    medium("image", Mentions::IMAGE),
    medium("image_url", Mentions::IMAGE_URL),
    medium("video", Mentions::TIMED),
    medium("audio", Mentions::TIMED),
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
    const ONE_HOUR: [&str; 4] = ["1h", r"\u0031h", r"1\u0068", r"\u0031\u0068"];

    #[test]
    fn whole_strings_and_beginnings_are_found_and_other_parts_are_not() {
        let image = Mentions::IMAGE.and(Mentions::UNMEASURED);
        let nothing = Mentions::default();
        for (text, expected) in [
            (r#"{"image":1}"#, image),
            ("{\"image\" \n:1}", image),
            (r#"{"x":{"type":"image"}}"#, Mentions::UNMEASURED),
            (r#"["a","image"]"#, Mentions::UNMEASURED),
            (r#"{"text":"audio","more":"image_url"}"#, Mentions::UNMEASURED),
            (r#"{"image_url":1}"#, Mentions::IMAGE_URL.and(Mentions::UNMEASURED)),
            (r#"{"an image":1}"#, nothing),
            (r#"{"text":"\"image\""}"#, nothing),
            (r#"{"image"#, nothing),
            (r#"["web_search_20250305"]"#, Mentions::UNMEASURED),
            (r#"["web"]"#, nothing),
            (r#"{"ttl":"1h"}"#, Mentions::ONE_HOUR),
            ("{\"ttl\" :\n\"1h\"}", Mentions::ONE_HOUR),
            (r#"{"enum":["1h","1d"],"interval":"1h"}"#, nothing),
            (r#"{"ttl":["1h"],"a_ttl":"1h"}"#, nothing),
            (r#"{"text":"\"ttl\":\"1h\""}"#, nothing),
            (
                r#"{"ttl":"1h","video":"x"}"#,
                Mentions::ONE_HOUR.and(Mentions::TIMED).and(Mentions::UNMEASURED),
            ),
            (r#"{"ttl":"1"}"#, nothing),
            (r#"{"t\u0074l":"1h"}"#, Mentions::ONE_HOUR),
            (r#"{"\u0074\u0074\u006C" : "1h"}"#, Mentions::ONE_HOUR),
            (r#"{"ttl":"\u0031h"}"#, Mentions::ONE_HOUR),
            (r#"{"ttl":"1\u0068"}"#, Mentions::ONE_HOUR),
            (r#"{"tt\u006c":"\u0031\u0068"}"#, Mentions::ONE_HOUR),
            (r#"{"text":"\n\n\"","every":"1h"}"#, nothing),
            (r#"{"thinking":{"type":"enabled"}}"#, Mentions::REASONING),
            (r#"{"text":"thinking about reasoning"}"#, nothing),
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

    /// What stands before and behind each string of this text.
    fn places_of<'t>(text: &'t str, string: &str) -> impl Iterator<Item = (&'t str, &'t str)> {
        let quoted = format!("\"{string}\"");
        let split = move |at: usize| Some((&text[..at], text[at..].strip_prefix(quoted.as_str())?));
        (0..text.len()).filter_map(split)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_a_search_for_each_name_finds(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::sample::select([&UNMEASURED[..], &BEGINNINGS, &ONE_HOUR].concat()).prop_map(str::to_owned),
                    "[\"\\\\a-z_1h: ]{0,3}",
                    Just("\"".to_owned()),
                    Just("\":".to_owned()),
                    Just("\"ttl\":\"".to_owned()),
                ],
                0..24,
            )
        ) {
            let text = parts.concat();
            let any = |names: &[&str], is_whole| names.iter().any(|name| stands_in(&text, name, is_whole));
            let found = Mentions::in_text(text.as_bytes());
            let named = |name: &str| places_of(&text, name).any(|(_, rest)| rest.trim_start().starts_with(':'));
            let is_time_to_live = |before: &str| {
                let name = before.trim_end().strip_suffix(':').map(str::trim_end);
                name.and_then(|name| name.strip_suffix('"')).is_some_and(|name| {
                    let last = name.len().saturating_sub(18);
                    let begin = name[last..].rfind('"').map_or(last, |quote| last + quote + 1);
                    name.ends_with("\"ttl") || name[begin..].contains('\\')
                })
            };
            let is_one_hour = |value: &&str| places_of(&text, value).any(|(before, _)| is_time_to_live(before));
            let has_one_hour = ONE_HOUR.iter().any(is_one_hour);
            prop_assert_eq!(found.has(Mentions::ONE_HOUR), has_one_hour);
            prop_assert_eq!(found.has(Mentions::IMAGE), named("image"));
            prop_assert_eq!(found.has(Mentions::IMAGE_URL), named("image_url"));
            prop_assert_eq!(found.has(Mentions::TIMED), named("video") || named("audio"));
            prop_assert_eq!(
                found.has(Mentions::UNMEASURED),
                any(&UNMEASURED, true) || any(&BEGINNINGS, false)
            );
        }
    }
}
