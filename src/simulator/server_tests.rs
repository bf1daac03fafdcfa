//! The simulator from outside, through plain sockets: every cut, silence and rejection as a peer sees it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use bytes::BytesMut;

use super::*;

const STREAM: &str = "/model/amazon.nova-pro-v1:0/converse-stream";
const WHOLE: &str = "/model/amazon.nova-pro-v1:0/converse";

fn simulator() -> Simulator {
    let options =
        SimulatorOptions { check_signatures: false, pace: Duration::ZERO, ..SimulatorOptions::default() };
    start(options).unwrap()
}

fn connect(simulator: &Simulator) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", simulator.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// All that came until the end, and whether the end was a reset.
fn read_to_end(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (received, false),
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(failure) if failure.kind() == std::io::ErrorKind::ConnectionReset => return (received, true),
            Err(failure) => panic!("{failure}"),
        }
    }
}

fn exchange(simulator: &Simulator, path: &str, fault: &str) -> (Vec<u8>, bool) {
    let mut stream = connect(simulator);
    let body = format!(r#"{{"max_tokens":4,"messages":[{{"content":[{{"text":"simulate.{fault}"}}]}}]}}"#);
    stream.write_all(request(path, &body).as_bytes()).unwrap();
    read_to_end(&mut stream)
}

/// The body without chunk sizes, and whether the last chunk came.
fn body_of(response: &[u8]) -> (Vec<u8>, bool) {
    let head = memchr::memmem::find(response, b"\r\n\r\n").unwrap() + 4;
    if memchr::memmem::find(&response[..head], b"chunked").is_none() {
        return (response[head..].to_vec(), true);
    }
    let (mut rest, mut body) = (&response[head..], Vec::new());
    loop {
        let Some(line) = memchr::memmem::find(rest, b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        rest = &rest[line + 2..];
        let there = size.min(rest.len());
        body.extend_from_slice(&rest[..there]);
        rest = rest.get(size + 2..).unwrap_or_default();
    }
}

/// The kinds of the frames, read by AWS's decoder, and the bytes that are left over.
fn frames_of(body: &[u8]) -> (Vec<String>, usize) {
    let mut decoder = MessageFrameDecoder::new();
    let mut buffer = BytesMut::from(body);
    let (mut kinds, mut complete) = (Vec::new(), 0);
    while let DecodedFrame::Complete(message) = decoder.decode_frame(&mut buffer).unwrap() {
        complete = body.len() - buffer.len();
        let kind = message.headers().iter().find(|header| {
            [":event-type", ":exception-type", ":error-code"].contains(&header.name().as_str())
        });
        kinds.push(kind.unwrap().value().as_string().unwrap().as_str().to_owned());
    }
    (kinds, body.len() - complete)
}

#[test]
fn a_stream_ends_as_its_fault_says() {
    let simulator = simulator();
    let start = ["messageStart", "contentBlockDelta"];
    let all = "messageStart contentBlockDelta contentBlockDelta contentBlockDelta contentBlockDelta \
               contentBlockStop messageStop metadata";
    let all_but_last = all.trim_end_matches(" metadata");
    let two = start.join(" ");
    // fault, frames, bytes left over, last chunk came, reset
    let cases: [(&str, &str, bool, bool, bool); 9] = [
        ("pace.1", all, false, true, false),
        ("no-end", all_but_last, false, true, false),
        ("reset-in-stream.2", &two, false, false, true),
        ("close-in-stream.2", &two, false, false, false),
        ("cut-in-frame.2", &two, true, false, false),
        ("clean-cut-in-frame.2", &two, true, true, false),
        ("close-in-chunk.2", &two, true, false, false),
        ("exception-in-stream.2", &format!("{two} throttlingException"), false, true, false),
        ("error-in-stream.2", &format!("{two} InternalFailure"), false, true, false),
    ];
    for (fault, frames, left_over, last_chunk, reset) in cases {
        let (response, was_reset) = exchange(&simulator, STREAM, fault);
        let (body, ended) = body_of(&response);
        let (kinds, rest) = frames_of(&body);
        assert_eq!(kinds.join(" "), frames, "{fault}");
        assert_eq!((rest > 0, ended, was_reset), (left_over, last_chunk, reset), "{fault}");
    }
}

#[test]
fn a_whole_body_can_be_short_reset_or_never_begin() {
    let simulator = simulator();
    for (fault, begins, reset) in [
        ("short-body", true, false),
        ("reset-in-stream", true, true),
        ("close-before-head", false, false),
        ("reset-before-head", false, true),
    ] {
        let (response, was_reset) = exchange(&simulator, WHOLE, fault);
        assert_eq!((!response.is_empty(), was_reset), (begins, reset), "{fault}");
        let text = String::from_utf8(response).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            assert!(body.len() < length.parse::<usize>().unwrap(), "{fault}");
        }
    }
}

#[test]
fn silences_last_as_long_as_asked() {
    let simulator = simulator();
    for (path, fault) in
        [(WHOLE, "stall-before-head.120"), (STREAM, "stall-in-stream.2.120"), (STREAM, "pace.20")]
    {
        let began = Instant::now();
        let (response, _) = exchange(&simulator, path, fault);
        assert!(began.elapsed() >= Duration::from_millis(120), "{fault}");
        assert!(body_of(&response).1, "{fault}");
    }
}

#[test]
fn an_upload_can_be_rejected_before_it_ends() {
    let simulator = simulator();
    simulator.set_faults(serde_json::from_str(r#"[{"actions":["reject-early"]}]"#).unwrap());
    let mut stream = connect(&simulator);
    let head = format!("POST {WHOLE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbeginning");
    stream.write_all(head.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
}

#[test]
fn chunked_uploads_expectations_and_kept_connections_work() {
    let simulator = simulator();
    let mut stream = connect(&simulator);
    let rules =
        "PUT /__simulator/faults HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n[]";
    let chunked = format!(
        "POST {WHOLE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;note=x\r\n{{\"max\r\n10\r\n_tokens\": 1    }}\r\n0\r\nTrailer-Field: x\r\n\r\n"
    );
    for text in [rules, &chunked, &request(WHOLE, "{}")] {
        stream.write_all(text.as_bytes()).unwrap();
    }
    let (responses, _) = read_to_end(&mut stream);
    let text = String::from_utf8(responses).unwrap();
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    let bodies: Vec<_> = simulator.requests().into_iter().map(|record| record.body.unwrap()).collect();
    assert_eq!(bodies, [r#"{"max_tokens": 1    }"#, "{}"]);
}

#[test]
fn the_log_tells_what_came_what_left_and_who_went_early() {
    let simulator = simulator();
    let (response, _) = exchange(&simulator, WHOLE, "usage.7.8");
    let mut leaver = connect(&simulator);
    let body = r#"{"text":"simulate.stall-in-stream.1.60000"}"#;
    leaver.write_all(request(STREAM, body).as_bytes()).unwrap();
    let mut first = [0; 12];
    leaver.read_exact(&mut first).unwrap();
    drop(leaver);
    let until = Instant::now() + Duration::from_secs(10);
    while simulator.stats().answered < 2 && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(simulator.stats().peers_left, 1);
    let records = simulator.requests();
    let told = &records[0];
    let text = String::from_utf8(response).unwrap();
    assert!(text.contains(&told.request_id), "{text}");
    assert_eq!((told.status, told.faults.as_str()), (200, "usage.7.8"));
    assert_eq!(told.usage.unwrap(), SimulatedUsage { input: 7, output: 8, ..SimulatedUsage::default() });
    assert_eq!(told.bytes_sent, text.len() as u64);
    assert!(told.peer_left_at.is_none() && told.ended_at.is_some());
    assert!(records[1].peer_left_at.is_some());
}

#[test]
fn what_must_not_reach_aws_is_refused_by_name() {
    let simulator = simulator();
    let mut stream = connect(&simulator);
    stream
        .write_all(
            format!("POST {WHOLE} HTTP/1.1\r\nX-LiteLLM-Tags: a\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
    let (response, _) = read_to_end(&mut stream);
    let text = String::from_utf8(response).unwrap();
    assert!(text.starts_with("HTTP/1.1 400") && text.contains("x-litellm-tags"), "{text}");
    assert_eq!(simulator.stats().violations, 1);
}

#[test]
fn without_credentials_every_kind_of_call_is_refused_in_its_own_form() {
    let simulator = start(SimulatorOptions::default()).unwrap();
    for (path, form) in [
        (WHOLE, r#"{"message":"Missing Authentication Token"}"#),
        ("/", "<Code>MissingAuthenticationToken</Code>"),
    ] {
        let (response, _) = exchange(&simulator, path, "nothing");
        let text = String::from_utf8(response).unwrap();
        assert!(text.starts_with("HTTP/1.1 403") && text.contains(form), "{text}");
    }
}

#[test]
fn a_stopped_simulator_gives_its_port_back() {
    let simulator = simulator();
    let port = simulator.port();
    let idle = connect(&simulator);
    simulator.stop();
    drop(idle);
    assert!(
        std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()
            || TcpStream::connect(("127.0.0.1", port)).is_err()
    );
}

#[test]
fn several_workers_share_the_port() {
    let options = SimulatorOptions { check_signatures: false, workers: 3, ..SimulatorOptions::default() };
    let simulator = start(options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let (response, reset) = exchange(&simulator, WHOLE, "nothing");
                    assert!(response.starts_with(b"HTTP/1.1 200") && !reset);
                }
            });
        }
    });
    assert_eq!(simulator.requests().len(), 80);
    assert_eq!(simulator.stats().connections, 80);
}
