//! The head of a request as it was received: what a client's signature is checked against.

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::auth::ReceivedHead;

/// The head. A request of HTTP/2 may name its host in `:authority` alone; where there is a `host`, it is what the client
/// signed, also behind a proxy that ends TLS.
pub(super) fn head(request: &HttpRequest) -> ReceivedHead<'_> {
    let uri = request.uri();
    let mut headers: Vec<(&str, &[u8])> =
        request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = uri.authority()
    {
        headers.push((header::HOST.as_str(), authority.as_str().as_bytes()));
    }
    ReceivedHead {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers,
    }
}
