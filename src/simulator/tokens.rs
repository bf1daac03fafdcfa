//! How many tokens an answer claims and the words it says: functions of the request alone, so that tests can predict both.

use bytes::Bytes;
use serde_json::Value;

/// Output tokens where the request names no maximum.
const DEFAULT_OUTPUT_TOKENS: u64 = 16;
/// The most output tokens, whatever the request allows.
const MAX_OUTPUT_TOKENS: u64 = 4096;
/// The most events that carry text in one stream; longer texts put several words in each.
const MAX_TEXT_EVENTS: usize = 512;

const WORDS: [&str; 16] = [
    "Mountains",
    "keep",
    "their",
    "snow",
    "until",
    "spring",
    "arrives,",
    "then",
    "rivers",
    "carry",
    "it",
    "down",
    "to",
    "the",
    "patient",
    "sea.",
];

/// Where requests of all families name their maximum of output tokens.
const MAXIMUM_POINTERS: [&str; 10] = [
    "/inferenceConfig/maxTokens",
    "/inferenceConfig/max_new_tokens",
    "/max_tokens",
    "/max_completion_tokens",
    "/max_output_tokens",
    "/max_gen_len",
    "/maxTokens",
    "/max_tokens_to_sample",
    "/textGenerationConfig/maxTokenCount",
    "/max_new_tokens",
];

/// Token counts of an answer. Input does not include what was read from or written to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct SimulatedUsage {
    /// Input tokens at the full price.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the cache.
    pub cache_read: u64,
    /// Input tokens written to the cache for five minutes.
    pub cache_write_5m: u64,
    /// Input tokens written to the cache for an hour.
    pub cache_write_1h: u64,
}

impl SimulatedUsage {
    pub(super) fn cache_write(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// All input and output, as `totalTokens` counts.
    pub(super) fn total(&self) -> u64 {
        self.input
            .saturating_add(self.output)
            .saturating_add(self.cache_read)
            .saturating_add(self.cache_write())
    }
}

/// What the simulator reports for a request body, when nothing steers it: one input token per four bytes of body, begun
/// ones included, and as many output tokens as the body allows (16 where it names no maximum, 4096 at most).
#[must_use]
pub fn predicted_usage(body: &[u8]) -> SimulatedUsage {
    let parsed = serde_json::from_slice(body).unwrap_or(Value::Null);
    usage_of(body, &parsed)
}

pub(super) fn usage_of(body: &[u8], parsed: &Value) -> SimulatedUsage {
    let asked = MAXIMUM_POINTERS.iter().find_map(|pointer| parsed.pointer(pointer).and_then(Value::as_u64));
    SimulatedUsage {
        input: (body.len() as u64).div_ceil(4),
        output: asked.unwrap_or(DEFAULT_OUTPUT_TOKENS).clamp(1, MAX_OUTPUT_TOKENS),
        ..SimulatedUsage::default()
    }
}

/// A text of as many words as output tokens, as the pieces a stream sends.
pub(super) fn text_pieces(output_tokens: u64) -> Vec<String> {
    let count = usize::try_from(output_tokens.clamp(1, MAX_OUTPUT_TOKENS)).unwrap_or(1);
    let words: Vec<&str> = WORDS.iter().copied().cycle().take(count).collect();
    let mut pieces: Vec<String> = words
        .chunks(count.div_ceil(MAX_TEXT_EVENTS).max(1))
        .map(|group| group.iter().map(|word| format!("{word} ")).collect())
        .collect();
    if let Some(last) = pieces.last_mut() {
        last.truncate(last.trim_end().len());
    }
    pieces
}

pub(super) fn text(output_tokens: u64) -> String {
    text_pieces(output_tokens).concat()
}

/// A vector for an embedding.
pub(super) fn vector(dimensions: usize) -> Vec<f64> {
    (0..dimensions).map(|index| f64::from(u32::try_from(index % 17).unwrap_or(0)) / 16.0 - 0.5).collect()
}

/// A PNG image of one pixel, in base64.
pub(super) const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// JSON as the bytes of a body.
pub(super) fn json_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_predicted_from_length_and_maximum() {
        let cases: [(&str, u64, u64); 5] = [
            ("", 0, 16),
            ("not json", 2, 16),
            (r#"{"max_tokens":5}"#, 4, 5),
            (r#"{"inferenceConfig":{"maxTokens":999999}}"#, 10, 4096),
            (r#"{"textGenerationConfig":{"maxTokenCount":0}}"#, 11, 1),
        ];
        for (body, input, output) in cases {
            let usage = predicted_usage(body.as_bytes());
            assert_eq!((usage.input, usage.output), (input, output), "{body}");
        }
    }

    #[test]
    fn a_text_has_a_word_per_token_and_its_pieces_are_bounded() {
        for tokens in [1, 16, 512, 513, 4096] {
            assert_eq!(text(tokens).split(' ').count() as u64, tokens);
            assert!(text_pieces(tokens).len() <= MAX_TEXT_EVENTS);
        }
    }
}
