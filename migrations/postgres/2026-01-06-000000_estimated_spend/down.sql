DROP INDEX spend_events_tagged;
ALTER TABLE spend_rollups DROP COLUMN uncosted_nano;
