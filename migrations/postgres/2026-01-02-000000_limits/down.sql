DROP INDEX spend_events_end_user;
DROP INDEX spend_events_team;
DELETE FROM revisions WHERE name = 'limit_holders';
DROP TABLE limit_holders;
DELETE FROM spend_rollups WHERE scope = 'key_model';
ALTER TABLE keys
    DROP COLUMN budget_id,
    DROP COLUMN limits,
    ADD COLUMN max_budget_nano BIGINT,
    ADD COLUMN soft_budget_nano BIGINT,
    ADD COLUMN budget_duration TEXT,
    ADD COLUMN budget_reset_at BIGINT,
    ADD COLUMN tpm_limit BIGINT,
    ADD COLUMN rpm_limit BIGINT,
    ADD COLUMN max_parallel_requests BIGINT;
