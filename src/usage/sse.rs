//! Lines of `text/event-stream`, found in whatever chunks the network delivers.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A ping is shorter.
const MOST_OF_PING: usize = 64;

/// Splits a stream into lines and hands on the text of each `data` line. It never fails.
#[derive(Debug)]
pub(crate) struct DataLines {
    /// The beginning of a line that has not ended.
    held: Vec<u8>,
    limit: usize,
    /// The line at hand is over the limit and passed over.
    passing: bool,
    overflowed: bool,
    /// What was fed so far ends in the empty line that ends an event, or is nothing at all.
    after_event: bool,
}

impl DataLines {
    /// Lines of more than `limit` bytes that do not lie in one chunk are passed over.
    pub(crate) fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit, passing: false, overflowed: false, after_event: true }
    }

    /// Whether everything fed so far ends exactly where an event ends.
    pub(crate) fn on_event_boundary(&self) -> bool {
        self.after_event
    }

    /// Whether a line was passed over.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Reads on, calling `on_data` with what follows `data:` in each line that ends in this chunk.
    pub(crate) fn feed(&mut self, mut chunk: &[u8], mut on_data: impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at_checked(end).unwrap_or((chunk, &[]));
            chunk = rest.get(1..).unwrap_or_default();
            let is_empty = matches!((self.held.as_slice(), line), ([], [] | [b'\r']) | ([b'\r'], []));
            self.after_event = is_empty && !self.passing;
            if self.passing {
                self.passing = false;
            } else if self.held.is_empty() {
                data_of(line).map(&mut on_data);
            } else if self.hold(line) {
                data_of(&self.held).map(&mut on_data);
            } else {
                self.passing = false;
            }
            self.held.clear();
        }
        self.after_event &= chunk.is_empty();
        if !self.passing {
            self.hold(chunk);
        }
    }

    /// Reads a last line that ended with the stream instead of a line feed.
    pub(crate) fn finish(&mut self, on_data: impl FnMut(&[u8])) {
        data_of(&std::mem::take(&mut self.held)).map(on_data);
    }

    /// Adds to the line held, unless it grows over the limit.
    fn hold(&mut self, part: &[u8]) -> bool {
        if self.held.len() + part.len() > self.limit {
            self.held.clear();
            self.passing = true;
            self.overflowed = true;
            return false;
        }
        self.held.extend_from_slice(part);
        true
    }
}

/// Whether the data of an event may state usage, name a response or a failure or end the stream, in OpenAI's
/// or Anthropic's shape: a quick look that lets the many events of content pass.
pub(crate) fn may_tell(data: &[u8]) -> bool {
    static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
    static OTHERS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| {
        [
            "\"message_stop\"",
            "\"error\"",
            "\"response.created\"",
            "\"response.completed\"",
            "\"response.incomplete\"",
            "\"response.failed\"",
        ]
        .map(|name| Finder::new(name.as_bytes()))
    });
    let holds_object = |at: usize| {
        let after_name = data.get(at + USAGE.needle().len()..).unwrap_or_default().trim_ascii_start();
        after_name.strip_prefix(b":").is_some_and(|value| value.trim_ascii_start().starts_with(b"{"))
    };
    USAGE.find_iter(data).any(holds_object) || OTHERS.iter().any(|finder| finder.find(data).is_some())
}

/// Whether an event says nothing but that the connection lives.
pub(crate) fn is_ping(data: &[u8]) -> bool {
    static PING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"ping\""));
    data.len() < MOST_OF_PING && PING.find(data).is_some()
}

/// Whether an event comes before anything of an answer: that a response is kept or waits, or a ping.
pub(crate) fn is_before_answer(data: &[u8]) -> bool {
    static STATES: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
        ["\"response.created\"", "\"response.queued\"", "\"response.in_progress\""]
            .map(|name| Finder::new(name.as_bytes()))
    });
    is_ping(data) || STATES.iter().any(|finder| finder.find(data).is_some())
}

/// Whether an event has an empty list of choices: in the shape of OpenAI's chat, the one behind all answers.
pub(crate) fn has_no_choices(data: &[u8]) -> bool {
    is_followed_by(data, "\"choices\"", *b"[]")
}

/// Whether an event says why an answer, of which there may be several, was finished, in the shape of OpenAI's chat.
pub(crate) fn ends_choice(data: &[u8]) -> bool {
    is_followed_by(data, "\"finish_reason\"", [b'"', 0])
}

/// Whether an event says why the answer stopped, in Anthropic's shape; null says that it goes on.
pub(crate) fn tells_stop(data: &[u8]) -> bool {
    is_followed_by(data, "\"stop_reason\"", [b'"', 0])
}

/// Whether a member's value begins with these tokens (one, if the second is 0).
fn is_followed_by(data: &[u8], name: &str, [first, second]: [u8; 2]) -> bool {
    memchr::memmem::find_iter(data, name.as_bytes()).any(|at| {
        let mut rest = data.get(at + name.len()..).unwrap_or_default().trim_ascii_start();
        rest = rest.strip_prefix(b":").unwrap_or_default().trim_ascii_start();
        rest.split_first().is_some_and(|(byte, rest)| {
            *byte == first && (second == 0 || rest.trim_ascii_start().first() == Some(&second))
        })
    })
}

/// The text of a `data` line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let data = line.strip_prefix(b"data:")?;
    Some(data.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn data_lines(text: &[u8], cuts: &[usize], limit: usize) -> Vec<String> {
        let mut lines = DataLines::new(limit);
        let mut seen = Vec::new();
        let mut start = 0;
        for end in cuts.iter().map(|cut| cut % (text.len() + 1)).chain([text.len()]) {
            if end >= start {
                lines.feed(&text[start..end], |data| seen.push(String::from_utf8_lossy(data).into_owned()));
                start = end;
            }
        }
        seen
    }

    #[test]
    fn a_last_line_without_a_line_feed_is_read_at_the_end() {
        let mut lines = DataLines::new(100);
        lines.feed(b"data: one\ndata: [DO", |_| {});
        lines.feed(b"NE]", |data| panic!("too early: {data:?}"));
        let mut seen = Vec::new();
        lines.finish(|data| seen.push(data.to_vec()));
        lines.finish(|data| seen.push(data.to_vec()));
        assert_eq!(seen, [b"[DONE]"]);
    }

    #[test]
    fn only_data_lines_are_handed_on() {
        let text = b"event: a\r\ndata: {\"x\":1}\r\n\r\n: comment\ndata:two\ndata: unfinished";
        assert_eq!(data_lines(text, &[], 100), ["{\"x\":1}", "two"]);
    }

    #[test]
    fn an_event_ends_with_an_empty_line() {
        for (text, expected) in [
            ("", true),
            ("data: one", false),
            ("data: one\n", false),
            ("data: one\n\n", true),
            ("data: one\r\n\r\n", true),
            ("data: one\n\nd", false),
            ("data: one\n\ndata: a line over the limit\n\n", true),
            ("data: a line over the limit\n", false),
        ] {
            for cut in 0..=text.len() {
                let mut lines = DataLines::new(12);
                let (before, after) = text.split_at(cut);
                lines.feed(before.as_bytes(), |_| {});
                lines.feed(after.as_bytes(), |_| {});
                assert_eq!(lines.on_event_boundary(), expected, "{text:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_line_over_the_limit_is_passed_over_and_the_next_is_read() {
        let text = b"data: a very long line that goes on\ndata: two\n";
        assert_eq!(data_lines(text, &[5, 10, 15, 20, 25], 12), ["two"]);
    }

    #[test]
    fn events_of_content_pass_and_those_that_tell_do_not() {
        for (data, expected) in [
            (r#"{"choices":[],"usage":null}"#, false),
            (r#"{"choices":[],"usage" : {"prompt_tokens":1}}"#, true),
            (r#"{"delta":{"content":"\"usage\":{ \"error\""}}"#, false),
            (r#"{"usage":null,"response":{"usage":{}}}"#, true),
            (r#"{"type":"message_stop"}"#, true),
            (r#"{"type":"response.completed","response":{}}"#, true),
            (r#"{"type":"response.output_text.delta"}"#, false),
        ] {
            assert_eq!(may_tell(data.as_bytes()), expected, "{data}");
        }
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(texts in prop::collection::vec("[a-z{}\":]{0,40}", 0..8), mut cuts in prop::collection::vec(0usize..400, 0..10)) {
            let text: String = texts.iter().map(|text| format!("event: e\r\ndata: {text}\r\n\r\n")).collect();
            cuts.sort_unstable();
            prop_assert_eq!(data_lines(text.as_bytes(), &cuts, 1000), texts);
        }
    }
}
