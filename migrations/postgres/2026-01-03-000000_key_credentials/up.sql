-- AWS credential pairs of keys. Units and types: migrations/README.md.

CREATE TABLE key_credentials (
    access_key_id TEXT PRIMARY KEY,
    key_hash TEXT NOT NULL,
    -- The secret, encrypted (base64), and the id of the key that encrypts it; both empty once the pair is revoked.
    sealed TEXT NOT NULL,
    sealed_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT,
    revoked_at BIGINT,
    -- Of the counter "keys": a pair is a part of its key.
    revision BIGINT NOT NULL
);
CREATE INDEX key_credentials_key ON key_credentials (key_hash);
CREATE INDEX key_credentials_revision ON key_credentials (revision);
