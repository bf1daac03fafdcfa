//! AWS credential pairs, in memory, by access key id: with one, any AWS SDK signs for a virtual key.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::vault::{Vault, VaultFault};
use crate::domain::{KeyHash, Secret};
use crate::store::keys::{KeyChange, SealedPair};

/// What an access key id is spelled with: base 32.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters after the prefix.
const RANDOM_CHARACTERS: usize = 16;

/// A pair that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsPair {
    /// The key it stands for.
    pub key_hash: KeyHash,
    /// The secret access key.
    pub secret: Secret,
    revision: i64,
}

/// A new access key id in AWS's form, of 80 random bits.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>
#[must_use]
pub fn new_access_key_id(random: [u8; 10]) -> String {
    let bits = random.iter().fold(0_u128, |bits, byte| (bits << 8) | u128::from(*byte));
    let places = (0..RANDOM_CHARACTERS).rev().map(|place| usize::try_from((bits >> (5 * place)) & 31));
    let characters = places.filter_map(|place| ALPHABET.get(place.ok()?).copied().map(char::from));
    format!("AKIA{}", characters.collect::<String>())
}

/// A new secret access key in AWS's form: 40 characters.
#[must_use]
pub fn new_secret_access_key(random: [u8; 30]) -> Secret {
    Secret::new(STANDARD.encode(random))
}

/// Whether a client shows an access key id of AWS's form, long-term (`AKIA…`) or temporary (`ASIA…`), and not a
/// virtual key in its place.
#[must_use]
pub(super) fn is_access_key_id(text: &str) -> bool {
    let rest = text.strip_prefix("AKIA").or_else(|| text.strip_prefix("ASIA"));
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    rest.is_some_and(|rest| rest.len() == RANDOM_CHARACTERS && rest.bytes().all(is_plain))
}

/// Every pair in force. Readers take no lock.
#[derive(Debug, Default)]
pub struct PairDirectory {
    pairs: ArcSwap<HashMap<String, Arc<AwsPair>>>,
    vault: Option<Vault>,
}

impl PairDirectory {
    /// An empty directory; without a vault it stays so.
    #[must_use]
    pub fn new(vault: Option<Vault>) -> Self {
        Self { pairs: ArcSwap::default(), vault }
    }

    /// What encrypts secrets, where the operator set a key for it.
    #[must_use]
    pub fn vault(&self) -> Option<&Vault> {
        self.vault.as_ref()
    }

    /// The pair with this access key id.
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<Arc<AwsPair>> {
        self.pairs.load().get(access_key_id).cloned()
    }

    /// Whether every pair can be read here: what is asked before the gateway serves.
    ///
    /// # Errors
    /// Which pair cannot, and what to do.
    pub fn check(&self, pairs: &[SealedPair]) -> Result<(), String> {
        for pair in pairs {
            let advice = "set BEDGATE_SECRET_KEY (or LITELLM_SALT_KEY) to what it was when the pair was made, or \
                          BEDGATE_OLD_SECRET_KEY to that beside a new one, or delete the rows that cannot be read \
                          from the table key_credentials";
            let Some(vault) = &self.vault else {
                let count = pairs.len();
                return Err(format!(
                    "{count} AWS credential pairs are kept, and no key to read them: {advice}"
                ));
            };
            vault.open(&pair.access_key_id, &pair.sealed, &pair.sealed_by).map_err(|fault| {
                format!("the AWS credential pair {} cannot be read, {fault}: {advice}", pair.access_key_id)
            })?;
        }
        Ok(())
    }

    /// Those of the pairs that are not encrypted under the vault's own key, encrypted anew; `nonce` must be random.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub fn resealed(
        &self,
        pairs: &[SealedPair],
        nonce: impl Fn() -> [u8; 12],
    ) -> Result<Vec<SealedPair>, VaultFault> {
        let Some(vault) = &self.vault else { return Ok(Vec::new()) };
        let of_others = pairs.iter().filter(|pair| pair.sealed_by != vault.id());
        of_others
            .map(|pair| {
                let secret = vault.open(&pair.access_key_id, &pair.sealed, &pair.sealed_by)?;
                let sealed = vault.seal(&pair.access_key_id, &secret, nonce())?;
                Ok(SealedPair { sealed, sealed_by: vault.id().to_owned(), ..pair.clone() })
            })
            .collect()
    }

    /// Follows changes: of pairs, and of keys that go and take their pairs along.
    pub(super) fn apply(&self, changes: &[KeyChange]) {
        let changes: Vec<PairChange<'_>> =
            changes.iter().filter_map(|change| PairChange::of(change, self.vault.as_ref())).collect();
        if changes.is_empty() {
            return;
        }
        self.pairs.rcu(|current| {
            let mut pairs = HashMap::clone(current);
            for change in &changes {
                change.apply(&mut pairs);
            }
            pairs
        });
    }
}

/// What a change means for the pairs.
enum PairChange<'c> {
    Put { access_key_id: &'c str, pair: Arc<AwsPair> },
    Revoked { access_key_id: &'c str, revision: i64 },
    KeyRemoved { hash: KeyHash, revision: i64 },
}

impl<'c> PairChange<'c> {
    fn of(change: &'c KeyChange, vault: Option<&Vault>) -> Option<Self> {
        match change {
            KeyChange::Put(_) => None,
            KeyChange::Removed { hash, revision } => {
                Some(Self::KeyRemoved { hash: *hash, revision: *revision })
            }
            KeyChange::Pair(sealed) if sealed.revoked_at.is_some() => {
                Some(Self::Revoked { access_key_id: &sealed.access_key_id, revision: sealed.revision })
            }
            KeyChange::Pair(sealed) => {
                let access_key_id = sealed.access_key_id.as_str();
                let pair = opened(sealed, vault)
                    .map_err(|fault| {
                        log::error!("the AWS credential pair {access_key_id} is left out: {fault}");
                    })
                    .ok()?;
                Some(Self::Put { access_key_id, pair: Arc::new(pair) })
            }
        }
    }

    /// What is older than what is known is passed over.
    fn apply(&self, pairs: &mut HashMap<String, Arc<AwsPair>>) {
        let is_news = |pairs: &HashMap<String, Arc<AwsPair>>, id: &str, revision: i64| {
            pairs.get(id).is_none_or(|known| known.revision <= revision)
        };
        match self {
            Self::Put { access_key_id, pair } if is_news(pairs, access_key_id, pair.revision) => {
                pairs.insert((*access_key_id).to_owned(), Arc::clone(pair));
            }
            Self::Revoked { access_key_id, revision } if is_news(pairs, access_key_id, *revision) => {
                pairs.remove(*access_key_id);
            }
            Self::KeyRemoved { hash, revision } => {
                pairs.retain(|_, pair| pair.key_hash != *hash || pair.revision > *revision);
            }
            Self::Put { .. } | Self::Revoked { .. } => {}
        }
    }
}

fn opened(sealed: &SealedPair, vault: Option<&Vault>) -> Result<AwsPair, VaultFault> {
    let vault = vault.ok_or_else(|| VaultFault::OtherKey {
        sealed_by: sealed.sealed_by.clone(),
        own: "(not set)".to_owned(),
    })?;
    let secret = vault.open(&sealed.access_key_id, &sealed.sealed, &sealed.sealed_by)?;
    Ok(AwsPair { key_hash: sealed.key_hash, secret, revision: sealed.revision })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UnixMicros;

    #[test]
    fn new_pairs_have_the_form_of_awss() {
        assert_eq!(new_access_key_id([0; 10]), "AKIAAAAAAAAAAAAAAAAA");
        assert_eq!(new_access_key_id([255; 10]), "AKIA7777777777777777");
        assert_eq!(new_access_key_id([0, 68, 50, 20, 199, 66, 84, 182, 53, 207]), "AKIAABCDEFGHIJKLMNOP");
        assert_eq!(new_secret_access_key([251; 30]).expose().len(), 40);
        assert!(is_access_key_id(&new_access_key_id([0x5a; 10])));
    }

    #[test]
    fn virtual_keys_are_told_from_access_key_ids() {
        for (text, expected) in [
            ("AKIAIOSFODNN7EXAMPLE", true),
            ("ASIAIOSFODNN7EXAMPLE", true),
            ("AKIAIOSFODNN7EXAMPL", false),
            ("akiaiosfodnn7example", false),
            ("sk-IOSFODNN7EXAMPLEX", false),
            ("my-fake-key-id", false),
            ("", false),
        ] {
            assert_eq!(is_access_key_id(text), expected, "{text}");
        }
    }

    fn sealed(vault: &Vault, id: &str, key: &str, revision: i64) -> SealedPair {
        SealedPair {
            access_key_id: id.to_owned(),
            key_hash: KeyHash::of(key),
            sealed: vault.seal(id, &Secret::new("secret"), [1; 12]).unwrap(),
            sealed_by: vault.id().to_owned(),
            revision,
            ..SealedPair::default()
        }
    }

    fn vault() -> Vault {
        Vault::new(&Secret::new("operator's secret")).unwrap()
    }

    fn pair(sealed: SealedPair) -> KeyChange {
        KeyChange::Pair(Box::new(sealed))
    }

    #[test]
    fn a_pair_is_found_until_it_is_revoked_or_its_key_is_deleted() {
        let directory = PairDirectory::new(Some(vault()));
        let (one, two) = (sealed(&vault(), "A1", "sk-1", 1), sealed(&vault(), "A2", "sk-2", 2));
        directory.apply(&[pair(one.clone()), pair(two.clone())]);
        assert_eq!(directory.find("A1").unwrap().secret.expose(), "secret");
        let revoked = SealedPair { revoked_at: Some(UnixMicros(9)), revision: 3, ..one.clone() };
        directory.apply(&[pair(revoked)]);
        directory.apply(&[KeyChange::Removed { hash: KeyHash::of("sk-2"), revision: 1 }]);
        assert!(directory.find("A1").is_none());
        assert!(directory.find("A2").is_some(), "made after that deletion, for a key made anew");
        directory.apply(&[KeyChange::Removed { hash: KeyHash::of("sk-2"), revision: 4 }]);
        assert!(directory.find("A2").is_none());
    }

    #[test]
    fn pairs_of_an_earlier_key_are_encrypted_anew_and_no_others() {
        let new = || Vault::new(&Secret::new("the new secret")).unwrap();
        let pairs = [sealed(&vault(), "A1", "sk-1", 1), sealed(&new(), "A2", "sk-2", 2)];
        let directory = PairDirectory::new(Some(new().reading_also(vault())));
        assert_eq!(directory.check(&pairs), Ok(()));
        let [resealed] = directory.resealed(&pairs, || [3; 12]).unwrap().try_into().unwrap();
        assert_eq!((resealed.access_key_id.as_str(), resealed.sealed_by.as_str()), ("A1", new().id()));
        let only_new = PairDirectory::new(Some(new()));
        assert_eq!(only_new.check(&[resealed.clone(), pairs[1].clone()]), Ok(()));
        assert!(only_new.resealed(&pairs, || [3; 12]).is_err());
        assert_eq!(only_new.resealed(&[resealed], || [3; 12]), Ok(vec![]));
    }

    #[test]
    fn pairs_that_cannot_be_read_keep_the_gateway_from_starting_and_are_named() {
        let pairs = [sealed(&vault(), "A1", "sk-1", 1)];
        assert_eq!(PairDirectory::new(Some(vault())).check(&pairs), Ok(()));
        assert_eq!(PairDirectory::default().check(&[]), Ok(()));
        let other = PairDirectory::new(Some(Vault::new(&Secret::new("another")).unwrap()));
        let fault = other.check(&pairs).unwrap_err();
        assert!(fault.contains("A1") && fault.contains("BEDGATE_SECRET_KEY"), "{fault}");
        assert!(PairDirectory::default().check(&pairs).unwrap_err().contains("BEDGATE_SECRET_KEY"));
        other.apply(&[pair(pairs[0].clone())]);
        assert!(other.find("A1").is_none());
    }
}
