-- Who made the responses that AWS keeps (OpenAI's Responses API). Units and types: migrations/README.md.

CREATE TABLE response_owners (
    response_id TEXT PRIMARY KEY,
    -- A key's hash, or a fixed name, as in spend_events.
    payer TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX response_owners_created_at ON response_owners (created_at);
