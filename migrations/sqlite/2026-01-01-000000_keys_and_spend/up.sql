-- Keys, their archive, spend, roll-ups, audit. Units and types: migrations/README.md.

CREATE TABLE keys (
    hash TEXT PRIMARY KEY NOT NULL,
    key_name TEXT NOT NULL,
    key_alias TEXT UNIQUE,
    team_id TEXT,
    user_id TEXT,
    models TEXT NOT NULL DEFAULT '[]',
    allowed_routes TEXT NOT NULL DEFAULT '[]',
    tags TEXT NOT NULL DEFAULT '[]',
    metadata TEXT NOT NULL DEFAULT '{}',
    expires_at BIGINT,
    blocked BOOLEAN NOT NULL DEFAULT FALSE,
    -- Spend from before bedgate counted it; what is shown is this plus the roll-ups.
    spend_carried_nano BIGINT NOT NULL DEFAULT 0,
    -- Kept for budgets and rate limits; written by nobody yet.
    max_budget_nano BIGINT,
    soft_budget_nano BIGINT,
    budget_duration TEXT,
    budget_reset_at BIGINT,
    tpm_limit BIGINT,
    rpm_limit BIGINT,
    max_parallel_requests BIGINT,
    created_at BIGINT NOT NULL,
    created_by TEXT,
    updated_at BIGINT NOT NULL,
    updated_by TEXT,
    revision BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_revision ON keys (revision);
CREATE INDEX keys_team ON keys (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX keys_user ON keys (user_id) WHERE user_id IS NOT NULL;

-- A deleted key as it was. The revision is that of its deletion.
CREATE TABLE deleted_keys (
    revision BIGINT PRIMARY KEY,
    hash TEXT NOT NULL,
    key_name TEXT NOT NULL,
    key_alias TEXT,
    team_id TEXT,
    user_id TEXT,
    contents TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    deleted_by TEXT
);
CREATE INDEX deleted_keys_hash ON deleted_keys (hash);

-- Counts changes, so that other instances find what is new. A row is locked by the transaction that raises it, so
-- revisions become visible in their order.
CREATE TABLE revisions (
    name TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO revisions (name, value) VALUES ('keys', 0);

CREATE TABLE spend_events (
    id BLOB PRIMARY KEY NOT NULL,
    started_at BIGINT NOT NULL,
    payer TEXT NOT NULL,
    team_id TEXT,
    user_id TEXT,
    end_user TEXT,
    tags TEXT NOT NULL,
    session_id TEXT,
    call_id TEXT,
    service TEXT NOT NULL,
    operation TEXT NOT NULL,
    requested_model TEXT,
    deployment TEXT NOT NULL,
    model_id TEXT,
    region TEXT NOT NULL,
    estimate_nano BIGINT,
    outcome TEXT NOT NULL,
    status INTEGER NOT NULL,
    attempts TEXT NOT NULL,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cache_read_tokens BIGINT,
    cache_write_5m_tokens BIGINT,
    cache_write_1h_tokens BIGINT,
    reasoning_tokens BIGINT,
    units TEXT,
    tier TEXT,
    latency_optimised BOOLEAN,
    cost_basis TEXT NOT NULL,
    price TEXT,
    cost_nano BIGINT,
    latency_us BIGINT NOT NULL,
    time_to_first_byte_us BIGINT,
    aws_request_id TEXT
);
CREATE INDEX spend_events_started_at ON spend_events (started_at);
CREATE INDEX spend_events_payer ON spend_events (payer, started_at);
CREATE INDEX spend_events_user ON spend_events (user_id, started_at) WHERE user_id IS NOT NULL;
CREATE INDEX spend_events_call_id ON spend_events (call_id) WHERE call_id IS NOT NULL;

-- Those whose price is missing, to list them and to price them later.
CREATE INDEX spend_events_unpriced ON spend_events (id) WHERE cost_basis = 'unpriced';

-- Sums per day of what spend_events holds, raised in the same transaction.
CREATE TABLE spend_rollups (
    -- key, team, user, end_user or model
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    day INTEGER NOT NULL,
    requests BIGINT NOT NULL,
    incomplete_requests BIGINT NOT NULL,
    uncosted_requests BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    PRIMARY KEY (scope, name, day)
) WITHOUT ROWID;

CREATE TABLE audit_log (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    before TEXT,
    after TEXT
);
CREATE INDEX audit_log_object ON audit_log (object, at);

-- For people: events with timestamps and dollars (as floating point: sums belong to cost_nano).
CREATE VIEW spend AS
SELECT lower(hex(id)) AS id,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000000.0, 'unixepoch') AS started_at,
       payer, team_id, user_id, end_user, tags, session_id, call_id,
       service, operation, requested_model, deployment, model_id, region,
       outcome, status, attempts,
       input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens,
       units, tier, latency_optimised,
       cost_basis, price,
       estimate_nano / 1e9 AS estimate_usd,
       cost_nano / 1e9 AS cost_usd,
       latency_us / 1000.0 AS latency_ms,
       time_to_first_byte_us / 1000.0 AS time_to_first_byte_ms,
       aws_request_id
FROM spend_events;
