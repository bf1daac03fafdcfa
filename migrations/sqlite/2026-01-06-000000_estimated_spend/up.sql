-- What requests whose cost nobody knows are taken to have cost: budgets count it until they are priced.

ALTER TABLE spend_rollups ADD COLUMN uncosted_nano BIGINT NOT NULL DEFAULT 0;

WITH uncosted AS (
    SELECT *, started_at / 86400000000 AS day FROM spend_events
    WHERE cost_nano IS NULL AND estimate_nano IS NOT NULL
), counted (scope, name, day, estimate_nano) AS (
    SELECT 'key', payer, day, estimate_nano FROM uncosted
    UNION ALL SELECT 'team', team_id, day, estimate_nano FROM uncosted
    UNION ALL SELECT 'user', user_id, day, estimate_nano FROM uncosted
    UNION ALL SELECT 'end_user', end_user, day, estimate_nano FROM uncosted
    UNION ALL SELECT 'model', coalesce(model_id, ''), day, estimate_nano FROM uncosted
    UNION ALL SELECT 'key_model', payer || ':' || requested_model, day, estimate_nano FROM uncosted
)
UPDATE spend_rollups SET uncosted_nano = sums.estimate_nano
FROM (SELECT scope, name, day, sum(estimate_nano) AS estimate_nano FROM counted GROUP BY 1, 2, 3) AS sums
WHERE spend_rollups.scope = sums.scope AND spend_rollups.name = sums.name AND spend_rollups.day = sums.day;

-- For sums per tag.
CREATE INDEX spend_events_tagged ON spend_events (started_at) WHERE tags <> '[]';
