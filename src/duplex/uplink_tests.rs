//! The client's side of a stream, fed by hand: what goes on to AWS, what does not, and how it ends.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use futures_util::stream;
use hyper::body::Body as _;

use super::*;
use crate::config::LimitsConfig;
use crate::domain::Secret;
use crate::duplex::UploadBody;
use crate::duplex::frames::FrameFault;

const NOW: UnixMicros = UnixMicros(1_768_478_400_000_000);
const SEED: &str = "298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550000000";

fn chain() -> EventChain {
    EventChain::new(Secret::new("a secret"), "us-east-1", "bedrock", SEED)
}

fn event(text: &str) -> Bytes {
    let name = Header::new(":event-type", HeaderValue::String("chunk".into()));
    let mut bytes = Vec::new();
    write_message_to(&Message::new(text.as_bytes().to_vec()).add_header(name), &mut bytes).unwrap();
    bytes.into()
}

/// What a client sends: envelopes around these events, and one around nothing.
fn wrapped(events: &[&str]) -> Vec<Bytes> {
    let mut chain = chain();
    let mut frames: Vec<Bytes> = events.iter().map(|text| chain.wrap(&event(text), NOW).unwrap()).collect();
    frames.push(chain.wrap(&[], NOW).unwrap());
    frames
}

/// An uplink that gets these chunks; after the last one the client ends its stream, or says nothing more.
fn uplink(chunks: Vec<Bytes>, ends: bool, signs: Option<EventChain>, is_signed: bool) -> Rc<Uplink> {
    let given = stream::iter(chunks.into_iter().map(Ok));
    let incoming: Incoming =
        if ends { Box::pin(given) } else { Box::pin(stream::StreamExt::chain(given, stream::pending())) };
    let limits = LimitsConfig::default();
    let buffer = BufferBudget::new(&limits);
    let terms = UplinkTerms { max_event: 10_000, chain: signs, is_signed, buffer, holder: Holder::Unlimited };
    Rc::new(Uplink::new(incoming, terms))
}

/// All events that come, and how they end: `Ok` well, `Err(None)` not yet.
fn drained(uplink: &Uplink) -> (Vec<Bytes>, Result<(), Option<UploadFault>>) {
    let (turn, mut cx) = (uplink.next_turn(), Context::from_waker(Waker::noop()));
    let mut events = Vec::new();
    loop {
        match uplink.poll_event(turn, || NOW, &mut cx) {
            Poll::Ready(Some(Ok(event))) => events.push(event),
            Poll::Ready(Some(Err(fault))) => return (events, Err(Some(fault))),
            Poll::Ready(None) => return (events, Ok(())),
            Poll::Pending => return (events, Err(None)),
        }
    }
}

fn fault_of(chunks: Vec<Bytes>, signs: Option<EventChain>, is_signed: bool) -> (usize, Option<UploadFault>) {
    let (events, end) = drained(&uplink(chunks, true, signs, is_signed));
    (events.len(), end.err().flatten())
}

#[test]
fn events_are_taken_out_of_their_envelopes_whether_anybody_can_check_them_or_not() {
    for (signs, is_signed) in [(Some(chain()), true), (None, true), (None, false)] {
        let (events, end) = drained(&uplink(wrapped(&["a", "b"]), true, signs, is_signed));
        assert_eq!((events, end), (vec![event("a"), event("b")], Ok(())));
    }
    let (events, end) = drained(&uplink(vec![event("a"), event("b")], true, None, false));
    assert_eq!((events, end), (vec![event("a"), event("b")], Ok(())), "without envelopes");
    assert_eq!(drained(&uplink(Vec::new(), true, None, false)), (Vec::new(), Ok(())), "no event at all");
}

#[test]
fn the_end_of_signed_events_is_one_of_them() {
    let without_end = || wrapped(&["a"]).into_iter().take(1).collect::<Vec<_>>();
    assert_eq!(fault_of(without_end(), Some(chain()), true), (1, Some(UploadFault::CutShort)));
    assert_eq!(fault_of(without_end(), None, false), (1, Some(UploadFault::CutShort)));
    assert_eq!(fault_of(Vec::new(), None, true), (0, Some(UploadFault::CutShort)));
    let (_, end) = drained(&uplink(wrapped(&["a"]), false, Some(chain()), true));
    assert_eq!(end, Ok(()), "what the client sends behind the end is not waited for");
    let half = event("a").slice(..20);
    assert_eq!(fault_of(vec![event("b"), half], None, false), (1, Some(UploadFault::CutShort)));
}

#[test]
fn a_bad_event_ends_the_stream_and_nothing_behind_it_is_taken() {
    let good = || wrapped(&["a", "b", "c"]);
    let mut other = chain();
    let of_another = other.wrap(&event("x"), NOW).unwrap();
    let mut late = chain();
    let _ = late.wrap(&event("a"), NOW);
    let late = late.wrap(&event("b"), UnixMicros(NOW.0 + 301_000_000)).unwrap();
    let [a, b, c, end] = good().try_into().unwrap();
    let cases = [
        (vec![a.clone(), c.clone(), end.clone()], UploadFault::WrongSignature),
        (vec![a.clone(), a.clone(), b.clone()], UploadFault::WrongSignature),
        (vec![a.clone(), of_another, b.clone()], UploadFault::WrongSignature),
        (vec![a.clone(), event("b"), b.clone()], UploadFault::Unsigned),
        (vec![a.clone(), late, c], UploadFault::Skewed { millis: NOW.0 / 1_000 + 301_000, minutes: 5 }),
        (
            vec![a.clone(), Bytes::from_static(b"GET / HTTP/1.1"), b],
            UploadFault::Frame(FrameFault::Malformed),
        ),
        (vec![a, end.clone(), end], UploadFault::WrongSignature),
    ];
    for (chunks, fault) in cases {
        assert_eq!(fault_of(chunks, Some(chain()), true), (1, Some(fault)));
    }
}

#[test]
fn envelopes_and_plain_events_do_not_mix() {
    let [a, _]: [Bytes; 2] = wrapped(&["a"]).try_into().unwrap();
    assert_eq!(fault_of(vec![a, event("b")], None, false), (1, Some(UploadFault::Unsigned)));
    let large = event(&"x".repeat(10_000));
    assert_eq!(
        fault_of(vec![large], None, false),
        (0, Some(UploadFault::Frame(FrameFault::TooLarge(10_000))))
    );
}

#[test]
fn only_the_try_whose_turn_it_is_gets_events_and_none_begins_after_the_first() {
    let uplink = uplink(vec![event("a")], false, None, false);
    let mut cx = Context::from_waker(Waker::noop());
    let (first, second) = (uplink.next_turn(), uplink.next_turn());
    assert!(uplink.poll_event(first, || NOW, &mut cx).is_pending());
    assert!(uplink.may_begin_anew());
    assert_eq!(uplink.poll_event(second, || NOW, &mut cx), Poll::Ready(Some(Ok(event("a")))));
    assert!(!uplink.may_begin_anew());
    assert!(uplink.was_active() && !uplink.was_active());
}

#[test]
fn what_is_abandoned_is_broken_off_and_what_was_complete_is_not() {
    let open = uplink(Vec::new(), false, None, false);
    open.abandon();
    assert_eq!(drained(&open).1, Err(Some(UploadFault::Abandoned)));
    let complete = uplink(wrapped(&[]), true, None, true);
    assert_eq!(drained(&complete).1, Ok(()));
    complete.abandon();
    assert!(complete.is_complete() && complete.fault().is_none());
}

#[test]
fn what_is_held_of_an_event_is_accounted_for_until_all_of_it_is_there() {
    let limits = LimitsConfig { max_buffered_bytes: 1_000, ..LimitsConfig::default() };
    let large = event(&"x".repeat(2_000));
    let halves = vec![large.slice(..500), large.slice(500..)];
    let buffer = BufferBudget::new(&limits);
    let terms = |buffer: &Arc<BufferBudget>| UplinkTerms {
        max_event: 10_000,
        chain: None,
        is_signed: false,
        buffer: Arc::clone(buffer),
        holder: Holder::Unlimited,
    };
    let full = Uplink::new(Box::pin(stream::iter(halves.clone().into_iter().map(Ok))), terms(&buffer));
    assert!(matches!(drained(&full), (events, Err(Some(UploadFault::Full(_)))) if events.is_empty()));
    let buffer = BufferBudget::new(&LimitsConfig::default());
    let first = stream::iter(halves.into_iter().take(1).map(Ok));
    let held = Uplink::new(Box::pin(stream::StreamExt::chain(first, stream::pending())), terms(&buffer));
    assert_eq!(drained(&held).1, Err(None));
    assert_eq!(buffer.held(), large.len());
    held.abandon();
    assert_eq!(buffer.held(), 0);
}

#[test]
fn the_body_for_aws_is_signed_anew_and_ends_as_the_client_did() {
    let frames = |uplink: &Rc<Uplink>, chain: Option<EventChain>| {
        let mut body = UploadBody::new(uplink, chain);
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames: VecDeque<Bytes> = VecDeque::new();
        loop {
            match Pin::new(&mut body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => frames.push_back(frame.into_data().unwrap()),
                Poll::Ready(None) => return (frames, body.is_end_stream()),
                Poll::Ready(Some(Err(_))) | Poll::Pending => return (frames, false),
            }
        }
    };
    let (sent, ended) = frames(&uplink(vec![event("a")], true, None, false), None);
    assert_eq!((sent, ended), (VecDeque::from([event("a")]), true), "with a Bedrock API key");
    let (sent, ended) = frames(&uplink(vec![event("a")], true, None, false), Some(chain()));
    assert!(ended);
    let opened: Vec<Bytes> = sent
        .iter()
        .map(|frame| match Envelope::open(frame) {
            Ok(Envelope::Signed { event, .. }) => event,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(opened, [event("a"), Bytes::new()]);
    let cut = wrapped(&["a"]).into_iter().take(1).collect();
    let (sent, ended) = frames(&uplink(cut, true, None, true), Some(chain()));
    assert_eq!((sent.len(), ended), (1, false), "no end of ours where the client had none");
}
