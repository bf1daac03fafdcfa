-- What requests whose cost nobody knows are taken to have cost: budgets count it until they are priced.

ALTER TABLE spend_rollups ADD COLUMN uncosted_nano BIGINT NOT NULL DEFAULT 0;

UPDATE spend_rollups AS kept SET uncosted_nano = sums.estimate_nano
FROM (
    SELECT counted.scope, counted.name, floor(started_at / 86400000000.0)::integer AS day,
        sum(estimate_nano)::bigint AS estimate_nano
    FROM spend_events
    CROSS JOIN LATERAL (VALUES
        ('key', payer), ('team', team_id), ('user', user_id), ('end_user', end_user),
        ('model', coalesce(model_id, '')), ('key_model', payer || ':' || requested_model)
    ) AS counted (scope, name)
    WHERE cost_nano IS NULL AND estimate_nano IS NOT NULL AND counted.name IS NOT NULL
    GROUP BY 1, 2, 3
) AS sums
WHERE kept.scope = sums.scope AND kept.name = sums.name AND kept.day = sums.day;

-- For sums per tag.
CREATE INDEX spend_events_tagged ON spend_events (started_at) WHERE tags <> '[]';
