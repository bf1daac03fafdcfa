//! The heads of messages, as far as requests and responses are alike: headers, and what they say of the body.

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::{BufMut, Bytes};

use super::framing::{BodyFraming, Malformed};

/// Writes one header line.
pub fn write_header(bytes: &mut impl BufMut, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        bytes.put_slice(part);
    }
}

/// Appends parsed headers to a map. Their values are parts of `copy`, a copy of the head they stand in, so that they hold
/// nothing else of what was received in memory.
///
/// # Errors
/// A name or a value is not what one may be.
pub fn copied_headers(
    parsed: &[httparse::Header<'_>],
    head: &[u8],
    copy: &Bytes,
    headers: &mut HeaderMap,
) -> Result<(), Malformed> {
    for header in parsed {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed("header name"))?;
        let value = HeaderValue::from_maybe_shared(in_copy(copy, head, header.value));
        headers.append(name, value.map_err(|_| Malformed("header value"))?);
    }
    Ok(())
}

/// A part of some bytes as the same part of their copy.
#[must_use]
pub fn in_copy(copy: &Bytes, original: &[u8], part: &[u8]) -> Bytes {
    let start = (part.as_ptr() as usize).saturating_sub(original.as_ptr() as usize);
    let end = start.saturating_add(part.len());
    if end <= copy.len() { copy.slice(start..end) } else { Bytes::copy_from_slice(part) }
}

/// What the headers say about the body's end, if they say anything. Where they contradict themselves, the message is
/// refused: it could be another one to somebody else.
/// <https://www.rfc-editor.org/rfc/rfc9112.html#section-6.3>
///
/// # Errors
/// They contradict themselves, or say what no reader is bound to understand.
pub fn declared_framing(headers: &HeaderMap) -> Result<Option<BodyFraming>, Malformed> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING);
    if let Some(coding) = codings.next() {
        let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        let is_alone = codings.next().is_none() && !headers.contains_key(header::CONTENT_LENGTH);
        if !(is_chunked && is_alone) {
            return Err(Malformed("transfer-encoding"));
        }
        return Ok(Some(BodyFraming::chunked()));
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH);
    let Some(length) = lengths.next() else { return Ok(None) };
    let digits = length.to_str().map_or("", str::trim);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(length) if is_number && lengths.next().is_none() => Ok(Some(BodyFraming::Sized(length))),
        _ => Err(Malformed("content-length")),
    }
}

/// The options that `Connection` headers list.
pub fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    // What is not text may be anything, also `close`.
    let texts = headers.get_all(header::CONNECTION).map(|value| value.to_str().unwrap_or("close"));
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// Whether the connection ends after this message.
#[must_use]
pub fn closes(headers: &HeaderMap) -> bool {
    options(headers).any(|option| option.eq_ignore_ascii_case("close"))
}
