//! Encrypts the secrets of AWS credential pairs, under a key derived from `BEDGATE_SECRET_KEY`. Pure: randomness
//! comes in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

use crate::domain::Secret;

/// Keeps what is derived here apart from any other use of the same secret.
const SALT: &[u8] = b"bedgate: secrets of AWS credential pairs";
/// Names the scheme; a later one gets another name, and both can be read.
const SCHEME: &str = "v1";
const ENCRYPTION: &[u8] = b"v1 encryption key";
const IDENTITY: &[u8] = b"v1 key id";
/// Bytes of a key id: enough to tell the keys of one installation apart.
const KEY_ID_BYTES: usize = 8;

/// Why a secret cannot be encrypted or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultFault {
    /// It was encrypted under another key.
    #[error("it is encrypted under the key {sealed_by}, and BEDGATE_SECRET_KEY is the key {own}")]
    OtherKey {
        /// Its key's id.
        sealed_by: String,
        /// This one's.
        own: String,
    },
    /// It is not what was once encrypted.
    #[error("its secret is damaged")]
    Damaged,
    /// The cipher refused.
    #[error("it cannot be encrypted")]
    Cipher,
}

/// The key that encrypts secrets.
pub struct Vault {
    key: LessSafeKey,
    id: String,
    /// An earlier key: what it encrypted can be read, and nothing new is encrypted with it.
    earlier: Option<Box<Vault>>,
}

impl Vault {
    /// Derives the key (HKDF with SHA-256) from the operator's secret.
    ///
    /// # Errors
    /// None that could happen: the lengths are the cipher's own.
    pub fn new(secret: &Secret) -> Result<Self, VaultFault> {
        let root = Salt::new(HKDF_SHA256, SALT).extract(secret.expose().as_bytes());
        let unbound: UnboundKey =
            root.expand(&[ENCRYPTION], &AES_256_GCM).map_err(|_| VaultFault::Cipher)?.into();
        let mut id = [0; KEY_ID_BYTES];
        root.expand(&[IDENTITY], KeyIdLength)
            .and_then(|okm| okm.fill(&mut id))
            .map_err(|_| VaultFault::Cipher)?;
        Ok(Self {
            key: LessSafeKey::new(unbound),
            id: format!("{SCHEME}:{}", hex::encode(id)),
            earlier: None,
        })
    }

    /// The same, which reads what an earlier key encrypted, too.
    #[must_use]
    pub fn reading_also(self, earlier: Self) -> Self {
        Self { earlier: Some(Box::new(earlier)), ..self }
    }

    /// Which key this is: derived from the operator's secret, tells nothing of it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Encrypts the secret of this access key id; `nonce` must be random.
    ///
    /// # Errors
    /// The cipher refuses, which it does not for secrets of any sensible length.
    pub fn seal(
        &self,
        access_key_id: &str,
        secret: &Secret,
        nonce: [u8; NONCE_LEN],
    ) -> Result<String, VaultFault> {
        let mut sealed = secret.expose().as_bytes().to_vec();
        let (at, bound_to) = (Nonce::assume_unique_for_key(nonce), Aad::from(access_key_id.as_bytes()));
        self.key.seal_in_place_append_tag(at, bound_to, &mut sealed).map_err(|_| VaultFault::Cipher)?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Reads the secret of this access key id.
    ///
    /// # Errors
    /// It was encrypted under another key or for another access key id, or was changed since.
    pub fn open(&self, access_key_id: &str, sealed: &str, sealed_by: &str) -> Result<Secret, VaultFault> {
        if sealed_by != self.id {
            if let Some(earlier) = &self.earlier {
                let opened = earlier.open(access_key_id, sealed, sealed_by);
                if !matches!(opened, Err(VaultFault::OtherKey { .. })) {
                    return opened;
                }
            }
            return Err(VaultFault::OtherKey { sealed_by: sealed_by.to_owned(), own: self.id.clone() });
        }
        let bytes = STANDARD.decode(sealed).map_err(|_| VaultFault::Damaged)?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(VaultFault::Damaged)?;
        let (at, bound_to) = (Nonce::assume_unique_for_key(*nonce), Aad::from(access_key_id.as_bytes()));
        let mut rest = rest.to_vec();
        let opened = self.key.open_in_place(at, bound_to, &mut rest).map_err(|_| VaultFault::Damaged)?;
        std::str::from_utf8(opened).map(Secret::new).map_err(|_| VaultFault::Damaged)
    }
}

/// The id, not the key.
impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.id)
    }
}

struct KeyIdLength;

impl KeyType for KeyIdLength {
    fn len(&self) -> usize {
        KEY_ID_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault(secret: &str) -> Vault {
        Vault::new(&Secret::new(secret)).unwrap()
    }

    #[test]
    fn a_secret_is_read_back_under_its_own_key_and_access_key_id_only() {
        let (one, same, other) =
            (vault("operator's secret"), vault("operator's secret"), vault("another one"));
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let sealed = one.seal("AKIAONE", &secret, [7; 12]).unwrap();
        assert!(!sealed.contains("wJalrXUtnFEMI"));
        assert_eq!(same.open("AKIAONE", &sealed, one.id()), Ok(secret));
        assert_eq!(same.open("AKIATWO", &sealed, one.id()), Err(VaultFault::Damaged));
        assert!(matches!(other.open("AKIAONE", &sealed, one.id()), Err(VaultFault::OtherKey { .. })));
        assert_eq!(other.open("AKIAONE", &sealed, other.id()), Err(VaultFault::Damaged));
    }

    #[test]
    fn an_earlier_key_is_read_with_and_not_written_with() {
        let secret = Secret::new("secret");
        let of_old = vault("old one").seal("AKIAONE", &secret, [7; 12]).unwrap();
        let both = vault("new one").reading_also(vault("old one"));
        assert_eq!(both.open("AKIAONE", &of_old, vault("old one").id()), Ok(secret.clone()));
        let sealed = both.seal("AKIAONE", &secret, [8; 12]).unwrap();
        assert_eq!(vault("new one").open("AKIAONE", &sealed, both.id()), Ok(secret));
        let third = vault("third").seal("AKIAONE", &Secret::new("x"), [9; 12]).unwrap();
        let Err(VaultFault::OtherKey { own, .. }) = both.open("AKIAONE", &third, vault("third").id()) else {
            panic!("read");
        };
        assert_eq!(own, vault("new one").id());
    }

    #[test]
    fn what_was_changed_or_cut_is_damaged() {
        let vault = vault("operator's secret");
        let sealed = vault.seal("AKIAONE", &Secret::new("secret"), [7; 12]).unwrap();
        let swapped = sealed.replacen(|c: char| c.is_ascii_lowercase(), "Z", 1);
        for bad in [swapped.as_str(), &sealed[..8], "", "no base64"] {
            assert_eq!(vault.open("AKIAONE", bad, vault.id()), Err(VaultFault::Damaged), "{bad}");
        }
    }

    #[test]
    fn what_was_encrypted_by_this_scheme_stays_readable() {
        // Computed with Python's hmac and the package cryptography.
        let sealed = vault("operator's secret").seal("AKIAONE", &Secret::new("secret"), [7; 12]).unwrap();
        assert_eq!(vault("operator's secret").id(), "v1:182264fdf872df35");
        assert_eq!(sealed, "BwcHBwcHBwcHBwcHR4kCJE81L6UoZTag5Jn9MkL0/ictEQ==");
    }
}
