CREATE INDEX spend_events_started_at ON spend_events (started_at);
CREATE INDEX spend_events_tagged ON spend_events (started_at) WHERE tags <> '[]';
