//! A request of HTTP/2 as the handlers take it, and their answer as HTTP/2 sends it: heads are translated, bodies flow
//! through as they come and no faster than the other side takes them.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BodySize, BoxBody, MessageBody as _};
use actix_http::error::PayloadError;
use actix_http::header::{self, HeaderName, HeaderValue};
use actix_http::{HttpMessage as _, Method, Payload, Request, Response, Uri, Version};
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::http::request::Parts;

use super::OpenStream;
use super::patience::Client;

/// How long an answer has to reach a client that still sends, before it is told to stop.
const LINGER: Duration = Duration::from_secs(1);

/// A chunk up to this size is copied out of the buffer it was read into.
const COPIED_CHUNK_BYTES: usize = 4 * 1024;

/// Marks a request whose body has no length, and no `transfer-encoding` that tells there is one, as in HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct UnsizedBody;

/// Headers that are about one connection, which HTTP/2 forbids.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-8.2.2>
const OF_ONE_CONNECTION: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// The request, unless its head is not what a request's may be. Its URI stays absolute: the authority is what the
/// client called `:authority`; `Host` is added where it has none.
pub(super) fn received(parts: Parts, upload: &Upload, peer: Option<SocketAddr>) -> Option<Request> {
    if parts.headers.get_all(hyper::header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return None;
    }
    let has_length = parts.headers.contains_key(hyper::header::CONTENT_LENGTH);
    let has_body = !upload.is_read();
    let payload =
        if has_body { Payload::Stream { payload: Box::pin(upload.clone()) as _ } } else { Payload::None };
    let mut request = Request::with_payload(payload);
    if has_body && !has_length {
        request.extensions_mut().insert(UnsizedBody);
    }
    let head = request.head_mut();
    head.version = Version::HTTP_2;
    head.peer_addr = peer;
    head.method = Method::from_bytes(parts.method.as_str().as_bytes()).ok()?;
    head.uri = uri(&parts.uri)?;
    for (name, value) in &parts.headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        head.headers.append(HeaderName::from_bytes(name.as_str().as_bytes()).ok()?, value);
    }
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
    {
        head.headers.insert(header::HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    join_cookies(&mut head.headers);
    Some(request)
}

fn uri(received: &hyper::Uri) -> Option<Uri> {
    let path = received.path_and_query().map_or("/", |path| path.as_str());
    let mut uri = Uri::builder().path_and_query(path);
    if let (Some(scheme), Some(authority)) = (received.scheme_str(), received.authority()) {
        uri = uri.scheme(scheme).authority(authority.as_str());
    }
    uri.build().ok()
}

/// HTTP/2 may send each cookie in a header of its own; elsewhere there is one.
/// <https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3>
fn join_cookies(headers: &mut header::HeaderMap) {
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
    if cookies.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// A request's body. The client may send as much more as was taken from here.
///
/// It is kept until the answer was sent: let go of earlier, the client would be told to stop (RST_STREAM) before it has
/// seen why.
#[derive(Clone, Debug)]
pub(super) struct Upload(Rc<RefCell<Incoming>>);

impl Upload {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Rc::new(RefCell::new(body)))
    }

    /// Whether all of it was taken.
    fn is_read(&self) -> bool {
        self.0.borrow().is_end_stream()
    }

    /// Waits with the RST_STREAM that stops a client's upload after its answer: some, as curl 7.88, forget the answer
    /// when both come together. What may still arrive meanwhile is bounded by the stream's window.
    fn linger(self) {
        actix_rt::spawn(async move {
            tokio::time::sleep(LINGER).await;
            drop(self);
        });
    }
}

impl Stream for Upload {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let mut incoming = self.0.borrow_mut();
            return match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Pending => Poll::Pending,
                // hyper says so, too, where the client took the stream back without a fault (RST_STREAM with NO_ERROR).
                Poll::Ready(None) if !incoming.is_end_stream() => {
                    let text = "the client took its stream back before the body's end";
                    Poll::Ready(Some(Err(PayloadError::Io(io::Error::other(text)))))
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => {
                    Poll::Ready(Some(Err(PayloadError::Io(io::Error::other(error)))))
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    // Trailers: nothing that Bedrock is sent has them.
                    Err(_) => continue,
                },
            };
        }
    }
}

/// The answer to a request whose head is malformed.
pub(super) fn malformed(upload: Upload, stream: OpenStream) -> hyper::Response<AnswerBody> {
    let mut answer = hyper::Response::new(AnswerBody::of(BoxBody::new(()), true, upload, stream));
    *answer.status_mut() = hyper::StatusCode::BAD_REQUEST;
    answer
}

/// The answer of the handlers.
pub(super) fn answered(
    answer: Response<BoxBody>,
    is_head: bool,
    upload: Upload,
    stream: OpenStream,
) -> hyper::Response<AnswerBody> {
    let (head, body) = answer.into_parts();
    let status = head.status().as_u16();
    let has_no_body = is_head || matches!(status, 204 | 304);
    let size = body.size();
    let mut answer = hyper::Response::new(AnswerBody::of(body, has_no_body, upload, stream));
    *answer.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    let listed = head.headers().get(header::CONNECTION).and_then(|value| value.to_str().ok());
    for (name, value) in head.headers() {
        let name = name.as_str();
        // The length of a body that is sent is its own; that of one that is not sent is what the handler says.
        let is_restated = name == "content-length" && !has_no_body;
        if is_of_one_connection(name, listed) || is_restated {
            continue;
        }
        let name = hyper::header::HeaderName::from_bytes(name.as_bytes());
        let value = hyper::header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let BodySize::Sized(length) = size
        && !matches!(status, 204 | 304)
        && !headers.contains_key(hyper::header::CONTENT_LENGTH)
    {
        headers.insert(hyper::header::CONTENT_LENGTH, length.into());
    }
    answer
}

/// Whether a header is about the connection it came on; `listed` is what that connection's `Connection` header says.
fn is_of_one_connection(name: &str, listed: Option<&str>) -> bool {
    OF_ONE_CONNECTION.contains(&name)
        || listed.is_some_and(|names| names.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(name)))
}

/// A small chunk is a part of a larger buffer, and may wait for its client for long: then it is all that waits.
fn of_its_own(chunk: Bytes) -> Bytes {
    if chunk.len() <= COPIED_CHUNK_BYTES { Bytes::copy_from_slice(&chunk) } else { chunk }
}

/// Why an answer's stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off: {0}")]
pub(super) struct BrokeOff(String);

/// An answer's body. What ends short of its length, or with an error, resets the stream: no client takes it for whole.
/// Dropped as soon as the client resets the stream or its connection breaks.
pub(super) struct AnswerBody {
    body: BoxBody,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    is_over: bool,
    upload: Upload,
    client: Option<Rc<Client>>,
    _stream: OpenStream,
}

impl AnswerBody {
    fn of(body: BoxBody, has_no_body: bool, upload: Upload, stream: OpenStream) -> Self {
        let (left, is_over) = match body.size() {
            _ if has_no_body => (None, true),
            BodySize::None | BodySize::Sized(0) => (None, true),
            BodySize::Sized(length) => (Some(length), false),
            BodySize::Stream => (None, false),
        };
        Self { body, left, is_over, upload, client: Client::of_this_task(), _stream: stream }
    }

    /// Whether so many bytes more are what was announced.
    fn count(&mut self, length: usize) -> Result<(), BrokeOff> {
        let Some(left) = self.left else { return Ok(()) };
        let left = left
            .checked_sub(length as u64)
            .ok_or_else(|| BrokeOff("it is longer than it was announced".to_owned()))?;
        self.left = Some(left);
        self.is_over = left == 0;
        Ok(())
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        if let Some(client) = &self.client {
            client.asks();
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(chunk))) => {
                if let Some(client) = &self.client {
                    client.is_handed();
                }
                Poll::Ready(Some(self.count(chunk.len()).map(|()| Frame::data(of_its_own(chunk)))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BrokeOff(error.to_string())))),
            Poll::Ready(None) => {
                self.is_over = true;
                let missing = self.left.filter(|left| *left > 0);
                Poll::Ready(missing.map(|left| Err(BrokeOff(format!("{left} bytes are missing")))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.is_over && !self.upload.is_read() {
            self.upload.clone().linger();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_that_came_apart_are_joined_and_one_stays_as_it_is() {
        let cases: [(&[&str], &[&str]); 3] =
            [(&[], &[]), (&["a=1; b=2"], &["a=1; b=2"]), (&["a=1", "b=2", "c=3"], &["a=1; b=2; c=3"])];
        for (received, expected) in cases {
            let mut headers = header::HeaderMap::new();
            for cookie in received {
                headers.append(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
            }
            join_cookies(&mut headers);
            let joined: Vec<&str> =
                headers.get_all(header::COOKIE).map(|value| value.to_str().unwrap()).collect();
            assert_eq!(joined, expected, "{received:?}");
        }
    }

    #[test]
    fn a_path_and_a_query_stay_as_they_were_written() {
        for text in [
            "/bedrock/model/arn:aws:bedrock:us-west-2:1:inference-profile%2Fa.b-v1%3A0/converse",
            "/a%20b/?x=%2F&y=+&&z",
            "/a//b/./c/..;/~!$&'()*+,=@",
            "/?",
        ] {
            let received: hyper::Uri = format!("http://gateway.example:4000{text}").parse().unwrap();
            let uri = uri(&received).unwrap();
            assert_eq!(uri.path_and_query().unwrap().as_str(), text);
            assert_eq!(uri.authority().unwrap().as_str(), "gateway.example:4000");
        }
    }

    #[test]
    fn headers_of_one_connection_are_those_http2_forbids_and_those_that_connection_lists() {
        let cases = [
            ("connection", None, true),
            ("transfer-encoding", None, true),
            ("keep-alive", None, true),
            ("content-type", None, false),
            ("x-amzn-requestid", Some("close"), false),
            ("x-hop", Some("close, X-Hop"), true),
            ("x-ho", Some("close, X-Hop"), false),
        ];
        for (name, listed, expected) in cases {
            assert_eq!(is_of_one_connection(name, listed), expected, "{name} {listed:?}");
        }
    }
}
