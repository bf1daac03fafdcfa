-- What a key spends belongs to an account that outlives its values. Its name is the hash of the key's first value (NULL: of the
-- one it has), or one of its own where somebody else's spend stands under that hash. A release that does not know the column
-- writes events under the key's hash: regenerate keys when all instances know it.
ALTER TABLE keys ADD COLUMN payer TEXT;
CREATE INDEX keys_payer ON keys (payer) WHERE payer IS NOT NULL;
ALTER TABLE deleted_keys ADD COLUMN payer TEXT;
CREATE INDEX deleted_keys_payer ON deleted_keys (payer) WHERE payer IS NOT NULL;

-- Requests that began earlier no longer count in what a key is shown to have spent; NULL: all count.
ALTER TABLE keys ADD COLUMN spend_since BIGINT;
