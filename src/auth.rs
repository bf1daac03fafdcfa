//! Step 2: who is calling. A key in any header LiteLLM knows, or an AWS signature made with a pair that stands for a
//! key, looked up in memory, becomes a [`Caller`]; handlers get a caller in no other way.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderMap};
use arc_swap::ArcSwap;
use subtle::ConstantTimeEq;

use crate::config::AuthConfig;
use crate::domain::{FastMap, KeyHash, Secret, UnixMicros};
use crate::error::GatewayError;
use crate::event::Payer;
use crate::store::KeyRecord;
use crate::store::keys::KeyChange;

mod claim;
mod key_header;
mod pairs;
#[cfg(test)]
mod signature_tests;
mod sigv4_inbound;
mod vault;

pub use claim::Claim;
pub use key_header::{Presented, presented};
pub use pairs::{AwsPair, PairDirectory, new_access_key_id, new_secret_access_key};
pub use sigv4_inbound::ReceivedHead;
pub use vault::{Vault, VaultFault};

use sigv4_inbound::{ClientSignature, SignatureFault};

/// Somebody whose key was checked.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A virtual key.
    Key(Arc<KeyRecord>),
    /// The holder of the master key: may do everything.
    Master,
    /// Anybody: no master key is set.
    Anonymous,
}

impl Caller {
    /// Who is charged.
    #[must_use]
    pub fn payer(&self) -> Payer {
        match self {
            Self::Key(key) => Payer::Key(key.payer()),
            Self::Master => Payer::Master,
            Self::Anonymous => Payer::Anonymous,
        }
    }

    /// The key's record, where there is one.
    #[must_use]
    pub fn key(&self) -> Option<&KeyRecord> {
        match self {
            Self::Key(key) => Some(key),
            Self::Master | Self::Anonymous => None,
        }
    }
}

/// Every key, in memory, by hash. Readers take no lock; a change copies the map, which is fine for the few
/// changes an administrator makes and is batched for those that other instances made.
#[derive(Debug, Default)]
pub struct KeyDirectory {
    keys: ArcSwap<FastMap<KeyHash, Arc<KeyRecord>>>,
    pairs: PairDirectory,
}

impl KeyDirectory {
    /// An empty directory whose AWS credential pairs are read with this vault.
    #[must_use]
    pub fn with_vault(vault: Option<Vault>) -> Self {
        Self { keys: ArcSwap::default(), pairs: PairDirectory::new(vault) }
    }

    /// The AWS credential pairs of the keys.
    #[must_use]
    pub fn pairs(&self) -> &PairDirectory {
        &self.pairs
    }

    /// The key with this hash.
    #[must_use]
    pub fn find(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        self.keys.load().get(hash).cloned()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.load().len()
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces one key; in force for every request that starts after this returns.
    pub fn put(&self, key: KeyRecord) {
        self.apply(vec![KeyChange::put(key)]);
    }

    /// Takes one key away.
    pub fn remove(&self, hash: &KeyHash) {
        self.apply(vec![KeyChange::Removed { hash: *hash, revision: i64::MAX }]);
    }

    /// Applies many changes at once. One that is older than what is known is passed over, so that a late poll
    /// cannot revive a key that was just blocked.
    pub fn apply(&self, changes: Vec<KeyChange>) {
        self.pairs.apply(&changes);
        self.keys.rcu(|current| {
            let mut keys = FastMap::clone(current);
            for change in &changes {
                match change {
                    KeyChange::Put(key) if is_news(&keys, &key.hash, key.revision) => {
                        keys.insert(key.hash, Arc::new(KeyRecord::clone(key)));
                    }
                    KeyChange::Removed { hash, revision } if is_news(&keys, hash, *revision) => {
                        keys.remove(hash);
                    }
                    KeyChange::Put(_) | KeyChange::Removed { .. } | KeyChange::Pair(_) => {}
                }
            }
            keys
        });
    }
}

fn is_news(keys: &FastMap<KeyHash, Arc<KeyRecord>>, hash: &KeyHash, revision: i64) -> bool {
    keys.get(hash).is_none_or(|known| known.revision <= revision)
}

/// Checks keys and signatures.
#[derive(Debug)]
pub struct Authenticator {
    master_key: Option<MasterKey>,
    key_header_name: Option<String>,
    allow_unsigned_payload: bool,
    allow_key_as_access_key_id: bool,
    keys: Arc<KeyDirectory>,
}

/// Only the hash of the master key is kept, and compared in constant time.
#[derive(Debug)]
struct MasterKey(KeyHash);

impl Authenticator {
    /// `key_header_name` is `general_settings.litellm_key_header_name`, in lower case.
    #[must_use]
    pub fn new(
        master_key: Option<&Secret>,
        key_header_name: Option<String>,
        config: &AuthConfig,
        keys: Arc<KeyDirectory>,
    ) -> Self {
        let master_key = master_key.map(|key| MasterKey(KeyHash::of(key.expose())));
        let AuthConfig { allow_unsigned_payload, allow_key_as_access_key_id, .. } = *config;
        Self { master_key, key_header_name, allow_unsigned_payload, allow_key_as_access_key_id, keys }
    }

    /// Whether any key, or none, is accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.master_key.is_none()
    }

    /// Who sent these headers, for the gateway's own paths, which take keys and no signatures.
    ///
    /// # Errors
    /// No key, an unknown key, or one that is blocked or expired.
    pub fn authenticate(&self, headers: &HeaderMap, now: UnixMicros) -> Result<Caller, GatewayError> {
        let Some(master_key) = &self.master_key else { return anybody(headers) };
        match presented(headers, self.key_header_name.as_deref()) {
            None => Err(GatewayError::MissingKey),
            Some(Presented::Key(key)) => self.by_key(master_key, key, now),
            Some(Presented::KeyAsAccessKeyId(key)) => self.by_access_key_id(master_key, key, now),
            Some(Presented::Signature(_)) => Err(GatewayError::AccessDenied(
                "AWS signatures are taken on Bedrock's paths; here, send your key as `Authorization: Bearer sk-…`"
                    .into(),
            )),
        }
    }

    /// Who says it sent this request, on Bedrock's paths. A signature may be provable with the body alone.
    ///
    /// # Errors
    /// No key, an unknown key, one that is blocked or expired, or a signature that is not good.
    pub fn claim<'r>(
        &self,
        headers: &HeaderMap,
        query: &str,
        received: impl Fn() -> ReceivedHead<'r>,
        now: UnixMicros,
    ) -> Result<Claim, GatewayError> {
        // Beside a key, too: a query goes on to AWS as it is, and a signature must not.
        if sigv4_inbound::is_presigned(query) {
            return Err(GatewayError::IncompleteSignature(
                "URLs with a signature in their query are not supported; sign in the Authorization header"
                    .into(),
            ));
        }
        let Some(master_key) = &self.master_key else { return anybody(headers).map(Claim::known) };
        match presented(headers, self.key_header_name.as_deref()) {
            None => Err(GatewayError::MissingKey),
            Some(Presented::Key(key)) => self.by_key(master_key, key, now).map(Claim::known),
            Some(Presented::KeyAsAccessKeyId(key)) => {
                self.by_access_key_id(master_key, key, now).map(Claim::known)
            }
            Some(Presented::Signature(authorization)) => {
                self.by_signature(authorization, &received(), headers, now)
            }
        }
    }

    /// Holds a key that was let in against what is known of it now.
    ///
    /// # Errors
    /// It was deleted or blocked since, or has expired.
    pub fn require_still_usable(&self, key: &KeyHash, now: UnixMicros) -> Result<(), GatewayError> {
        let deleted = || GatewayError::AccessDenied("this key was deleted".into());
        usable(self.keys.find(key).ok_or_else(deleted)?, now).map(|_| ())
    }

    /// Whether this is the master key's value: no virtual key may have it, which would outlive a change of the master key.
    #[must_use]
    pub fn is_master(&self, key: &KeyHash) -> bool {
        self.master_key.as_ref().is_some_and(|master| bool::from(master.0.0.ct_eq(&key.0)))
    }

    fn by_key(&self, master_key: &MasterKey, key: &str, now: UnixMicros) -> Result<Caller, GatewayError> {
        let hash = KeyHash::of(key);
        if bool::from(master_key.0.0.ct_eq(&hash.0)) {
            return Ok(Caller::Master);
        }
        let record = self.keys.find(&hash).ok_or_else(|| GatewayError::UnknownKey { last4: last4(key) })?;
        usable(record, now)
    }

    fn by_access_key_id(
        &self,
        master_key: &MasterKey,
        key: &str,
        now: UnixMicros,
    ) -> Result<Caller, GatewayError> {
        if self.allow_key_as_access_key_id {
            return self.by_key(master_key, key, now);
        }
        Err(GatewayError::AccessDenied(
            "a key in place of an AWS access key id is not accepted here \
             (bedgate_settings.auth.allow_key_as_access_key_id); ask for an AWS credential pair of your key"
                .into(),
        ))
    }

    fn by_signature(
        &self,
        authorization: &str,
        received: &ReceivedHead<'_>,
        headers: &HeaderMap,
        now: UnixMicros,
    ) -> Result<Claim, GatewayError> {
        if headers.get_all("authorization").count() > 1 {
            return Err(GatewayError::IncompleteSignature("'authorization' must be there once.".into()));
        }
        let signature = ClientSignature::read(authorization, received, now, self.allow_unsigned_payload)?;
        // Pairs are long-term: there are no session tokens to them.
        let has_session = headers.contains_key("x-amz-security-token");
        let pair = self.keys.pairs.find(&signature.access_key_id).filter(|_| !has_session);
        let found = pair.and_then(|pair| Some((Arc::clone(&pair), self.keys.find(&pair.key_hash)?)));
        Claim::signed(signature, found, now)
    }
}

/// Anybody may call while no master key is set; but a web page that somebody on this machine looks at is not somebody: a
/// browser lets any page send simple requests here, and says whose it is.
fn anybody(headers: &HeaderMap) -> Result<Caller, GatewayError> {
    let foreign_origin = headers.get_all(header::ORIGIN).any(|origin| !is_of_this_machine(origin.as_bytes()));
    let is_cross_site = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    if foreign_origin || is_cross_site {
        return Err(GatewayError::AccessDenied(
            "while no master key is set (BEDGATE_MASTER_KEY), web pages from elsewhere may not call".into(),
        ));
    }
    Ok(Caller::Anonymous)
}

fn is_of_this_machine(origin: &[u8]) -> bool {
    let url = std::str::from_utf8(origin).ok().and_then(|origin| url::Url::parse(origin).ok());
    url.is_some_and(|url| match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

/// The caller behind a key that may be used now.
fn usable(record: Arc<KeyRecord>, now: UnixMicros) -> Result<Caller, GatewayError> {
    if record.blocked {
        return Err(GatewayError::AccessDenied("this key is blocked; ask your administrator".into()));
    }
    if record.expires_at.is_some_and(|expiry| expiry <= now) {
        return Err(GatewayError::AccessDenied(
            "this key has expired; ask your administrator for a new one".into(),
        ));
    }
    Ok(Caller::Key(record))
}

impl From<SignatureFault> for GatewayError {
    fn from(fault: SignatureFault) -> Self {
        match fault {
            SignatureFault::Incomplete(message) => Self::IncompleteSignature(message),
            SignatureFault::Invalid(message) => Self::InvalidSignature(message),
        }
    }
}

/// The last four characters of a key that is long enough for them to give nothing away.
fn last4(key: &str) -> String {
    let printable = key.chars().filter(|c| c.is_ascii_graphic());
    let all: Vec<char> = printable.collect();
    if all.len() < 12 { "****".to_owned() } else { all.iter().skip(all.len() - 4).collect() }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn authenticator(key: Option<KeyRecord>) -> Authenticator {
        let keys = Arc::new(KeyDirectory::default());
        if let Some(key) = key {
            keys.put(key);
        }
        Authenticator::new(Some(&Secret::new("sk-master")), None, &AuthConfig::default(), keys)
    }

    fn bearer(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {key}")).unwrap();
        headers.insert(HeaderName::from_static("authorization"), value);
        headers
    }

    fn outcome(authenticator: &Authenticator, headers: &HeaderMap) -> String {
        match authenticator.authenticate(headers, UnixMicros(1_000)) {
            Ok(Caller::Key(key)) => format!("key {}", key.key_name),
            Ok(caller) => format!("{caller:?}"),
            Err(error) => error.error_type().to_owned(),
        }
    }

    #[test]
    fn a_key_is_checked_for_existence_blocks_and_expiry() {
        let key = KeyRecord {
            hash: KeyHash::of("sk-alice-0001"),
            key_name: "sk-...0001".into(),
            ..KeyRecord::default()
        };
        let blocked = KeyRecord { blocked: true, ..key.clone() };
        let expired = KeyRecord { expires_at: Some(UnixMicros(1_000)), ..key.clone() };
        let cases = [
            (None, HeaderMap::new(), "MissingAuthenticationTokenException"),
            (None, bearer("sk-alice-0001"), "UnrecognizedClientException"),
            (Some(key.clone()), bearer("sk-alice-0001"), "key sk-...0001"),
            (Some(key), bearer("sk-master"), "Master"),
            (Some(blocked), bearer("sk-alice-0001"), "AccessDeniedException"),
            (Some(expired), bearer("sk-alice-0001"), "AccessDeniedException"),
        ];
        for (key, headers, expected) in cases {
            assert_eq!(outcome(&authenticator(key), &headers), expected);
        }
    }

    #[test]
    fn a_late_poll_does_not_revive_an_older_record() {
        let keys = KeyDirectory::default();
        let old = KeyRecord { hash: KeyHash::of("sk-a"), revision: 1, ..KeyRecord::default() };
        keys.put(KeyRecord { blocked: true, revision: 2, ..old.clone() });
        keys.put(old.clone());
        assert!(keys.find(&old.hash).unwrap().blocked);
    }

    #[test]
    fn without_a_master_key_anybody_may_call() {
        let open = Authenticator::new(None, None, &AuthConfig::default(), Arc::default());
        assert_eq!(outcome(&open, &HeaderMap::new()), "Anonymous");
    }

    #[test]
    fn without_a_master_key_web_pages_from_elsewhere_may_not_call() {
        let open = Authenticator::new(None, None, &AuthConfig::default(), Arc::default());
        let cases = [
            ("origin", "http://localhost:3000", "Anonymous"),
            ("origin", "http://127.0.0.1:4000", "Anonymous"),
            ("origin", "http://[::1]:4000", "Anonymous"),
            ("origin", "https://evil.example", "AccessDeniedException"),
            ("origin", "http://localhost.evil.example", "AccessDeniedException"),
            ("origin", "null", "AccessDeniedException"),
            ("sec-fetch-site", "same-origin", "Anonymous"),
            ("sec-fetch-site", "cross-site", "AccessDeniedException"),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(outcome(&open, &headers), expected, "{name}: {value}");
            let claimed = open.claim(&headers, "", || unreachable!(), UnixMicros(0));
            assert_eq!(claimed.is_ok(), expected == "Anonymous", "{name}: {value}");
        }
    }
}
