//! What a conversation in speech used so far, as its `usageEvent`s state it: tokens of text and of speech, in and out.
//! <https://docs.aws.amazon.com/nova/latest/userguide/output-events.html>

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

use super::chunk_frames;
use super::count::{Count, value};
use super::{Unit, Usage};

/// `"usageEvent"` as it appears inside base64, by where in a group of three bytes it starts; the bytes at either edge,
/// which mix with the neighbours, are left off.
const NEEDLES: [&[u8]; 3] = [b"InVzYWdlRXZlbnQi", b"J1c2FnZUV2ZW50I", b"idXNhZ2VFdmVudC"];

/// What an event says of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing: it is another event.
    Nothing,
    /// All that was used since the conversation began.
    Used(Usage),
    /// Something that is not understood.
    Unclear,
}

#[derive(Deserialize)]
struct Chunk {
    event: Option<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    usage_event: Option<UsageEvent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageEvent {
    details: Option<Details>,
    total_input_tokens: Option<Count>,
    total_output_tokens: Option<Count>,
}

#[derive(Deserialize)]
struct Details {
    total: Option<Total>,
}

#[derive(Deserialize)]
struct Total {
    input: Option<Kinds>,
    output: Option<Kinds>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kinds {
    speech_tokens: Option<Count>,
    text_tokens: Option<Count>,
}

/// Reads the payload of a `chunk` event.
pub(super) fn read(payload: &[u8]) -> Said {
    static FINDERS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| NEEDLES.map(Finder::new));
    let Some(text) = chunk_frames::base64_text(payload) else { return Said::Unclear };
    if !FINDERS.iter().any(|finder| finder.find(text).is_some()) {
        return Said::Nothing;
    }
    let Some(json) = chunk_frames::decode(text) else { return Said::Unclear };
    match serde_json::from_slice::<Chunk>(&json) {
        Ok(Chunk { event: Some(Event { usage_event: Some(stated) }) }) => {
            stated.usage().map_or(Said::Unclear, Said::Used)
        }
        // A text that happens to hold the word.
        Ok(_) => Said::Nothing,
        Err(_) => Said::Unclear,
    }
}

impl UsageEvent {
    /// The usage, where it is told apart into text and speech to the last token: they have different prices.
    fn usage(&self) -> Option<Usage> {
        let total = self.details.as_ref()?.total.as_ref()?;
        let (input, output) = (total.input.unwrap_or_default(), total.output.unwrap_or_default());
        let agrees = |kinds: Kinds, all: Option<Count>| all.is_none_or(|all| kinds.sum() == all.0);
        if !agrees(input, self.total_input_tokens) || !agrees(output, self.total_output_tokens) {
            return None;
        }
        let speech =
            [(Unit::InputSpeechToken, input.speech_tokens), (Unit::OutputSpeechToken, output.speech_tokens)];
        let units = speech.into_iter().map(|(unit, count)| (unit, value(count)));
        Some(Usage {
            input_tokens: value(input.text_tokens),
            output_tokens: value(output.text_tokens),
            units: units.filter(|(_, count)| *count > 0).collect(),
            ..Usage::default()
        })
    }
}

impl Kinds {
    fn sum(self) -> u64 {
        value(self.speech_tokens).saturating_add(value(self.text_tokens))
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn said(json: &str) -> Said {
        read(format!(r#"{{"bytes":"{}","p":"abc"}}"#, STANDARD.encode(json)).as_bytes())
    }

    fn used(input: u64, output: u64, units: &[(Unit, u64)]) -> Said {
        let units = units.to_vec();
        Said::Used(Usage { input_tokens: input, output_tokens: output, units, ..Usage::default() })
    }

    #[test]
    fn usage_is_read_from_the_event_of_awss_documentation_wherever_it_stands() {
        let details = r#"{"delta":{"input":{"speechTokens":1,"textTokens":2},"output":{"speechTokens":3,"textTokens":4}},"total":{"input":{"speechTokens":100,"textTokens":20},"output":{"speechTokens":30,"textTokens":4}}}"#;
        for padding in 0..9 {
            let json = format!(
                r#"{{"x":"{}","event":{{"usageEvent":{{"completionId":"c","details":{details},"promptName":"p","sessionId":"s","totalInputTokens":120,"totalOutputTokens":34,"totalTokens":154}}}}}}"#,
                "x".repeat(padding)
            );
            let expected = used(20, 4, &[(Unit::InputSpeechToken, 100), (Unit::OutputSpeechToken, 30)]);
            assert_eq!(said(&json), expected, "{padding}");
        }
    }

    #[test]
    fn what_is_not_told_apart_to_the_last_token_is_unclear() {
        let total = |total: &str, more: &str| {
            said(&format!(r#"{{"event":{{"usageEvent":{{"details":{{"total":{total}}}{more}}}}}}}"#))
        };
        assert_eq!(total(r#"{"input":{"textTokens":7}}"#, ""), used(7, 0, &[]));
        assert_eq!(total(r#"{"input":{"textTokens":7}}"#, r#","totalInputTokens":7"#), used(7, 0, &[]));
        assert_eq!(total(r#"{"input":{"textTokens":7}}"#, r#","totalInputTokens":8"#), Said::Unclear);
        assert_eq!(total("{}", r#","totalOutputTokens":1"#), Said::Unclear);
        assert_eq!(total("{}", ""), used(0, 0, &[]));
        assert_eq!(said(r#"{"event":{"usageEvent":{"totalInputTokens":5}}}"#), Said::Unclear);
        assert_eq!(total(r#"{"input":{"textTokens":-7}}"#, ""), Said::Unclear);
        assert_eq!(said(r#"{"event":{"usageEvent":"#), Said::Unclear);
    }

    #[test]
    fn other_events_say_nothing_also_where_they_hold_the_word() {
        assert_eq!(said(r#"{"event":{"textOutput":{"content":"hello"}}}"#), Said::Nothing);
        assert_eq!(said(r#"{"event":{"textOutput":{"content":"x","usageEvent":1}}}"#), Said::Nothing);
        assert_eq!(read(br#"{"p":"abc"}"#), Said::Unclear);
    }
}
