//! The head of a request as it was received: what a client's signature is checked against.

use actix_http::Version;
use actix_web::HttpRequest;

use crate::auth::ReceivedHead;

/// The head. Over HTTP/2 the host came as `:authority`, which some clients sign under that name; where there was a
/// `host`, too, that stays what the client signed, also behind a proxy that ends TLS.
pub(super) fn head(request: &HttpRequest, is_event_stream: bool) -> ReceivedHead<'_> {
    let uri = request.uri();
    let mut headers: Vec<(&str, &[u8])> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if request.version() == Version::HTTP_2
        && let Some(authority) = uri.authority()
    {
        headers.push((":authority", authority.as_str().as_bytes()));
    }
    ReceivedHead {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
        is_event_stream,
    }
}
