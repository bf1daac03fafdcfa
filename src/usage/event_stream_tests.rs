//! The frame reader against frames that AWS's own crate encoded, in pieces of any size.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use proptest::prelude::*;

use super::*;

/// Keeps the events whose type begins with `w`.
#[derive(Default)]
struct Collect(Vec<(String, Vec<u8>)>);

impl FrameVisitor for Collect {
    fn wants(&self, event_type: &[u8]) -> bool {
        event_type.starts_with(b"w")
    }

    fn payload(&mut self, event_type: &[u8], payload: &[u8]) {
        self.0.push((String::from_utf8(event_type.to_vec()).unwrap(), payload.to_vec()));
    }
}

fn header(name: &'static str, value: &str) -> Header {
    Header::new(name, HeaderValue::String(value.to_owned().into()))
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_message_to(message, &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &[u8]) -> Vec<u8> {
    encode(
        &Message::new(payload.to_vec())
            .add_header(header(":event-type", name))
            .add_header(Header::new("other", HeaderValue::Int64(5)))
            .add_header(Header::new("flag", HeaderValue::Bool(true)))
            .add_header(header(":message-type", "event")),
    )
}

fn exception(name: &str) -> Vec<u8> {
    encode(
        &Message::new(&b"{\"message\":\"slow down\"}"[..])
            .add_header(header(":message-type", "exception"))
            .add_header(header(":exception-type", name)),
    )
}

fn read(bytes: &[u8], cuts: &[usize], limit: usize) -> (EventStreamReader, Collect) {
    let (mut reader, mut collect) = (EventStreamReader::new(limit), Collect::default());
    let mut start = 0;
    for cut in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
        if cut >= start {
            reader.feed(&bytes[start..cut], &mut collect);
            start = cut;
        }
    }
    (reader, collect)
}

#[test]
fn an_empty_stream_is_on_a_boundary() {
    assert!(EventStreamReader::new(100).on_frame_boundary());
}

#[test]
fn an_exception_frame_is_a_failure_by_its_type() {
    let bytes = [event("unwanted", b"x"), exception("throttlingException")].concat();
    let (reader, collect) = read(&bytes, &[], 1000);
    assert_eq!(reader.failure(), Some("throttlingException"));
    assert!(reader.on_frame_boundary());
    assert!(collect.0.is_empty());
}

#[test]
fn an_error_frame_is_a_failure_by_its_code() {
    let bytes = encode(
        &Message::new(&b""[..])
            .add_header(header(":message-type", "error"))
            .add_header(header(":error-code", "InternalFailure"))
            .add_header(header(":error-message", "sorry")),
    );
    assert_eq!(read(&bytes, &[], 1000).0.failure(), Some("InternalFailure"));
}

#[test]
fn a_bad_prelude_stops_the_looking() {
    for position in 0..PRELUDE_BYTES {
        let mut bytes = [event("wanted", b"1"), event("wanted", b"2")].concat();
        bytes[position] ^= 1;
        let (reader, collect) = read(&bytes, &[7], 1000);
        assert!(reader.is_malformed() && !reader.on_frame_boundary(), "{position}");
        assert!(collect.0.is_empty());
    }
}

#[test]
fn impossible_lengths_are_malformed_though_their_checksum_is_right() {
    for (total, headers) in [(15_u32, 0_u32), (16, 1), (25 * 1024 * 1024, 0), (1_000_000, 200_000), (0, 0)] {
        let mut prelude = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        prelude.extend(crc32fast::hash(&prelude).to_be_bytes());
        assert!(read(&prelude, &[], 1000).0.is_malformed(), "{total} {headers}");
    }
}

#[test]
fn frames_of_24_mib_pass_without_being_held() {
    let total = u32::try_from(MAX_FRAME_BYTES).unwrap();
    let mut head = [total.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    head.extend(crc32fast::hash(&head).to_be_bytes());
    let (mut reader, mut collect) = (EventStreamReader::new(1000), Collect::default());
    reader.feed(&head, &mut collect);
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..23 {
        reader.feed(&zeros, &mut collect);
        assert!(!reader.on_frame_boundary() && reader.held.capacity() < 1000);
    }
    reader.feed(&zeros[..1024 * 1024 - PRELUDE_BYTES], &mut collect);
    assert!(reader.on_frame_boundary() && !reader.is_malformed());
}

#[test]
fn a_wanted_frame_over_the_limit_or_with_a_wrong_checksum_is_passed_over() {
    let large = [event("wanted", &[b'x'; 500]), event("wanted", b"2")].concat();
    let (reader, collect) = read(&large, &[50, 300], 200);
    assert!(reader.passed_over_wanted() && reader.on_frame_boundary());
    assert_eq!(collect.0, [("wanted".to_owned(), b"2".to_vec())]);

    let mut broken = event("wanted", b"1");
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let (reader, collect) = read(&[broken, event("wanted", b"2")].concat(), &[50], 1000);
    assert!(reader.passed_over_wanted() && reader.on_frame_boundary());
    assert_eq!(collect.0.len(), 1);
}

fn frames() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![Just("wanted".to_owned()), Just("unwanted".to_owned()), "[a-z]{0,20}"];
    prop::collection::vec((name, prop::collection::vec(any::<u8>(), 0..300)), 0..8)
}

proptest! {
    #[test]
    fn whatever_the_chunks_the_same_payloads_are_seen(frames in frames(), mut cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(name, payload)| event(name, payload)).collect();
        let mut cuts: Vec<usize> = cuts.drain(..).map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let (reader, collect) = read(&bytes, &cuts, 10_000);
        let wanted: Vec<_> = frames.into_iter().filter(|(name, _)| name.starts_with('w')).collect();
        prop_assert!(reader.on_frame_boundary());
        prop_assert!(!reader.passed_over_wanted());
        prop_assert_eq!(reader.failure(), None);
        prop_assert_eq!(collect.0, wanted);
    }

    #[test]
    fn any_truncation_is_seen(frames in frames(), cut in any::<prop::sample::Index>(), chunk in 1_usize..50) {
        let encoded: Vec<Vec<u8>> = frames.iter().map(|(name, payload)| event(name, payload)).collect();
        let bytes = encoded.concat();
        let length = cut.index(bytes.len() + 1);
        let mut ends = vec![0];
        ends.extend(encoded.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }));
        let cuts: Vec<usize> = (0..length).step_by(chunk).collect();
        let (reader, _) = read(&bytes[..length], &cuts, 10_000);
        prop_assert_eq!(reader.on_frame_boundary(), ends.contains(&length));
    }

    #[test]
    fn bytes_that_are_no_frames_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
        read(&bytes, &[cut], 100);
    }
}
