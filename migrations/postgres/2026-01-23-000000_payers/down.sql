ALTER TABLE keys DROP COLUMN spend_since;
DROP INDEX deleted_keys_payer;
ALTER TABLE deleted_keys DROP COLUMN payer;
DROP INDEX keys_payer;
ALTER TABLE keys DROP COLUMN payer;
