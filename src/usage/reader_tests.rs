//! Answers as AWS sends them, in pieces of any size, and what is read of them.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::usage::ServiceTier;

const CONVERSE_STREAM: AnswerKind =
    AnswerKind { framing: Framing::ConverseFrames, charged_by: ChargedBy::Tokens };
const INVOKE_STREAM: AnswerKind =
    AnswerKind { framing: Framing::InvokeFrames, charged_by: ChargedBy::Tokens };
const EVENTS: AnswerKind = AnswerKind { framing: Framing::ServerSentEvents, charged_by: ChargedBy::Tokens };
const JSON: AnswerKind = AnswerKind { framing: Framing::Json, charged_by: ChargedBy::Tokens };
const LIMIT: usize = 4096;

fn frame(headers: &[(&'static str, &str)], payload: &str) -> Vec<u8> {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let headers = headers.iter().map(|(name, value)| Header::new(*name, text(value))).collect();
    let mut bytes = Vec::new();
    write_message_to(&Message::new_from_parts(headers, payload.as_bytes().to_vec()), &mut bytes).unwrap();
    bytes
}

fn event(name: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

fn exception(name: &str) -> Vec<u8> {
    frame(&[(":exception-type", name), (":message-type", "exception")], r#"{"message":"no"}"#)
}

fn chunk(json: &str) -> Vec<u8> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(json);
    event("chunk", &format!(r#"{{"bytes":"{encoded}","p":"abc"}}"#))
}

const METADATA: &str = r#"{"usage":{"inputTokens":10,"outputTokens":20},"serviceTier":{"type":"flex"}}"#;

fn read(kind: AnswerKind, bytes: &[u8]) -> Reading {
    let mut reader = UsageReader::new(kind, LIMIT);
    reader.feed(bytes);
    reader.finish()
}

/// The chunk, counted from one, that the reader called terminal; it must be called so once.
fn terminal_chunk(kind: AnswerKind, chunks: &[&[u8]]) -> Option<usize> {
    let mut reader = UsageReader::new(kind, LIMIT);
    let terminal: Vec<usize> = (1..)
        .zip(chunks)
        .filter(|(_, chunk)| reader.feed(chunk) == Progress::Terminal)
        .map(|(at, _)| at)
        .collect();
    assert!(terminal.len() <= 1);
    terminal.first().copied()
}

#[test]
fn the_chunk_that_completes_the_statement_is_terminal() {
    let (delta, metadata) = (event("contentBlockDelta", "{}"), event("metadata", METADATA));
    let (start, end) = metadata.split_at(metadata.len() - 1);
    assert_eq!(terminal_chunk(CONVERSE_STREAM, &[&delta, start, end, b""]), Some(3));
    assert_eq!(terminal_chunk(CONVERSE_STREAM, &[&delta, &delta]), None);

    let metrics = chunk(r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"outputTokenCount":2}}"#);
    assert_eq!(terminal_chunk(INVOKE_STREAM, &[&chunk("{}"), &metrics]), Some(2));

    assert_eq!(terminal_chunk(JSON, &[br#"{"usage":{}"#, b"}", b"\n"]), Some(2));

    let usage = b"data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    assert_eq!(terminal_chunk(EVENTS, &[usage, b"data: [DONE]", b"\n\n"]), Some(3));
    assert_eq!(terminal_chunk(EVENTS, &[b"data: {\"text\":\"message_stop\",\"type\":\"x\"}\n\n"]), None);
    let stop = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    assert_eq!(terminal_chunk(EVENTS, &[stop, stop]), Some(1));
    let incomplete = b"data: {\"type\":\"response.incomplete\",\"response\":{\"usage\":{\"input_tokens\":1,\"input_tokens_details\":{}}}}\n\n";
    assert_eq!(terminal_chunk(EVENTS, &[incomplete]), Some(1));
}

#[test]
fn a_converse_stream_states_usage_and_tier() {
    let reading = read(CONVERSE_STREAM, &[event("messageStart", "{}"), event("metadata", METADATA)].concat());
    let usage = Usage { input_tokens: 10, output_tokens: 20, tier: ServiceTier::Flex, ..Usage::default() };
    assert_eq!(reading.usage, Some(usage));
    assert!(reading.whole && !reading.free);
    assert_eq!((reading.failure, reading.unknown_reason, reading.partial), (None, None, None));
}

#[test]
fn a_short_answer_is_not_whole() {
    let metadata = event("metadata", METADATA);
    for length in 1..metadata.len() {
        let reading = read(CONVERSE_STREAM, &metadata[..length]);
        assert!(!reading.whole && reading.usage.is_none(), "{length}");
    }
    let reading = read(JSON, br#"{"usage":{"inputTokens":10,"outputTokens":20}"#);
    assert!(!reading.whole);
    let reading = read(EVENTS, b"data: {\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n");
    assert!(!reading.whole && reading.usage.is_none());
    assert_eq!(reading.partial.unwrap().input_tokens, 1);
    assert!(read(EVENTS, b"data: [DONE]\n\n").whole);
    assert!(read(EVENTS, b"data: [DONE]").whole);
    assert!(read(EVENTS, b"data: {\"error\":{}}\n\n").whole, "a failure ends an answer too");
    for text in ["", "12", "null", "plain text", "\"text\"", "[]", " {} "] {
        assert!(read(JSON, text.as_bytes()).whole, "{text}");
    }
    for text in ["{", "[", "{}"].map(|text| format!("[{text}")) {
        assert!(!read(JSON, text.as_bytes()).whole, "{text}");
    }
}

#[test]
fn failures_inside_an_answer_are_named() {
    let bytes = [event("messageStart", "{}"), exception("modelStreamErrorException")].concat();
    for kind in [CONVERSE_STREAM, INVOKE_STREAM] {
        let reading = read(kind, &bytes);
        assert_eq!(reading.failure.as_deref(), Some("modelStreamErrorException"));
        assert!(reading.whole && reading.usage.is_none());
    }
    for (data, expected) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, "overloaded_error"),
        (r#"{"error":{"message":"m","type":"server_error"}}"#, "server_error"),
        (r#"{"error":{"message":"m"}}"#, "error"),
        (r#"{"type":"response.failed","response":{"usage":null}}"#, "response.failed"),
    ] {
        let reading = read(EVENTS, format!("data: {data}\n\n").as_bytes());
        assert_eq!(reading.failure.as_deref(), Some(expected));
    }
    assert_eq!(read(EVENTS, b"data: {\"type\":\"response.created\",\"error\":null}\n\n").failure, None);
}

#[test]
fn a_stream_broken_off_tells_what_was_stated() {
    let start =
        chunk(r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#);
    let reading = read(INVOKE_STREAM, &[start, chunk(r#"{"type":"content_block_delta"}"#)].concat());
    assert_eq!(reading.usage, None);
    assert_eq!(reading.partial, Some(Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() }));
    assert_eq!(reading.unknown_reason, Some("the answer broke off before it stated its usage"));
}

#[test]
fn a_failure_that_is_all_of_an_answer_is_free_and_one_behind_a_part_is_not() {
    let thrown = exception("throttlingException");
    let (start, delta) =
        (event("messageStart", "{}"), event("contentBlockDelta", r#"{"delta":{"text":"hi"}}"#));
    let other = AnswerKind { framing: Framing::OtherFrames, charged_by: ChargedBy::Unreported };
    let agent = read(other, &thrown);
    assert!(!agent.free && agent.unknown_reason.is_some(), "models were asked by then, and are billed");
    assert_eq!(agent.sent_tokens, None);
    for kind in [CONVERSE_STREAM, INVOKE_STREAM] {
        let reading = read(kind, &thrown);
        assert!(reading.free && reading.unknown_reason.is_none(), "{kind:?}");
        assert!(!read(kind, &[start.clone(), thrown.clone()].concat()).free);
        assert!(!read(kind, &start).free && !read(kind, b"").free);
    }
    let reading = read(CONVERSE_STREAM, &[start, delta, thrown.clone()].concat());
    assert_eq!(reading.sent_tokens, Some(7), "{{}} and 23 bytes");
    assert_eq!(read(CONVERSE_STREAM, &event("contentBlockDelta", "{}")).sent_tokens, None, "it may go on");

    let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    let failed = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{},\"usage\":null}}\n\n";
    for (before, end, free) in [
        ("", error, true),
        ("event: ping\ndata: {\"type\": \"ping\"}\n\n", error, true),
        ("data: {\"type\":\"response.created\",\"response\":{}}\n\n", failed, true),
        ("data: {\"type\":\"message_start\",\"message\":{}}\n\n", error, false),
        ("data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\n", error, false),
        ("data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n", failed, false),
        ("data: [DONE]\n\n", "", false),
    ] {
        let reading = read(EVENTS, format!("{before}{end}").as_bytes());
        assert_eq!(reading.free, free, "{before}{end}");
    }
    let headers = |name: &str| (name == "x-amzn-bedrock-input-token-count").then_some("3");
    let mut reader = UsageReader::new(CONVERSE_STREAM, LIMIT);
    reader.read_head(headers);
    reader.feed(&thrown);
    assert!(!reader.finish().free, "AWS counted something");
}

#[test]
fn what_was_sent_is_neither_an_echo_of_the_request_nor_all_that_was_made_where_the_model_reasons() {
    let echo = "x".repeat(3_000);
    let events = format!(
        concat!(
            "data: {{\"type\":\"response.created\",\"response\":{{\"instructions\":\"{0}\"}}}}\n\n",
            "data: {{\"type\":\"response.in_progress\",\"response\":{{\"instructions\":\"{0}\"}}}}\n\n",
            "data: {{\"type\":\"response.output_text.delta\",\"delta\":\"a\"}}\n\n",
            "data: {{\"type\":\"response.failed\",\"response\":{{\"usage\":null}}}}\n\n"
        ),
        echo
    );
    for (body, sent) in [
        ("{}", Some(13)),
        (r#"{"reasoning":{"effort":"high"}}"#, None),
        (r#"{"additionalModelRequestFields":{"thinking":{}}}"#, None),
    ] {
        let request = RequestFacts::of(body.as_bytes());
        let mut reader = UsageReader::new(EVENTS, LIMIT).with_request(request);
        reader.feed(events.as_bytes());
        assert_eq!(reader.finish().sent_tokens, sent, "{body}");
    }
}

#[test]
fn what_the_request_alone_tells_is_not_known_where_it_may_hide_some() {
    let known = |charged_by, request: &str, answer: &str| {
        let kind = AnswerKind { framing: Framing::Json, charged_by };
        let mut reader = UsageReader::new(kind, LIMIT).with_request(RequestFacts::of(request.as_bytes()));
        reader.feed(answer.as_bytes());
        reader.finish().usage.is_some()
    };
    let (images, embedded) = (r#"{"artifacts":[{}]}"#, r#"{"inputTextTokenCount":3}"#);
    use ChargedBy::*;
    for (charged_by, plain, hiding, answer) in [
        (OutputImages, r#"{"steps":150}"#, r#"{"s\u0074eps":150}"#, images),
        (OutputImages, r#"{"steps":150}"#, r#"{"steps":150,"steps":30}"#, images),
        (Embedding, r#"{"inputImage":"aaaa"}"#, r#"{"input\u0049mage":"aaaa"}"#, embedded),
        (Embedding, r#"{"inputImage":"aaaa"}"#, r#"{"inputImage":"aaaa","inputImage":null}"#, embedded),
        (Queries, r#"{"sources":[1]}"#, r#"{"sources":[1],"source\u0073":[1]}"#, "{}"),
        (Marengo, r#"{"inputType":"text"}"#, r#"{"inputType":"text","inputT\u0079pe":"video"}"#, "{}"),
    ] {
        assert!(known(charged_by, plain, answer), "{plain}");
        assert!(!known(charged_by, hiding, answer), "{hiding}");
    }
    let stated = r#"{"usage":{"inputTokens":1,"outputTokens":2}}"#;
    assert!(known(Tokens, r#"{"max_tokens":1,"max\u005ftokens":2}"#, stated), "the answer states it");
}

#[test]
fn long_documents_may_count_as_several() {
    let hides_cost = |body: &str| {
        let kind = AnswerKind { framing: Framing::Opaque, charged_by: ChargedBy::Queries };
        let reading = UsageReader::new(kind, LIMIT).with_request(RequestFacts::of(body.as_bytes())).finish();
        assert!(reading.usage.is_some());
        reading.hides_cost
    };
    assert!(!hides_cost(r#"{"query":"q","documents":["a","b"]}"#));
    let long = "x".repeat(60_000);
    assert!(hides_cost(&format!(r#"{{"query":"q","documents":["{long}"]}}"#)));
}

#[test]
fn cache_writes_that_may_live_for_an_hour_count_so_in_what_was_stated_of_a_broken_answer() {
    let start = chunk(
        r#"{"type": "message_start","message": {"usage":{"input_tokens":10,"cache_creation_input_tokens":7}}}"#,
    );
    for one_hour_cache in [false, true] {
        let request = RequestFacts { one_hour_cache, ..RequestFacts::default() };
        let mut reader = UsageReader::new(INVOKE_STREAM, LIMIT).with_request(request);
        reader.feed(&start);
        let stated = reader.finish().partial.unwrap();
        let written = (stated.cache_write_5m_tokens, stated.cache_write_1h_tokens);
        assert_eq!(written, if one_hour_cache { (0, 7) } else { (7, 0) });
    }
}

#[test]
fn usage_of_the_whole_answer_counts_without_an_event_that_ends_the_stream() {
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":2}"#;
    let content = r#"data: {"choices":[{"delta":{"content":"\"finish_reason\":\"stop\""}}]}"#;
    for (events, is_known) in [
        (format!(r#"data: {{"choices":[],{usage}}}"#), true),
        (format!(r#"data: {{"choices" : [ ] ,{usage}}}"#), true),
        (format!(r#"data: {{"choices":[{{"finish_reason": "stop"}}],{usage}}}"#), true),
        (format!(r#"data: {{"choices":[{{"finish_reason":null}}],{usage}}}"#), false),
        (format!("data: {{\"choices\":[],{usage}}}\n\n{content}"), false),
        (format!(r#"data: {{"choices":[{{}}],{usage}}}"#), false),
        (r#"data: {"type":"message_delta","usage":{"input_tokens":1,"output_tokens":2}}"#.to_owned(), false),
        (
            r#"data: {"type":"message_delta","delta":{"stop_reason":null},"usage":{"input_tokens":1,"output_tokens":2}}"#.to_owned(),
            false,
        ),
        (
            r#"data: {"type":"message_delta","delta":{"stop_reason": "end_turn"},"usage":{"input_tokens":1,"output_tokens":2}}"#.to_owned(),
            true,
        ),
        (
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}\n\ndata: {\"type\":\"ping\"}"
                .to_owned(),
            true,
        ),
        (r#"data: {"type":"message_start","message":{"usage":{"input_tokens":1}}}"#.to_owned(), false),
    ] {
        let reading = read(EVENTS, format!("{events}\n\n").as_bytes());
        assert!(!reading.whole, "clients wait for the end: {events}");
        assert_eq!(reading.usage.is_some(), is_known, "{events}");
        assert!(reading.usage.is_none_or(|usage| usage.total_tokens() == 3));
        assert_eq!(read(EVENTS, format!("{events}\n").as_bytes()).usage, None, "in the middle: {events}");
    }
    let delta = |stop: &str| {
        chunk(&format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":{stop}}},"usage":{{"input_tokens":1,"output_tokens":2}}}}"#
        ))
    };
    assert_eq!(read(INVOKE_STREAM, &delta("null")).usage, None);
    let delta = delta("\"end_turn\"");
    assert!(read(INVOKE_STREAM, &delta).usage.is_some());
    for (last, is_known) in [
        (format!(r#"{{"choices":[{{"finish_reason":"stop"}}],{usage}}}"#), true),
        (format!(r#"{{"choices":[{{"finish_reason":null}}],{usage}}}"#), false),
        (format!(r#"{{"choices":[],{usage}}}"#), true),
        (r#"{"metadata":{"usage":{"inputTokens":1,"outputTokens":2}}}"#.to_owned(), true),
        (r#"{"usage":{"inputTokens":1,"outputTokens":2}}"#.to_owned(), false),
    ] {
        assert_eq!(read(INVOKE_STREAM, &chunk(&last)).usage.is_some(), is_known, "{last}");
    }
    // Where several answers are asked for, the end of one is not that of all.
    for (body, is_known) in
        [(r#"{"n":1}"#, true), (r#"{"n":2}"#, false), (r#"{"n":"2"}"#, false), (r#"{"\u006e":2}"#, false)]
    {
        let mut reader = UsageReader::new(EVENTS, LIMIT).with_request(RequestFacts::of(body.as_bytes()));
        reader.feed(format!("data: {{\"choices\":[{{\"finish_reason\":\"stop\"}}],{usage}}}\n\n").as_bytes());
        assert_eq!(reader.finish().usage.is_some(), is_known, "{body}");
    }
    let more = chunk(r#"{"type":"content_block_delta"}"#);
    assert_eq!(read(INVOKE_STREAM, &[delta, more].concat()).usage, None);
}

#[test]
fn events_of_claude_are_read_however_their_json_is_written() {
    let chunks = [
        chunk(
            r#"{"type": "message_start", "message": {"usage": {"input_tokens": 10, "cache_creation_input_tokens": 7, "cache_creation": {"ephemeral_1h_input_tokens": 7}, "output_tokens": 1}}}"#,
        ),
        chunk(r#"{"usage": {"output_tokens": 20}, "type": "message_delta"}"#),
        chunk(
            r#"{ "type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 20, "cacheWriteInputTokenCount": 7}}"#,
        ),
    ];
    let usage = Usage { input_tokens: 10, output_tokens: 20, cache_write_1h_tokens: 7, ..Usage::default() };
    assert_eq!(read(INVOKE_STREAM, &chunks.concat()).usage, Some(usage));
}

#[test]
fn an_image_that_a_filter_took_away_is_not_charged() {
    let kind = AnswerKind { framing: Framing::Json, charged_by: ChargedBy::OutputImages };
    for (answer, images) in [
        (r#"{"finish_reasons":["Filter reason: output"],"images":[null]}"#, 0),
        (r#"{"finish_reasons":[null,"Filter reason: output"],"images":["aa",null]}"#, 1),
        (r#"{"images":null,"error":"blocked"}"#, 0),
        (r#"{"artifacts":[{"base64":"aa"}]}"#, 1),
    ] {
        let usage = read(kind, answer.as_bytes()).usage.unwrap();
        assert_eq!(usage.units, [(crate::usage::Unit::OutputImage, images)], "{answer}");
    }
}

#[test]
fn what_is_over_the_limit_or_broken_is_unknown_and_says_so() {
    let large = format!(r#"{{"usage":{{"inputTokens":1,"x":"{}"}}}}"#, "y".repeat(LIMIT));
    let reason = Some("the statement of usage was too large or broken");
    assert_eq!(read(JSON, large.as_bytes()).unknown_reason, reason);
    assert_eq!(read(CONVERSE_STREAM, &event("metadata", &large)).unknown_reason, reason);
    assert_eq!(read(JSON, br#"{"usage":"lots"}"#).unknown_reason, reason);
    assert_eq!(read(INVOKE_STREAM, &event("chunk", "{")).unknown_reason, reason);
    let malformed = read(CONVERSE_STREAM, &[0; 100]);
    assert_eq!(malformed.unknown_reason, reason);
    assert!(malformed.whole, "nothing can be said against it");
}

#[test]
fn the_order_of_belief_is_body_then_metrics_then_headers() {
    let headers = |name: &str| match name {
        "x-amzn-bedrock-input-token-count" => Some("3"),
        "x-amzn-bedrock-output-token-count" => Some("33"),
        _ => None,
    };
    let input_tokens = |chunks: &[&str]| {
        let mut reader = UsageReader::new(INVOKE_STREAM, LIMIT);
        reader.read_head(headers);
        for json in chunks {
            reader.feed(&chunk(json));
        }
        reader.finish().usage.map(|usage| usage.input_tokens)
    };
    let metrics = r#""amazon-bedrock-invocationMetrics":{"inputTokenCount":2,"outputTokenCount":22}"#;
    let both = format!(r#"{{"usage":{{"prompt_tokens":1,"completion_tokens":11}},{metrics}}}"#);
    assert_eq!(input_tokens(&[&both]), Some(1));
    assert_eq!(input_tokens(&[&format!("{{{metrics}}}")]), Some(2));

    let mut reader = UsageReader::new(JSON, LIMIT);
    reader.read_head(headers);
    reader.feed(b"{}");
    assert_eq!(reader.finish().usage.unwrap().input_tokens, 3);
}

#[test]
fn the_tier_is_the_answers_own_then_the_headers_then_the_one_asked_for() {
    let tier = |asked, header: Option<&'static str>, answer: &str| {
        let request = RequestFacts { tier: asked, latency_optimised: Some(true), ..RequestFacts::default() };
        let mut reader = UsageReader::new(JSON, LIMIT).with_request(request);
        reader.read_head(|name| header.filter(|_| name == "x-amzn-bedrock-service-tier"));
        reader.feed(format!(r#"{{"usage":{{"inputTokens":1}}{answer}}}"#).as_bytes());
        let reading = reader.finish();
        reading.usage.map(|usage| (usage.tier, usage.latency_optimised)).ok_or(reading.unknown_reason)
    };
    use ServiceTier::{Default, Flex, Priority, Reserved};
    assert_eq!(tier(None, None, ""), Ok((Default, true)));
    assert_eq!(tier(Some(Flex), None, ""), Ok((Flex, true)));
    assert_eq!(tier(Some(Flex), Some("priority"), ""), Ok((Priority, true)));
    let own = r#","serviceTier":{"type":"reserved"},"performanceConfig":{"latency":"standard"}"#;
    assert_eq!(tier(Some(Flex), Some("priority"), own), Ok((Reserved, false)));
    assert_eq!(tier(Some(Flex), None, r#","service_tier":"auto""#), Ok((Flex, true)));
    let unheard = Some("the answer names a service tier that is not known");
    assert_eq!(tier(None, None, r#","service_tier":"turbo""#), Err(unheard));
}

#[test]
fn metrics_are_believed_where_a_part_of_the_body_was_missed() {
    let start =
        chunk(r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"output_tokens":1}}}"#);
    let lost = chunk(&format!(
        r#"{{"type":"message_delta","x":"{}","usage":{{"output_tokens":20}}}}"#,
        "y".repeat(LIMIT)
    ));
    let stop = chunk(
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":10,"outputTokenCount":20}}"#,
    );
    let usage = read(INVOKE_STREAM, &[start, lost, stop].concat()).usage;
    assert_eq!(usage, Some(Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() }));
}

#[test]
fn a_free_call_is_free_whatever_it_says() {
    let reading = read(AnswerKind::FREE, METADATA.as_bytes());
    assert!(reading.free && reading.whole && reading.usage.is_none() && reading.unknown_reason.is_none());
}

proptest! {
    #[test]
    fn nothing_breaks_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..400) {
        for kind in [CONVERSE_STREAM, INVOKE_STREAM, EVENTS, JSON] {
            let mut reader = UsageReader::new(kind, 64);
            let (first, second) = bytes.split_at(cut.min(bytes.len()));
            reader.feed(first);
            reader.feed(second);
            reader.finish();
        }
    }

    #[test]
    fn a_payload_that_is_no_json_breaks_nothing(payload in ".{0,80}", name in prop_oneof![Just("metadata"), Just("chunk")]) {
        for kind in [CONVERSE_STREAM, INVOKE_STREAM] {
            let reading = read(kind, &[event(name, &payload), event("metadata", METADATA)].concat());
            prop_assert!(reading.whole);
            if kind == CONVERSE_STREAM && name == "chunk" {
                prop_assert!(reading.usage.is_some());
            }
        }
    }

    #[test]
    fn events_read_the_same_in_any_chunks(texts in prop::collection::vec("[ -~]{0,30}", 0..6), step in 1_usize..40) {
        let deltas: String = texts
            .iter()
            .map(|text| format!("data: {}\n\n", serde_json::json!({"choices": [{"delta": {"content": text}}], "usage": null})))
            .collect();
        let stream = format!("{deltas}data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":7,\"completion_tokens\":8}}}}\n\ndata: [DONE]\n\n");
        let mut reader = UsageReader::new(EVENTS, LIMIT);
        let terminals = stream.as_bytes().chunks(step).filter(|chunk| reader.feed(chunk) == Progress::Terminal).count();
        let reading = reader.finish();
        prop_assert_eq!(terminals, 1);
        prop_assert_eq!(reading.usage, Some(Usage { input_tokens: 7, output_tokens: 8, ..Usage::default() }));
        prop_assert!(reading.whole);
    }
}

#[test]
fn the_id_of_a_response_is_read_once_from_a_whole_answer_or_its_first_event() {
    let response = r#"{"id":"resp_1","object":"response","output":[{"id":"msg_1"}],"usage":null}"#;
    let created = format!(
        "event: response.created\ndata: {{\"type\":\"response.created\",\"response\":{response}}}\n\n"
    );
    let completed = created.replace("created", "completed");
    for (kind, text) in [(JSON, response.to_owned()), (EVENTS, format!("{created}{completed}"))] {
        for cut in 0..text.len() {
            let mut reader = UsageReader::new(kind, LIMIT);
            let mut found = Vec::new();
            for part in [&text[..cut], &text[cut..]] {
                reader.feed(part.as_bytes());
                found.extend(reader.new_response_id());
            }
            assert_eq!(found, ["resp_1"], "cut at {cut}");
        }
    }
}

/// A frame of a conversation in speech that states so many tokens of text and of speech, in and out.
fn speech_frame(total: &str, more: &str) -> Vec<u8> {
    chunk(&format!(r#"{{"event":{{"usageEvent":{{"details":{{"total":{total}}}{more}}}}}}}"#))
}

#[test]
fn of_a_conversation_the_last_statement_counts_and_one_that_is_not_understood_is_said() {
    use crate::usage::Unit;
    let kind = AnswerKind { framing: Framing::SpeechFrames, charged_by: ChargedBy::Speech };
    let first = speech_frame(r#"{"input":{"speechTokens":1,"textTokens":2},"output":{"textTokens":3}}"#, "");
    let second =
        speech_frame(r#"{"input":{"speechTokens":10,"textTokens":2},"output":{"textTokens":4}}"#, "");
    let unclear = speech_frame("{}", r#","totalInputTokens":12"#);
    let read = |frames: &[&Vec<u8>]| {
        let mut reader = UsageReader::new(kind, 10_000);
        for frame in frames {
            reader.feed(frame);
        }
        let reading = reader.finish();
        assert!(reading.is_so_far && reading.whole);
        let speech = reading.usage.map(|usage| (usage.input_tokens, usage.output_tokens, usage.units));
        (speech, reading.hides_cost)
    };
    let of_first = Some((2, 3, vec![(Unit::InputSpeechToken, 1)]));
    let of_second = Some((2, 4, vec![(Unit::InputSpeechToken, 10)]));
    assert_eq!(read(&[&first]), (of_first.clone(), false));
    assert_eq!(read(&[&first, &second]), (of_second.clone(), false));
    assert_eq!(read(&[&first, &unclear]), (of_first, true));
    assert_eq!(read(&[&unclear, &second]), (of_second, false), "the later one is of all");
    assert_eq!(read(&[&unclear]), (None, true));
    assert_eq!(read(&[]), (None, false));
    let mut reader = UsageReader::new(kind, 10_000);
    reader.feed(&first);
    assert!(reader.new_speech_usage().is_some() && reader.new_speech_usage().is_none(), "once");
}
