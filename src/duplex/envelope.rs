//! The envelope of an event: a frame that holds another one, its time and its signature. Pure.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use bytes::Bytes;

use super::frames::{FrameFault, parts};
use crate::sign::event_chain::{CHUNK_SIGNATURE, DATE, SIGNATURE_BYTES};
use crate::usage::event_stream::split_value;

/// Types of header values.
const BYTE_ARRAY: u8 = 6;
const TIMESTAMP: u8 = 8;

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// An event as it is.
    Plain,
    /// An event in its envelope.
    Signed {
        /// When it was signed, in milliseconds since 1970.
        millis: i64,
        /// The signature.
        signature: [u8; SIGNATURE_BYTES],
        /// The event's own frame; empty at the end of the request's events.
        event: Bytes,
    },
}

impl Envelope {
    /// Opens a whole frame.
    ///
    /// # Errors
    /// It is damaged, or an envelope with anything in its headers but time and signature, or around anything but one
    /// event.
    pub fn open(frame: &Bytes) -> Result<Self, FrameFault> {
        let (headers, payload) = parts(frame)?;
        let (mut date, mut signature, mut others) = (None, None, 0);
        let mut left: &[u8] = &headers;
        while let Some((name, value_type, value, rest)) = next_header(left)? {
            left = rest;
            if name == DATE.as_bytes() && value_type == TIMESTAMP && date.is_none() {
                date = value.first_chunk::<8>().map(|bytes| i64::from_be_bytes(*bytes));
            } else if name == CHUNK_SIGNATURE.as_bytes() && value_type == BYTE_ARRAY && signature.is_none() {
                signature =
                    Some(<[u8; SIGNATURE_BYTES]>::try_from(value).map_err(|_| FrameFault::Malformed)?);
            } else {
                others += 1;
            }
        }
        match (date, signature) {
            (Some(millis), Some(signature)) if others == 0 => {
                if !payload.is_empty() {
                    parts(&payload)?;
                }
                Ok(Self::Signed { millis, signature, event: payload })
            }
            (_, None) => Ok(Self::Plain),
            _ => Err(FrameFault::Malformed),
        }
    }
}

type NamedHeader<'h> = (&'h [u8], u8, &'h [u8], &'h [u8]);

/// Name, type and value of the first header, and the others.
fn next_header(headers: &[u8]) -> Result<Option<NamedHeader<'_>>, FrameFault> {
    let Some((&length, rest)) = headers.split_first() else { return Ok(None) };
    let split = || {
        let (name, rest) = rest.split_at_checked(usize::from(length))?;
        let (&value_type, rest) = rest.split_first()?;
        let (value, rest) = split_value(value_type, rest)?;
        Some((name, value_type, value, rest))
    };
    split().map(Some).ok_or(FrameFault::Malformed)
}

#[cfg(test)]
mod tests {
    use aws_smithy_eventstream::frame::write_message_to;
    use aws_smithy_types::DateTime;
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};

    use super::*;

    fn encoded(payload: &[u8], headers: Vec<(&'static str, HeaderValue)>) -> Bytes {
        let headers = headers.into_iter().map(|(name, value)| Header::new(name, value)).collect();
        let mut bytes = Vec::new();
        write_message_to(&Message::new_from_parts(headers, payload.to_vec()), &mut bytes).unwrap();
        bytes.into()
    }

    fn text(value: &'static str) -> HeaderValue {
        HeaderValue::String(value.into())
    }

    fn date() -> HeaderValue {
        HeaderValue::Timestamp(DateTime::from_millis(1_768_478_400_123))
    }

    fn signature(length: usize) -> HeaderValue {
        HeaderValue::ByteArray(vec![7; length].into())
    }

    #[test]
    fn an_event_is_found_in_its_envelope_whatever_the_order_of_the_headers() {
        let event = encoded(b"{}", vec![(":event-type", text("chunk"))]);
        for event in [event, Bytes::new()] {
            let mut headers = vec![(":date", date()), (":chunk-signature", signature(32))];
            for _ in 0..2 {
                let opened = Envelope::open(&encoded(&event, headers.clone())).unwrap();
                let expected =
                    Envelope::Signed { millis: 1_768_478_400_123, signature: [7; 32], event: event.clone() };
                assert_eq!(opened, expected);
                headers.reverse();
            }
        }
    }

    #[test]
    fn an_event_without_an_envelope_is_plain() {
        let event = encoded(b"{}", vec![(":event-type", text("chunk")), ("flag", HeaderValue::Bool(true))]);
        assert_eq!(Envelope::open(&event), Ok(Envelope::Plain));
        assert_eq!(Envelope::open(&encoded(b"", Vec::new())), Ok(Envelope::Plain));
        assert_eq!(Envelope::open(&encoded(b"", vec![(":date", date())])), Ok(Envelope::Plain));
    }

    #[test]
    fn an_envelope_with_more_or_less_than_it_should_have_is_refused() {
        let event = encoded(b"{}", vec![(":event-type", text("chunk"))]);
        let both = || vec![(":date", date()), (":chunk-signature", signature(32))];
        let with = |more: (&'static str, HeaderValue)| [both(), vec![more]].concat();
        let cases = [
            (&event[..], vec![(":chunk-signature", signature(32))]),
            (&event[..], vec![(":date", date()), (":chunk-signature", signature(31))]),
            (&event[..], with((":event-type", text("chunk")))),
            (&event[..], with((":date", date()))),
            (&event[..], with((":chunk-signature", signature(32)))),
            (&event[..event.len() - 1], both()),
            (b"not a frame", both()),
        ];
        for (payload, headers) in cases {
            let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
            let opened = Envelope::open(&encoded(payload, headers.clone()));
            assert_eq!(opened, Err(FrameFault::Malformed), "{names:?}");
        }
        let two = [&event[..], &event[..]].concat();
        assert_eq!(Envelope::open(&encoded(&two, both())), Err(FrameFault::Malformed), "two events in one");
    }
}
