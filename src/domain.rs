//! The words of the domain as types that cannot be wrong: money, keys, regions, services, time.

mod enforcement;
pub mod lenient;
mod partition;
pub mod period;
mod zone;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::enforcement::Enforcement;
pub use self::partition::{Partition, known_regions};
pub use self::zone::Zone;

/// An amount of money in billionths of a US dollar. The only money type inside bedgate; decimals appear
/// only at the JSON edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Adds, staying at the largest amount rather than wrapping.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The amount in dollars, for JSON in LiteLLM's shape (a float there too).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "JSON numbers are doubles; sums stay integers inside")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Parses a decimal number of dollars such as `0.25` or `1e-6`; more than nine decimals are rounded
    /// half to even.
    #[must_use]
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nano = usd * 1e9;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range on the line before")]
        let fits = (nano.is_finite() && nano.abs() < 9.2e18).then(|| Self(nano.round_ties_even() as i64));
        fits
    }
}

/// Dollars with nine decimals: `0.000123456`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", amount / 1_000_000_000, amount % 1_000_000_000)
    }
}

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// The clock on the wall. Called at the edges only; everything else is handed a time.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }
}

/// SHA-256 of a virtual key: what is stored and compared, never the key itself (as LiteLLM does, unsalted,
/// so that imported keys keep working).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Hashes the key a client sent.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lower_hex(&self.0))
    }
}

/// A map for the way of a request. Its hashes are seeded by chance, and cost less than the standard library's.
pub type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// The bytes in lower-case hexadecimal digits, as hashes and signatures are written.
#[must_use]
pub fn lower_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
    let mut text = vec![0; 2 * bytes.len()];
    for (digits, byte) in text.chunks_exact_mut(2).zip(bytes) {
        digits.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    // Digits are ASCII, so nothing is lost here.
    String::from_utf8(text).unwrap_or_default()
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({self})")
    }
}

/// A new virtual key, in LiteLLM's form: `sk-` and 22 characters that hold 128 random bits.
#[must_use]
pub fn new_virtual_key(random: [u8; 16]) -> String {
    format!("sk-{}", URL_SAFE_NO_PAD.encode(random))
}

/// What people recognise a key by: `sk-...` and its last four characters.
#[must_use]
pub fn key_name(key: &str) -> String {
    let mut last: Vec<char> = key.chars().rev().take(4).collect();
    last.reverse();
    format!("sk-...{}", last.into_iter().collect::<String>())
}

/// A path as it may be shown: a segment that holds what looks like a virtual key, encoded or not, is `sk-…`.
#[must_use]
pub fn mask_keys(path: &str) -> Cow<'_, str> {
    if !path.split('/').any(holds_a_key) {
        return Cow::Borrowed(path);
    }
    let masked: Vec<&str> =
        path.split('/').map(|part| if holds_a_key(part) { "sk-…" } else { part }).collect();
    Cow::Owned(masked.join("/"))
}

/// `sk-`, but not as the end of a word such as `task-`.
fn holds_a_key(segment: &str) -> bool {
    let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
    let starts_word = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| decoded.get(before));
        before.is_none_or(|byte| !byte.is_ascii_alphanumeric())
    };
    memchr::memmem::find_iter(&decoded, b"sk-").any(starts_word)
}

/// A text that must never be printed: `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that must use it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// The id of one event, made at the source, ordered by time (UUIDv7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub Uuid);

impl EventId {
    /// A new id for an event that starts at this moment.
    #[must_use]
    pub fn at(now: UnixMicros) -> Self {
        let millis = u64::try_from(now.0).unwrap_or_default() / 1_000;
        // The thread's generator: asking the system costs a system call for each request.
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An AWS region such as `us-west-2`: lower-case letters, digits and hyphens, so that it can never smuggle
/// anything into a host name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(Arc<str>);

/// Why a text is not a region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an AWS region: expected something like us-west-2")]
pub struct NotARegion(String);

impl Region {
    /// The region's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The partition it belongs to; `None` where it is written like no region of any.
    #[must_use]
    pub fn partition(&self) -> Option<&'static Partition> {
        Partition::of_region(self.as_str())
    }

    /// The DNS suffix of the region's partition.
    /// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
    #[must_use]
    pub fn dns_suffix(&self) -> &'static str {
        self.partition().map_or("amazonaws.com", |partition| partition.dns_suffix)
    }
}

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_region = (1..=32).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_region { Ok(Self(text.into())) } else { Err(NotARegion(text.to_owned())) }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({})", self.0)
    }
}

/// The place of a set of AWS credentials among all that are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdentityId(pub usize);

/// The AWS services that make up Amazon Bedrock, one per endpoint host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Service {
    /// Control plane: models, guardrails, jobs.
    Bedrock,
    /// Inference: Invoke, Converse, ApplyGuardrail, the OpenAI and Anthropic paths.
    BedrockRuntime,
    /// Control plane of agents, knowledge bases, flows, prompts.
    BedrockAgent,
    /// InvokeAgent, Retrieve, InvokeFlow, sessions, memory, rerank.
    BedrockAgentRuntime,
    /// AgentCore data plane.
    BedrockAgentcore,
    /// AgentCore control plane.
    BedrockAgentcoreControl,
    /// Data automation control plane.
    BedrockDataAutomation,
    /// Data automation data plane (awsJson).
    BedrockDataAutomationRuntime,
    /// The OpenAI- and Anthropic-compatible endpoint `bedrock-mantle.{region}.api.aws`.
    BedrockMantle,
}

impl Service {
    /// Every service, in the order of the enum: `ALL[service as usize] == service`.
    pub const ALL: [Self; 9] = [
        Self::Bedrock,
        Self::BedrockRuntime,
        Self::BedrockAgent,
        Self::BedrockAgentRuntime,
        Self::BedrockAgentcore,
        Self::BedrockAgentcoreControl,
        Self::BedrockDataAutomation,
        Self::BedrockDataAutomationRuntime,
        Self::BedrockMantle,
    ];

    /// The first label of the endpoint's host, which is also the name in `AWS_ENDPOINT_URL_<SERVICE>`
    /// (upper case, `_` for `-`).
    #[must_use]
    pub fn host_prefix(self) -> &'static str {
        match self {
            Self::Bedrock => "bedrock",
            Self::BedrockRuntime => "bedrock-runtime",
            Self::BedrockAgent => "bedrock-agent",
            Self::BedrockAgentRuntime => "bedrock-agent-runtime",
            Self::BedrockAgentcore => "bedrock-agentcore",
            Self::BedrockAgentcoreControl => "bedrock-agentcore-control",
            Self::BedrockDataAutomation => "bedrock-data-automation",
            Self::BedrockDataAutomationRuntime => "bedrock-data-automation-runtime",
            Self::BedrockMantle => "bedrock-mantle",
        }
    }

    /// The service name in the credential scope of a signature (`signingName` of the service model).
    #[must_use]
    pub fn signing_name(self) -> &'static str {
        match self {
            Self::BedrockAgentcore | Self::BedrockAgentcoreControl => "bedrock-agentcore",
            Self::BedrockMantle => "bedrock-mantle",
            _ => "bedrock",
        }
    }

    /// The service whose host prefix this is.
    #[must_use]
    pub fn from_host_prefix(prefix: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.host_prefix() == prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_a_path_is_not_shown() {
        let cases = [
            ("/key/sk-1234567890abcdef/regenerate", "/key/sk-…/regenerate"),
            ("/key/%73k-1234567890abcdef/regenerate", "/key/sk-…/regenerate"),
            ("/key/sk%2D1234567890abcdef", "/key/sk-…"),
            ("/x/Bearer%20sk-1234/y", "/x/sk-…/y"),
            ("/bedrock/model/task-model/converse", "/bedrock/model/task-model/converse"),
            ("/bedrock/model/disk-sk/converse", "/bedrock/model/disk-sk/converse"),
            ("", ""),
        ];
        for (path, shown) in cases {
            assert_eq!(mask_keys(path), shown);
        }
    }

    #[test]
    fn bytes_are_written_in_hexadecimal_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(lower_hex(&all), hex::encode(&all));
        assert_eq!(lower_hex(&[]), "");
    }
}
