DROP VIEW spend;
DROP TABLE audit_log;
DROP TABLE spend_rollups;
DROP TABLE spend_events;
DROP TABLE revisions;
DROP TABLE deleted_keys;
DROP TABLE keys;
