-- Budgets and rate limits: of keys, and of those who share them (teams, customers, named budgets).

-- One JSON object a holder (src/store/limit_set.rs) takes the place of columns that nobody wrote.
ALTER TABLE keys DROP COLUMN max_budget_nano;
ALTER TABLE keys DROP COLUMN soft_budget_nano;
ALTER TABLE keys DROP COLUMN budget_duration;
ALTER TABLE keys DROP COLUMN budget_reset_at;
ALTER TABLE keys DROP COLUMN tpm_limit;
ALTER TABLE keys DROP COLUMN rpm_limit;
ALTER TABLE keys DROP COLUMN max_parallel_requests;
ALTER TABLE keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE keys ADD COLUMN budget_id TEXT;

-- A deleted holder stays as a row, so that other instances learn of it.
CREATE TABLE limit_holders (
    -- team, customer or budget
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    alias TEXT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    models TEXT NOT NULL DEFAULT '[]',
    limits TEXT NOT NULL DEFAULT '{}',
    budget_id TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    deleted BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL,
    created_by TEXT,
    updated_at BIGINT NOT NULL,
    updated_by TEXT,
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX limit_holders_revision ON limit_holders (revision);
INSERT INTO revisions (name, value) VALUES ('limit_holders', 0);

-- For budgets whose window begins within a day.
CREATE INDEX spend_events_team ON spend_events (team_id, started_at) WHERE team_id IS NOT NULL;
CREATE INDEX spend_events_end_user ON spend_events (end_user, started_at) WHERE end_user IS NOT NULL;
