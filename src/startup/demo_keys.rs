//! The key of `bedgate demo`, with an AWS credential pair: what its printed lines are called with.

use super::Application;
use crate::auth::{new_access_key_id, new_secret_access_key};
use crate::domain::{KeyHash, NanoUsd, Secret, UnixMicros};
use crate::event::Payer;
use crate::store::KeyRecord;
use crate::store::keys::{Change, KeptPair, KeyChange, SealedPair};

/// A key that may use everything a key may use.
pub struct DemoKey {
    /// The virtual key.
    pub key: Secret,
    /// Of its AWS credential pair.
    pub access_key_id: String,
    /// Of its AWS credential pair.
    pub secret_access_key: Secret,
}

impl Application {
    /// Makes a key, and a pair for it.
    ///
    /// # Errors
    /// The database does not take it, or there is no key that encrypts the pair's secret.
    pub async fn make_demo_key(&self) -> anyhow::Result<DemoKey> {
        let key = crate::domain::new_virtual_key(rand::random());
        let now = UnixMicros::now();
        let change = Change { actor: Payer::MASTER.to_owned(), at: now };
        let record = KeyRecord {
            hash: KeyHash::of(&key),
            key_name: crate::domain::key_name(&key),
            key_alias: Some("demo".to_owned()),
            metadata: serde_json::json!({}),
            created_at: now,
            updated_at: now,
            ..KeyRecord::default()
        };
        let key_hash = record.hash;
        self.shared.keys.put(self.shared.store.create_key(record, NanoUsd::ZERO, change.clone()).await?);
        let vault = self.shared.keys.pairs().vault();
        let vault = vault.ok_or_else(|| anyhow::anyhow!("no key for the secrets of pairs is set"))?;
        let access_key_id = new_access_key_id(rand::random());
        let secret_access_key = new_secret_access_key(rand::random());
        let pair = SealedPair {
            access_key_id: access_key_id.clone(),
            key_hash,
            sealed: vault.seal(&access_key_id, &secret_access_key, rand::random())?,
            sealed_by: vault.id().to_owned(),
            created_at: now,
            created_by: Some(change.actor.clone()),
            ..SealedPair::default()
        };
        let KeptPair::Kept(pair) = self.shared.store.create_pair(pair, change).await? else {
            anyhow::bail!("the new key takes no AWS credential pair");
        };
        self.shared.keys.apply(vec![KeyChange::Pair(Box::new(pair))]);
        Ok(DemoKey { key: Secret::new(key), access_key_id, secret_access_key })
    }
}
