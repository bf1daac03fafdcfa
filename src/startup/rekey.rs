//! A change of the key that encrypts the secrets of AWS credential pairs: what the old one encrypted is encrypted anew
//! before the gateway serves.

use anyhow::Context as _;

use crate::auth::{KeyDirectory, Vault, VaultFault};
use crate::config::AuthConfig;
use crate::domain::UnixMicros;
use crate::event::Payer;
use crate::store::Store;
use crate::store::keys::{Change, SealedPair};

/// What encrypts secrets, and reads those of the old key.
pub(super) fn vault(config: &AuthConfig) -> Result<Option<Vault>, VaultFault> {
    let Some(vault) = config.secret_key.as_ref().map(Vault::new).transpose()? else { return Ok(None) };
    let old = config.old_secret_key.as_ref().map(Vault::new).transpose()?;
    Ok(Some(match old {
        Some(old) => vault.reading_also(old),
        None => vault,
    }))
}

/// Encrypts pairs of the old key with the new one. Instances that know the old key alone keep the pairs they have read.
pub(super) async fn encrypt_anew(
    store: &Store,
    keys: &KeyDirectory,
    pairs: &[SealedPair],
) -> anyhow::Result<()> {
    let resealed = keys.pairs().resealed(pairs, rand::random)?;
    if resealed.is_empty() {
        return Ok(());
    }
    let change = Change { actor: Payer::MASTER.to_owned(), at: UnixMicros::now() };
    let count = store.reseal_pairs(resealed, change).await;
    let count = count.context("cannot encrypt the AWS credential pairs under the new BEDGATE_SECRET_KEY")?;
    log::info!("{count} AWS credential pairs were encrypted under the new BEDGATE_SECRET_KEY");
    Ok(())
}
