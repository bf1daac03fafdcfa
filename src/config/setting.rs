//! How a single value is read: numbers, durations such as `30s`, sizes such as `25MiB`, URLs, regions, secrets.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::price;
use super::tree::Scalar;
use crate::domain::{Region, Secret};

/// A type that a single value of the configuration can be read as.
pub(super) trait Setting: Sized {
    /// What a fault asks for, after "expected".
    const EXPECTED: &'static str;
    /// Whether a wrong value must not be shown.
    const HIDDEN: bool = false;
    /// The value, unless it is wrong.
    fn parse(scalar: &Scalar) -> Option<Self>;
}

/// The text of a number or a text.
fn text(scalar: &Scalar) -> Option<&str> {
    match scalar {
        Scalar::Bool(_) => None,
        Scalar::Number(text) | Scalar::Text(text) => Some(text.trim()),
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "a text (in quotes where it looks like a number)";

    fn parse(scalar: &Scalar) -> Option<Self> {
        match scalar {
            Scalar::Text(text) => Some(text.clone()),
            Scalar::Number(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.clone())
            }
            _ => None,
        }
    }
}

impl Setting for Secret {
    const EXPECTED: &'static str = String::EXPECTED;
    const HIDDEN: bool = true;

    fn parse(scalar: &Scalar) -> Option<Self> {
        String::parse(scalar).map(Self::new)
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn parse(scalar: &Scalar) -> Option<Self> {
        String::parse(scalar).map(Self::from)
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn parse(scalar: &Scalar) -> Option<Self> {
        match scalar {
            Scalar::Bool(flag) => Some(*flag),
            Scalar::Text(text) | Scalar::Number(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
        }
    }
}

impl Setting for u16 {
    const EXPECTED: &'static str = "a whole number from 0 to 65535";

    fn parse(scalar: &Scalar) -> Option<Self> {
        text(scalar)?.parse().ok()
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";

    fn parse(scalar: &Scalar) -> Option<Self> {
        text(scalar)?.parse().ok()
    }
}

/// A whole number that may not be 0.
pub(super) struct Positive(pub(super) usize);

impl Setting for Positive {
    const EXPECTED: &'static str = "a whole number from 1";

    fn parse(scalar: &Scalar) -> Option<Self> {
        text(scalar)?.parse().ok().filter(|number| *number > 0).map(Self)
    }
}

/// A share of traffic: any number from 0.
pub(super) struct Share(pub(super) f64);

impl Setting for Share {
    const EXPECTED: &'static str = "a number from 0";

    fn parse(scalar: &Scalar) -> Option<Self> {
        text(scalar)?.parse().ok().filter(|share: &f64| share.is_finite() && *share >= 0.0).map(Self)
    }
}

/// Longest duration that is taken: a year.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

impl Setting for Duration {
    const EXPECTED: &'static str = "a duration such as 30s, 5m, 500ms or a number of seconds";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let text = text(scalar)?;
        let (number, unit) = number_and_unit(text);
        let seconds = match unit {
            "ms" => 0.001,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let duration = Self::try_from_secs_f64(number * seconds).ok()?;
        (duration <= MAX_DURATION).then_some(duration)
    }
}

/// A duration that may not be 0.
pub(super) struct Timeout(pub(super) Duration);

impl Setting for Timeout {
    const EXPECTED: &'static str = "a duration above 0 such as 30s, 5m, 500ms or a number of seconds";

    fn parse(scalar: &Scalar) -> Option<Self> {
        Duration::parse(scalar).filter(|duration| !duration.is_zero()).map(Self)
    }
}

/// A number of bytes above 0.
pub(super) struct Bytes(pub(super) u64);

impl Setting for Bytes {
    const EXPECTED: &'static str = "a size above 0 such as 25MiB, 10GiB or a number of bytes";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let text = text(scalar)?;
        let (number, unit) = number_and_unit(text);
        let scale: u64 = match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        };
        let bytes = match number.parse::<u64>() {
            Ok(number) => number.checked_mul(scale)?,
            Err(_) => whole_bytes(number.parse::<f64>().ok()?, scale)?,
        };
        (bytes > 0 && i64::try_from(bytes).is_ok()).then_some(Self(bytes))
    }
}

/// A number of mebibytes above 0, as LiteLLM counts `max_request_size_mb`.
pub(super) struct Mebibytes(pub(super) u64);

impl Setting for Mebibytes {
    const EXPECTED: &'static str = "a number of megabytes above 0";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let bytes = whole_bytes(text(scalar)?.parse().ok()?, 1 << 20)?;
        (bytes > 0).then_some(Self(bytes))
    }
}

/// A size with a fraction (`1.5GiB`), up to what doubles count exactly (8 PiB).
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "kept to a range in which doubles are exact"
)]
fn whole_bytes(number: f64, scale: u64) -> Option<u64> {
    let bytes = number * scale as f64;
    (bytes >= 0.0 && bytes < (1_u64 << 53) as f64).then_some(bytes as u64)
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let is_of_unit = |c: char| c.is_ascii_alphabetic();
    let number = text.trim_end_matches(is_of_unit);
    let unit = text.get(number.len()..).unwrap_or_default();
    (number.trim_end(), unit)
}

impl Setting for Url {
    const EXPECTED: &'static str =
        "a URL such as https://host or http://host:port, without user, query or fragment";
    const HIDDEN: bool = true;

    fn parse(scalar: &Scalar) -> Option<Self> {
        let url = Self::parse(text(scalar)?).ok()?;
        let is_plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        is_plain.then_some(url)
    }
}

impl Setting for Region {
    const EXPECTED: &'static str = "an AWS region such as us-west-2";

    fn parse(scalar: &Scalar) -> Option<Self> {
        text(scalar)?.parse().ok()
    }
}

/// A price for one unit.
pub(super) struct Picodollars {
    pub(super) amount: i64,
    /// As it is written, where digits of it are lost.
    pub(super) rounded_from: Option<String>,
}

impl Setting for Picodollars {
    const EXPECTED: &'static str = "a price in dollars for one unit, from 0, such as 0.000003 or 3e-06";

    fn parse(scalar: &Scalar) -> Option<Self> {
        let text = text(scalar)?;
        let price::Rounded { amount, is_exact } = price::rounded(text).ok()?;
        Some(Self { amount, rounded_from: (!is_exact).then(|| text.trim().to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn durations_are_seconds_or_carry_a_unit() {
        let cases = [
            ("30", Some(30_000)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("1d", Some(86_400_000)),
            ("500ms", Some(500)),
            ("0.5", Some(500)),
            ("1.5 s", Some(1_500)),
            ("0", Some(0)),
            ("-1", None),
            ("s", None),
            ("30 parsecs", None),
            ("inf", None),
            ("NaN", None),
            ("1e300", None),
            ("400d", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(Duration::from_millis);
            assert_eq!(<Duration as Setting>::parse(&of_text(text)), expected, "{text}");
        }
    }

    #[test]
    fn sizes_are_bytes_or_carry_a_unit() {
        let cases = [
            ("26214400", Some(26_214_400)),
            ("25MiB", Some(26_214_400)),
            ("25 MiB", Some(26_214_400)),
            ("1.5KiB", Some(1_536)),
            ("10GiB", Some(10_737_418_240)),
            ("1MB", Some(1_000_000)),
            ("0", None),
            ("0.1B", None),
            ("-1MiB", None),
            ("25mib", None),
            ("99999999999TiB", None),
            ("inf", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Bytes::parse(&of_text(text)).map(|bytes| bytes.0), expected, "{text}");
        }
    }

    #[test]
    fn a_url_can_carry_no_credentials_query_or_other_scheme() {
        let cases = [
            ("https://bedrock-runtime.us-west-2.amazonaws.com", true),
            ("http://localhost:9000/prefix", true),
            ("https://user:password@host", false),
            ("https://user@host", false),
            ("https://host/?a=b", false),
            ("https://host/#a", false),
            ("ftp://host", false),
            ("file:///etc/passwd", false),
            ("host:443", false),
            ("", false),
        ];
        for (text, expected) in cases {
            assert_eq!(<Url as Setting>::parse(&of_text(text)).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn a_number_is_a_text_only_while_nothing_is_lost() {
        let number = |digits: &str| String::parse(&Scalar::Number(digits.to_owned()));
        assert_eq!(number("123456789012"), Some("123456789012".to_owned()));
        assert_eq!(number("1.1"), None, "it may have been written 1.10");
        assert_eq!(String::parse(&Scalar::Bool(true)), None);
    }
}
