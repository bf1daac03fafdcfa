//! Refuses paths that could mean another path to somebody further on: dot segments, controls, broken escapes.

use percent_encoding::percent_decode;

/// The longest path, in bytes. The longest ARNs take a few hundred; AWS refuses far less than this.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafePath {
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// Not empty, and does not start with a slash.
    #[error("it does not start with a slash")]
    NotAbsolute,
    /// A character that RFC 3986 does not allow in a path.
    #[error("it holds a character that must be percent-encoded")]
    ForbiddenCharacter,
    /// `%` without two hexadecimal digits.
    #[error("it holds a % that no two hexadecimal digits follow")]
    BrokenEscape,
    /// A control character or a backslash, encoded.
    #[error("it holds an encoded control character or backslash")]
    EncodedControl,
    /// Decodes to something that is not UTF-8.
    #[error("it does not decode to UTF-8")]
    NotUtf8,
    /// `%2F` (or `%252F`) in a part that AWS's service model gives no slash.
    #[error("it holds an encoded slash where none belongs")]
    EncodedSlash,
    /// A letter, digit, `-`, `.`, `_` or `~` that is encoded, in a path that the table does not know: it could be a path
    /// that it knows to somebody further on.
    #[error("it holds an encoded character that needs no encoding")]
    NeedlessEscape,
    /// Two slashes in a row, in a path that the table does not know.
    #[error("it holds an empty segment")]
    EmptySegment,
    /// A segment `.` or `..`, encoded or not.
    #[error("it holds a segment . or ..")]
    DotSegment,
}

/// Accepts a path that has no dot segment, control character or backslash as it stands, decoded once, and decoded
/// twice.
///
/// # Errors
/// [`UnsafePath`] says what is wrong.
pub(super) fn check(path: &str) -> Result<(), UnsafePath> {
    if path.len() > MAX_PATH_BYTES {
        return Err(UnsafePath::TooLong);
    }
    if !path.is_empty() && !path.starts_with('/') {
        return Err(UnsafePath::NotAbsolute);
    }
    if check_decoded(path.as_bytes(), Reading::AsSent)? {
        return Ok(());
    }
    // Rare: an encoded percent sign or letters beyond ASCII.
    let decoded: Vec<u8> = percent_decode(path.as_bytes()).collect();
    let text = std::str::from_utf8(&decoded).map_err(|_| UnsafePath::NotUtf8)?;
    if text.chars().any(char::is_control) {
        return Err(UnsafePath::EncodedControl);
    }
    check_decoded(&decoded, Reading::DecodedOnce).map(|_| ())
}

/// Accepts a path that no table knows only if it is written in the one way that nobody reads as another's.
///
/// # Errors
/// [`UnsafePath`] says what is wrong.
pub(super) fn check_plain(path: &str) -> Result<(), UnsafePath> {
    if path.contains("//") {
        return Err(UnsafePath::EmptySegment);
    }
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let unreserved = |value: u8| value.is_ascii_alphanumeric() || b"-._~".contains(&value);
            match escape(tail) {
                Some((value, _)) if unreserved(value) || value == b'%' => {
                    return Err(UnsafePath::NeedlessEscape);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    AsSent,
    DecodedOnce,
}

/// Looks at the bytes as they are once decoded. `true`: decoding yields plain ASCII without escapes, so that nothing
/// is left to look at.
fn check_decoded(mut rest: &[u8], reading: Reading) -> Result<bool, UnsafePath> {
    let mut plain = true;
    let mut segment = Segment::Empty;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let mut decoded = byte;
        if byte == b'%' {
            match (escape(tail), reading) {
                (Some((value, after)), _) => {
                    plain &= value.is_ascii() && value != b'%';
                    if value.is_ascii_control() || value == b'\\' {
                        return Err(UnsafePath::EncodedControl);
                    }
                    (decoded, rest) = (value, after);
                }
                (None, Reading::AsSent) => return Err(UnsafePath::BrokenEscape),
                (None, Reading::DecodedOnce) => {}
            }
        } else if reading == Reading::AsSent && !may_stand_in_path(byte) {
            return Err(UnsafePath::ForbiddenCharacter);
        }
        if decoded == b'/' && segment.is_dots() {
            return Err(UnsafePath::DotSegment);
        }
        segment = segment.followed_by(decoded);
    }
    if segment.is_dots() { Err(UnsafePath::DotSegment) } else { Ok(plain) }
}

/// The value of the two hexadecimal digits after a `%`, and what follows them.
fn escape(after_percent: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = after_percent else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    Some((digit(*high)? << 4 | digit(*low)?, after))
}

/// `pchar` and `/` of <https://www.rfc-editor.org/rfc/rfc3986#section-3.3>, escapes apart.
fn may_stand_in_path(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' | b'!' | b'$' | b'&')
        || matches!(byte, b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// What a segment holds so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Empty,
    Dot,
    DotDot,
    Name,
}

impl Segment {
    fn is_dots(self) -> bool {
        matches!(self, Self::Dot | Self::DotDot)
    }

    fn followed_by(self, byte: u8) -> Self {
        match (byte, self) {
            (b'/', _) => Self::Empty,
            (b'.', Self::Empty) => Self::Dot,
            (b'.', Self::Dot) => Self::DotDot,
            _ => Self::Name,
        }
    }
}
