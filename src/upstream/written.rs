//! A request as it goes over the wire. awc is handed it whole, as a body, with no head of its own but the host: a head in
//! awc's map would be put together only to be taken apart again.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use awc::body::{BodySize, MessageBody};
use bytes::{BufMut as _, Bytes, BytesMut};

use super::heads::write_request;
use crate::sign::UpstreamHead;

/// A body up to this size is copied behind the head and sent with it by a plain write; a larger one is sent from where
/// it is, which takes a call that costs a little more.
const COPIED_BODY_BYTES: usize = 4 * 1024;
/// Room for the head of most requests.
const USUAL_HEAD_BYTES: usize = 2 * 1024;
/// Heads are written into blocks of so many bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// Where a worker writes its requests.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer(RefCell<BytesMut>);

impl WriteBuffer {
    /// Writes a request; one of most methods has a body, if an empty one.
    pub(super) fn write(&self, head: &UpstreamHead, body: Bytes) -> Written {
        let may_go_without_body = matches!(head.method.as_str(), "GET" | "HEAD" | "DELETE" | "OPTIONS");
        let length = (!body.is_empty() || !may_go_without_body).then_some(body.len());
        let is_copied = body.len() <= COPIED_BODY_BYTES;
        let mut buffer = self.0.borrow_mut();
        let room = USUAL_HEAD_BYTES + if is_copied { body.len() } else { 0 };
        if buffer.capacity() < room {
            buffer.reserve(BLOCK_BYTES);
        }
        write_request(&mut buffer, head, length);
        if is_copied {
            buffer.put_slice(&body);
        }
        let first = buffer.split().freeze();
        Written { first, rest: if is_copied { Bytes::new() } else { body } }
    }
}

/// A request's bytes.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Its head, and its body if that is small.
    pub(super) first: Bytes,
    /// Its body, if that is large.
    pub(super) rest: Bytes,
}

impl Written {
    /// Whether only a head answers it.
    pub(super) fn is_head(&self) -> bool {
        self.first.starts_with(b"HEAD ")
    }

    /// What awc handed on.
    pub(super) fn handed_on(mut body: Pin<&mut impl MessageBody>, cx: &mut Context<'_>) -> Self {
        let mut next = || match body.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => bytes,
            _ => Bytes::new(),
        };
        Self { first: next(), rest: next() }
    }
}

impl MessageBody for Written {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized((self.first.len() + self.rest.len()) as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let next = if self.first.is_empty() { &mut self.rest } else { &mut self.first };
        Poll::Ready((!next.is_empty()).then(|| Ok(std::mem::take(next))))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use actix_http::Method;
    use actix_http::header::{self, HeaderValue};

    use super::*;

    fn head(method: Method) -> UpstreamHead {
        let headers = vec![(header::HOST, HeaderValue::from_static("h.example"))];
        UpstreamHead { method, path: "/a%20b".to_owned(), query: "c=d".to_owned(), headers }
    }

    /// What is sent, after awc has had it.
    fn sent(method: Method, body: &'static [u8]) -> (String, Bytes) {
        let written = WriteBuffer::default().write(&head(method), Bytes::from_static(body));
        let mut context = Context::from_waker(futures_util::task::noop_waker_ref());
        let Written { first, rest } =
            Written::handed_on(pin!(awc::body::BoxBody::new(written)), &mut context);
        (String::from_utf8(first.to_vec()).unwrap(), rest)
    }

    #[test]
    fn a_small_body_goes_with_the_head_and_a_large_one_behind_it_uncopied() {
        static LARGE: [u8; COPIED_BODY_BYTES + 1] = [b'x'; COPIED_BODY_BYTES + 1];
        let line = "POST /a%20b?c=d HTTP/1.1\r\n";
        let small = format!("{line}content-length: 3\r\nhost: h.example\r\n\r\nabc");
        assert_eq!(sent(Method::POST, b"abc"), (small, Bytes::new()));
        let (first, rest) = sent(Method::POST, &LARGE);
        assert_eq!(first, format!("{line}content-length: 4097\r\nhost: h.example\r\n\r\n"));
        assert_eq!((rest.len(), rest.as_ptr()), (LARGE.len(), LARGE.as_ptr()));
    }

    #[test]
    fn a_request_says_that_it_has_no_body_where_its_method_leaves_that_open() {
        for (method, says) in
            [(Method::POST, true), (Method::PUT, true), (Method::GET, false), (Method::HEAD, false)]
        {
            let (first, _) = sent(method.clone(), b"");
            assert_eq!(first.contains("content-length: 0\r\n"), says, "{method}");
        }
    }

    #[test]
    fn requests_written_one_after_the_other_do_not_touch() {
        let buffer = WriteBuffer::default();
        let bodies: Vec<Bytes> = (0..200_usize).map(|number| Bytes::from(vec![b'a'; 37 * number])).collect();
        let written: Vec<_> =
            bodies.iter().map(|body| buffer.write(&head(Method::POST), body.clone())).collect();
        for (written, body) in written.iter().zip(&bodies) {
            let all = [&written.first[..], &written.rest[..]].concat();
            assert!(all.starts_with(b"POST /") && all.ends_with(body));
        }
    }
}
